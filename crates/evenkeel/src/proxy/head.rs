//! Pingora's heads, as the exchange sees them, and the exchange's edits, as Pingora takes them. Requests come with their
//! edits made: the listener wrote their heads.

use evenkeel_http::message::{Edits, HeaderEdit, ResponseHead, can_be_nominated, is_for_one_hop};
use http::{HeaderName, header};
use pingora_core::{Error, ErrorType, OrErr, Result};
use pingora_http::{RequestHeader, ResponseHeader};

/// The response head that Pingora parsed.
#[derive(Debug)]
pub(super) struct PingoraResponse<'a>(pub(super) &'a ResponseHeader);

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

    fn each(&self, name: &str, visit: &mut dyn FnMut(&[u8])) {
        self.0.headers.get_all(name).iter().for_each(|value| visit(value.as_bytes()));
    }
}

/// Forgets how a request's field names were spelled: Pingora would keep a second map for that, copy it for each attempt, and
/// look each change up in it. Names mean the same in any case (RFC 9110, 5.1); backends get them in lower case.
///
/// Taken apart and put together, a head keeps no spelling.
pub(super) fn forget_spelling(request: &mut RequestHeader) -> Result<()> {
    // Only a path comes back from the URI as it was sent.
    let target = request.raw_path();
    let target = (!target.starts_with(b"/")).then(|| target.to_vec());
    let empty = RequestHeader::from(http::Request::new(()).into_parts().0);
    let parts = http::request::Parts::from(std::mem::replace(request, empty));
    *request = RequestHeader::from(parts);
    match target {
        Some(target) => request.set_raw_path(&target),
        None => Ok(()),
    }
}

/// Applies edits to a response on its way to the client.
pub(super) fn edit_response(response: &mut ResponseHeader, edits: Edits) -> Result<()> {
    for edit in edits.into_headers() {
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

/// Whether a response of a backend is one by the rules of both lanes: its status is in range, and its framing leaves no doubt.
/// Pingora takes more.
pub(super) fn is_sound(response: &ResponseHeader) -> bool {
    let all = |name: HeaderName| response.headers.get_all(name).into_iter();
    let is_chunked = |value: &http::HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"chunked");
    let is_number =
        |value: &http::HeaderValue| !value.is_empty() && value.as_bytes().iter().all(u8::is_ascii_digit);
    let (lengths, codings) = (all(header::CONTENT_LENGTH).count(), all(header::TRANSFER_ENCODING).count());
    (100..600).contains(&response.status.as_u16())
        && lengths + codings <= 1
        && all(header::TRANSFER_ENCODING).all(is_chunked)
        && all(header::CONTENT_LENGTH).all(is_number)
}

/// Writes what frames a response as both lanes do: nothing where there never is a body (RFC 9110, 8.6; RFC 9112, 6.1), and
/// else a length without leading zeros.
pub(super) fn write_framing(response: &mut ResponseHeader) -> Result<()> {
    if response.status.is_informational() || response.status == http::StatusCode::NO_CONTENT {
        response.remove_header(&header::CONTENT_LENGTH);
        response.remove_header(&header::TRANSFER_ENCODING);
    }
    let length = response.headers.get(header::CONTENT_LENGTH).map(|value| value.as_bytes());
    if let Some([b'0', _, ..]) = length
        && let Some(number) = length.and_then(|text| std::str::from_utf8(text).ok()?.parse::<u64>().ok())
    {
        response.insert_header(header::CONTENT_LENGTH, number)?;
    }
    Ok(())
}

/// Takes out the fields that are for one hop only: those that `Connection` names, and those that always are (RFC 9110,
/// 7.6.1). Pingora does that for requests, and writes a `Connection` of its own.
pub(super) fn remove_hop_fields(response: &mut ResponseHeader) {
    if response.headers.contains_key(header::CONNECTION) {
        remove_nominated(response);
    }
    // Which protocols there are is for the client to know (RFC 9110, 15.5.22); Pingora reads the framing from its field.
    let offers_upgrade = response.status == http::StatusCode::UPGRADE_REQUIRED;
    let stays =
        |name: &HeaderName| *name == header::TRANSFER_ENCODING || offers_upgrade && *name == header::UPGRADE;
    let ends_here = |name: &&HeaderName| is_for_one_hop(name.as_str().as_bytes()) && !stays(name);
    let names: Vec<HeaderName> = response.headers.keys().filter(ends_here).cloned().collect();
    for name in names {
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
        .filter(|name| {
            let name = name.as_str().as_bytes();
            // What becomes of fields that are for one hop does not depend on `Connection`.
            can_be_nominated(name) && !is_for_one_hop(name)
        })
        .collect();
    for name in named {
        response.remove_header(&name);
    }
}

/// An empty response head with this status.
pub(super) fn response(status: u16, fields: usize) -> Result<ResponseHeader> {
    let header = ResponseHeader::build_no_case(status, Some(fields));
    header.or_err(ErrorType::InternalError, "status").map_err(Error::into_in)
}
