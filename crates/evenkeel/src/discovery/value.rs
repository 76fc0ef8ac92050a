//! Sources of backends that a program passes as values.

use std::sync::Arc;

use evenkeel_config::{DiscoveryBuilder, ExtensionValue};

use super::Discovery;

/// Makes a source: a source is used up as it is followed, so a value is what makes one.
pub(crate) type SourceFactory = Arc<dyn Fn() -> Box<dyn Discovery> + Send + Sync>;

/// Makes a source of backends of a value.
pub trait DiscoveryValue: Sized {
    /// Uses the source that `make` makes: it can hold what the program has, such as a client. A reload with a clone of the same
    /// builder keeps the source that runs.
    ///
    /// ```
    /// use evenkeel::prelude::*;
    /// # use std::pin::Pin;
    ///
    /// #[derive(Debug)]
    /// struct Nothing;
    ///
    /// impl Discovery for Nothing {
    ///     fn name(&self) -> String {
    ///         "nothing".to_owned()
    ///     }
    ///
    ///     fn next(&mut self) -> Pin<Box<dyn Future<Output = Result<BackendSet, DiscoveryError>> + Send + '_>> {
    ///         Box::pin(async { Ok(BackendSet::default()) })
    ///     }
    /// }
    ///
    /// let upstream = UpstreamBuilder::new("web").discovery(DiscoveryBuilder::value(|| Nothing).allow_empty(true));
    /// let config = ConfigBuilder::new().listen_address("127.0.0.1:8080").upstream(upstream).try_build();
    /// assert!(config.is_ok());
    /// ```
    fn value<D: Discovery>(make: impl Fn() -> D + Send + Sync + 'static) -> Self;
}

impl DiscoveryValue for DiscoveryBuilder {
    fn value<D: Discovery>(make: impl Fn() -> D + Send + Sync + 'static) -> Self {
        let make: SourceFactory = Arc::new(move || Box::new(make()));
        Self::opaque(ExtensionValue::new(make))
    }
}
