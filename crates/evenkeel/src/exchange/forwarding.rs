//! What is sent to a backend about the client.
//!
//! Whatever an untrusted peer says about itself is replaced, never added to.

use http::{HeaderName, HeaderValue, header};

use super::client::ClientAddress;
use super::connection::Connection;
use super::table::Table;
use crate::filter::{Edits, RequestHead};

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Fields by which a client could pretend to be another one, and that the balancer does not set itself.
const SPOOFABLE: [HeaderName; 7] = [
    header::FORWARDED,
    HeaderName::from_static("x-real-ip"),
    HeaderName::from_static("x-forwarded"),
    HeaderName::from_static("x-forwarded-port"),
    HeaderName::from_static("x-forwarded-prefix"),
    HeaderName::from_static("x-forwarded-server"),
    HeaderName::from_static("x-forwarded-ssl"),
];

/// How many edits there usually are, those of a filter or two among them.
const USUAL: usize = 8;

/// Who asks whom, in one request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hop<'a> {
    pub(super) connection: &'a Connection,
    pub(super) client: ClientAddress,
    pub(super) head: &'a dyn RequestHead,
    /// Whether the head has any field of this module: most have none, and need no search.
    pub(super) claims: bool,
}

/// Writes the edits that tell a backend who the client is.
pub(super) fn write(table: &Table, hop: Hop<'_>, request_id: Option<HeaderValue>, edits: &mut Edits) {
    let trusted = hop.client.peer_trusted;
    edits.headers.reserve(USUAL);
    if hop.claims && !trusted {
        for name in SPOOFABLE {
            if hop.head.header(name.as_str()).is_some() {
                edits.remove(name);
            }
        }
    }
    let given = |name: &str| hop.claims && trusted && hop.head.header(name).is_some();
    match &hop.connection.peer_text {
        Some(peer) if given("x-forwarded-for") => {
            edits.set(X_FORWARDED_FOR, chain(hop.head, "x-forwarded-for", peer.as_bytes()));
        }
        Some(peer) => edits.set(X_FORWARDED_FOR, peer.clone()),
        None if hop.claims => edits.remove(X_FORWARDED_FOR),
        None => {}
    }
    if !given("x-forwarded-proto") {
        edits.set(X_FORWARDED_PROTO, HeaderValue::from_static(scheme(hop.connection)));
    }
    if !given("x-forwarded-host")
        && let Some(host) = hop.head.authority_value()
    {
        edits.set(X_FORWARDED_HOST, host);
    }
    if let Some(id) = request_id {
        edits.set(X_REQUEST_ID, id);
    }
    if table.forwarding.forwarded {
        let element = forwarded_element(&hop);
        let value = match given("forwarded") {
            true => chain(hop.head, "forwarded", element.as_bytes()),
            false => HeaderValue::from_str(&element).unwrap_or(HeaderValue::from_static("for=unknown")),
        };
        edits.set(header::FORWARDED, value);
    }
    if let Some(via) = &table.forwarding.via {
        let version = if hop.head.is_http_10() { "1.0" } else { "1.1" };
        let element = format!("{version} {via}");
        edits.set(header::VIA, chain(hop.head, "via", element.as_bytes()));
    }
}

/// `Via` for a response: its previous value, and us.
pub(super) fn via(given: Option<&[u8]>, pseudonym: &str) -> Option<HeaderValue> {
    let mut value = given.map(<[u8]>::to_vec).unwrap_or_default();
    if !value.is_empty() {
        value.extend_from_slice(b", ");
    }
    value.extend_from_slice(b"1.1 ");
    value.extend_from_slice(pseudonym.as_bytes());
    HeaderValue::from_bytes(&value).ok()
}

/// The id that a trusted proxy gave the request, if it is one that can go into logs and fields.
pub(super) fn given_request_id(head: &dyn RequestHead) -> Option<Box<str>> {
    let id = std::str::from_utf8(head.header("x-request-id")?).ok()?;
    let sane = (1..=128).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_graphic() && b != b'"');
    sane.then(|| id.into())
}

/// Every value of the field so far, and one more.
fn chain(head: &dyn RequestHead, name: &str, last: &[u8]) -> HeaderValue {
    let mut value = Vec::with_capacity(64);
    head.each(name, &mut |given| {
        value.extend_from_slice(given);
        value.extend_from_slice(b", ");
    });
    value.extend_from_slice(last);
    HeaderValue::from_bytes(&value).unwrap_or(HeaderValue::from_static("unknown"))
}

/// One element of `Forwarded` (RFC 7239, 4).
fn forwarded_element(hop: &Hop<'_>) -> String {
    let node = match hop.connection.peer.map(|peer| peer.ip()) {
        Some(std::net::IpAddr::V6(ip)) => format!("\"[{ip}]\""),
        Some(ip) => ip.to_string(),
        None => "unknown".to_owned(),
    };
    let host = hop.head.authority().replace(['"', '\\'], "");
    format!("for={node};host=\"{host}\";proto={}", scheme(hop.connection))
}

fn scheme(connection: &Connection) -> &'static str {
    if connection.tls { "https" } else { "http" }
}
