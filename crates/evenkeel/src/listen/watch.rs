//! The watchdog of a connection: polls a data path, sends what it gathered, and ends it when a wait has lasted too long.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use tokio::sync::Notify;
use tokio::task::coop::unconstrained;
use tokio::time::Sleep;

use crate::exchange::{Expired, InFlight};
use crate::stream::{H2Stream, Link};

/// The one timer of a connection. It is armed for the earliest moment at which anything could expire, and looks then
/// whether anything has: requests that come and go in between never touch it.
#[derive(Debug)]
pub(super) struct Watch {
    timer: Pin<Box<Sleep>>,
    /// By the connection's clock; zero is not armed.
    armed: u64,
}

/// How long a client may go unwatched, in microseconds.
const UNWATCHED: u64 = 100_000;
/// The furthest that the timer is armed for, in microseconds: a day.
const FURTHEST: u64 = 24 * 3600 * 1_000_000;

impl Watch {
    pub(super) fn new() -> Self {
        Self { timer: Box::pin(tokio::time::sleep_until(tokio::time::Instant::now())), armed: 0 }
    }

    /// Waits for `future`, or for the link's current wait to have lasted too long.
    pub(super) async fn guard<T>(
        &mut self,
        link: &Link,
        mut future: impl Future<Output = T> + Unpin,
    ) -> Result<T, Expired> {
        std::future::poll_fn(|cx| {
            loop {
                if let Poll::Ready(value) = Pin::new(&mut future).poll(cx) {
                    return Poll::Ready(Ok(value));
                }
                // An error stays in the link, and the data path finds it at its next write.
                let _ = link.poll_flush(cx);
                match self.poll_expired(&link.in_flight, Some(link), cx) {
                    Poll::Pending => return Poll::Pending,
                    // Only a client that takes nothing at all is cut.
                    Poll::Ready(Expired::Send) if link.insist() => {}
                    Poll::Ready(expired) => {
                        // Before the future is dropped: what it holds records why.
                        link.in_flight.expire(expired);
                        return Poll::Ready(Err(expired));
                    }
                }
            }
        })
        .await
    }

    /// Waits for a request of an HTTP/2 connection, for its client to give it up, or for its current wait to have lasted too
    /// long. The connection's task wakes this one if the connection is to end.
    ///
    /// # Errors
    /// The wait that has lasted too long; `None` if the client gave the request up.
    pub(super) async fn guard_stream<T>(
        &mut self,
        stream: &H2Stream,
        wake: &Notify,
        future: impl Future<Output = T>,
    ) -> Result<T, Option<Expired>> {
        let mut future = std::pin::pin!(future);
        let mut woken = std::pin::pin!(wake.notified());
        std::future::poll_fn(|cx| {
            if let Poll::Ready(value) = future.as_mut().poll(cx) {
                return Poll::Ready(Ok(value));
            }
            while woken.as_mut().poll(cx).is_ready() {
                woken.set(wake.notified());
            }
            if stream.poll_reset(cx).is_ready() {
                return Poll::Ready(Err(None));
            }
            self.poll_expired(&stream.in_flight, None, cx).map(|expired| {
                // Before the future is dropped: what it holds records why.
                stream.in_flight.expire(expired);
                Err(Some(expired))
            })
        })
        .await
    }

    fn poll_expired(
        &mut self,
        in_flight: &InFlight,
        link: Option<&Link>,
        cx: &mut Context<'_>,
    ) -> Poll<Expired> {
        loop {
            let (at, expired) = in_flight.expiry();
            let now = in_flight.connection().now();
            if self.armed == 0 || at < self.armed {
                let far = if link.is_none_or(Link::is_watched) { FURTHEST } else { UNWATCHED };
                self.arm(in_flight, at.min(now + far));
            } else if now < self.armed {
                // It was polled when it was armed, and will wake this task, which is always the same one.
                return Poll::Pending;
            }
            // Unconstrained: a task that has used up its turn would be put off without having its waker noted.
            if Pin::new(&mut unconstrained(self.timer.as_mut())).poll(cx).is_pending() {
                return Poll::Pending;
            }
            if now >= at {
                return Poll::Ready(expired);
            }
            if link.is_some_and(Link::watch) {
                // The data path may have waited for the backend alone: now it can wait for both.
                cx.waker().wake_by_ref();
            }
            self.armed = 0;
        }
    }

    fn arm(&mut self, in_flight: &InFlight, at: u64) {
        let deadline: Instant = in_flight.connection().instant(at);
        self.timer.as_mut().reset(deadline.into());
        self.armed = at.max(1);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use evenkeel_config::HttpLimits;
    use tokio::task::coop::{consume_budget, has_budget_remaining};

    use super::{Expired, Poll, Watch};
    use crate::exchange::{Connection, InFlight, Phase};
    use crate::stream::{Link, Socket, Transport};

    /// A task that has used up its turn is put off by whatever it asks of the runtime, the timer included.
    #[tokio::test]
    async fn a_wait_that_begins_at_the_end_of_a_turn_ends_in_time() {
        let mut limits = HttpLimits::default();
        limits.idle_timeout = Duration::from_millis(50);
        let connection = std::sync::Arc::new(Connection::new(None, false, std::sync::Arc::new(limits)));
        let in_flight = std::sync::Arc::new(InFlight::new(connection.clone()));
        let (socket, _far_end) = std::os::unix::net::UnixStream::pair().unwrap();
        let link = Link::new(Transport::Plain(Socket::accepted(socket.into())), in_flight.clone());
        in_flight.enter(Phase::Idle);
        let mut watch = Watch::new();
        let wait = async {
            std::future::poll_fn(|cx| {
                while has_budget_remaining() {
                    let _ = std::pin::pin!(consume_budget()).poll(cx);
                }
                Poll::Ready(())
            })
            .await;
            let mut waiting = Box::pin(watch.guard(&link, std::future::pending::<()>()));
            std::future::poll_fn(|cx| {
                connection.tick();
                waiting.as_mut().poll(cx)
            })
            .await
        };
        // If nothing wakes it, the end of the time limit does.
        let begun = tokio::time::Instant::now();
        let ended = tokio::time::timeout(Duration::from_secs(5), wait).await;
        assert_eq!(ended, Ok(Err(Expired::Idle)));
        assert!(begun.elapsed() < Duration::from_secs(4), "it was never woken");
    }
}
