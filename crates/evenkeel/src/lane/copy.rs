//! Copies of requests for backends that look slow: what they take is measured, what they say is thrown away.

use std::time::{Duration, Instant};

use evenkeel_http::http1::{AnswerHead, with_answer};
use evenkeel_http::message::{Interim, ResponseHead};

use super::backend::Backend;
use super::pump::Pump;
use crate::exchange::is_failure;
use crate::upstream::{Failure, RequestCopy};

/// How much of a response is read before its connection is closed, and for how long: usually all of it, so that the
/// backend sees it read.
const REST: usize = 64 * 1024;
const REST_TIME: Duration = Duration::from_secs(1);

impl Pump<'_> {
    /// Sends a copy of the request to the backend that the algorithm wants to test, if there is one. No request waits
    /// for it.
    pub(super) fn send_copy(&mut self) {
        if !self.head.facts.upgrade
            && let Some(copy) = self.exchange.copy()
            && let Some(request) = self.upload.all().and_then(last_of_its_connection)
        {
            tokio::spawn(follow(copy, request));
        }
    }
}

/// A request without a body, as one after which the backend closes: such connections are too rare to be kept.
fn last_of_its_connection(request: &[u8]) -> Option<Vec<u8>> {
    let fields = request.strip_suffix(b"\r\n\r\n")?;
    Some([fields, b"\r\nconnection: close\r\n\r\n"].concat())
}

async fn follow(copy: RequestCopy, request: Vec<u8>) {
    let (to_connect, to_answer) = copy.patience();
    let start = Instant::now();
    let mut backend = match Backend::connect(&copy.endpoint, to_connect, None).await {
        Ok(backend) => backend,
        Err(Failure::Shortage) => return copy.not_sent(),
        Err(_) => return copy.failed(start.elapsed()),
    };
    let start = Instant::now();
    let status = tokio::time::timeout(to_answer, ask(&mut backend, &request)).await;
    match status.ok().flatten() {
        Some(status) => copy.responded(!is_failure(status), start.elapsed()),
        None => copy.failed(start.elapsed()),
    }
    // A backend that does not finish in time has at least received the request.
    let _ = tokio::time::timeout(REST_TIME, take_rest(&mut backend)).await;
}

/// Sends the request, and returns the status of its response.
async fn ask(backend: &mut Backend, request: &[u8]) -> Option<u16> {
    let mut sent = 0;
    std::future::poll_fn(|cx| backend.poll_send(cx, request, &mut sent)).await.ok()?;
    let (mut searched, mut interim) = (0, Interim::default());
    loop {
        let head = |answer: &AnswerHead<'_>| (answer.length, answer.status());
        match with_answer(backend.input.filled(), &mut searched, head).ok()? {
            Some((_, status @ 200..)) => return Some(status),
            Some((length, _)) => {
                interim.admit(length).ok()?;
                backend.input.consume(length);
                searched = 0;
            }
            None => {
                let read = std::future::poll_fn(|cx| backend.poll_fill(cx)).await;
                read.ok().filter(|count| *count > 0)?;
            }
        }
    }
}

async fn take_rest(backend: &mut Backend) {
    let mut taken = 0;
    while taken < REST {
        backend.input.clear();
        match std::future::poll_fn(|cx| backend.poll_fill(cx)).await {
            Ok(count) if count > 0 => taken += count,
            _ => return,
        }
    }
}
