//! One HTTP/2 connection, from its preface to its end: streams in, each a request with a task and a watchdog of its own.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use evenkeel_config::HttpLimits;
use evenkeel_http::http2::{HeadLimits, StreamHead};
use evenkeel_http::message::{Answer, Refusal};
use h2::server::{Builder, Connection as Codec, SendResponse};
use h2::{Reason, RecvStream};
use pingora_core::apps::HttpServerApp;
use pingora_core::protocols::http::ServerSession;
use pingora_http::RequestHeader;
use tokio::sync::Notify;
use tokio::task::JoinSet;

use super::conn::Conn;
use super::serve::Service;
use super::watch::Watch;
use crate::exchange::{
    self, Connection, Decision, Ending, Exchange, Expired, InFlight, ListenerFacts, Phase, Resumption,
    Waiting,
};
use crate::proxy::{H2Session, Incoming};
use crate::stream::{Grant, H2Stream, Link};

/// What each HTTP/2 connection begins with (RFC 9113, 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Most streams at once on a connection: as many as nginx and Envoy recommend, and all that a browser uses.
const MAX_STREAMS: u32 = 100;
/// How much of a body a client may send ahead on one stream, and on all streams of a connection.
const STREAM_WINDOW: u32 = 64 * 1024;
const CONNECTION_WINDOW: u32 = 1024 * 1024;
/// The most that waits to be sent for one stream.
const SEND_BUFFER: usize = 32 * 1024;
/// How many streams a client may reset before they were looked at (CVE-2023-44487), and make us reset by protocol errors
/// (CVE-2025-8671), before its connection ends.
const MAX_RESETS: usize = 20;
const MAX_ERRORS: usize = 64;
/// How many requests of a connection may be malformed.
const MAX_MALFORMED: usize = 32;
/// How long the last frames of a connection may take: a response to a request that was cut, the reason why it ends.
const LAST_WORDS: Duration = Duration::from_millis(80);

/// One HTTP/2 connection being served.
struct Serving {
    service: Arc<Service>,
    connection: Arc<Connection>,
    codec: Codec<Conn, Bytes>,
    streams: JoinSet<Served>,
    /// Wakes the tasks of all streams, so that they look at the connection.
    wake: Arc<Notify>,
    draining: bool,
    malformed: usize,
}

/// How a stream was served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Served {
    Sound,
    /// It was no request.
    Malformed,
    /// Its client did not take the response.
    Stalled,
}

/// Serves a connection to its end.
pub(super) async fn serve(service: &Arc<Service>, link: &Arc<Link>, watch: &mut Watch) {
    // What is written is the connection's own, and none of a request's.
    link.in_flight.set_begun();
    link.in_flight.stay_in(Phase::Head);
    link.grant(Grant::All);
    link.watch();
    let limits = link.connection().limits.clone();
    let handshake = Box::pin(options(&limits).handshake(Conn(link.clone())));
    let Ok(Ok(codec)) = watch.guard(link, handshake).await else { return };
    let mut serving = Serving {
        service: service.clone(),
        connection: link.in_flight.connection().clone(),
        codec,
        streams: JoinSet::new(),
        wake: Arc::default(),
        draining: false,
        malformed: 0,
    };
    let served = std::future::poll_fn(|cx| serving.poll(cx, &link.in_flight));
    let ended = watch.guard(link, served).await;
    serving.finish(link, ended.err()).await;
}

/// Whether a connection begins as HTTP/2 does.
pub(super) fn is_preface(bytes: &[u8]) -> bool {
    bytes.starts_with(PREFACE)
}

/// Whether a connection may turn out to begin as HTTP/2 does, once more has come. No request of HTTP/1 ends there.
pub(super) fn is_part_of_preface(bytes: &[u8]) -> bool {
    bytes.len() < PREFACE.len() && PREFACE.starts_with(bytes)
}

/// How HTTP/2 is spoken with clients. Memory is bounded in each direction, and so is work for nothing.
fn options(limits: &HttpLimits) -> Builder {
    // The codec counts 32 bytes more for each field. A head that is somewhat too large is refused by us, so that it is recorded.
    let most = 2 * limits.max_header_size + 64 * limits.max_header_fields;
    let mut options = Builder::new();
    options
        .max_concurrent_streams(MAX_STREAMS)
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buffer_size(SEND_BUFFER)
        .max_header_list_size(u32::try_from(most).unwrap_or(u32::MAX))
        .max_pending_accept_reset_streams(MAX_RESETS)
        .max_local_error_reset_streams(Some(MAX_ERRORS));
    options
}

impl Serving {
    /// Accepts streams until the connection ends.
    fn poll(&mut self, cx: &mut Context<'_>, in_flight: &InFlight) -> Poll<()> {
        loop {
            while let Poll::Ready(Some(served)) = self.streams.poll_join_next(cx) {
                self.note(served.unwrap_or(Served::Sound));
            }
            if self.malformed > MAX_MALFORMED {
                return Poll::Ready(());
            }
            if self.connection.is_draining() && !self.draining {
                self.draining = true;
                self.codec.graceful_shutdown();
            }
            match self.codec.poll_accept(cx) {
                Poll::Ready(Some(Ok((request, response)))) => self.begin(request, response),
                Poll::Ready(Some(Err(_)) | None) => return Poll::Ready(()),
                Poll::Pending => break,
            }
        }
        let phase = if self.streams.is_empty() { Phase::Idle } else { Phase::Exchange };
        in_flight.stay_in(phase);
        Poll::Pending
    }

    fn note(&mut self, served: Served) {
        match served {
            Served::Sound => {}
            Served::Malformed => self.malformed += 1,
            // Other streams go on. A client that takes nothing at all ends with them.
            Served::Stalled => self.connection.drain(),
        }
    }

    fn begin(&mut self, request: http::Request<RecvStream>, response: SendResponse<Bytes>) {
        let (parts, body) = request.into_parts();
        let in_flight = Arc::new(InFlight::new(self.connection.clone()));
        in_flight.enter(Phase::Exchange);
        in_flight.set_stream(response.stream_id().as_u32());
        let stream = H2Stream::new(in_flight, body, response);
        let task = Task { service: self.service.clone(), stream, wake: self.wake.clone() };
        self.streams.spawn(task.run(parts));
    }

    /// Goes on without new requests: those that still come are dropped, which resets them. True once the connection is over.
    fn poll_closed(&mut self, cx: &mut Context<'_>) -> bool {
        loop {
            match self.codec.poll_accept(cx) {
                Poll::Ready(Some(Ok(_))) => {}
                Poll::Ready(Some(Err(_)) | None) => return true,
                Poll::Pending => return false,
            }
        }
    }

    /// Ends the connection: what is under way gets its last words, and the client the reason.
    async fn finish(mut self, link: &Link, expired: Option<Expired>) {
        if expired == Some(Expired::Drain) {
            self.wake.notify_waiters();
        } else {
            self.streams.abort_all();
        }
        let too_much = self.malformed > MAX_MALFORMED;
        let mut told = false;
        let ended = std::future::poll_fn(|cx| {
            while let Poll::Ready(Some(_)) = self.streams.poll_join_next(cx) {}
            // First, for what the streams have to say goes before the reason.
            let mut closed = self.poll_closed(cx);
            if self.streams.is_empty() && !told {
                told = true;
                let reason = if too_much { Reason::ENHANCE_YOUR_CALM } else { Reason::NO_ERROR };
                self.codec.abrupt_shutdown(reason);
                closed = self.poll_closed(cx);
            }
            let flushed = link.poll_flush(cx);
            if closed && flushed.is_ready() { Poll::Ready(()) } else { Poll::Pending }
        });
        let _ = tokio::time::timeout(LAST_WORDS, ended).await;
    }
}

/// One stream and what serves it.
struct Task {
    service: Arc<Service>,
    stream: Arc<H2Stream>,
    wake: Arc<Notify>,
}

impl Task {
    async fn run(self, parts: http::request::Parts) -> Served {
        let connection = self.stream.in_flight.connection().clone();
        let mut served = std::pin::pin!(self.serve(parts));
        std::future::poll_fn(|cx| {
            connection.tick();
            served.as_mut().poll(cx)
        })
        .await
    }

    async fn serve(self, parts: http::request::Parts) -> Served {
        let in_flight = &self.stream.in_flight;
        let limits = &in_flight.connection().limits;
        let size = HeadLimits { fields: limits.max_header_fields, size: limits.max_header_size };
        let head_only = parts.method == http::Method::HEAD;
        let head = match StreamHead::read(parts, self.stream.is_read(), size) {
            Ok(head) => head,
            Err(refusal) => {
                self.refuse(&refusal, head_only);
                return Served::Malformed;
            }
        };
        let listener = ListenerFacts {
            max_body: limits.max_body_size,
            paths: limits.paths,
            spoofed_headers: limits.spoofed_headers,
            started: in_flight.connection().now(),
        };
        let pingora_only = self.service.shared.pingora_only.load(Relaxed);
        let lane = if pingora_only { exchange::Lane::Pingora } else { exchange::Lane::Lean };
        let environment = self.service.environment.clone();
        let facts = (*head.facts(), listener);
        let mut exchange = Exchange::new(environment, in_flight.clone(), facts, lane);
        let mut decision = exchange.decide(&head);
        loop {
            decision = match decision {
                Decision::Answer(answer) => {
                    exchange.count_sent(self.stream.say(&answer, head_only));
                    exchange.on_end(Ending::Ok);
                    return Served::Sound;
                }
                Decision::Proxy => {
                    exchange.hand_over(exchange::Lane::Pingora);
                    let mut parts = head.forward(exchange.request_edits());
                    parts.extensions.insert(Incoming::new(exchange, None));
                    return Box::pin(self.proxy(parts, head_only)).await;
                }
                Decision::Wait(waiting) => match self.wait(waiting).await {
                    Some(resumption) => exchange.resume(&head, resumption),
                    None => {
                        drop(exchange);
                        return self.gave_up(head_only);
                    }
                },
            };
        }
    }

    /// Waits for a filter. `None` if the wait has lasted too long, or the client gave the request up.
    async fn wait(&self, mut waiting: Waiting) -> Option<Resumption> {
        let mut watch = Watch::new();
        let waited = std::future::poll_fn(|cx| waiting.poll(cx));
        Box::pin(watch.guard_stream(&self.stream, &self.wake, waited)).await.ok()
    }

    /// The request has ended while a filter waited.
    fn gave_up(&self, head_only: bool) -> Served {
        if let Some(answer) = self.stream.in_flight.take_farewell() {
            self.say(&answer, head_only);
        }
        self.stream.reset(Reason::CANCEL);
        Served::Sound
    }

    /// Pingora's request.
    async fn proxy(&self, parts: http::request::Parts, head_only: bool) -> Served {
        let session = H2Session::new(self.stream.clone(), RequestHeader::from(parts));
        let session = ServerSession::new_custom(Box::new(session));
        let request = self.service.proxy.process_new_http(session, &self.service.never);
        let mut watch = Watch::new();
        let outcome = watch.guard_stream(&self.stream, &self.wake, request).await.map(drop);
        if let Some(answer) = self.stream.in_flight.take_farewell() {
            self.say(&answer, head_only);
        }
        // Where there is no complete response, there will be none.
        self.stream.reset(if outcome.is_err() { Reason::CANCEL } else { Reason::INTERNAL_ERROR });
        if outcome == Err(Some(Expired::Send)) { Served::Stalled } else { Served::Sound }
    }

    fn refuse(&self, refusal: &Refusal, head_only: bool) {
        let environment = self.service.environment.clone();
        let (exchange, answer) = Exchange::refuse_head(environment, self.stream.in_flight.clone(), refusal);
        self.say(&answer, head_only);
        drop(exchange);
    }

    fn say(&self, answer: &Answer, head_only: bool) {
        self.stream.say(answer, head_only);
    }
}
