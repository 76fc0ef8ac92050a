//! The kinds of filters that a configuration can use.
//!
//! A registry is a value, not a global: two balancers in one process may know different filters.

use std::fmt;
use std::sync::Arc;

use evenkeel_config::schema::FilterSchema;
use evenkeel_config::{Diagnostic, FilterSpec, ParamError, Params};
use schemars::JsonSchema;
use serde::de::DeserializeOwned;

use super::{
    AdaptiveConcurrencyFilter, AllowFilter, BandwidthLimitFilter, BasicAuthFilter, BuildContext,
    CompressFilter, ConcurrencyLimitFilter, CookieFilter, CorsFilter, DenyFilter, ErrorPagesFilter, Filter,
    ForwardAuthFilter, JwtFilter, MaintenanceFilter, RateLimitFilter, RequestHeaders, ResponseHeaders,
    RewriteLocation, RewritePath, SecurityHeaders, StripPrefix,
};

/// The kinds of filters that a configuration can use.
///
/// ```
/// use evenkeel::filter::Registry;
/// assert!(Registry::builtin().names().any(|name| name == "strip_prefix"));
/// ```
#[derive(Clone)]
pub struct Registry {
    kinds: Vec<Kind>,
}

/// A kind of filter: its name in the configuration, its parameters, and how to build it.
pub trait FilterKind: Filter + Sized {
    /// Its name in the configuration: `snake_case`.
    const NAME: &'static str;
    /// An example as in a file, for the reference: `strip_prefix: /v1`.
    const EXAMPLE: &'static str;
    /// What it does, in a sentence, for the reference.
    const DOC: &'static str;
    /// Its parameters. Their doc comments become the reference.
    type Params: DeserializeOwned + JsonSchema;

    /// Builds a filter from its parameters, for a place in the configuration.
    ///
    /// # Errors
    /// If a parameter is invalid; the configuration is rejected with this message.
    fn new(params: Self::Params, context: &BuildContext<'_>) -> Result<Self, FilterError>;
}

/// Why the parameters of a filter are invalid.
#[derive(Clone, Debug, thiserror::Error)]
#[error("expected {expected}")]
pub struct FilterError {
    /// The parameter, as a key path; empty for the parameters as a whole.
    pub path: String,
    /// What was expected there.
    pub expected: String,
    /// What was probably meant.
    pub suggestion: Option<String>,
    /// Whether the value is a secret: messages do not show it.
    pub is_secret: bool,
}

#[derive(Clone)]
struct Kind {
    name: &'static str,
    example: &'static str,
    doc: &'static str,
    schema: fn() -> serde_json::Value,
    build: Arc<Build>,
}

/// Builds a filter from what is written.
type Build = dyn Fn(&Params, &BuildContext<'_>) -> Result<Arc<dyn Filter>, ParamError> + Send + Sync;

// === impl Registry ===

impl Registry {
    /// The built-in filters.
    pub fn builtin() -> Self {
        Self { kinds: Vec::new() }
            .with::<AllowFilter>()
            .with::<AdaptiveConcurrencyFilter>()
            .with::<BandwidthLimitFilter>()
            .with::<BasicAuthFilter>()
            .with::<CompressFilter>()
            .with::<ConcurrencyLimitFilter>()
            .with::<CookieFilter>()
            .with::<CorsFilter>()
            .with::<DenyFilter>()
            .with::<ErrorPagesFilter>()
            .with::<ForwardAuthFilter>()
            .with::<JwtFilter>()
            .with::<MaintenanceFilter>()
            .with::<RateLimitFilter>()
            .with::<RequestHeaders>()
            .with::<ResponseHeaders>()
            .with::<RewriteLocation>()
            .with::<RewritePath>()
            .with::<SecurityHeaders>()
            .with::<StripPrefix>()
    }

    /// Adds one kind; it replaces a kind of the same name.
    #[must_use]
    pub fn with<K: FilterKind>(self) -> Self {
        self.with_factory(K::NAME, K::new).described(K::EXAMPLE, K::DOC)
    }

    /// Adds one kind by a closure that builds it, which can hold what filters share, such as a pool of connections. It replaces
    /// a kind of the same name.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use evenkeel::filter::{Filter, Registry};
    ///
    /// /// Looks users up.
    /// #[derive(Debug)]
    /// struct Users {
    ///     pool: Arc<str>,
    ///     table: String,
    /// }
    /// impl Filter for Users {}
    ///
    /// let pool: Arc<str> = "a pool of connections".into();
    /// let registry = Registry::builtin()
    ///     .with_factory("users", move |table: String, _| Ok(Users { pool: pool.clone(), table }));
    /// assert!(registry.names().any(|name| name == "users"));
    /// ```
    #[must_use]
    pub fn with_factory<P, F>(
        mut self,
        name: &'static str,
        build: impl Fn(P, &BuildContext<'_>) -> Result<F, FilterError> + Send + Sync + 'static,
    ) -> Self
    where
        P: DeserializeOwned + JsonSchema,
        F: Filter,
    {
        let build = move |params: &Params, context: &BuildContext<'_>| {
            let filter = build(params.parse()?, context).map_err(|e| {
                let error = params.error(&e.path, &e.expected).suggestion(e.suggestion);
                if e.is_secret { error.without_value() } else { error }
            })?;
            Ok(Arc::new(filter) as Arc<dyn Filter>)
        };
        self.kinds.retain(|kind| kind.name != name);
        let schema = || schemars::schema_for!(P).to_value();
        self.kinds.push(Kind { name, example: name, doc: "", schema, build: Arc::new(build) });
        self
    }

    /// Describes the kind that was added last.
    fn described(mut self, example: &'static str, doc: &'static str) -> Self {
        if let Some(kind) = self.kinds.last_mut() {
            (kind.example, kind.doc) = (example, doc);
        }
        self
    }

    /// The names of the kinds.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        self.kinds.iter().map(|kind| kind.name)
    }

    /// The JSON Schema and the reference text of the kinds.
    pub fn schemas(&self) -> Vec<FilterSchema> {
        let schema = |kind: &Kind| {
            let schema = FilterSchema::new(kind.name, (kind.schema)(), kind.example);
            if kind.doc.is_empty() { schema } else { schema.doc(kind.doc) }
        };
        self.kinds.iter().map(schema).collect()
    }

    /// Builds the filter of a route's step.
    ///
    /// # Errors
    /// If there is no such kind, or its parameters are invalid: with the place in the file.
    pub fn build(
        &self,
        step: &FilterSpec,
        context: &BuildContext<'_>,
    ) -> Result<Arc<dyn Filter>, Diagnostic> {
        if let Some(filter) = step.value().and_then(|value| value.get::<Arc<dyn Filter>>()) {
            return Ok(filter.clone());
        }
        match self.kinds.iter().find(|kind| kind.name == step.kind()) {
            Some(kind) => (kind.build)(step.params(), context).map_err(|error| step.error(error)),
            None => Err(step.unknown_kind(&self.names().collect::<Vec<_>>())),
        }
    }
}

impl Default for Registry {
    fn default() -> Self {
        Self::builtin()
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.names()).finish()
    }
}

// === impl FilterError ===

impl FilterError {
    /// An error at one parameter (`set.x-proxy`; empty for all of them): what was expected there.
    pub fn new(path: impl Into<String>, expected: impl Into<String>) -> Self {
        Self { path: path.into(), expected: expected.into(), suggestion: None, is_secret: false }
    }

    /// An error at a parameter that is a secret, such as a password: messages do not show its value.
    pub fn secret(path: impl Into<String>, expected: impl Into<String>) -> Self {
        Self { is_secret: true, ..Self::new(path, expected) }
    }

    /// With what was probably meant.
    #[must_use]
    pub fn suggestion(mut self, suggestion: Option<String>) -> Self {
        self.suggestion = suggestion;
        self
    }
}
