//! Where public keys are from: the configuration, a file, or a URL that is read in the background.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use http::header::{ACCEPT, USER_AGENT};
use http::{HeaderMap, HeaderValue};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::JwtKeyParams;
use super::keys::KeySet;
use crate::filter::service::{Service, Target};
use crate::filter::watched::Watched;
use crate::filter::{BuildContext, FilterError, Task};

/// Where keys are from.
#[derive(Clone, Debug)]
pub(super) enum Source {
    Here(Arc<Watched<KeySet>>),
    Remote(Arc<Remote>),
}

/// Keys of a URL.
#[derive(Debug)]
pub(super) struct Remote {
    shared: Arc<Shared>,
    /// What it was made of: a reload with the same keeps it.
    made_of: (String, Duration, Duration, Option<std::path::PathBuf>),
    timeout: Duration,
    _task: Task,
}

/// What the reader of a URL and requests share.
#[derive(Debug)]
struct Shared {
    keys: ArcSwapOption<KeySet>,
    /// A request has a token with an unknown key.
    wanted: Notify,
    /// How often the URL was read, with or without success.
    reads: watch::Sender<u64>,
}

/// The pause after a read before a request can cause another one.
const PAUSE: Duration = Duration::from_secs(2);
/// The pauses after reads that failed, the first and the longest.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));
/// Largest key set, in bytes.
const LARGEST: usize = 1 << 20;

// === impl Source ===

impl Source {
    pub(super) fn new(
        params: JwtKeyParams,
        previous: Option<&Self>,
        context: &BuildContext<'_>,
    ) -> Result<Self, FilterError> {
        let expected = |problem: String| format!("a JSON Web Key Set: {problem}");
        match (&params.url, &params.file, &params.inline) {
            (Some(url), None, None) => {
                let made_of = (url.clone(), params.refresh.0, params.timeout.0, params.ca.clone());
                if let Some(Self::Remote(remote)) = previous
                    && remote.made_of == made_of
                {
                    return Ok(Self::Remote(remote.clone()));
                }
                if params.refresh.0 < PAUSE {
                    return Err(FilterError::new("keys.refresh", "at least 2s"));
                }
                let target = Target::new(("keys.url", url), ("keys.ca", params.ca.as_deref()))?;
                let service = Service::new(target, 1, LARGEST);
                let (reads, _) = watch::channel(0);
                let shared = Arc::new(Shared { keys: ArcSwapOption::empty(), wanted: Notify::new(), reads });
                let reader = read_always(service, shared.clone(), params.refresh.0, params.timeout.0);
                let task = context.spawn(reader);
                let timeout = params.timeout.0;
                Ok(Self::Remote(Arc::new(Remote { shared, made_of, timeout, _task: task })))
            }
            _ if params.ca.is_some() => Err(FilterError::new("keys.ca", "none: there is no https URL")),
            (None, Some(file), None) => {
                let read = |path: &std::path::Path| {
                    let shown = path.display();
                    let text = std::fs::read(path).map_err(|error| format!("{shown}: {error}"))?;
                    KeySet::parse(&text).map_err(|problem| format!("{shown}: {problem}"))
                };
                let keys = Watched::file(file.clone(), "keys", context, read);
                let keys = keys.map_err(|problem| FilterError::new("keys.file", expected(problem)))?;
                Ok(Self::Here(Arc::new(keys)))
            }
            (None, None, Some(text)) => {
                let keys = KeySet::parse(text.as_bytes());
                let keys = keys.map_err(|problem| FilterError::new("keys.inline", expected(problem)))?;
                Ok(Self::Here(Arc::new(Watched::fixed(keys))))
            }
            _ => Err(FilterError::new("keys", "one of url, file and inline")),
        }
    }

    /// The keys, if there are any yet.
    pub(super) fn load(&self) -> Option<Arc<KeySet>> {
        match self {
            Self::Here(keys) => Some(keys.load_full()),
            Self::Remote(remote) => remote.shared.keys.load_full(),
        }
    }

    /// Where keys can be read again.
    pub(super) fn remote(&self) -> Option<&Arc<Remote>> {
        match self {
            Self::Here(_) => None,
            Self::Remote(remote) => Some(remote),
        }
    }
}

// === impl Remote ===

impl Remote {
    /// Waits until the URL was read again, but not for longer than the timeout. Gives the keys then, if there are any.
    pub(super) async fn next(&self) -> Option<Arc<KeySet>> {
        let mut reads = self.shared.reads.subscribe();
        reads.mark_unchanged();
        self.shared.wanted.notify_one();
        let _ = timeout(self.timeout, reads.changed()).await;
        self.shared.keys.load_full()
    }
}

/// Reads the URL now and then, and when a request needs it.
async fn read_always(service: Service, shared: Arc<Shared>, refresh: Duration, limit: Duration) {
    let mut failures = 0_u32;
    loop {
        let began = Instant::now();
        match read(&service, limit).await {
            Ok(keys) => {
                if failures > 0 {
                    log::info!("keys of {}: read again", service.target().text());
                }
                log::debug!("keys of {}: {} keys", service.target().text(), keys.len());
                shared.keys.store(Some(Arc::new(keys)));
                failures = 0;
            }
            Err(problem) => {
                failures = failures.saturating_add(1);
                let result = if shared.keys.load().is_some() {
                    "the last keys stay in use"
                } else {
                    "requests with a token are rejected"
                };
                log::warn!("keys of {}: {problem}: {result}", service.target().text());
            }
        }
        shared.reads.send_modify(|reads| *reads = reads.wrapping_add(1));
        let pause = match failures {
            0 => refresh,
            failures => (RETRY.0 * 2_u32.saturating_pow(failures.min(7) - 1)).min(RETRY.1).min(refresh),
        };
        tokio::select! {
            () = sleep(pause) => {}
            () = shared.wanted.notified() => sleep_until(began + PAUSE).await,
        }
    }
}

async fn read(service: &Service, limit: Duration) -> Result<KeySet, String> {
    let mut headers = HeaderMap::new();
    headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
    headers.insert(USER_AGENT, HeaderValue::from_static("evenkeel"));
    let reply = service.get(0, headers, limit).await.map_err(|error| error.to_string())?;
    if reply.status != 200 {
        return Err(format!("status {}", reply.status.as_u16()));
    }
    KeySet::parse(&reply.body)
}
