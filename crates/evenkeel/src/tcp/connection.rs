//! One connection, from its accept to its record.

use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use evenkeel_config::Timeouts;
use evenkeel_core::backend::Outcome;

use super::record::{Finished, Record};
use super::rules::Rules;
use crate::dial::Connected;
use crate::exchange::{Environment, Expired, Phase};
use crate::observe::ListenerMetrics;
use crate::stream::{Broken, FarEnd, Link, Read, Relay, Socket};
use crate::tls::{First, Hello, read_hello};
use crate::upstream::{
    At, Attempt, AttemptOptions, Attempts, Failure, NextAttempt, RequestFailure, Upstream, UpstreamError,
    hash_of_client,
};

/// One connection. Dropping it, on whatever path, writes its one record and counts it once.
#[derive(Debug)]
pub struct TcpConnection {
    environment: Arc<Environment>,
    link: Arc<Link>,
    rules: Arc<Rules>,
    metrics: Arc<ListenerMetrics>,
    attempts: Option<Attempts>,
    record: Record,
}

/// What became of a connection to a backend before a byte went to it.
enum Beginning {
    /// It is in use.
    Used,
    /// The backend closed it.
    Closed,
}

/// For how long after its connection a backend that closes it counts as one that was not reached: until then no byte has passed,
/// and another backend can take the client.
const AT_ONCE: Duration = Duration::from_millis(250);
/// The most that is read of what a client says first: a hello in small records.
const MOST_OF_HELLO: usize = 64 * 1024;
/// What a client of TLS receives if its connection goes nowhere: a fatal alert, `unrecognized_name` (RFC 6066, 3).
const UNRECOGNIZED_NAME: &[u8] = &[21, 3, 1, 0, 2, 2, 112];

// === impl TcpConnection ===

impl TcpConnection {
    /// A connection that was just accepted, TLS agreed on if the listener speaks it.
    pub fn new(
        environment: Arc<Environment>,
        link: Arc<Link>,
        rules: Arc<Rules>,
        metrics: Arc<ListenerMetrics>,
    ) -> Self {
        let in_flight = &link.in_flight;
        in_flight.begin_request();
        // The link is ours to write to.
        in_flight.set_begun();
        in_flight.enter(Phase::Exchange);
        // Until the end of both directions, a close would pass for one: the client gets a reset instead.
        link.begin_answer(true);
        let logs = environment.table.load().log.is_some();
        let record = Record {
            time: logs.then(jiff::Timestamp::now),
            client: link.connection().peer.map(|peer| peer.ip()),
            ..Record::default()
        };
        Self { environment, link, rules, metrics, attempts: None, record }
    }

    /// Carries it to its end, whatever that is.
    pub async fn carry(mut self) {
        let hello = self.hello().await;
        let Ok(hello) = hello else { return };
        let Some(upstream) = self.rules.pick(hello.as_ref()).cloned() else {
            return self.turn_away(hello.is_some()).await;
        };
        self.record.server_name = hello.and_then(|hello| hello.server_name);
        let mut timeouts = Timeouts::default();
        timeouts.upgraded_idle = self.rules.idle_timeout;
        self.link.in_flight.set_limits(&timeouts, None);
        self.attempts = Some(self.attempts(upstream));
        if let Err(error) = self.try_backends().await {
            let cause = self.record.refuse(error);
            if let Some(attempts) = &self.attempts {
                attempts.upstream().request_failed(reported(error), cause);
            }
        }
    }

    /// What the client asks for, where that matters. `None` if it does not, or the client speaks no TLS.
    ///
    /// # Errors
    /// When the connection has ended.
    async fn hello(&mut self) -> Result<Option<Hello>, ()> {
        if !self.rules.needs_hello() {
            return Ok(None);
        }
        if let Some(agreed) = self.link.connection().agreed() {
            return Ok(Some(Hello { server_name: agreed.server_name.clone(), protocols: Vec::new() }));
        }
        let limit = self.rules.client_hello_timeout;
        let link = &*self.link;
        let hello = tokio::time::timeout(limit, read_first(link)).await;
        match hello {
            Ok(Ok(hello)) => Ok(hello),
            Ok(Err(_)) => {
                self.record.end = Some("client_left");
                Err(())
            }
            Err(_) if self.rules.pick(None).is_some() => Ok(None),
            Err(_) => {
                self.record.end = Some("timeout=client_hello");
                self.link.connection().tick();
                Err(())
            }
        }
    }

    /// There is no upstream for it.
    async fn turn_away(&mut self, speaks_tls: bool) {
        self.record.end = Some("refused=no_route");
        if speaks_tls && self.link.connection().agreed().is_none() {
            self.link.gather(|out| out.push(UNRECOGNIZED_NAME));
        }
        self.link.end_answer();
        let flushed = poll_fn(|cx| self.link.poll_flush(cx)).await;
        if flushed.is_ok() {
            self.link.finish();
        }
    }

    fn attempts(&self, upstream: Arc<Upstream>) -> Attempts {
        let key = match upstream.affinity.key {
            Some(_) => hash_of_client(self.record.client),
            None => 0,
        };
        let options = AttemptOptions { key, ..AttemptOptions::default() };
        Attempts::new(upstream, options, fastrand::Rng::new())
    }

    /// Tries one backend after the other, until one has carried the connection to its end.
    async fn try_backends(&mut self) -> Result<(), UpstreamError> {
        loop {
            let attempt = self.next_attempt().await?;
            let failure = match self.connect(&attempt).await {
                Ok(backend) => match self.carry_with(backend).await {
                    Ok(()) => return Ok(()),
                    Err(failure) => failure,
                },
                Err(failure) => failure,
            };
            let at = self.at();
            let Some(attempts) = &mut self.attempts else { return Err(UpstreamError::NoBackend) };
            attempts.failed(failure, true, at)?;
        }
    }

    /// The next backend to try. Waits where the connection must: for a backend that has room, and between attempts.
    async fn next_attempt(&mut self) -> Result<Attempt, UpstreamError> {
        self.link.in_flight.connecting();
        self.record.connected = None;
        let Some(attempts) = &mut self.attempts else { return Err(UpstreamError::NoBackend) };
        attempts.enter()?;
        if let Some(pause) = attempts.take_pause() {
            tokio::time::sleep(pause).await;
        }
        let upstream = loop {
            match self.try_next()? {
                NextAttempt::Start(attempt) => return Ok(attempt),
                NextAttempt::Wait => {
                    break self.attempts.as_ref().map(|attempts| attempts.upstream().clone());
                }
                NextAttempt::Later(pause) => tokio::time::sleep(pause).await,
            }
        };
        let Some(upstream) = upstream else { return Err(UpstreamError::NoBackend) };
        let choose = || match self.try_next() {
            Ok(NextAttempt::Start(attempt)) => Some(Ok(attempt)),
            Ok(NextAttempt::Wait | NextAttempt::Later(_)) => None,
            Err(error) => Some(Err(error)),
        };
        upstream.gate.wait_for(choose).await.flatten()
    }

    fn try_next(&mut self) -> Result<NextAttempt, UpstreamError> {
        self.link.connection().tick();
        let at = self.at();
        self.attempts.as_mut().ok_or(UpstreamError::NoBackend)?.next(at)
    }

    fn at(&self) -> At {
        let connection = self.link.connection();
        At {
            worker: self.environment.worker,
            now: connection.now(),
            moment: connection.moment(),
            sending: self.link.in_flight.sending(),
        }
    }

    async fn connect(&mut self, attempt: &Attempt) -> Result<FarEnd, Failure> {
        let limit = self.attempts.as_ref().map_or(Duration::ZERO, |one| one.upstream().timeouts.connect);
        let client = self.link.connection().peer;
        let connected = attempt.endpoint.dialer.connect(limit, client).await.and_then(Connected::still_open);
        let socket = match connected.map_err(|error| Failure::from(&error))? {
            Connected::Tcp(socket) => Socket::Tcp(socket),
            Connected::Unix(socket) => Socket::Unix(socket),
        };
        self.link.in_flight.connected();
        Ok(FarEnd::new(socket))
    }

    /// Carries the connection to its end with a backend that has accepted it.
    ///
    /// # Errors
    /// When the backend is gone before a byte has passed: another one can take the connection.
    async fn carry_with(&mut self, mut backend: FarEnd) -> Result<(), Failure> {
        let at = self.at();
        let current = self.attempts.as_ref().and_then(Attempts::current);
        let waited = at.waited(current.map_or(at.now, |current| current.started));
        self.record.connected = Some(waited);
        if let Beginning::Closed = self.beginning(&mut backend).await {
            return Err(Failure::Unsent);
        }
        let mut relay = Relay::default();
        self.link.in_flight.head_received(true);
        let mut settled = false;
        let carried = poll_fn(|cx| {
            let carried = self.poll_carry(cx, &mut relay, &mut backend);
            if !settled && relay.received() + relay.sent() > 0 {
                settled = true;
                self.settle_on_backend(waited);
            }
            carried
        })
        .await;
        let unused = relay.received() + relay.sent() == 0 && backend.input.is_empty();
        match carried {
            Ok(()) => {
                self.settle_on_backend(waited);
                self.link.end_answer();
                backend.ended();
                self.record.end = Some("ok");
            }
            Err(Broken::Backend(_)) if unused => return Err(Failure::Unsent),
            Err(Broken::Backend(error)) => {
                self.record.end = Some("backend_left");
                self.record.error = Some(broken_text(&error));
            }
            Err(Broken::Client) => self.record.end = Some("client_left"),
        }
        Ok(())
    }

    /// The backend has the connection: none of the others is needed any more.
    fn settle_on_backend(&mut self, waited: Duration) {
        let at = self.at();
        if let Some(attempts) = &mut self.attempts {
            attempts.responded(true, waited, at);
        }
    }

    /// Waits for the first byte from either end, but not for long.
    async fn beginning(&self, backend: &mut FarEnd) -> Beginning {
        let link = &*self.link;
        let first = poll_fn(|cx| {
            match backend.poll_fill(cx) {
                Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(Beginning::Closed),
                Poll::Ready(Ok(_)) => return Poll::Ready(Beginning::Used),
                Poll::Pending => {}
            }
            if link.pending_input() > 0 {
                return Poll::Ready(Beginning::Used);
            }
            // An end, or an error, comes again with the next read.
            link.poll_read_ahead(cx).map(|_| Beginning::Used)
        });
        tokio::time::timeout(AT_ONCE, first).await.unwrap_or(Beginning::Used)
    }

    fn poll_carry(
        &mut self,
        cx: &mut Context<'_>,
        relay: &mut Relay,
        backend: &mut FarEnd,
    ) -> Poll<Result<(), Broken>> {
        let link = &*self.link;
        let to_backend = relay.poll_to_backend(cx, link, &mut backend.socket);
        let to_client = match &to_backend {
            Poll::Ready(Err(_)) => Poll::Pending,
            _ => relay.poll_to_client(cx, link, &mut backend.socket, &mut backend.input),
        };
        let received = relay.received() - std::mem::replace(&mut self.record.received, relay.received());
        let sent = relay.sent() - std::mem::replace(&mut self.record.sent, relay.sent());
        self.metrics.tcp().carried(self.environment.worker, received, sent);
        match (to_backend, to_client) {
            (Poll::Ready(Err(broken)), _) | (_, Poll::Ready(Err(broken))) => Poll::Ready(Err(broken)),
            _ if relay.is_over() => Poll::Ready(Ok(())),
            _ => Poll::Pending,
        }
    }
}

impl Drop for TcpConnection {
    fn drop(&mut self) {
        self.link.connection().tick();
        let end = match (self.record.end, self.link.in_flight.expired()) {
            (Some(end), _) => end,
            (None, Some(Expired::Drain)) => "refused=shutting_down",
            (None, Some(_)) => "timeout=idle",
            (None, None) if std::thread::panicking() => "panic",
            (None, None) => "client_left",
        };
        self.record.end = Some(end);
        if let Some(attempts) = &mut self.attempts {
            let outcome =
                if self.record.connected.is_some() { Outcome::Answered } else { Outcome::Abandoned };
            attempts.end(outcome);
        }
        self.metrics.tcp().ended(self.environment.worker, end);
        if let Some(log) = &self.environment.table.load().log {
            let (record, link) = (&self.record, &*self.link);
            log.record(self.environment.worker, &Finished { record, link, attempts: self.attempts.as_ref() });
        }
    }
}

/// Reads what a client says first; it stays in the link. `None` if that is no hello of TLS.
async fn read_first(link: &Link) -> io::Result<Option<Hello>> {
    loop {
        let first = link.peek(read_hello);
        match first {
            First::Hello(hello) => return Ok(Some(hello)),
            First::Other => return Ok(None),
            First::Part if link.pending_input() > MOST_OF_HELLO => return Ok(None),
            First::Part => {}
        }
        match poll_fn(|cx| link.poll_read_ahead(cx)).await? {
            Read::Some => {}
            Read::End => return Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }
}

/// How the error log reports that an upstream does not serve a connection.
fn reported(error: UpstreamError) -> RequestFailure {
    match error {
        UpstreamError::NoBackend => RequestFailure::NoBackend,
        UpstreamError::Failed { .. } => RequestFailure::AllAttempts,
        _ => RequestFailure::Overloaded,
    }
}

fn broken_text(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::ConnectionReset => "connection reset by the backend",
        io::ErrorKind::TimedOut => "the backend does not acknowledge what it is sent",
        _ => "connection to the backend failed",
    }
}
