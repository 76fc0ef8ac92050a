//! Filters that a program passes as values to a route that it builds.

use std::sync::Arc;

use evenkeel_config::{ExtensionValue, RouteBuilder};

use super::Filter;

/// Adds filters that are values to a route.
pub trait RouteFilters {
    /// Adds a filter that is a value: it can hold what the program has, such as a pool. `name` is what logs and `explain` call it. A
    /// reload with a clone of the same builder keeps it; with another value, that one takes its place.
    ///
    /// ```
    /// use evenkeel::prelude::*;
    ///
    /// #[derive(Debug)]
    /// struct Hello;
    ///
    /// impl Filter for Hello {
    ///     fn on_request(&self, _: &mut Request<'_>) -> Verdict {
    ///         Verdict::Answer(Answer::new(200).body("hello"))
    ///     }
    /// }
    ///
    /// let config = ConfigBuilder::new()
    ///     .listen_address("127.0.0.1:8080")
    ///     .upstream(UpstreamBuilder::new("web").backend("http://127.0.0.1:8081"))
    ///     .route(RouteBuilder::new("hello").path("/hello").filter_value("hello", Hello).upstream("web"))
    ///     .route(RouteBuilder::new("all").upstream("web"))
    ///     .try_build();
    /// assert!(config.is_ok());
    /// ```
    #[must_use]
    fn filter_value(self, name: impl Into<String>, filter: impl Filter) -> Self;
}

impl RouteFilters for RouteBuilder {
    fn filter_value(self, name: impl Into<String>, filter: impl Filter) -> Self {
        let filter: Arc<dyn Filter> = Arc::new(filter);
        self.opaque_filter(name, ExtensionValue::new(filter))
    }
}
