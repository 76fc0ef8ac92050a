//! A backend from code.

use crate::values::Weight;
use crate::wire;

/// Builds a backend, for those that are more than a URL. Text is one already, of its URL.
///
/// ```
/// use evenkeel_config::{BackendBuilder, UpstreamBuilder};
///
/// let upstream = UpstreamBuilder::new("api")
///     .backend("http://10.0.0.1:80")
///     .backend(BackendBuilder::new("http://10.0.0.2:80").weight(2).zone("eu-1"));
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct BackendBuilder {
    pub(super) wire: wire::Backend,
}

// === impl BackendBuilder ===

impl BackendBuilder {
    /// A backend by URL: `http://host:port`, `https://host:port` or `http+unix:/path`.
    pub fn new(url: impl Into<String>) -> Self {
        Self { wire: wire::Backend::new(url.into()) }
    }

    /// Its share relative to its peers', 0 to 65,535; 0 takes it out. Default 1.
    pub fn weight(mut self, weight: u32) -> Self {
        self.wire.weight = Weight(weight);
        self
    }

    /// Whether it gets requests only while all others are out: priority 1. Default no.
    pub fn backup(mut self, on: bool) -> Self {
        self.wire.backup = on;
        self
    }

    /// Its level: backends get requests only while all of lower numbers are out. Default 0.
    pub fn priority(mut self, priority: u8) -> Self {
        self.wire.priority = Some(priority);
        self
    }

    /// Where it is, to be preferred by balancers of the same zone. Default nowhere.
    pub fn zone(mut self, zone: impl Into<String>) -> Self {
        self.wire.zone = Some(zone.into());
        self
    }
}

impl<U: Into<String>> From<U> for BackendBuilder {
    fn from(url: U) -> Self {
        Self::new(url)
    }
}
