//! What is sent to a backend about the client.
//!
//! Whatever an untrusted peer says about itself is replaced, never added to.

use evenkeel_http::message::{Edits, HeaderEdit, RequestHead};
use http::{HeaderName, HeaderValue, header};

use super::client::{AddressSource, ClientAddress, hops_of_forwarded, host_of_forwarded};
use super::connection::Connection;
use super::table::Table;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_CLIENT_CERT: HeaderName = HeaderName::from_static("x-forwarded-client-cert");
const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

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
    edits.reserve(USUAL);
    edits.hide_claims(hop.claims && !trusted);
    let given = |name: &str| hop.claims && trusted && hop.head.header(name).is_some();
    write_client(&hop, edits);
    if !given("x-forwarded-proto") {
        let proto = match hop.client.source {
            AddressSource::Forwarded { proto: Some(proto) } => proto,
            _ => scheme(hop.connection),
        };
        edits.danger_set(X_FORWARDED_PROTO, HeaderValue::from_static(proto));
    }
    if !given("x-forwarded-host")
        && let Some(host) = host(table, &hop)
    {
        edits.danger_set(X_FORWARDED_HOST, host);
    }
    if let Some(id) = request_id {
        edits.danger_set(X_REQUEST_ID, id);
    }
    if let Some(client) = hop.connection.agreed().and_then(|agreed| agreed.client.as_ref()) {
        edits.danger_set(X_FORWARDED_CLIENT_CERT, client.forwarded.clone());
    }
    let is_contradicted = hop.client.source == AddressSource::XForwardedFor { contradicted: true };
    if is_contradicted {
        edits.danger_push(HeaderEdit::Remove(header::FORWARDED));
    }
    if table.forwarding.forwarded {
        let element = forwarded_element(&hop);
        let value = match given("forwarded") && !is_contradicted {
            true => chain(hop.head, "forwarded", element.as_bytes()),
            false => HeaderValue::from_str(&element).unwrap_or(HeaderValue::from_static("for=unknown")),
        };
        edits.danger_set(header::FORWARDED, value);
    }
    if let Some(via) = &table.forwarding.via {
        let element = format!("{} {via}", hop.head.version().number());
        edits.danger_set(header::VIA, chain(hop.head, "via", element.as_bytes()));
    }
}

/// The host that the client asked for: as a trusted peer tells it in `Forwarded`, or as we were asked.
fn host(table: &Table, hop: &Hop<'_>) -> Option<HeaderValue> {
    let told = match hop.client.source {
        AddressSource::Forwarded { .. } => {
            host_of_forwarded(table, hop.connection.peer.map(|peer| peer.ip()), hop.head)
        }
        _ => None,
    };
    told.and_then(|host| HeaderValue::from_str(&host).ok()).or_else(|| hop.head.authority_value())
}

/// Writes `X-Forwarded-For`: the hops that a trusted peer told of, in whichever header, and the peer.
fn write_client(hop: &Hop<'_>, edits: &mut Edits) {
    let peer = hop.connection.peer_text.as_ref();
    match hop.client.source {
        AddressSource::Peer => {
            if let Some(peer) = peer {
                edits.danger_set(X_FORWARDED_FOR, peer.clone());
            }
        }
        AddressSource::XForwardedFor { .. } => {
            // A peer on a Unix socket has no address to add.
            if let Some(peer) = peer {
                edits.danger_set(X_FORWARDED_FOR, chain(hop.head, "x-forwarded-for", peer.as_bytes()));
            }
        }
        AddressSource::Forwarded { .. } => {
            let mut hops = hops_of_forwarded(hop.head);
            if let Some(peer) = peer.and_then(|peer| peer.to_str().ok()) {
                hops.push_str(", ");
                hops.push_str(peer);
            }
            edits.danger_set(
                X_FORWARDED_FOR,
                HeaderValue::from_str(&hops).unwrap_or(HeaderValue::from_static("unknown")),
            );
        }
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
    if connection.is_tls() { "https" } else { "http" }
}
