//! `request_headers` and `response_headers`: set, add and remove fields.

use std::collections::BTreeMap;

use evenkeel_config::{Foreign, Strictness, own_text};
use evenkeel_http::message::{EditError, HeaderEdit};
use http::{HeaderName, HeaderValue};
use schemars::JsonSchema;
use serde::Deserialize;

use super::registry::{FilterError, FilterKind};
use super::{BuildContext, Filter, Request, Response, Verdict};

/// Changes to the fields of a head: first `remove`, then `set`, then `add`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct HeaderParams {
    /// Fields to set to one value, replacing all of their values.
    pub set: BTreeMap<String, String>,
    /// Fields to add one more value to.
    pub add: BTreeMap<String, String>,
    /// Fields to remove.
    pub remove: Vec<String>,
}

/// Changes fields of the request before it goes to a backend.
#[derive(Debug)]
pub struct RequestHeaders(Vec<HeaderEdit>);

/// Changes fields of the response before it goes to the client.
#[derive(Debug)]
pub struct ResponseHeaders(Vec<HeaderEdit>);

impl HeaderParams {
    fn edits(self) -> Result<Vec<HeaderEdit>, FilterError> {
        let mut edits = Vec::with_capacity(self.remove.len() + self.set.len() + self.add.len());
        for (at, name) in self.remove.iter().enumerate() {
            let path = format!("remove[{at}]");
            edits.push(checked(HeaderEdit::Remove(field_name(name, &path)?), path)?);
        }
        let set = self.set.into_iter().map(|field| ("set", field));
        let add = self.add.into_iter().map(|field| ("add", field));
        for (section, (name, value)) in set.chain(add) {
            let path = format!("{section}.{name}");
            let field = field_name(&name, &path)?;
            let value = own_text(&value, &[], Strictness::Known).map_err(|foreign| {
                let Foreign { found, .. } = &foreign;
                let expected =
                    format!("a value without {found}, which is not replaced: {}", foreign.remedy());
                FilterError::new(path.as_str(), expected)
            })?;
            let value = HeaderValue::from_str(&value).map_err(|_| {
                FilterError::new(&*path, "a header value: no line ends or control characters")
            })?;
            let edit = match section {
                "set" => HeaderEdit::Set(field, value),
                _ => HeaderEdit::Add(field, value),
            };
            edits.push(checked(edit, path)?);
        }
        Ok(edits)
    }
}

fn field_name(name: &str, path: &str) -> Result<HeaderName, FilterError> {
    HeaderName::from_bytes(name.as_bytes())
        .map_err(|_| FilterError::new(path, "a header name: letters, digits and -"))
}

/// A change that may be made, or what was expected instead.
fn checked(edit: HeaderEdit, path: String) -> Result<HeaderEdit, FilterError> {
    let expected = match edit.check() {
        Ok(()) => return Ok(edit),
        Err(EditError::OfTheConnection(name)) => {
            format!(
                "another header: {name} frames the message or is for one hop only, so the balancer writes it"
            )
        }
        Err(EditError::OneHost) => {
            "another header: a request has exactly one host, which can only be set (set: { host: … })"
                .to_owned()
        }
        Err(EditError::MalformedHost(_)) => "a host: a name or an IP address, and perhaps a port".to_owned(),
    };
    Err(FilterError::new(path, expected))
}

impl Filter for RequestHeaders {
    fn on_request(&self, request: &mut Request<'_>) -> Verdict {
        request.edits.danger_extend(&self.0);
        Verdict::Continue
    }
}

impl FilterKind for RequestHeaders {
    const NAME: &'static str = "request_headers";
    const EXAMPLE: &'static str = "request_headers: { set: { x-proxy: evenkeel }, remove: [x-internal] }";
    const DOC: &'static str = "Sets, adds and removes fields of the request before it goes to a backend.";
    type Params = HeaderParams;

    fn new(params: HeaderParams, _: &BuildContext<'_>) -> Result<Self, FilterError> {
        params.edits().map(Self)
    }
}

impl Filter for ResponseHeaders {
    fn on_response(&self, response: &mut Response<'_>) {
        response.edits.danger_extend(&self.0);
    }
}

impl FilterKind for ResponseHeaders {
    const NAME: &'static str = "response_headers";
    const EXAMPLE: &'static str = "response_headers: { set: { x-frame-options: DENY }, remove: [server] }";
    const DOC: &'static str = "Sets, adds and removes fields of the response before it goes to the client.";
    type Params = HeaderParams;

    fn new(params: HeaderParams, _: &BuildContext<'_>) -> Result<Self, FilterError> {
        params.edits().map(Self)
    }
}
