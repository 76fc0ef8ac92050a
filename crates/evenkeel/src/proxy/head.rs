//! Pingora's heads, as the exchange sees them, and the exchange's edits, as Pingora takes them.

use evenkeel_core::route::RequestParts;
use http::{Version, header};
use pingora_core::{Error, ErrorType, OrErr, Result};
use pingora_http::{RequestHeader, ResponseHeader};

use crate::filter::{Edits, HeaderEdit, RequestHead, ResponseHead};

/// The head of a request that Pingora parsed.
#[derive(Debug)]
pub(super) struct PingoraRequest<'a> {
    header: &'a RequestHeader,
    target: &'a str,
}

/// The head of an answer that Pingora parsed.
#[derive(Debug)]
pub(super) struct PingoraResponse<'a>(pub(super) &'a ResponseHeader);

// === impl PingoraRequest ===

impl<'a> PingoraRequest<'a> {
    pub(super) fn new(header: &'a RequestHeader) -> Self {
        // The listener lets only ASCII through.
        Self { header, target: std::str::from_utf8(header.raw_path()).unwrap_or_default() }
    }

    /// The target in origin form: what follows the authority of an absolute one.
    fn origin_form(&self) -> &'a str {
        match self.target.split_once("://") {
            Some((_, rest)) if !self.target.starts_with('/') => {
                rest.find(['/', '?']).and_then(|at| rest.get(at..)).unwrap_or("/")
            }
            _ => self.target,
        }
    }
}

impl RequestParts for PingoraRequest<'_> {
    fn method(&self) -> &str {
        self.header.method.as_str()
    }

    fn host(&self) -> &str {
        let authority = self.authority();
        match authority.rfind(':') {
            // The last colon of a bare IPv6 literal is inside its brackets.
            Some(at) if !authority.ends_with(']') => authority.get(..at).unwrap_or(authority),
            _ => authority,
        }
    }

    fn path(&self) -> &str {
        let target = self.origin_form();
        match target.split_once('?').map_or(target, |(path, _)| path) {
            // `http://host?query` has an empty path, which means the root (RFC 9110, 4.2.3).
            "" => "/",
            path => path,
        }
    }

    fn query(&self) -> Option<&str> {
        self.origin_form().split_once('?').map(|(_, query)| query)
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

    fn is_http_10(&self) -> bool {
        self.header.version == Version::HTTP_10
    }
}

// === impl PingoraResponse ===

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
    for edit in &edits.headers {
        match edit {
            HeaderEdit::Set(name, value) => request.insert_header(name.clone(), value.clone())?,
            HeaderEdit::Add(name, value) => {
                request.append_header(name.clone(), value.clone())?;
            }
            HeaderEdit::Remove(name) => {
                request.remove_header(name);
            }
        }
    }
    Ok(())
}

/// Applies edits to an answer on its way to the client.
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
    let named: Vec<http::HeaderName> = response
        .headers
        .get_all(header::CONNECTION)
        .iter()
        .flat_map(|value| value.as_bytes().split(|&byte| byte == b','))
        .filter_map(|name| http::HeaderName::from_bytes(name.trim_ascii()).ok())
        // The framing is not a backend's to hide.
        .filter(|name| *name != header::CONTENT_LENGTH && *name != header::TRANSFER_ENCODING)
        .collect();
    for name in named {
        response.remove_header(&name);
    }
    for name in ["connection", "keep-alive", "proxy-connection"] {
        response.remove_header(name);
    }
}

/// An empty head of an answer with this status.
pub(super) fn response(status: u16, fields: usize) -> Result<ResponseHeader> {
    let header = ResponseHeader::build_no_case(status, Some(fields));
    header.or_err(ErrorType::InternalError, "status").map_err(Error::into_in)
}
