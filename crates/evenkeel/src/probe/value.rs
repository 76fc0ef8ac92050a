//! Health checks that a program passes as values.

use std::sync::Arc;

use evenkeel_config::{ExtensionValue, HealthCheckBuilder};

use super::Check;

/// Makes a health check of a value.
pub trait CheckValue: Sized {
    /// Runs this check: it can hold what the program has, such as a client. A reload with a clone of the same builder keeps it.
    ///
    /// ```
    /// use evenkeel::prelude::*;
    /// # use std::pin::Pin;
    ///
    /// #[derive(Debug)]
    /// struct Always;
    ///
    /// impl Check for Always {
    ///     fn check<'a>(
    ///         &'a self,
    ///         _: &'a Target,
    ///     ) -> Pin<Box<dyn Future<Output = Result<(), String>> + Send + 'a>> {
    ///         Box::pin(async { Ok(()) })
    ///     }
    /// }
    ///
    /// let config = ConfigBuilder::new()
    ///     .listen_address("127.0.0.1:8080")
    ///     .upstream_servers(["http://127.0.0.1:8081"])
    ///     .health_check(HealthCheckBuilder::value(Always))
    ///     .try_build();
    /// assert!(config.is_ok());
    /// ```
    #[must_use]
    fn value(check: impl Check) -> Self;
}

impl CheckValue for HealthCheckBuilder {
    fn value(check: impl Check) -> Self {
        let check: Arc<dyn Check> = Arc::new(check);
        Self::opaque(ExtensionValue::new(check))
    }
}
