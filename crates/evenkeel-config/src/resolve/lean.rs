//! What only the lean lane does: wrong where no request can have it, worth a word where `lanes` takes it from all.

use crate::yaml::Path;
use crate::{Lanes, Model, Pool, Retry, Upstream};

/// A key that has less effect than it says, and how much less.
pub(super) type Lacking = (Path, &'static str);

/// How much of a body Pingora keeps, to send it again.
const KEPT: usize = 64 << 10;

// === impl Model ===

impl Model {
    /// What is configured, but not done because Pingora's lane carries everything: a line for each key, such as
    /// `upstreams.web.hedge has no effect with lanes: pingora`. Nothing with [`Lanes::Auto`].
    ///
    /// It is no mistake: that setting is a way back in a hurry, and must not ask for other changes as well.
    pub fn without_effect(&self) -> Vec<String> {
        if self.lanes != Lanes::Pingora {
            return Vec::new();
        }
        let root = Path::default();
        let upstreams = self.upstreams.iter();
        let upstreams = upstreams
            .flat_map(|upstream| upstream_lacks(upstream, &root.key("upstreams").key(&upstream.name)));
        let routes = self.routes.iter().enumerate();
        let retries =
            routes.filter_map(|(at, route)| Some((root.key("routes").index(at), route.retry.as_ref()?)));
        let retries = retries.flat_map(|(path, retry)| retry_lacks(retry, &path.key("retry")));
        upstreams.chain(retries).map(|(path, what)| format!("{path} {what} with lanes: pingora")).collect()
    }
}

/// What an upstream is without in Pingora's lane.
pub(super) fn upstream_lacks(upstream: &Upstream, path: &Path) -> Vec<Lacking> {
    let mut lacking = Vec::new();
    if upstream.hedge.is_some() {
        lacking.push((path.key("hedge"), "has no effect"));
    }
    if upstream.pool.max_idle != Pool::default().max_idle {
        lacking.push((path.key("pool").key("max_idle"), "has no effect"));
    }
    lacking.extend(retry_lacks(&upstream.retry, &path.key("retry")));
    lacking
}

/// What retries are without in Pingora's lane.
pub(super) fn retry_lacks(retry: &Retry, path: &Path) -> Vec<Lacking> {
    let mut lacking = Vec::new();
    if retry.on.timeout {
        lacking.push((path.key("on"), "has timeout, which has no effect"));
    }
    if retry.per_try_timeout.is_some() {
        lacking.push((path.key("per_try_timeout"), "limits only the connect"));
    }
    if retry.max_body > KEPT {
        lacking.push((path.key("max_body"), "has no effect beyond 64KiB"));
    }
    lacking
}
