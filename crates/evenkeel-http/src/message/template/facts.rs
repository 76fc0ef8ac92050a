//! What the values of placeholders are taken from.

use std::io::Write;
use std::net::IpAddr;

use evenkeel_core::route::{TextRegex, query_decoded, query_parameter};

use super::Placeholder;
use crate::message::{RequestHead, RequestId, cookie};

/// What is known where a template is filled. What is not known leaves its placeholders empty.
#[derive(Clone, Copy, Debug, Default)]
pub struct Facts<'a> {
    /// The request.
    pub request: Option<&'a RequestFacts<'a>>,
    /// The response.
    pub response: Option<ResponseFacts<'a>>,
}

/// What is known of a request.
#[derive(Clone, Copy, Debug)]
pub struct RequestFacts<'a> {
    /// Its head, as routes and filters see it.
    pub head: &'a dyn RequestHead,
    /// Its path: the one in the head, or the result of the filters so far.
    pub path: &'a str,
    /// The client's address.
    pub client: Option<IpAddr>,
    /// The name of its route.
    pub route: &'a str,
    /// What the route asks of the path, if that is an expression.
    pub path_regex: Option<&'a TextRegex>,
    /// How it came.
    pub arrival: Arrival<'a>,
}

/// How a request came to the balancer.
#[derive(Clone, Copy, Debug, Default)]
pub struct Arrival<'a> {
    /// The name of the listener, or its address if it has none.
    pub listener: &'a str,
    /// Whether the client uses HTTPS: with the balancer, or with a trusted proxy in front of it.
    pub https: bool,
    /// The client's port, if the client is the peer of the connection.
    pub client_port: Option<u16>,
    /// The version of TLS.
    pub tls_version: Option<&'a str>,
    /// The name that the client asked for in TLS (SNI).
    pub server_name: Option<&'a str>,
    /// What the request is called.
    pub request_id: Option<&'a RequestId>,
}

/// What is known of a response.
#[derive(Clone, Copy, Debug, Default)]
pub struct ResponseFacts<'a> {
    /// Its status.
    pub status: u16,
    /// The upstream of the request, if it has one.
    pub upstream: Option<&'a str>,
    /// The backend that the response is from, or that was tried last.
    pub backend: Option<&'a str>,
}

// === impl Facts ===

impl Facts<'_> {
    /// Calls `write` with the pieces of a value, in order; not at all if it is not known.
    pub(super) fn visit(&self, placeholder: &Placeholder, write: &mut dyn FnMut(&[u8])) {
        match placeholder {
            Placeholder::Status => {
                if let Some(response) = self.response {
                    number(response.status.into(), write);
                }
            }
            Placeholder::Upstream => text(self.response.and_then(|response| response.upstream), write),
            Placeholder::Backend => text(self.response.and_then(|response| response.backend), write),
            _ => {
                if let Some(request) = self.request {
                    request.visit(placeholder, write);
                }
            }
        }
    }
}

// === impl RequestFacts ===

impl RequestFacts<'_> {
    fn visit(&self, placeholder: &Placeholder, write: &mut dyn FnMut(&[u8])) {
        let head = self.head;
        match placeholder {
            Placeholder::Host => write(head.host().as_bytes()),
            Placeholder::Authority => write(head.authority().as_bytes()),
            // The target `*` is the whole server.
            Placeholder::Path if !self.path.starts_with('/') => write(b"/"),
            Placeholder::Path => write(self.path.as_bytes()),
            Placeholder::Query => {
                if let Some(query) = head.query() {
                    write(b"?");
                    write(query.as_bytes());
                }
            }
            Placeholder::QueryValue(name) => {
                if let Some(value) = head.query().and_then(|query| query_parameter(query, name)) {
                    write(&query_decoded(value).collect::<Vec<u8>>());
                }
            }
            Placeholder::Header(name) => {
                let separator: &[u8] = if &**name == "cookie" { b"; " } else { b", " };
                let mut first = true;
                head.each(name, &mut |value| {
                    if !std::mem::take(&mut first) {
                        write(separator);
                    }
                    write(value);
                });
            }
            Placeholder::Cookie(name) => {
                if let Some(value) = cookie(head, name, <[u8]>::to_vec) {
                    write(&value);
                }
            }
            Placeholder::PathGroup(group) => {
                text(self.path_regex.and_then(|regex| regex.capture(head.path(), *group)), write);
            }
            Placeholder::Map(map) => write(map.value(self)),
            _ => self.visit_arrival(placeholder, write),
        }
    }

    /// The values that are not of the head.
    fn visit_arrival(&self, placeholder: &Placeholder, write: &mut dyn FnMut(&[u8])) {
        let arrival = &self.arrival;
        match placeholder {
            Placeholder::Method => write(self.head.method().as_bytes()),
            Placeholder::Scheme => write(if arrival.https { b"https" } else { b"http" }),
            Placeholder::ClientIp => {
                if let Some(client) = self.client {
                    display(&client, write);
                }
            }
            Placeholder::ClientPort => {
                if let Some(port) = arrival.client_port {
                    number(port.into(), write);
                }
            }
            Placeholder::RequestId => {
                if let Some(id) = arrival.request_id {
                    display(id, write);
                }
            }
            Placeholder::Listener => write(arrival.listener.as_bytes()),
            Placeholder::Route => write(self.route.as_bytes()),
            Placeholder::TlsServerName => text(arrival.server_name, write),
            Placeholder::TlsVersion => text(arrival.tls_version, write),
            _ => {}
        }
    }
}

fn text(value: Option<&str>, write: &mut dyn FnMut(&[u8])) {
    if let Some(value) = value {
        write(value.as_bytes());
    }
}

fn number(value: u64, write: &mut dyn FnMut(&[u8])) {
    display(&value, write);
}

/// Writes a value that is short, without allocating.
fn display(value: &dyn std::fmt::Display, write: &mut dyn FnMut(&[u8])) {
    // No address and no identifier is longer.
    let mut buffer = [0; 128];
    let mut rest = &mut buffer[..];
    if write!(rest, "{value}").is_ok() {
        let length = 128 - rest.len();
        write(buffer.get(..length).unwrap_or_default());
    }
}
