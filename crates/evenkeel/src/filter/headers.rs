//! `request_headers` and `response_headers`: set, add and remove fields.

use std::collections::BTreeMap;

use evenkeel_http::message::{EditError, Escape, HeaderEdit, Phase, Placeholder, Template, check_location};
use http::{HeaderName, HeaderValue, header};
use schemars::JsonSchema;
use serde::Deserialize;

use super::registry::{FilterError, FilterKind};
use super::{BuildContext, Filter, Request, Response, Verdict};

/// Changes to the fields of a head: first `remove`, then `set`, then `add`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct HeaderParams {
    /// Fields to set to one value, replacing all of their values. Values can contain placeholders, like `{client_ip}`
    /// (docs/placeholders.md). A field whose value turns out empty is removed.
    pub set: BTreeMap<String, String>,
    /// Fields to add one more value to. Values can contain placeholders. An empty value is not added.
    pub add: BTreeMap<String, String>,
    /// Fields to remove.
    pub remove: Vec<String>,
}

/// Changes fields of the request before it goes to a backend.
#[derive(Debug)]
pub struct RequestHeaders(Changes);

/// Changes fields of the response before it goes to the client.
#[derive(Debug)]
pub struct ResponseHeaders(Changes);

/// What is changed, in order.
#[derive(Debug)]
enum Changes {
    /// The same for every request.
    Fixed(Vec<HeaderEdit>),
    /// At least one depends on the request.
    Made(Vec<Change>),
}

/// One change to the fields of a message.
#[derive(Clone, Debug)]
enum Change {
    Fixed(HeaderEdit),
    /// Set the field to what the template gives, or remove it if that is empty.
    Set(HeaderName, Template),
    /// Add what the template gives, if it is not empty.
    Add(HeaderName, Template),
}

// === impl HeaderParams ===

impl HeaderParams {
    fn changes(self, phase: Phase, context: &BuildContext<'_>) -> Result<Changes, FilterError> {
        let mut changes = Vec::with_capacity(self.remove.len() + self.set.len() + self.add.len());
        for (at, name) in self.remove.iter().enumerate() {
            let path = format!("remove[{at}]");
            changes.push(Change::Fixed(checked(HeaderEdit::Remove(field_name(name, &path)?), path)?));
        }
        let set = self.set.into_iter().map(|field| ("set", field));
        let add = self.add.into_iter().map(|field| ("add", field));
        for (section, (name, value)) in set.chain(add) {
            let path = format!("{section}.{name}");
            let field = field_name(&name, &path)?;
            let escape = Escape::of_header(field.as_str());
            let template = context.template(&path, &value, escape.unwrap_or(Escape::Header), phase)?;
            let edit = |value| match section {
                "set" => HeaderEdit::Set(field.clone(), value),
                _ => HeaderEdit::Add(field.clone(), value),
            };
            let Some(value) = template.constant() else {
                if escape.is_none() {
                    return Err(FilterError::new(
                        path,
                        "a fixed value: no placeholder can be in this header",
                    ));
                }
                if escape == Some(Escape::Location) {
                    check_location(&template).map_err(|error| FilterError::new(&*path, error.to_string()))?;
                }
                // Whether the field can be changed does not depend on its value, except for a host.
                checked(edit(HeaderValue::from_static("a")), path.clone())?;
                if field == header::HOST && !template.placeholders().all(is_known_host) {
                    let expected = "{host} or {authority}, or a fixed host: another placeholder would let clients choose the host";
                    return Err(FilterError::new(path, expected));
                }
                changes.push(if section == "set" {
                    Change::Set(field, template)
                } else {
                    Change::Add(field, template)
                });
                continue;
            };
            let value = HeaderValue::from_bytes(value).map_err(|_| {
                FilterError::new(&*path, "a header value: no line ends or control characters")
            })?;
            changes.push(Change::Fixed(checked(edit(value), path)?));
        }
        let fixed: Option<Vec<HeaderEdit>> = changes.iter().map(Change::fixed).collect();
        Ok(fixed.map_or(Changes::Made(changes), Changes::Fixed))
    }
}

/// Whether a value is the host that the client requested, or one of the configuration.
fn is_known_host(placeholder: &Placeholder) -> bool {
    matches!(placeholder, Placeholder::Host | Placeholder::Authority | Placeholder::Map(_))
}

// === impl Change ===

impl Change {
    fn fixed(&self) -> Option<HeaderEdit> {
        match self {
            Self::Fixed(edit) => Some(edit.clone()),
            Self::Set(..) | Self::Add(..) => None,
        }
    }

    /// The edit, with what `value` makes of its template.
    fn edit(&self, value: impl Fn(&Template) -> Option<HeaderValue>) -> Option<HeaderEdit> {
        let edit = match self {
            Self::Fixed(edit) => return Some(edit.clone()),
            Self::Add(name, template) => HeaderEdit::Add(name.clone(), value(template)?),
            Self::Set(name, template) => match value(template) {
                Some(value) => HeaderEdit::Set(name.clone(), value),
                None => HeaderEdit::Remove(name.clone()),
            },
        };
        // A host that is none, or no host at all, is not sent.
        edit.check().is_ok().then_some(edit)
    }

    /// The same change with the values of a request.
    fn with_request(&self, request: &Request<'_>) -> Self {
        match self {
            Self::Fixed(edit) => Self::Fixed(edit.clone()),
            Self::Set(name, template) => Self::Set(name.clone(), template.with_request(&request.facts())),
            Self::Add(name, template) => Self::Add(name.clone(), template.with_request(&request.facts())),
        }
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

// === impl RequestHeaders ===

impl Filter for RequestHeaders {
    fn on_request(&self, request: &mut Request<'_>) -> Verdict {
        match &self.0 {
            Changes::Fixed(edits) => request.edits.danger_extend(edits),
            Changes::Made(changes) => {
                let made =
                    changes.iter().filter_map(|change| change.edit(|value| request.header_value(value)));
                let made: Vec<HeaderEdit> = made.collect();
                request.edits.danger_extend(&made);
            }
        }
        Verdict::Continue
    }
}

impl FilterKind for RequestHeaders {
    const NAME: &'static str = "request_headers";
    const EXAMPLE: &'static str =
        "request_headers: { set: { x-real-ip: \"{client_ip}\" }, remove: [x-internal] }";
    const DOC: &'static str = "Sets, adds and removes fields of the request before it goes to a backend.";
    type Params = HeaderParams;

    fn new(params: HeaderParams, context: &BuildContext<'_>) -> Result<Self, FilterError> {
        params.changes(Phase::Request, context).map(Self)
    }
}

// === impl ResponseHeaders ===

impl Filter for ResponseHeaders {
    fn on_request(&self, request: &mut Request<'_>) -> Verdict {
        self.on_skipped(request);
        Verdict::Continue
    }

    fn on_skipped(&self, request: &mut Request<'_>) {
        if let Changes::Made(changes) = &self.0 {
            let made: Vec<Change> = changes.iter().map(|change| change.with_request(request)).collect();
            request.state.set(made);
        }
    }

    fn on_response(&self, response: &mut Response<'_>) {
        match &self.0 {
            Changes::Fixed(edits) => response.edits.danger_extend(edits),
            Changes::Made(changes) => {
                // A request that ended before any filter saw it left nothing.
                let changes = response.state.get::<Vec<Change>>().unwrap_or(changes);
                let made =
                    changes.iter().filter_map(|change| change.edit(|value| response.header_value(value)));
                let made: Vec<HeaderEdit> = made.collect();
                response.edits.danger_extend(&made);
            }
        }
    }
}

impl FilterKind for ResponseHeaders {
    const NAME: &'static str = "response_headers";
    const EXAMPLE: &'static str =
        "response_headers: { set: { x-request-id: \"{request_id}\" }, remove: [server] }";
    const DOC: &'static str = "Sets, adds and removes fields of the response before it goes to the client.";
    type Params = HeaderParams;

    fn new(params: HeaderParams, context: &BuildContext<'_>) -> Result<Self, FilterError> {
        params.changes(Phase::Response, context).map(Self)
    }
}
