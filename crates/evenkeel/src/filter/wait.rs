//! A verdict that a filter must wait for.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};

use super::{Request, Verdict};

/// A verdict that a filter must wait for: for a key store, another service, a file.
///
/// The future runs on the request's worker, so it must not block. It does not borrow the request, which has moved on by then: it
/// gets what it needs as values. It is dropped if the client disconnects, or when the route's `timeout` is over. It should have
/// a shorter time limit of its own: without both, it can wait until the balancer stops.
///
/// ```
/// use std::time::Duration;
/// use evenkeel::filter::{Filter, Request, Verdict, Wait};
///
/// /// Slows every request down.
/// #[derive(Debug)]
/// struct Slow;
///
/// impl Filter for Slow {
///     fn on_request(&self, request: &mut Request<'_>) -> Verdict {
///         if request.head.header("x-hurry").is_some() {
///             return Verdict::Continue;
///         }
///         Verdict::Wait(Wait::new(async {
///             tokio::time::sleep(Duration::from_millis(50)).await;
///             Verdict::Continue
///         }))
///     }
/// }
/// ```
#[must_use = "it does nothing until it is the verdict of a filter"]
pub struct Wait(Pin<Box<dyn Future<Output = Resume> + Send>>);

/// What a filter does with the request once it has waited.
pub(crate) type Resume = Box<dyn FnOnce(&mut Request<'_>) -> Verdict + Send>;

// === impl Wait ===

impl Wait {
    /// Waits for a verdict.
    pub fn new(verdict: impl Future<Output = Verdict> + Send + 'static) -> Self {
        Self::then(verdict, |verdict, _| verdict)
    }

    /// Waits for a value, and then calls `then` with it and with the request, to edit the request or to keep state of it.
    pub fn then<T: Send + 'static>(
        value: impl Future<Output = T> + Send + 'static,
        then: impl FnOnce(T, &mut Request<'_>) -> Verdict + Send + 'static,
    ) -> Self {
        Self(Box::pin(async move {
            let value = value.await;
            Box::new(move |request: &mut Request<'_>| then(value, request)) as Resume
        }))
    }

    /// Looks whether the wait is over. A panic is given as an error.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<std::thread::Result<Resume>> {
        // After a panic the future is only dropped.
        match catch_unwind(AssertUnwindSafe(|| self.0.as_mut().poll(cx))) {
            Ok(polled) => polled.map(Ok),
            Err(panic) => Poll::Ready(Err(panic)),
        }
    }
}

impl fmt::Debug for Wait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Wait")
    }
}
