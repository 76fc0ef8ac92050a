//! A second attempt if the first is slow: the first response wins, the other attempt is cancelled.
//!
//! Source: J. Dean, L. A. Barroso, "The Tail at Scale", Communications of the ACM 56(2), 2013.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::Sleep;

use super::backend::Backend;
use super::pump::{Fault, Progress, Pump, Stop};
use crate::upstream::{Attempt, Break, BrokenConnection, Failure};

/// A second attempt.
struct HedgedAttempt {
    attempt: Attempt,
    connection: HedgeConnection,
    sent: usize,
}

/// A second attempt's connection.
enum HedgeConnection {
    Connecting(Pin<Box<dyn Future<Output = Result<Backend, Failure>> + Send>>),
    Open(Backend),
}

/// What ended the wait for a response.
enum RaceEnd {
    First,
    Second,
    /// The first attempt is slow.
    Late,
}

impl Pump<'_> {
    /// Sends the request and waits until a response begins, with a second attempt once the first is slow. Returns the
    /// backend that responded, with the start of its response; `attempt` is then the attempt on it.
    pub(super) async fn race(
        &mut self,
        mut first: Backend,
        attempt: &mut Attempt,
        progress: &mut Progress,
        delay: Duration,
    ) -> Result<Backend, Fault> {
        let mut timer = Box::pin(tokio::time::sleep(delay));
        let ended = std::future::poll_fn(|cx| self.poll_first(cx, &mut first, progress, &mut timer)).await;
        match ended {
            Ok(RaceEnd::Late) => {}
            Ok(_) => return Ok(first),
            Err(stop) => return Err(self.fault(stop, &first)),
        }
        let Some(mut second) = self.second() else { return Ok(first) };
        let mut first = Some(first);
        let ended = std::future::poll_fn(|cx| self.poll_both(cx, &mut first, &mut second, progress)).await;
        let won = matches!(ended, Ok(RaceEnd::Second)) || first.is_none();
        self.exchange.settle_hedge(won);
        match (ended, first, second.connection) {
            (Ok(RaceEnd::Second), _, HedgeConnection::Open(backend)) => {
                *attempt = second.attempt;
                Ok(backend)
            }
            (Ok(_), Some(first), _) => Ok(first),
            (Err(fault), ..) => Err(fault),
            _ => Err(Fault::Attempt(Failure::Broken(Break::Other))),
        }
    }

    fn poll_first(
        &mut self,
        cx: &mut Context<'_>,
        first: &mut Backend,
        progress: &mut Progress,
        timer: &mut Pin<Box<Sleep>>,
    ) -> Poll<Result<RaceEnd, Stop>> {
        if !progress.sent && self.upload.poll(cx, self.link, first, &mut self.exchange)?.is_ready() {
            self.is_sent(progress);
        }
        match first.poll_more(cx) {
            Poll::Ready(Ok(())) => return Poll::Ready(Ok(RaceEnd::First)),
            Poll::Ready(Err(broken)) => return Poll::Ready(Err(Stop::BackendDisconnected(broken))),
            Poll::Pending => {}
        }
        if let Poll::Ready(stop) = self.poll_stop(cx, progress) {
            return Poll::Ready(Err(stop));
        }
        if progress.sent && timer.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Ok(RaceEnd::Late));
        }
        Poll::Pending
    }

    /// Begins the second attempt, if there may be one.
    fn second(&mut self) -> Option<HedgedAttempt> {
        self.upload.all()?;
        let attempt = self.exchange.hedge()?;
        let connection = match self.kept(&attempt) {
            Some(backend) => HedgeConnection::Open(backend),
            None => {
                let (endpoint, limit) = (attempt.endpoint.clone(), self.exchange.connect_timeout());
                let client = self.exchange.connection().peer;
                HedgeConnection::Connecting(Box::pin(async move {
                    Backend::connect(&endpoint, limit, client).await
                }))
            }
        };
        Some(HedgedAttempt { attempt, connection, sent: 0 })
    }

    /// The first response wins. If one attempt breaks off, the other can still succeed.
    fn poll_both(
        &mut self,
        cx: &mut Context<'_>,
        first: &mut Option<Backend>,
        second: &mut HedgedAttempt,
        progress: &mut Progress,
    ) -> Poll<Result<RaceEnd, Fault>> {
        match first.as_mut().map(|first| first.poll_more(cx)) {
            Some(Poll::Ready(Ok(()))) => return Poll::Ready(Ok(RaceEnd::First)),
            Some(Poll::Ready(Err(broken))) => {
                let failure = first.take().map(|first| self.failure(&first, broken));
                self.exchange.hedge_failed(false, failure.unwrap_or(Failure::Broken(broken)));
            }
            Some(Poll::Pending) | None => {}
        }
        match second.poll(cx, self.upload.all().unwrap_or_default()) {
            Poll::Ready(Ok(())) => return Poll::Ready(Ok(RaceEnd::Second)),
            Poll::Ready(Err(failure)) => {
                self.exchange.hedge_failed(true, failure);
                let alone = first.is_none();
                return Poll::Ready(if alone { Err(Fault::Attempt(failure)) } else { Ok(RaceEnd::First) });
            }
            Poll::Pending => {}
        }
        self.poll_stop(cx, progress).map(|stop| match stop {
            Stop::TooSlow => Err(Fault::Attempt(Failure::Slow)),
            stop => Err(Fault::Request(stop)),
        })
    }
}

// === impl HedgedAttempt ===

impl HedgedAttempt {
    /// Connects and sends the request; ready once a response begins, or once the attempt has failed.
    fn poll(&mut self, cx: &mut Context<'_>, request: &[u8]) -> Poll<Result<(), Failure>> {
        if let HedgeConnection::Connecting(connect) = &mut self.connection {
            self.connection = HedgeConnection::Open(ready!(connect.as_mut().poll(cx))?);
        }
        let HedgeConnection::Open(backend) = &mut self.connection else { return Poll::Pending };
        let sent = ready!(backend.poll_send(cx, request, &mut self.sent)).map_err(|error| Break::of(&error));
        let more = match sent {
            Ok(()) => ready!(backend.poll_more(cx)),
            Err(broken) => Err(broken),
        };
        Poll::Ready(more.map_err(|how| {
            Failure::from(BrokenConnection {
                how,
                reused: backend.reused,
                silent: backend.input.is_empty(),
                unsent: self.sent == 0,
                // Else there would be no second attempt.
                repeatable: true,
            })
        }))
    }
}
