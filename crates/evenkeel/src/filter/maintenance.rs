//! `maintenance`: rejects requests while a file is there.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use evenkeel_core::limit::Networks;
use schemars::JsonSchema;
use serde::Deserialize;

use super::rate_limit::networks;
use super::registry::{FilterError, FilterKind};
use super::{BuildContext, DurationParam, Filter, Rejection, Request, Task, Verdict};

/// When requests are rejected, and which are not.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a map with a file, like { file: /run/evenkeel/maintenance }")]
pub struct MaintenanceParams {
    /// Requests are rejected while this file is there. `touch` it to begin, and remove it to end: within a second.
    pub file: PathBuf,
    /// What `Retry-After` says.
    #[serde(default = "usual_retry_after")]
    pub retry_after: DurationParam,
    /// What the response says.
    #[serde(default = "usual_message")]
    pub message: String,
    /// Networks and addresses whose clients are not rejected.
    #[serde(default)]
    pub exempt: Vec<String>,
}

/// Rejects requests while a file is there.
#[derive(Debug)]
pub struct MaintenanceFilter {
    is_on: Arc<AtomicBool>,
    exempt: Networks,
    rejection: Rejection,
    _watch: Task,
}

/// How often the file is looked for.
const INTERVAL: Duration = Duration::from_millis(500);

fn usual_retry_after() -> DurationParam {
    DurationParam(Duration::from_secs(60))
}

fn usual_message() -> String {
    "the service is down for maintenance".to_owned()
}

impl Filter for MaintenanceFilter {
    fn on_request(&self, request: &mut Request<'_>) -> Verdict {
        if !self.is_on.load(Relaxed) {
            return Verdict::Continue;
        }
        let is_exempt = request.client.is_some_and(|client| self.exempt.contains(client));
        request.explain(|| {
            let result = if is_exempt { "the client is exempt" } else { "rejected" };
            format!("maintenance is on: {result}")
        });
        match is_exempt {
            true => Verdict::Continue,
            false => Verdict::Refuse(self.rejection.clone().into()),
        }
    }
}

impl FilterKind for MaintenanceFilter {
    const NAME: &'static str = "maintenance";
    const EXAMPLE: &'static str =
        "maintenance: { file: /run/evenkeel/maintenance, retry_after: 10m, exempt: [10.0.0.0/8] }";
    const DOC: &'static str = "Rejects requests with status 503 and `Retry-After` while a file is there. With `error_pages` before it, clients get a page.";
    type Params = MaintenanceParams;

    fn new(params: MaintenanceParams, context: &BuildContext<'_>) -> Result<Self, FilterError> {
        let exempt = networks(&params.exempt, "exempt")?;
        let rejection = Rejection::status(503, params.message).retry_after(params.retry_after.0);
        let is_on = Arc::new(AtomicBool::new(is_there(&params.file)));
        let watch = context.spawn(watch(params.file, is_on.clone()));
        Ok(Self { is_on, exempt, rejection, _watch: watch })
    }
}

/// Looks for the file now and then.
async fn watch(file: PathBuf, is_on: Arc<AtomicBool>) {
    loop {
        tokio::time::sleep(INTERVAL).await;
        let path = file.clone();
        let Ok(is_there) = tokio::task::spawn_blocking(move || is_there(&path)).await else { continue };
        if is_on.swap(is_there, Relaxed) != is_there {
            let (shown, result) = (file.display(), if is_there { "rejected" } else { "served" });
            log::info!(
                "maintenance: {shown} is {}: requests are {result}",
                if is_there { "there" } else { "gone" }
            );
        }
    }
}

fn is_there(file: &Path) -> bool {
    file.symlink_metadata().is_ok()
}
