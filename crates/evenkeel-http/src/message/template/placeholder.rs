//! The names that can be in braces, and what each stands for.

use std::sync::Arc;

use http::HeaderName;

use super::{Map, Scope, TemplateError};

/// What is put in a text for each request.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Placeholder {
    /// `{host}`: the host of the request, without the port.
    Host,
    /// `{authority}`: the host and the port, as sent.
    Authority,
    /// `{path}`: the path, or the result of the route's filters so far.
    Path,
    /// `{query}`: the query with its `?`; empty without one.
    Query,
    /// `{query.NAME}`: the decoded value of a parameter.
    QueryValue(Box<str>),
    /// `{header.NAME}`: a header of the request, in lower case. Several values are joined with a comma.
    Header(Box<str>),
    /// `{cookie.NAME}`: a cookie.
    Cookie(Box<str>),
    /// `{method}`: the method.
    Method,
    /// `{scheme}`: `https` if the client uses HTTPS, with the balancer or with a trusted proxy in front of it, else `http`.
    Scheme,
    /// `{client_ip}`: the client's address.
    ClientIp,
    /// `{client_port}`: the client's port, if no proxy is between.
    ClientPort,
    /// `{listener}`: the name of the listener, or its address if it has none.
    Listener,
    /// `{request_id}`: the id of the request.
    RequestId,
    /// `{route}`: the name of the route.
    Route,
    /// `{tls.sni}`: the name that the client asked for in TLS.
    TlsServerName,
    /// `{tls.version}`: the version of TLS.
    TlsVersion,
    /// `{path.1}`, `{path.NAME}`: what a group of the route's `path_regex` matched.
    PathGroup(usize),
    /// `{map.NAME}`: the value of a map for the request.
    Map(Arc<Map>),
    /// `{status}`: the status of the response.
    Status,
    /// `{upstream}`: the upstream of the request.
    Upstream,
    /// `{backend}`: the backend of the request, as a URL.
    Backend,
}

/// When a value is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Phase {
    /// As soon as the request's head has been read and its route is known.
    Request,
    /// Once there is a response.
    Response,
}

// === impl Placeholder ===

impl Placeholder {
    /// The names without a family.
    pub const NAMES: &'static [&'static str] = &[
        "host",
        "authority",
        "path",
        "query",
        "method",
        "scheme",
        "client_ip",
        "client_port",
        "listener",
        "request_id",
        "route",
        "tls.sni",
        "tls.version",
        "status",
        "upstream",
        "backend",
    ];

    /// The families of names, each with its dot: `header.` for `{header.x-user}`.
    pub const FAMILIES: &'static [&'static str] = &["header.", "query.", "cookie.", "path.", "map."];

    /// The placeholder of this name.
    ///
    /// # Errors
    /// When there is none, or it is not known in this phase.
    pub fn parse(name: &str, phase: Phase, scope: Scope<'_>) -> Result<Self, TemplateError> {
        let placeholder = Self::named(name, scope)?;
        if placeholder.phase() > phase {
            return Err(TemplateError::TooEarly(name.to_owned()));
        }
        Ok(placeholder)
    }

    fn named(name: &str, scope: Scope<'_>) -> Result<Self, TemplateError> {
        let malformed = |expected| TemplateError::Malformed { name: name.to_owned(), expected };
        Ok(match name {
            "host" => Self::Host,
            "authority" => Self::Authority,
            "path" => Self::Path,
            "query" => Self::Query,
            "method" => Self::Method,
            "scheme" => Self::Scheme,
            "client_ip" => Self::ClientIp,
            "client_port" => Self::ClientPort,
            "listener" => Self::Listener,
            "request_id" => Self::RequestId,
            "route" => Self::Route,
            "tls.sni" => Self::TlsServerName,
            "tls.version" => Self::TlsVersion,
            "status" => Self::Status,
            "upstream" => Self::Upstream,
            "backend" => Self::Backend,
            _ => match name.split_once('.') {
                Some(("header", header)) => match HeaderName::from_bytes(header.as_bytes()) {
                    Ok(header) => Self::Header(header.as_str().into()),
                    Err(_) => return Err(malformed("{header.NAME} with the name of a header")),
                },
                Some(("cookie", cookie)) if !cookie.is_empty() => Self::Cookie(cookie.into()),
                Some(("query", parameter)) if !parameter.is_empty() => Self::QueryValue(parameter.into()),
                Some(("map", map)) => match scope.maps.iter().find(|known| known.name() == map) {
                    Some(map) => Self::Map(map.clone()),
                    None => return Err(malformed("a map of the configuration")),
                },
                Some(("path", group)) => match scope.path_regex {
                    None => return Err(TemplateError::NoPathRegex(name.to_owned())),
                    Some(regex) => match regex.group(group) {
                        Some(group) => Self::PathGroup(group),
                        None => return Err(malformed("a group of the route's path_regex")),
                    },
                },
                _ => return Err(TemplateError::Unknown(name.to_owned())),
            },
        })
    }

    /// When its value is known.
    pub fn phase(&self) -> Phase {
        match self {
            Self::Status | Self::Upstream | Self::Backend => Phase::Response,
            _ => Phase::Request,
        }
    }

    /// Whether its value is a part of a URL that means the same in another one.
    pub(super) fn is_part_of_a_url(&self) -> bool {
        matches!(self, Self::Host | Self::Authority | Self::Query | Self::Scheme | Self::Map(_))
    }

    /// Whether its value is a part of a path, with slashes.
    pub(super) fn is_part_of_a_path(&self) -> bool {
        matches!(self, Self::Path | Self::PathGroup(_) | Self::Map(_))
    }
}
