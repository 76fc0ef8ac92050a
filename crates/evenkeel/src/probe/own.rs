//! A user's own check: the seam, and the fence around it.

use std::fmt::Debug;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::task::Poll;

use super::failed::short;
use super::{ProbeFailure, Target};

/// A check of the user's own, registered by a name that the configuration's `custom` refers to.
///
/// It runs on the runtime of all checks: it must not block. Its future is dropped when the check's timeout is over, and a
/// panic in it counts as a failure.
pub trait Check: Debug + Send + Sync + 'static {
    /// Asks the backend once how it is.
    ///
    /// # Errors
    /// Why it is unhealthy, in a few words for the log and for `/status`.
    fn check<'a>(
        &'a self,
        target: &'a Target,
    ) -> Pin<Box<dyn Future<Output = Result<(), String>> + Send + 'a>>;
}

/// Runs it once. What it does wrong is its own failure: its backend's schedule goes on.
pub(super) async fn run(check: &dyn Check, target: &Target) -> Result<(), ProbeFailure> {
    let mut work = pin!(async { check.check(target).await });
    // Polled no more after a panic, so nothing sees what the panic left half done.
    let answer = poll_fn(|context| match catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(context))) {
        Ok(Poll::Pending) => Poll::Pending,
        Ok(Poll::Ready(answer)) => Poll::Ready(answer),
        Err(_) => Poll::Ready(Err("the check panicked".to_owned())),
    });
    answer.await.map_err(|reason| ProbeFailure::Own(short(&reason)))
}
