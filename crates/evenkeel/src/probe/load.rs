//! Asks a backend how much it has to do.

use std::fmt;
use std::time::Duration;

use parking_lot::Mutex;

use super::connect::Deadline;
use super::http1::{Client, Template};
use super::{ProbeError, ProbeFailure, Target, orca};

/// What a backend says of its load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Load {
    /// How many requests it works on.
    pub in_flight: u32,
    /// How long a request takes it now.
    pub latency: Duration,
}

/// Asks one backend for its load, with `GET` of one path; made once, asked often, from many tasks at once.
///
/// The response contains the load in a header field `endpoint-load-metrics`, or else in its body: in ORCA's text form
/// (`TEXT named_metrics.rif=3,named_metrics.latency_ms=12.5`), in its JSON form (`JSON {"named_metrics": {"rif": 3,
/// "latency_ms": 12.5}}`), or as `{"rif": 3, "latency_ms": 12.5}`.
///
/// Connections are kept while the backend keeps them: up to [`KEPT`](Self::KEPT).
pub struct LoadProbe {
    request: Template,
    timeout: Duration,
    /// Idle connections. No task watches them: whether the backend has closed one shows when it is used.
    kept: Mutex<Vec<Client>>,
}

// === impl LoadProbe ===

impl LoadProbe {
    /// Most connections that are kept idle.
    pub const KEPT: usize = 4;

    /// Asks this backend for this path, and waits no longer than `timeout`.
    ///
    /// # Errors
    /// When it cannot be asked: see [`ProbeError`].
    pub fn new(target: &Target, path: &str, timeout: Duration) -> Result<Self, ProbeError> {
        let request = Template::new(target, "GET", path, &target.host)?;
        Ok(Self { request, timeout, kept: Mutex::default() })
    }

    /// Asks once.
    ///
    /// # Errors
    /// Why there was no response, or no load in it.
    pub async fn ask(&self) -> Result<Load, ProbeFailure> {
        let deadline = Deadline::after(self.timeout);
        let kept = self.kept.lock().pop();
        if let Some(kept) = kept {
            match self.ask_over(kept, deadline).await {
                // The backend had closed it meanwhile; that says nothing of how it is.
                Err(ProbeFailure::Closed | ProbeFailure::Broken(_)) => {}
                answer => return answer,
            }
        }
        self.ask_over(self.request.open(deadline).await?, deadline).await
    }

    /// How many connections are kept now.
    #[cfg(test)]
    pub(super) fn idle(&self) -> usize {
        self.kept.lock().len()
    }

    async fn ask_over(&self, mut client: Client, deadline: Deadline) -> Result<Load, ProbeFailure> {
        let mut response = deadline.hold(ProbeFailure::NoAnswer, client.send(&self.request)).await?;
        let (status, header) = (response.status, response.load.take());
        let body = deadline.hold(ProbeFailure::NoEnd, client.read(response)).await?;
        if body.reusable {
            let mut kept = self.kept.lock();
            if kept.len() < Self::KEPT {
                kept.push(client);
            }
        }
        let load = match &header {
            _ if !(200..300).contains(&status) => return Err(ProbeFailure::Status(status)),
            Some(header) => orca::read(header),
            None => orca::read(&body.bytes),
        };
        load.map_err(|why| ProbeFailure::Load(why.to_owned()))
    }
}

impl fmt::Debug for LoadProbe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { request, timeout, kept } = self;
        f.debug_struct("LoadProbe")
            .field("request", request)
            .field("timeout", timeout)
            .field("kept", &kept.lock().len())
            .finish()
    }
}
