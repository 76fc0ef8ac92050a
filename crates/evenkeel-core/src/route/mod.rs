//! Which route has this host, path, method, these headers?
//!
//! This room never knows backends: a route is an index. The first matching route wins, in the given order.
//! [`RouteMatch::matches`] defines "matches". [`RouteTable`] gives the same result, quickly, for all routes at once.

mod field;
mod host;
mod mismatch;
mod normal;
mod origin;
mod path;
mod percent;
mod table;

use host::Folded;

pub use field::{FieldMatch, FieldMatchError, FieldValue, query_decoded, query_parameter};
pub use host::{HostPattern, HostPatternError};
pub use mismatch::Mismatch;
pub use normal::{InvalidPath, normal_path};
pub use origin::{Origin, OriginMatch};
pub use path::{PathMatch, PathMatchError, TextRegex};
pub use percent::{percent_decoded, percent_encoded};
pub use table::{RouteTable, Shadowed};

/// What a route may look at in a request. Both data paths give it, so a route cannot tell which carries the request.
pub trait RequestParts {
    /// The method, as sent.
    fn method(&self) -> &str;
    /// The host of the request, without port, as sent (letter case not folded); empty when there is none.
    fn host(&self) -> &str;
    /// The path of the request target, without the query; starts with `/` (or is `*`). As sent, unless what gives it has
    /// put it into its normal form: see [`normal_path`].
    fn path(&self) -> &str;
    /// The query of the request target, without the `?`.
    fn query(&self) -> Option<&str>;
    /// The first field with this (lower-case) name.
    fn header(&self, name: &str) -> Option<&[u8]>;
    /// How the request came. Not known by default, so that only routes that do not ask for it take the request.
    fn origin(&self) -> Origin<'_> {
        Origin::default()
    }
}

/// What a route asks of a request. All conditions must hold; what is not given is not asked, so the default takes every
/// request.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct RouteMatch {
    /// The host is one of these; none given: any.
    pub hosts: Vec<HostPattern>,
    /// The host, in lower case and without a port, is one in which this expression is found.
    pub host_regex: Option<TextRegex>,
    /// The path is one of these; none given: any, also the `*` of `OPTIONS *`.
    pub path: Option<PathMatch>,
    /// The method is one of these, in the same letter case (`GET` does not include `HEAD`); none given: any.
    pub methods: Vec<String>,
    /// Each of these header fields is there and as it says.
    pub headers: Vec<FieldMatch>,
    /// Each of these query parameters is there and as it says.
    pub query: Vec<FieldMatch>,
    /// It came from this listener, client and connection.
    pub origin: OriginMatch,
    /// None of these takes it.
    pub not: Vec<RouteMatch>,
    /// At least one of these takes it; none given: no condition.
    pub any_of: Vec<RouteMatch>,
}

// === impl RouteMatch ===

impl RouteMatch {
    /// Whether the request meets every condition: the definition that [`RouteTable::find`] is held against.
    pub fn matches(&self, request: &(impl RequestParts + ?Sized)) -> bool {
        (self.hosts.is_empty() || self.hosts.iter().any(|pattern| pattern.matches(request.host())))
            && self.matches_path(request.path())
            && self.matches_rest(request)
    }

    /// Adds a host to those that the route takes.
    #[must_use]
    pub fn host(mut self, pattern: HostPattern) -> Self {
        self.hosts.push(pattern);
        self
    }

    /// Sets the paths that the route takes.
    #[must_use]
    pub fn path(mut self, path: PathMatch) -> Self {
        self.path = Some(path);
        self
    }

    /// Adds a method to those that the route takes.
    #[must_use]
    pub fn method(mut self, method: impl Into<String>) -> Self {
        self.methods.push(method.into());
        self
    }

    /// Adds a condition on a header field, made by [`FieldMatch::header`].
    #[must_use]
    pub fn header(mut self, condition: FieldMatch) -> Self {
        self.headers.push(condition);
        self
    }

    /// Adds a condition on a query parameter, made by [`FieldMatch::query`].
    #[must_use]
    pub fn query(mut self, condition: FieldMatch) -> Self {
        self.query.push(condition);
        self
    }

    /// The expression on the path, if there is one: its groups are the captures of the route.
    pub fn path_regex(&self) -> Option<&TextRegex> {
        match &self.path {
            Some(PathMatch::Regex(regex)) => Some(regex),
            _ => None,
        }
    }

    fn matches_path(&self, path: &str) -> bool {
        self.path.as_ref().is_none_or(|condition| condition.matches(path))
    }

    /// The conditions beyond host and path, which the table's index does not hold.
    fn matches_rest(&self, request: &(impl RequestParts + ?Sized)) -> bool {
        (self.methods.is_empty() || self.methods.iter().any(|method| method == request.method()))
            && self.headers.iter().all(|field| field.takes_header(request.header(field.name())))
            && self.query.iter().all(|field| field.takes_query(request.query()))
            && self.matches_host_regex(request.host())
            && (self.origin.is_any() || self.origin.matches(&request.origin()))
            && !self.not.iter().any(|not| not.matches(request))
            && (self.any_of.is_empty() || self.any_of.iter().any(|one| one.matches(request)))
    }

    fn matches_host_regex(&self, host: &str) -> bool {
        self.host_regex.as_ref().is_none_or(|regex| {
            let host = Folded::new(host);
            std::str::from_utf8(host.as_bytes()).is_ok_and(|host| regex.matches(host))
        })
    }

    /// Whether there is nothing to ask beyond host and path.
    fn asks_no_more(&self) -> bool {
        self.methods.is_empty()
            && self.headers.is_empty()
            && self.query.is_empty()
            && self.host_regex.is_none()
            && self.origin.is_any()
            && self.not.is_empty()
            && self.any_of.is_empty()
    }

    /// Whether this takes every request that the other takes. Says no when it cannot know.
    fn covers(&self, other: &Self) -> bool {
        self.covers_hosts(other)
            && match (&self.path, &other.path) {
                (None, _) => true,
                (Some(_), None) => false,
                (Some(own), Some(other)) => own.covers(other),
            }
            && (self.methods.is_empty()
                || !other.methods.is_empty()
                    && other.methods.iter().all(|method| self.methods.contains(method)))
            && implied(&self.headers, &other.headers)
            && implied(&self.query, &other.query)
            && (self.host_regex.is_none() || self.host_regex == other.host_regex)
            && self.origin.covers(&other.origin)
            && self.not.iter().all(|not| other.not.contains(not))
            && (self.any_of.is_empty() || self.any_of == other.any_of)
    }

    fn covers_hosts(&self, other: &Self) -> bool {
        let takes = |narrow: &HostPattern| self.hosts.iter().any(|wide| wide.covers(narrow));
        self.hosts.is_empty()
            || match &*other.hosts {
                [] => takes(&HostPattern::Any),
                hosts => hosts.iter().all(takes),
            }
    }
}

/// Whether what meets all of the conditions given meets all of these.
fn implied(conditions: &[FieldMatch], given: &[FieldMatch]) -> bool {
    conditions.iter().all(|condition| given.iter().any(|given| condition.covers(given)))
}

#[cfg(test)]
mod tests;
