//! One connection, from its accept to its end: heads in, requests to the data path, refusals out.

use std::fmt::Write as _;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use evenkeel_config::HttpLimits;
use pingora_core::apps::HttpServerApp;
use pingora_core::protocols::http::ServerSession;
use pingora_core::server::ShutdownWatch;
use pingora_proxy::HttpProxy;

use super::conn::Conn;
use super::grant::{Chunks, Grant};
use super::head::{Head, check_head};
use super::link::{Link, Read};
use super::watch::Watch;
use crate::exchange::{Environment, Exchange, Expired, HeadFacts, Phase};
use crate::filter::{Answer, Refusal};
use crate::proxy::{Incoming, Proxy};

/// What serves the connections of one worker.
pub(super) struct Service {
    pub(super) environment: Arc<Environment>,
    pub(super) proxy: Arc<HttpProxy<Proxy>>,
    /// Pingora asks at each request whether it is to shut down. It never is: the listener ends connections.
    pub(super) never: ShutdownWatch,
}

/// One connection being served.
struct Serving<'a> {
    service: &'a Service,
    limits: &'a HttpLimits,
    link: Arc<Link>,
    watch: Watch,
}

/// A head that is on its way. Dropping it before it has become a request or a refusal records that the client left.
struct PartialHead<'a> {
    service: &'a Service,
    link: &'a Link,
    settled: bool,
}

/// What is done with a connection after a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    Next,
    /// Close; the client may still be sending what nobody will read.
    Linger,
    Close,
}

/// How long a client is listened to after the last answer, so that it can read that before it learns of the close.
const LINGER: Duration = Duration::from_secs(2);

/// Serves a connection to its end.
pub(super) async fn serve(service: &Service, limits: &HttpLimits, link: Arc<Link>) {
    let mut serving = Serving { service, limits, link, watch: Watch::new() };
    let mut phase = Phase::Fresh;
    loop {
        serving.link.connection.begin_request();
        let then = match serving.next_head(phase).await {
            Ok(Some(head)) => serving.exchange(head).await,
            Ok(None) => Then::Close,
            Err(refusal) => serving.refuse_head(&refusal),
        };
        if !serving.flush().await {
            return;
        }
        match then {
            Then::Next => phase = Phase::Idle,
            Then::Linger => return serving.linger().await,
            Then::Close => return,
        }
    }
}

impl Serving<'_> {
    /// Waits for the next request's head. `None` when there is none, and nothing to say about it.
    async fn next_head(&mut self, phase: Phase) -> Result<Option<Head>, Refusal> {
        let (link, connection) = (&*self.link, &self.link.connection);
        if link.pending_input() == 0 {
            connection.enter(phase);
            let first_bytes = std::future::poll_fn(|cx| link.poll_read_ahead(cx));
            if !matches!(self.watch.guard(link, first_bytes).await, Ok(Ok(Read::Some))) {
                return Ok(None);
            }
        }
        connection.enter(Phase::Head);
        let started = connection.now();
        let mut partial = PartialHead { service: self.service, link, settled: false };
        let mut searched = 0;
        loop {
            skip_empty_lines(link);
            let checked = link.peek(|bytes| {
                let head = check_head(bytes, &mut searched, self.limits.max_header_fields)?;
                let length = head.as_ref().map_or(bytes.len(), |head| head.length);
                if length > self.limits.max_header_size { Err(Refusal::HeaderTooLarge) } else { Ok(head) }
            });
            partial.settled = !matches!(checked, Ok(None));
            if let Some(mut head) = checked? {
                head.facts.max_body = self.limits.max_body_size;
                head.facts.started = started;
                return Ok(Some(head));
            }
            let more = std::future::poll_fn(|cx| link.poll_read_ahead(cx));
            match self.watch.guard(link, more).await {
                Ok(Ok(Read::Some)) => {}
                Err(Expired::Header) if link.pending_input() > 0 => {
                    partial.settled = true;
                    return Err(Refusal::HeaderTimeout);
                }
                Ok(Ok(Read::End) | Err(_)) | Err(_) => return Ok(None),
            }
        }
    }

    /// Hands a request to the data path.
    async fn exchange(&mut self, head: Head) -> Then {
        let (link, connection) = (&self.link, &self.link.connection);
        let length = head.length as u64;
        link.grant(match head.facts {
            HeadFacts { chunked: true, .. } => Grant::Chunked { head: length, body: Chunks::default() },
            HeadFacts { content_length, .. } => {
                Grant::Bytes(length.saturating_add(content_length.unwrap_or_default()))
            }
        });
        connection.enter(Phase::Exchange);
        let mut session = ServerSession::new_http1(Box::new(Conn(link.clone())));
        // All waits are the watchdog's.
        session.set_read_timeout(None);
        let incoming = Incoming { connection: connection.clone(), facts: head.facts };
        session.set_connection_user_context(Some(Box::new(incoming)));
        let request = self.service.proxy.process_new_http(session, &self.service.never);
        let outcome = self.watch.guard(link, request).await;
        if !connection.has_begun() {
            // The head passed our check and not Pingora's.
            return self.refuse_head(&Refusal::BadRequest("the request's head is malformed"));
        }
        match outcome {
            Err(_) => match connection.take_farewell() {
                Some(answer) => {
                    // Where the whole request was taken, the next one can follow.
                    let last = head.facts.last || !link.is_spent() || connection.is_draining();
                    self.say(&answer, head.facts.head_only, last)
                }
                None => Then::Close,
            },
            Ok(_) if connection.is_upgraded() || connection.is_draining() => self.close(),
            Ok(Some(_)) => Then::Next,
            Ok(None) if connection.is_reusable() && link.is_spent() => Then::Next,
            Ok(None) => self.close(),
        }
    }

    fn close(&self) -> Then {
        let unread = !self.link.is_spent() && !self.link.connection.is_upgraded();
        if unread || self.link.pending_input() > 0 { Then::Linger } else { Then::Close }
    }

    /// Answers what never became a request, and records it.
    fn refuse_head(&mut self, refusal: &Refusal) -> Then {
        let environment = self.service.environment.clone();
        let (exchange, answer) = Exchange::refuse_head(environment, self.link.connection.clone(), refusal);
        let then = self.say(&answer, false, true);
        drop(exchange);
        then
    }

    /// Writes an answer without a data path: only its head for a HEAD request, and perhaps as the connection's last.
    fn say(&self, answer: &Answer, head_only: bool, last: bool) -> Then {
        let mut head = head_of(answer);
        head.push_str(if last { "connection: close\r\n\r\n" } else { "\r\n" });
        let body = if head_only { &[][..] } else { &answer.body };
        self.link.connection.set_begun();
        // An answer of ours is short: it is gathered, and sent by the flush that follows.
        let mut cx = Context::from_waker(Waker::noop());
        for part in [head.as_bytes(), body] {
            let _ = self.link.poll_write(&mut cx, part);
        }
        if last { Then::Linger } else { Then::Next }
    }

    /// Sends what is left. False when the connection is of no more use.
    async fn flush(&mut self) -> bool {
        let link = &*self.link;
        // Almost always all of it goes at once: then there is nothing to wait for, and nothing to watch.
        match link.flush_now() {
            Poll::Ready(result) => return result.is_ok(),
            Poll::Pending => link.connection.enter(Phase::Flush),
        }
        let flushed = std::future::poll_fn(|cx| link.poll_flush(cx));
        matches!(self.watch.guard(link, flushed).await, Ok(Ok(())))
    }

    /// Closes in a way that lets the client read the last answer: a socket that is closed with bytes unread resets the
    /// connection, and the answer may be lost with it (RFC 9112, 9.6).
    async fn linger(&mut self) {
        let link = &*self.link;
        link.finish();
        let drain = async {
            loop {
                link.skip(usize::MAX);
                if !matches!(std::future::poll_fn(|cx| link.poll_read_ahead(cx)).await, Ok(Read::Some)) {
                    return;
                }
            }
        };
        let _ = tokio::time::timeout(LINGER, drain).await;
    }
}

impl Drop for PartialHead<'_> {
    fn drop(&mut self) {
        if !self.settled && self.link.pending_input() > 0 {
            Exchange::left_in_head(self.service.environment.clone(), self.link.connection.clone());
        }
    }
}

/// A few empty lines before a request are forgiven (RFC 9112, 2.2).
fn skip_empty_lines(link: &Link) {
    let count = link.peek(|bytes| bytes.chunks(2).take_while(|line| line == b"\r\n").count());
    if count > 0 {
        link.skip(2 * count);
    }
}

fn head_of(answer: &Answer) -> String {
    let status = http::StatusCode::from_u16(answer.status).unwrap_or(http::StatusCode::INTERNAL_SERVER_ERROR);
    let date = jiff::Timestamp::now().strftime("%a, %d %b %Y %H:%M:%S GMT");
    let mut head = String::with_capacity(256);
    let _ =
        write!(head, "HTTP/1.1 {} {}\r\n", status.as_u16(), status.canonical_reason().unwrap_or("Refused"));
    for (name, value) in &answer.headers {
        let _ = write!(head, "{name}: {}\r\n", String::from_utf8_lossy(value.as_bytes()));
    }
    let _ = write!(head, "content-length: {}\r\ndate: {date}\r\n", answer.body.len());
    head
}
