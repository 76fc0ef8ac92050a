//! What a configuration would do, without running it: what is wrong with it, and where a request would go.
//!
//! It opens no socket, and changes nothing.

use evenkeel_config::Model;

use crate::control::{Described, Explanation, Plan, PlanError};
use crate::server::Server;

/// What is questionable about a certificate that can be used.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CertificateNote {
    /// The key of the configuration: `listeners[0].tls.certificates[0].cert`.
    pub key: String,
    /// The file.
    pub path: String,
    /// What is questionable, like a certificate that has expired.
    pub text: String,
}

// === impl Server ===

impl Server {
    /// What is wrong with the configuration: its text, its filters, what it names and the program has not registered, the files that it names, backends that are the balancer's own
    /// listeners. Nothing if it is right. Reads those files, and opens no socket: an address in use is found by a start.
    ///
    /// ```
    /// use evenkeel::prelude::*;
    ///
    /// let config = ConfigBuilder::new()
    ///     .listen_address("127.0.0.1:8080")
    ///     .upstream_servers(["http://127.0.0.1:8080"])
    ///     .build();
    /// let problems = Server::new(config).check();
    /// assert!(problems[0].to_string().contains("requests would loop"));
    /// ```
    pub fn check(&self) -> Vec<PlanError> {
        let model = match self.config().model() {
            Ok(model) => model,
            Err(error) => return vec![error.clone().into()],
        };
        let filters = Plan::check_filters(model, &self.extensions().filters).err().map(PlanError::from);
        let unregistered = Plan::unregistered(model, self.extensions());
        filters.into_iter().chain(unregistered).chain(Plan::files(model)).collect()
    }

    /// What is questionable about the certificates that can be used: clients may not accept them. Reads their files.
    pub fn certificate_notes(&self) -> Vec<CertificateNote> {
        let notes = |model: &Model| Plan::certificate_notes(model);
        let notes = self.config().model().map(|model| notes(model)).unwrap_or_default();
        notes.into_iter().map(|(key, path, text)| CertificateNote { key, path, text }).collect()
    }

    /// Where this request would go, and why, if the server ran and nothing else was in flight. Sends nothing. What a running
    /// server would do is [`State::explain`](crate::status::State::explain).
    ///
    /// ```
    /// use evenkeel::explain::Described;
    /// use evenkeel::prelude::*;
    ///
    /// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
    /// let config = ConfigBuilder::new()
    ///     .listen_address("127.0.0.1:8080")
    ///     .upstream_servers(["http://127.0.0.1:8081"])
    ///     .try_build()?;
    /// let request = Described::new("GET", "http://example.com/v1/users")?;
    /// let explanation = Server::new(config).explain(&request).await?;
    /// assert_eq!(explanation.upstreams[0].backends[0].name, "http://127.0.0.1:8081");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// What is wrong with the configuration.
    pub async fn explain(&self, request: &Described) -> Result<Explanation, PlanError> {
        let model = self.config().model().map_err(Clone::clone)?;
        // One worker: the number does not matter if nothing is sent.
        Ok(Plan::new(model, self.extensions(), 1).await?.explain(request))
    }
}
