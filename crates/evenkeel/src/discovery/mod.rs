//! Finds the backends of an upstream: one file for each kind of source, each a stream of complete sets.
//!
//! This room never knows how backends are picked, whether they are healthy, or how requests are carried.
//!
//! A source only reads: it returns a set, or why there is none. What to do about a source that fails, that returns nothing
//! or that changes all the time is decided once for all of them, in `Subscription`.

use std::fmt::Debug;
use std::ops::Deref;
use std::pin::Pin;
use std::sync::Arc;

use evenkeel_config::{Backend, ConfigError};

#[cfg(any(feature = "discovery-http", feature = "discovery-consul"))]
mod client;
#[cfg(feature = "discovery-consul")]
mod consul;
#[cfg(feature = "discovery-dns")]
mod dns;
mod file;
mod host;
#[cfg(feature = "discovery-http")]
mod http;
#[cfg(feature = "discovery-dns")]
mod resolver;
mod status;
mod subscription;
mod value;

#[cfg(test)]
mod tests;

#[cfg(feature = "discovery-consul")]
pub(crate) use consul::Consul;
#[cfg(feature = "discovery-dns")]
pub(crate) use dns::Dns;
pub(crate) use file::File;
pub(crate) use host::addresses;
#[cfg(feature = "discovery-http")]
pub(crate) use http::Http;
pub(crate) use status::Status;
pub(crate) use subscription::{Options, Subscription};
pub use value::DiscoveryValue;
pub(crate) use value::SourceFactory;

/// A source of backends: a stream of complete sets.
///
/// It runs on a task of its own, and must not block the thread. A panic in it counts as a failure.
pub trait Discovery: Debug + Send + 'static {
    /// What logs and `/status` call the source, such as `file /etc/evenkeel/web.yaml`. No secrets.
    fn name(&self) -> String;

    /// Waits for the next complete set. The first call, and the first one after an error, reads the source at once. Later
    /// calls wait until the source has changed, or for as long as the source's own interval is. A set that has not changed
    /// can be returned again: it confirms that the set is still right.
    ///
    /// # Errors
    /// Why there is no set. The set that was returned before stays in use. The caller waits longer after each error in a row.
    fn next(&mut self) -> Pin<Box<dyn Future<Output = Result<BackendSet, DiscoveryError>> + Send + '_>>;
}

/// All backends that a source reports, in its order. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct BackendSet(Arc<[Backend]>);

/// Why a source returned no set.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DiscoveryError {
    /// The source cannot be reached or read.
    #[error("{0}")]
    Unreachable(String),
    /// What the source returned is not a set of backends.
    #[error("{0}")]
    Invalid(String),
    /// The source works and has no backends; why, in a few words. Not an error if `allow_empty` is set.
    #[error("{0} (`allow_empty: true` accepts this)")]
    Empty(String),
    /// The code of the source panicked.
    #[error("the code of the source panicked")]
    Panicked,
}

// === impl BackendSet ===

impl BackendSet {
    /// A set of these backends. Of several with the same URL, the first one counts.
    pub fn new(backends: impl IntoIterator<Item = Backend>) -> Self {
        let mut seen = std::collections::HashSet::new();
        let unique = backends.into_iter().filter(|one| seen.insert((one.url.tls, one.url.host.clone())));
        Self(unique.collect())
    }
}

impl Deref for BackendSet {
    type Target = [Backend];

    fn deref(&self) -> &[Backend] {
        &self.0
    }
}

impl PartialEq for BackendSet {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.0 == other.0
    }
}

// === impl DiscoveryError ===

impl DiscoveryError {
    /// What is wrong with a list: its first mistake.
    fn invalid_list(error: &ConfigError) -> Self {
        let text = error.to_string();
        let first = text.lines().next().unwrap_or_default();
        Self::Invalid(first.strip_prefix("error: ").unwrap_or(first).to_owned())
    }
}
