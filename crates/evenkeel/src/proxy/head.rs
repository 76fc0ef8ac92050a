//! Pingora's heads, as the exchange sees them, and the exchange's edits, as Pingora takes them.

use evenkeel_core::route::RequestParts;
use http::{HeaderMap, HeaderName, HeaderValue, Version, header};
use pingora_core::{Error, ErrorType, OrErr, Result};
use pingora_http::{RequestHeader, ResponseHeader};

use crate::filter::{Edits, HeaderEdit, RequestHead, ResponseHead, host_of, origin_form, path_of, query_of};

/// The head of a request that Pingora parsed.
#[derive(Debug)]
pub(super) struct PingoraRequest<'a> {
    header: &'a RequestHeader,
    target: &'a str,
}

/// The response head that Pingora parsed.
#[derive(Debug)]
pub(super) struct PingoraResponse<'a>(pub(super) &'a ResponseHeader);

// === impl PingoraRequest ===

impl<'a> PingoraRequest<'a> {
    pub(super) fn new(header: &'a RequestHeader) -> Self {
        // The listener lets only ASCII through.
        Self { header, target: std::str::from_utf8(header.raw_path()).unwrap_or_default() }
    }
}

impl RequestParts for PingoraRequest<'_> {
    fn method(&self) -> &str {
        self.header.method.as_str()
    }

    fn host(&self) -> &str {
        host_of(self.authority())
    }

    fn path(&self) -> &str {
        path_of(origin_form(self.target))
    }

    fn query(&self) -> Option<&str> {
        query_of(origin_form(self.target))
    }

    fn header(&self, name: &str) -> Option<&[u8]> {
        self.header.headers.get(name).map(|value| value.as_bytes())
    }
}

impl RequestHead for PingoraRequest<'_> {
    fn each(&self, name: &str, visit: &mut dyn FnMut(&[u8])) {
        self.header.headers.get_all(name).iter().for_each(|value| visit(value.as_bytes()));
    }

    fn target(&self) -> &str {
        self.target
    }

    fn authority(&self) -> &str {
        self.header.headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default()
    }

    fn authority_value(&self) -> Option<HeaderValue> {
        self.header.headers.get(header::HOST).cloned()
    }

    fn is_http_10(&self) -> bool {
        self.header.version == Version::HTTP_10
    }
}

// === impl PingoraResponse ===

impl PingoraResponse<'_> {
    /// The bytes of its fields, as they would be sent.
    pub(super) fn size(&self) -> usize {
        self.0.headers.iter().map(|(name, value)| name.as_str().len() + value.len() + ": \r\n".len()).sum()
    }
}

impl ResponseHead for PingoraResponse<'_> {
    fn status(&self) -> u16 {
        self.0.status.as_u16()
    }

    fn header(&self, name: &str) -> Option<&[u8]> {
        self.0.headers.get(name).map(|value| value.as_bytes())
    }
}

/// Applies edits to a request on its way to a backend.
pub(super) fn edit_request(request: &mut RequestHeader, edits: &Edits) -> Result<()> {
    if let Some(path) = &edits.path {
        let query = PingoraRequest::new(request).query().map(|query| format!("?{query}"));
        let target = format!("{path}{}", query.unwrap_or_default());
        request.set_raw_path(target.as_bytes())?;
    }
    with_fields(request, |fields| {
        for edit in &edits.headers {
            match edit {
                HeaderEdit::Set(name, value) => {
                    fields.insert(name, value.clone());
                }
                HeaderEdit::Add(name, value) => {
                    fields.append(name, value.clone());
                }
                HeaderEdit::Remove(name) => {
                    fields.remove(name);
                }
            }
        }
    })
}

/// Forgets how a request's field names were spelled: Pingora would keep a second map for that, copy it for each attempt, and
/// look each edit up in it. Names mean the same in any case (RFC 9110, 5.1); backends get them in lower case.
///
/// An `Upgrade` that asks for nothing (see [`HeadFacts::upgrade`](crate::exchange::HeadFacts::upgrade)) is removed as well.
pub(super) fn forget_spelling(request: &mut RequestHeader, upgrade: bool) -> Result<()> {
    with_fields(request, |fields| {
        if !upgrade {
            fields.remove(header::UPGRADE);
        }
    })
}

/// Pingora does not give access to the map of fields while it keeps their spelling. A head that is taken apart and put
/// together loses it.
fn with_fields(request: &mut RequestHeader, edit: impl FnOnce(&mut HeaderMap)) -> Result<()> {
    // Only a path comes back from the URI as it was sent.
    let target = request.raw_path();
    let target = (!target.starts_with(b"/")).then(|| target.to_vec());
    let empty = RequestHeader::from(http::Request::new(()).into_parts().0);
    let mut parts = http::request::Parts::from(std::mem::replace(request, empty));
    edit(&mut parts.headers);
    *request = RequestHeader::from(parts);
    match target {
        Some(target) => request.set_raw_path(&target),
        None => Ok(()),
    }
}

/// Applies edits to a response on its way to the client.
pub(super) fn edit_response(response: &mut ResponseHeader, edits: Edits) -> Result<()> {
    for edit in edits.headers {
        match edit {
            HeaderEdit::Set(name, value) => response.insert_header(name, value)?,
            HeaderEdit::Add(name, value) => {
                response.append_header(name, value)?;
            }
            HeaderEdit::Remove(name) => {
                response.remove_header(&name);
            }
        }
    }
    Ok(())
}

/// Takes out the fields that are for one hop only: those that `Connection` names, and those that always are (RFC 9110,
/// 7.6.1). Pingora does that for requests, and writes a `Connection` of its own.
pub(super) fn remove_hop_fields(response: &mut ResponseHeader) {
    const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
    const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
    if response.headers.contains_key(header::CONNECTION) {
        remove_nominated(response);
    }
    for name in [KEEP_ALIVE, PROXY_CONNECTION] {
        response.remove_header(&name);
    }
}

fn remove_nominated(response: &mut ResponseHeader) {
    let named: Vec<HeaderName> = response
        .headers
        .get_all(header::CONNECTION)
        .iter()
        .flat_map(|value| value.as_bytes().split(|&byte| byte == b','))
        .filter_map(|name| HeaderName::from_bytes(name.trim_ascii()).ok())
        // The framing is not a backend's to hide.
        .filter(|name| *name != header::CONTENT_LENGTH && *name != header::TRANSFER_ENCODING)
        .collect();
    for name in named {
        response.remove_header(&name);
    }
    response.remove_header(&header::CONNECTION);
}

/// An empty response head with this status.
pub(super) fn response(status: u16, fields: usize) -> Result<ResponseHeader> {
    let header = ResponseHeader::build_no_case(status, Some(fields));
    header.or_err(ErrorType::InternalError, "status").map_err(Error::into_in)
}
