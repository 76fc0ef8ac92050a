//! The live page: three files in the binary, which show what `/status` says and send commands to `/v1/`.
//!
//! It contains no figures, so a browser gets it without a token. Its script asks for the token and sends it with each request.

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{ACCEPT, HeaderMap, HeaderValue, REFERRER_POLICY, VARY};
use hyper::{Response, StatusCode};

use super::reply;

const HTML: &str = include_str!("page/index.html");
const SCRIPT: &str = include_str!("page/page.js");
const STYLE: &str = include_str!("page/page.css");

/// Nothing but what comes from this address, no script in the page itself, and no other page around it.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// A file of the page, if this path is one. `/` is the page for a client that wants HTML, as browsers do.
pub(super) fn file(path: &str, headers: &HeaderMap) -> Option<Response<Full<Bytes>>> {
    let (kind, text) = match path {
        "/" if wants_html(headers) => ("text/html; charset=utf-8", HTML),
        "/page.js" => ("text/javascript; charset=utf-8", SCRIPT),
        "/page.css" => ("text/css; charset=utf-8", STYLE),
        _ => return None,
    };
    let mut response = reply(StatusCode::OK, kind, text);
    let fields = response.headers_mut();
    fields.insert("content-security-policy", HeaderValue::from_static(POLICY));
    fields.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    fields.insert(VARY, HeaderValue::from_static("accept"));
    Some(response)
}

fn wants_html(headers: &HeaderMap) -> bool {
    headers.get_all(ACCEPT).iter().any(|value| value.to_str().is_ok_and(|value| value.contains("text/html")))
}
