//! A client that sends raw bytes and reads responses strictly. Knows nothing of the corpus.

#![cfg(test)]

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::origin::PAUSE;
use super::strict::{self, Fault, Framing, Head};
use crate::support::PATIENCE;

/// One connection.
pub(super) struct Client {
    stream: TcpStream,
    received: Vec<u8>,
    /// Whether the balancer has closed its half.
    pub(super) ended: bool,
}

/// A final response, as far as it has arrived.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) head: Head,
    pub(super) body: Vec<u8>,
    pub(super) trailers: Vec<(String, String)>,
    pub(super) complete: bool,
}

/// The responses that arrived, each for its request.
#[derive(Clone, Debug, Default)]
pub(super) struct Answers {
    pub(super) all: Vec<Answer>,
    /// The statuses of the 1xx between them.
    pub(super) interim: Vec<u16>,
    /// How many bytes they took.
    pub(super) length: usize,
}

// === impl Client ===

impl Client {
    pub(super) async fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.expect("the balancer accepts");
        stream.set_nodelay(true).expect("a TCP option");
        Self { stream, received: Vec::new(), ended: false }
    }

    /// Sends pieces, to an end that may have closed.
    pub(super) async fn send(&mut self, pieces: &[Vec<u8>]) {
        for (nth, piece) in pieces.iter().enumerate() {
            if nth > 0 {
                tokio::time::sleep(PAUSE).await;
            }
            let _ = self.stream.write_all(piece).await;
        }
    }

    /// Says that no more will be sent.
    pub(super) async fn finish(&mut self) {
        let _ = self.stream.shutdown().await;
    }

    /// Reads until there are complete responses to requests of these methods, or something that is not a response; or
    /// the balancer closes, or nothing arrives for long.
    pub(super) async fn read(&mut self, methods: &[String]) {
        let enough = |received: &[u8]| {
            let answers = answers(received, methods, false);
            answers.map_or(true, |answers| answers.all.iter().filter(|a| a.complete).count() >= methods.len())
        };
        while !self.ended && !enough(&self.received) && self.fill().await {}
    }

    /// Reads until the balancer closes, or nothing comes for long.
    pub(super) async fn read_to_end(&mut self) {
        while !self.ended && self.fill().await {}
    }

    async fn fill(&mut self) -> bool {
        let read = tokio::time::timeout(PATIENCE, self.stream.read_buf(&mut self.received)).await;
        self.ended = matches!(read, Ok(Ok(0) | Err(_)));
        read.is_ok()
    }

    /// What has come so far and was not taken yet.
    pub(super) fn take(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.received)
    }
}

// === impl Answer ===

impl Answer {
    /// Whether it says that its connection ends with it.
    pub(super) fn closes(&self) -> bool {
        self.head.connection_names("close")
    }
}

/// Splits bytes into the responses to requests of these methods; beyond them, to a GET.
pub(super) fn answers(bytes: &[u8], methods: &[String], ended: bool) -> Result<Answers, Fault> {
    let mut answers = Answers::default();
    while let Some(head) = strict::answer_head(&bytes[answers.length..])? {
        let method = methods.get(answers.all.len()).map_or("GET", String::as_str);
        let framing = head.answer_framing(method)?;
        let rest = &bytes[answers.length + head.length..];
        let body = strict::body(framing, rest)?;
        let status = head.line[1].parse().expect("three digits");
        let complete = body.end.is_some() || (framing == Framing::Close && ended);
        answers.length += head.length + body.end.unwrap_or(rest.len());
        if (100..200).contains(&status) && status != 101 {
            answers.interim.push(status);
            continue;
        }
        let answer = Answer { status, head, body: body.bytes, trailers: body.trailers, complete };
        answers.all.push(answer);
        if !complete {
            break;
        }
    }
    let rest = &bytes[answers.length..];
    if ended && !rest.is_empty() {
        return Err(format!(
            "something that is not a response follows {}: {:?}",
            answers.all.len(),
            strict::latin_1(rest)
        ));
    }
    Ok(answers)
}
