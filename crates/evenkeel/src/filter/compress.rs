//! `compress`: which responses are compressed, and how. The data path does it.
//!
//! The choice of a coding follows RFC 9110, 12.5.3. It never sees a body.

use evenkeel_http::message::{Coding, Compression, RequestHead, Version};
use http::header::{ACCEPT_ENCODING, ACCEPT_RANGES, CONTENT_ENCODING, ETAG, HeaderName, HeaderValue, VARY};
use schemars::JsonSchema;
use serde::Deserialize;

use super::registry::{FilterError, FilterKind};
use super::{BuildContext, Filter, HeaderEdit, Request, Response, Verdict};

/// Which responses of backends are compressed.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, expecting = "a map, like {} or { algorithms: [br, gzip] }")]
pub struct CompressParams {
    /// `zstd`, `br` and `gzip`, the preferred one first. It counts among those that the client likes equally.
    pub algorithms: Vec<String>,
    /// Content types, without parameters. `text/*` stands for all of them. Not types that are compressed already.
    pub types: Vec<String>,
    /// The smallest body that is compressed, in bytes, if its length is known.
    pub min_size: u64,
    /// The level of gzip, 1 to 9.
    #[schemars(range(min = 1, max = 9))]
    pub gzip_level: u32,
    /// The quality of Brotli, 1 to 11. Above 5 it is too slow for responses that are made for each request.
    #[schemars(range(min = 1, max = 11))]
    pub br_level: u32,
    /// The level of Zstandard, 1 to 19.
    #[schemars(range(min = 1, max = 19))]
    pub zstd_level: u32,
}

/// Compresses responses of backends.
#[derive(Debug)]
pub struct CompressFilter {
    /// The preferred one first, with its level.
    codings: Vec<(Coding, u32)>,
    types: Vec<String>,
    min_size: u64,
}

/// What a client takes best.
#[derive(Clone, Copy, Debug)]
struct Accepted(Coding, u32);

impl Default for CompressParams {
    fn default() -> Self {
        let types = [
            "text/*",
            "application/javascript",
            "application/json",
            "application/ld+json",
            "application/manifest+json",
            "application/rss+xml",
            "application/wasm",
            "application/xhtml+xml",
            "application/xml",
            "image/svg+xml",
        ];
        Self {
            algorithms: ["zstd", "br", "gzip"].map(str::to_owned).to_vec(),
            types: types.map(str::to_owned).to_vec(),
            min_size: 1024,
            gzip_level: 5,
            br_level: 4,
            zstd_level: 3,
        }
    }
}

// === impl CompressFilter ===

impl CompressFilter {
    /// What the client likes best; of several, what is preferred here.
    fn choose(&self, head: &dyn RequestHead) -> Option<(Coding, u32)> {
        let mut text = String::new();
        head.each("accept-encoding", &mut |value| {
            text.push_str(&String::from_utf8_lossy(value));
            text.push(',');
        });
        let mut best: Option<(u16, (Coding, u32))> = None;
        for (coding, level) in &self.codings {
            let quality = quality(&text, coding.name());
            if quality > best.map_or(0, |(best, _)| best) {
                best = Some((quality, (*coding, *level)));
            }
        }
        best.map(|(_, chosen)| chosen)
    }

    /// Whether a response of this type may be compressed.
    fn has_type(&self, content_type: &[u8]) -> bool {
        let Ok(content_type) = std::str::from_utf8(content_type) else { return false };
        let name = content_type.split(';').next().unwrap_or_default().trim();
        self.types.iter().any(|known| match known.strip_suffix("/*") {
            Some(known) => name.split_once('/').is_some_and(|(kind, _)| kind.eq_ignore_ascii_case(known)),
            None => name.eq_ignore_ascii_case(known),
        })
    }

    /// Whether the body of this response may be compressed for clients that accept it.
    fn fits(&self, response: &Response<'_>) -> bool {
        let head = response.head;
        // A part of a body is a part of what was not compressed; and these have no body.
        let has_body = head.status() >= 200 && !matches!(head.status(), 204..=206 | 304);
        let is_encoded = head.header("content-encoding").is_some() || head.header("content-range").is_some();
        let mut is_fixed = false;
        head.each("cache-control", &mut |value| {
            let options = value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
            is_fixed |= options.into_iter().any(|option| option.eq_ignore_ascii_case(b"no-transform"));
        });
        let length = head
            .header("content-length")
            .and_then(|length| std::str::from_utf8(length).ok()?.parse::<u64>().ok());
        has_body
            && !is_encoded
            && !is_fixed
            && length.is_none_or(|length| length >= self.min_size)
            && head.header("content-type").is_some_and(|content_type| self.has_type(content_type))
    }
}

impl Filter for CompressFilter {
    fn on_request(&self, request: &mut Request<'_>) -> Verdict {
        // HTTP/1.0 knows no chunks, and a response to HEAD has no body.
        let can_have = request.head.version() != Version::Http10 && request.head.method() != "HEAD";
        if can_have && let Some((coding, level)) = self.choose(request.head) {
            request.explain(|| format!("the client accepts {}", coding.name()));
            request.state.set(Accepted(coding, level));
            request.edits.transform_response();
        }
        Verdict::Continue
    }

    fn on_response(&self, response: &mut Response<'_>) {
        if !response.is_of_backend() || !self.fits(response) {
            return;
        }
        if !varies(response) {
            let name = HeaderValue::from_name(ACCEPT_ENCODING);
            response.edits.danger_push(HeaderEdit::Add(VARY, name));
        }
        let Some(Accepted(coding, level)) = response.state.get().copied() else { return };
        response.edits.danger_set(CONTENT_ENCODING, HeaderValue::from_static(coding.name()));
        for name in [ACCEPT_RANGES, HeaderName::from_static("content-md5"), HeaderName::from_static("digest")]
        {
            if response.head.header(name.as_str()).is_some() {
                response.edits.danger_push(HeaderEdit::Remove(name));
            }
        }
        if let Some(tag) = response.head.header("etag")
            && !tag.starts_with(b"W/")
        {
            // The bytes are others now (RFC 9110, 8.8.1).
            match HeaderValue::from_bytes(&[b"W/", tag].concat()) {
                Ok(weak) if tag.starts_with(b"\"") => response.edits.danger_set(ETAG, weak),
                _ => response.edits.danger_push(HeaderEdit::Remove(ETAG)),
            }
        }
        // A backend that sends a body piece by piece wants the pieces to arrive.
        let flushes = response.head.header("content-length").is_none();
        response.edits.compress(Compression { coding, level, flushes });
    }
}

/// Whether a response already says that it depends on what the client accepts.
fn varies(response: &Response<'_>) -> bool {
    let mut varies = false;
    response.head.each("vary", &mut |value| {
        let names = value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
        varies |= names.into_iter().any(|name| name == b"*" || name.eq_ignore_ascii_case(b"accept-encoding"));
    });
    varies
}

/// How much a client likes a coding, in thousandths; 0 if it does not accept it.
fn quality(accept: &str, coding: &str) -> u16 {
    let mut any = 0;
    for item in accept.split(',') {
        let mut parts = item.split(';').map(str::trim);
        let name = parts.next().unwrap_or_default();
        let weight = parts.find_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q=")));
        let weight = weight.map_or(1000, thousandths);
        if name.eq_ignore_ascii_case(coding) {
            return weight;
        }
        if name == "*" {
            any = weight;
        }
    }
    any
}

/// A weight as written: `0.5` is 500. What is none is 0.
fn thousandths(text: &str) -> u16 {
    match text.parse::<f32>() {
        Ok(weight) if (0.0..=1.0).contains(&weight) => (weight * 1000.0) as u16,
        _ => 0,
    }
}

impl FilterKind for CompressFilter {
    const NAME: &'static str = "compress";
    const EXAMPLE: &'static str = "compress: { algorithms: [br, gzip], min_size: 1024 }";
    const DOC: &'static str = "Compresses responses of backends for clients that accept it: by type and size, unless they are compressed already, \
                               are a part of a body, or have `Cache-Control: no-transform`. A strong `ETag` becomes weak, and `Vary` names \
                               `Accept-Encoding`. Such requests use Pingora's lane.";
    type Params = CompressParams;

    fn new(params: CompressParams, _: &BuildContext<'_>) -> Result<Self, FilterError> {
        let levels = [
            (Coding::Gzip, "gzip_level", params.gzip_level, 9),
            (Coding::Brotli, "br_level", params.br_level, 11),
            (Coding::Zstd, "zstd_level", params.zstd_level, 19),
        ];
        for (_, key, level, most) in levels {
            if !(1..=most).contains(&level) {
                return Err(FilterError::new(key, format!("a number from 1 to {most}")));
            }
        }
        let codings = params.algorithms.iter().enumerate().map(|(at, name)| {
            let known = levels.into_iter().find(|(coding, ..)| coding.name() == name);
            let expected = || FilterError::new(format!("algorithms[{at}]"), "zstd, br or gzip");
            known.map(|(coding, _, level, _)| (coding, level)).ok_or_else(expected)
        });
        let codings = codings.collect::<Result<Vec<_>, _>>()?;
        if codings.is_empty() {
            return Err(FilterError::new("algorithms", "at least one of zstd, br and gzip"));
        }
        if let Some(at) =
            params.types.iter().position(|name| name.split('/').filter(|part| !part.is_empty()).count() != 2)
        {
            return Err(FilterError::new(
                format!("types[{at}]"),
                "a content type, like application/json or text/*",
            ));
        }
        Ok(Self { codings, types: params.types, min_size: params.min_size })
    }
}

#[cfg(test)]
mod tests {
    use super::quality;

    #[test]
    fn the_weight_of_a_coding_is_read() {
        for (accept, gzip, br) in [
            ("", 0, 0),
            ("gzip", 1000, 0),
            ("gzip, br;q=0.5", 1000, 500),
            ("GZIP;Q=0.2,,br ; q=1", 200, 1000),
            ("*", 1000, 1000),
            ("gzip;q=0, *;q=0.1", 0, 100),
            ("*;q=0, br", 0, 1000),
            ("gzip;q=2, br;q=x", 0, 0),
            ("x-gzip, brr", 0, 0),
            ("identity", 0, 0),
        ] {
            assert_eq!((quality(accept, "gzip"), quality(accept, "br")), (gzip, br), "{accept}");
        }
    }
}
