//! One connection, from its accept to its end: heads in, requests to the data path, refusals out.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::Poll;
use std::time::Duration;

use evenkeel_config::HttpLimits;
use evenkeel_http::http1::{Head, ReadHead, own_answer, with_request};
use evenkeel_http::message::{Answer, HeadFacts, Refusal};
use pingora_core::apps::HttpServerApp;
use pingora_core::protocols::http::ServerSession;
use pingora_core::server::ShutdownWatch;
use pingora_proxy::HttpProxy;

use super::conn::Conn;
use super::http2;
use super::shared::Shared;
use super::watch::Watch;
use crate::exchange::{self, Connection, Environment, Exchange, Expired, InFlight, ListenerFacts, Phase};
use crate::lane::{Dispatch, Lane, Next, Request, WaitingRequest};
use crate::proxy::{Incoming, Proxy};
use crate::stream::{Grant, Link, Read};

/// What serves the connections of one worker.
pub(super) struct Service {
    pub(super) environment: Arc<Environment>,
    pub(super) lane: Lane,
    pub(super) shared: Arc<Shared>,
    pub(super) proxy: Arc<HttpProxy<Proxy>>,
    /// Pingora asks at each request whether it is to shut down. It never is: the listener ends connections.
    pub(super) never: ShutdownWatch,
}

/// One connection being served.
struct Serving<'a> {
    service: &'a Arc<Service>,
    link: Arc<Link>,
    watch: Watch,
}

/// What came on a connection: a request, or another protocol.
enum Arrived {
    Http2,
    Request(Dispatch),
}

/// A head that is arriving. Dropping it before it has become a request or a refusal records that the client
/// disconnected.
struct PartialHead<'a> {
    service: &'a Service,
    link: &'a Link,
    settled: bool,
}

/// How long a client is read from after the last response, so that it can read that response before it sees the close.
const LINGER: Duration = Duration::from_secs(2);

/// The head passed our check and not Pingora's.
const NOT_TAKEN: Refusal = Refusal::BadRequest("the request's head is malformed");

/// Serves a connection to its end. The connection's clock is looked at each time its task wakes, and then only.
pub(super) async fn serve(service: &Arc<Service>, link: Arc<Link>) {
    let connection: Arc<Connection> = link.in_flight.connection().clone();
    let mut served = std::pin::pin!(serve_all(service, link));
    std::future::poll_fn(|cx| {
        connection.tick();
        served.as_mut().poll(cx)
    })
    .await;
}

async fn serve_all(service: &Arc<Service>, link: Arc<Link>) {
    let mut serving = Serving { service, link, watch: Watch::new() };
    let mut phase = Phase::Fresh;
    if serving.has_agreed_on_http2() {
        return Box::pin(serving.http2()).await;
    }
    loop {
        serving.link.in_flight.begin_request();
        let next = match serving.next_head(phase).await {
            Ok(Some(Arrived::Request(Dispatch::Lean(request)))) => serving.carry(request).await,
            // The rarer cases are in a box: a connection does not always need room for them.
            Ok(Some(Arrived::Request(Dispatch::Other(request)))) => {
                Box::pin(serving.hand_over(request)).await
            }
            Ok(Some(Arrived::Request(Dispatch::Waiting(request)))) => Box::pin(serving.wait(request)).await,
            Ok(Some(Arrived::Http2)) => return Box::pin(serving.http2()).await,
            Ok(None) => Next::Close,
            Err(refusal) => serving.refuse_head(&refusal),
        };
        if !serving.flush().await {
            return;
        }
        match next {
            Next::Request => phase = Phase::Idle,
            Next::Linger if !serving.link.is_misleading() => return serving.linger().await,
            Next::Linger | Next::Close => return,
        }
    }
}

impl Serving<'_> {
    fn limits(&self) -> &HttpLimits {
        &self.link.connection().limits
    }

    /// Waits for the next request's head. `None` when there is none, and nothing to say about it.
    async fn next_head(&mut self, phase: Phase) -> Result<Option<Arrived>, Refusal> {
        let (link, in_flight) = (&*self.link, &self.link.in_flight);
        if link.pending_input() == 0 {
            in_flight.enter(phase);
            let first_bytes = std::future::poll_fn(|cx| link.poll_read_ahead(cx));
            if !matches!(self.watch.guard(link, first_bytes).await, Ok(Ok(Read::Some))) {
                return Ok(None);
            }
        }
        in_flight.enter(Phase::Head);
        let started = link.connection().now();
        let mut partial = PartialHead { service: self.service, link, settled: false };
        let (mut searched, mut skipped) = (0, 0);
        loop {
            skipped += skip_empty_lines(link);
            if skipped > self.limits().max_header_size {
                partial.settled = true;
                return Err(Refusal::HeaderTooLarge);
            }
            if phase == Phase::Fresh && self.limits().h2c && link.peek(http2::is_preface) {
                partial.settled = true;
                return Ok(Some(Arrived::Http2));
            }
            let arrived = self.look(&mut searched, started);
            partial.settled = !matches!(arrived, Ok(None));
            if let Some(arrived) = arrived? {
                return Ok(Some(arrived));
            }
            let more = std::future::poll_fn(|cx| link.poll_read_ahead(cx));
            match self.watch.guard(link, more).await {
                Ok(Ok(Read::Some)) => {}
                Err(expired @ (Expired::Header | Expired::Drain)) if link.pending_input() > 0 => {
                    partial.settled = true;
                    let late = expired == Expired::Header;
                    return Err(if late { Refusal::HeaderTimeout } else { Refusal::ShuttingDown });
                }
                Ok(Ok(Read::End) | Err(_)) | Err(_) => return Ok(None),
            }
        }
    }

    /// Looks at the received part of a head; once it is complete, finds the lane for the request.
    fn look(&self, searched: &mut usize, started: u64) -> Result<Option<Arrived>, Refusal> {
        let (link, limits) = (&*self.link, self.limits());
        let most = limits.max_header_size;
        let arrived = link.peek(|bytes| {
            if self.limits().h2c && http2::is_part_of_preface(bytes) {
                return Ok(None);
            }
            let arrived = with_request(bytes, searched, limits.max_header_fields, |request| {
                if request.head.length > most {
                    Err(Refusal::HeaderTooLarge)
                } else {
                    Ok(self.sort(request, started))
                }
            })?;
            match arrived {
                Some(arrived) => arrived.map(Some),
                None if bytes.len() > most => Err(Refusal::HeaderTooLarge),
                None => Ok(None),
            }
        })?;
        if let Some(begun) = &arrived {
            link.skip(begun.head().length);
        }
        Ok(arrived.map(Arrived::Request))
    }

    /// Which lane takes a request. The lean one takes HTTP/1.1, and must be allowed to.
    fn sort(&self, request: &ReadHead<'_>, started: u64) -> Dispatch {
        let HttpLimits { max_body_size: max_body, paths, spoofed_headers, .. } = *self.limits();
        let facts = ListenerFacts { max_body, paths, spoofed_headers, started };
        let lane = if self.service.shared.pingora_only.load(Relaxed) {
            exchange::Lane::Pingora
        } else {
            exchange::Lane::Lean
        };
        self.service.lane.begin(&self.link.in_flight, request, facts, lane)
    }

    /// A request whose filter waits. The wait is one of the request: its deadline and a drain can end it.
    async fn wait(&mut self, mut waiting: Box<WaitingRequest>) -> Next {
        loop {
            let (link, head) = (&*self.link, *waiting.head());
            link.in_flight.enter(Phase::Exchange);
            let waited = Box::pin(self.service.lane.wait(link, waiting));
            waiting = match self.watch.guard(link, waited).await {
                Ok(Some(Dispatch::Lean(request))) => return self.carry(request).await,
                Ok(Some(Dispatch::Other(request))) => return self.hand_over(request).await,
                Ok(Some(Dispatch::Waiting(request))) => request,
                Ok(None) => return Next::Close,
                // The next request can follow if there is no body to be read before it.
                Err(_) => return self.farewell(&head.facts, head.persistent && !head.facts.has_body()),
            };
        }
    }

    /// Whether the handshake of TLS resulted in HTTP/2.
    fn has_agreed_on_http2(&self) -> bool {
        let agreed = self.link.connection().agreed();
        agreed.is_some_and(|agreed| agreed.protocol.as_deref() == Some(b"h2"))
    }

    /// All of an HTTP/2 connection.
    async fn http2(&mut self) {
        http2::serve(self.service, &self.link, &mut self.watch).await;
        if !self.link.connection().is_cut() {
            self.linger().await;
        }
    }

    /// The lean lane's request.
    async fn carry(&mut self, request: Box<Request>) -> Next {
        let (link, head) = (&*self.link, *request.head());
        link.in_flight.enter(Phase::Exchange);
        // In a box, so that a connection that waits for its next request does not hold room for this.
        let carried = Box::pin(self.service.lane.carry(link, request));
        match self.watch.guard(link, carried).await {
            Ok(next) => next,
            Err(_) => self.farewell(&head.facts, head.persistent && link.in_flight.is_reusable()),
        }
    }

    /// A request that is not for the lean lane. Pingora reads the head that we wrote: both lanes then send backends
    /// the same, and Pingora has nothing to object to.
    async fn hand_over(&mut self, request: Box<Request>) -> Next {
        let mut head = *request.head();
        let (mut exchange, answer, text) = request.into_parts();
        head.length = text.len();
        self.link.put_back(text);
        exchange.hand_over(exchange::Lane::Pingora);
        let incoming = Incoming::new(exchange, answer);
        let next = self.proxy(head, incoming.clone()).await;
        match (next, incoming.take()) {
            (None, Some((mut exchange, _))) => {
                let answer = exchange.refusal_answer(&NOT_TAKEN);
                self.say(&answer, head.facts.head_only, true)
            }
            (next, _) => next.unwrap_or(Next::Close),
        }
    }

    /// Pingora's request; `None` if Pingora did not take it.
    async fn proxy(&mut self, head: Head, incoming: Incoming) -> Option<Next> {
        let (link, in_flight) = (&self.link, &self.link.in_flight);
        let length = head.length as u64;
        link.grant(match head.facts {
            HeadFacts { chunked: true, .. } => {
                Grant::Chunked { head: length, body: Box::default(), broken: None }
            }
            HeadFacts { content_length, .. } => {
                Grant::Bytes(length.saturating_add(content_length.unwrap_or_default()))
            }
        });
        in_flight.enter(Phase::Exchange);
        // Pingora's framing of the response is not visible here; HTTP/1.0 has no better way for a response without
        // length.
        link.begin_answer(!head.is_http_11);
        let mut session = ServerSession::new_http1(Box::new(Conn(link.clone())));
        // All waits are the watchdog's.
        session.set_read_timeout(None);
        session.set_connection_user_context(Some(Box::new(incoming)));
        let request = self.service.proxy.process_new_http(session, &self.service.never);
        let outcome = self.watch.guard(link, request).await;
        if !in_flight.has_begun() {
            return None;
        }
        if let Ok(Some(_)) = outcome {
            link.end_answer();
        }
        Some(match outcome {
            // Where the whole request was taken, the next one can follow.
            Err(_) => self.farewell(&head.facts, head.is_http_11 && head.persistent && link.is_spent()),
            Ok(_) if in_flight.is_upgraded() || link.connection().is_draining() => self.close(),
            Ok(Some(_)) => Next::Request,
            Ok(None) if in_flight.is_reusable() && link.is_spent() => Next::Request,
            Ok(None) => self.close(),
        })
    }

    /// Says what there is to say when a wait has ended a request.
    fn farewell(&self, facts: &HeadFacts, reusable: bool) -> Next {
        let in_flight: &InFlight = &self.link.in_flight;
        match in_flight.take_farewell() {
            Some(answer) => {
                self.say(&answer, facts.head_only, !reusable || in_flight.connection().is_draining())
            }
            None => Next::Close,
        }
    }

    fn close(&self) -> Next {
        Next::end(&self.link, !self.link.is_spent() && !self.link.in_flight.is_upgraded())
    }

    /// Responds to something that never became a request, and records it.
    fn refuse_head(&mut self, refusal: &Refusal) -> Next {
        let environment = self.service.environment.clone();
        let (exchange, answer) = Exchange::refuse_head(environment, self.link.in_flight.clone(), refusal);
        // What is malformed may still be known to be a HEAD, whose response has no body.
        let head_only = self.link.peek(|bytes| bytes.starts_with(b"HEAD "));
        let next = self.say(&answer, head_only, true);
        drop(exchange);
        next
    }

    /// Writes a response without a data path: only its head for a HEAD request, and possibly as the connection's last
    /// one. It is gathered, and sent by the flush that follows.
    fn say(&self, answer: &Answer, head_only: bool, last: bool) -> Next {
        self.link.in_flight.set_begun();
        self.link.gather(|out| own_answer(answer, head_only, last.then_some("close"), out));
        if last { Next::Linger } else { Next::Request }
    }

    /// Sends what is left. False when the connection is of no more use.
    async fn flush(&mut self) -> bool {
        let link = &*self.link;
        // Almost always all of it goes at once: then there is nothing to wait for, and nothing to watch.
        match link.flush_now() {
            Poll::Ready(result) => return result.is_ok(),
            Poll::Pending => link.in_flight.enter(Phase::Flush),
        }
        let flushed = std::future::poll_fn(|cx| link.poll_flush(cx));
        matches!(self.watch.guard(link, flushed).await, Ok(Ok(())))
    }

    /// Closes so that the client can read the last response: closing a socket with unread bytes resets the connection,
    /// and the response can be lost with it (RFC 9112, 9.6).
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
        // A request that panicked while it was decided on has its record.
        let begun = self.link.in_flight.has_begun();
        if !self.settled && !begun && self.link.pending_input() > 0 {
            Exchange::left_in_head(self.service.environment.clone(), self.link.in_flight.clone());
        }
    }
}

/// Empty lines before a request are ignored (RFC 9112, 2.2), as many as fit into a head. Returns how many bytes they were.
fn skip_empty_lines(link: &Link) -> usize {
    let count = link.peek(|bytes| bytes.chunks(2).take_while(|line| line == b"\r\n").count());
    if count > 0 {
        link.skip(2 * count);
    }
    2 * count
}

#[cfg(test)]
mod tests {
    use super::{Arc, Link, Service, serve};

    /// Each open connection has one of these, idle or not.
    #[test]
    fn the_task_of_a_connection_is_small() {
        fn size<'a, F: Future>(_: impl FnOnce(&'a Arc<Service>, Arc<Link>) -> F) -> usize {
            size_of::<F>()
        }
        assert!(size(serve) <= 400, "{} bytes", size(serve));
        assert!(size_of::<Link>() <= 200, "{} bytes", size_of::<Link>());
    }
}
