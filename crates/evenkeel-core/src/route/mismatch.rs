//! Why a route does not take a request, for people who wonder.
//!
//! Never used to choose a route: it says of one route at a time what [`RouteTable::find`](super::RouteTable::find) found
//! out quickly for all of them.

use std::fmt;

use super::field::{query_decoded, query_parameter};
use super::{FieldMatch, FieldValue, HostPattern, Origin, OriginMatch, PathMatch, RequestParts, RouteMatch};

/// How many of several expected values a message names.
const NAMED: usize = 8;

/// The first condition of a route that a request does not meet: what was expected, and what was found. They are looked at
/// in the order host, path, method, headers, query, and then the rest. `Display` says it in a line: `host: example.org is not example.com`.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Mismatch {
    /// The host is none of these.
    Host {
        /// As sent; empty when there was none.
        found: String,
        /// Those that the route takes.
        expected: Vec<HostPattern>,
    },
    /// The path is another one.
    Path {
        /// As sent.
        found: String,
        /// Those that the route takes.
        expected: PathMatch,
    },
    /// The method is none of these.
    Method {
        /// As sent.
        found: String,
        /// Those that the route takes.
        expected: Vec<String>,
    },
    /// A header field is not there, or has another value.
    Header {
        /// Its name, in lower case.
        name: String,
        /// The first value with this name, if there is one.
        found: Option<String>,
        /// What the route asks of it.
        expected: FieldValue,
    },
    /// A query parameter is not there, or has another value.
    Query {
        /// Its name.
        name: String,
        /// The first value with this name, decoded, if there is one.
        found: Option<String>,
        /// What the route asks of it.
        expected: FieldValue,
    },
    /// The expression is not found in the host.
    HostRegex {
        /// As sent; empty when there was none.
        found: String,
        /// The expression.
        expected: String,
    },
    /// The request came from another listener or client, or in another way.
    Origin {
        /// The key of the condition: `listeners`, `clients`, `scheme`, `sni`.
        key: &'static str,
        /// What was found; empty for nothing.
        found: String,
        /// Those that the route takes, if they can be shown.
        expected: Vec<String>,
    },
    /// The request is one that the route excludes.
    Not,
    /// No alternative takes the request.
    AnyOf {
        /// Why the first one does not.
        first: Box<Mismatch>,
    },
}

// === impl RouteMatch ===

impl RouteMatch {
    /// Why this does not take the request; `None` if and only if it does, which is when
    /// [`matches`](RouteMatch::matches) says so.
    ///
    /// # Cost
    /// As [`matches`](RouteMatch::matches); what does not match is copied.
    pub fn mismatch(&self, request: &(impl RequestParts + ?Sized)) -> Option<Mismatch> {
        if !self.hosts.is_empty() && !self.hosts.iter().any(|pattern| pattern.matches(request.host())) {
            return Some(Mismatch::Host { found: request.host().to_owned(), expected: self.hosts.clone() });
        }
        if let Some(path) = &self.path
            && !path.matches(request.path())
        {
            return Some(Mismatch::Path { found: request.path().to_owned(), expected: path.clone() });
        }
        if !self.methods.is_empty() && !self.methods.iter().any(|method| method == request.method()) {
            let expected = self.methods.clone();
            return Some(Mismatch::Method { found: request.method().to_owned(), expected });
        }
        let header = self.headers.iter().find(|field| !field.takes_header(request.header(field.name())));
        let query = || self.query.iter().find(|field| !field.takes_query(request.query()));
        header
            .map(|field| Mismatch::header(field, request.header(field.name())))
            .or_else(|| query().map(|field| Mismatch::query(field, request.query())))
            .or_else(|| self.mismatch_beyond(request))
    }

    fn mismatch_beyond(&self, request: &(impl RequestParts + ?Sized)) -> Option<Mismatch> {
        if let Some(regex) = &self.host_regex
            && !self.matches_host_regex(request.host())
        {
            let (found, expected) = (request.host().to_owned(), regex.as_str().to_owned());
            return Some(Mismatch::HostRegex { found, expected });
        }
        if let Some(mismatch) = Mismatch::origin(&self.origin, &request.origin()) {
            return Some(mismatch);
        }
        if self.not.iter().any(|not| not.matches(request)) {
            return Some(Mismatch::Not);
        }
        let first = self.any_of.first().filter(|_| !self.any_of.iter().any(|one| one.matches(request)))?;
        Some(Mismatch::AnyOf { first: Box::new(first.mismatch(request)?) })
    }
}

// === impl Mismatch ===

impl Mismatch {
    fn header(field: &FieldMatch, found: Option<&[u8]>) -> Self {
        let found = found.map(|value| String::from_utf8_lossy(value).into_owned());
        Self::Header { name: field.name().to_owned(), found, expected: field.value().clone() }
    }

    fn origin(asked: &OriginMatch, origin: &Origin<'_>) -> Option<Self> {
        let text = |found: Option<&str>| found.unwrap_or_default().to_owned();
        let mismatch = |key, found, expected| Some(Self::Origin { key, found, expected });
        if !asked.matches_listener(origin) {
            let expected = asked.listeners.iter().map(|name| name.to_string()).collect();
            return mismatch("listeners", origin.listener.to_owned(), expected);
        }
        if !asked.matches_client(origin) {
            let found = origin.client.map(|client| client.to_string()).unwrap_or_default();
            return mismatch("clients", found, Vec::new());
        }
        if !asked.matches_scheme(origin) {
            let scheme = |https| if https { "https" } else { "http" };
            let expected = asked.https.map(|https| scheme(https).to_owned()).into_iter().collect();
            return mismatch("scheme", scheme(origin.https).to_owned(), expected);
        }
        if !asked.matches_server_name(origin) {
            let expected = asked.server_names.iter().map(HostPattern::to_string).collect();
            return mismatch("sni", text(origin.server_name), expected);
        }
        None
    }

    fn query(field: &FieldMatch, query: Option<&str>) -> Self {
        let found = query.and_then(|query| query_parameter(query, field.name()));
        let decoded =
            |value| String::from_utf8_lossy(&query_decoded(value).collect::<Vec<u8>>()).into_owned();
        let (name, expected) = (field.name().to_owned(), field.value().clone());
        Self::Query { name, found: found.map(decoded), expected }
    }
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host { found, expected } if found.is_empty() => {
                write!(f, "host: absent, expected {}", OneOf("one of ", expected))
            }
            Self::Host { found, expected } => write!(f, "host: {found} is {}", Not(expected)),
            Self::Path { found, expected: PathMatch::Exact(path) } => {
                write!(f, "path: {found} is not {path}")
            }
            Self::Path { found, expected: PathMatch::Prefix(path) } => {
                write!(f, "path: {found} does not begin with {path}")?;
                // As text it may, and that is the surprising case.
                if found.starts_with(&**path) { f.write_str(" as whole segments") } else { Ok(()) }
            }
            Self::Path { found, expected: PathMatch::Regex(regex) } => {
                write!(f, "path: {found} does not match {}", regex.as_str())
            }
            Self::Method { found, expected } => write!(f, "method: {found} is {}", Not(expected)),
            Self::Header { name, found, expected } => {
                write!(f, "header {name}: {}", Field { found: found.as_deref(), expected })
            }
            Self::Query { name, found, expected } => {
                write!(f, "query {name}: {}", Field { found: found.as_deref(), expected })
            }
            Self::HostRegex { found, expected } if found.is_empty() => {
                write!(f, "host: absent, expected a host that matches {expected}")
            }
            Self::HostRegex { found, expected } => write!(f, "host: {found} does not match {expected}"),
            Self::Origin { key, found, expected } => {
                let found = if found.is_empty() { "absent" } else { found };
                match expected.is_empty() {
                    true => write!(f, "{key}: {found} is in none of the networks"),
                    false => write!(f, "{key}: {found} is {}", Not(expected)),
                }
            }
            Self::Not => f.write_str("not: the request is one that the route excludes"),
            Self::AnyOf { first } => write!(f, "any_of: no alternative matches; the first: {first}"),
        }
    }
}

/// What a field is and should be.
struct Field<'a> {
    found: Option<&'a str>,
    expected: &'a FieldValue,
}

impl fmt::Display for Field<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.found {
            None => f.write_str("absent")?,
            Some("") => f.write_str("empty")?,
            Some(value) => f.write_str(value)?,
        }
        match self.expected {
            FieldValue::Present => f.write_str(", expected any value"),
            FieldValue::Exact(value) if value.is_empty() => f.write_str(", expected an empty value"),
            FieldValue::Exact(value) => write!(f, ", expected {value}"),
            FieldValue::Regex(regex) => write!(f, ", expected a value that matches {}", regex.as_str()),
        }
    }
}

/// `not a`, or `none of a, b`.
struct Not<'a, T>(&'a [T]);

impl<T: fmt::Display> fmt::Display for Not<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.len() == 1 { "not " } else { "none of " })?;
        OneOf("", self.0).fmt(f)
    }
}

/// `a`, or a few words and `a, b`.
struct OneOf<'a, T>(&'a str, &'a [T]);

impl<T: fmt::Display> fmt::Display for OneOf<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(words, all) = *self;
        if all.len() > 1 {
            f.write_str(words)?;
        }
        for (at, one) in all.iter().take(NAMED).enumerate() {
            write!(f, "{}{one}", if at == 0 { "" } else { ", " })?;
        }
        match all.len().saturating_sub(NAMED) {
            0 => Ok(()),
            more => write!(f, " and {more} more"),
        }
    }
}
