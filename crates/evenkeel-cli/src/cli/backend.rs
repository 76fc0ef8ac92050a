//! `evenkeel drain`, `undrain`, `weight`, `add` and `remove`: change the backends of a running balancer at its admin address.

use evenkeel::core::route::percent_encoded;
use hyper::{Method, StatusCode};
use serde_json::{Value, json};

use super::admin::{self, Balancer, Target};
use super::failure::Failure;
use super::{block_on, print, tell};

/// The arguments of `drain`, `undrain` and `remove`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    backend: Backend,
    #[command(flatten)]
    target: Target,
}

/// The arguments of `weight`.
#[derive(Debug, clap::Args)]
pub(super) struct WeightArgs {
    #[command(flatten)]
    backend: Backend,
    /// Its share of the requests relative to the other backends, 0 to 65535; or `configured` for the one of the
    /// configuration
    weight: String,
    #[command(flatten)]
    target: Target,
}

/// The arguments of `add`.
#[derive(Debug, clap::Args)]
pub(super) struct AddArgs {
    /// The upstream
    upstream: String,
    /// The URL of the backend, like http://10.0.0.1:8080
    url: String,
    /// Its share of the requests relative to the other backends, 0 to 65535
    #[arg(long, default_value_t = 1)]
    weight: u32,
    /// It gets requests only while all backends of lower priorities are unhealthy
    #[arg(long, default_value_t = 0)]
    priority: u8,
    /// The zone it is in
    #[arg(long)]
    zone: Option<String>,
    #[command(flatten)]
    target: Target,
}

/// Which backend.
#[derive(Debug, clap::Args)]
struct Backend {
    /// The upstream
    upstream: String,
    /// The backend: its URL, or its host and port, like 10.0.0.1:8080
    backend: String,
}

/// Drains a backend.
pub(super) fn drain(args: &Args) -> Result<(), Failure> {
    args.patch(&json!({ "drained": true }), "drained: it gets no new requests, and completes those in flight")
}

/// Ends a drain.
pub(super) fn undrain(args: &Args) -> Result<(), Failure> {
    args.patch(&json!({ "drained": false }), "no longer drained")
}

/// Removes a backend.
pub(super) fn remove(args: &Args) -> Result<(), Failure> {
    let balancer = args.target.balancer()?;
    change(
        &balancer,
        Method::DELETE,
        &args.backend.path(),
        None,
        &format!("{} removed", args.backend.backend),
    )
}

/// Changes the weight of a backend.
pub(super) fn weight(args: &WeightArgs) -> Result<(), Failure> {
    let weight = match args.weight.as_str() {
        "configured" => Value::Null,
        text => text.parse::<u16>().map(Value::from).map_err(|_| {
            Failure::usage(format!("`{text}` is not a weight: expected 0 to 65535, or `configured`"))
        })?,
    };
    let result = match &weight {
        Value::Null => "has the weight of the configuration again".to_owned(),
        weight => format!("has the weight {weight}"),
    };
    let balancer = args.target.balancer()?;
    let body = json!({ "weight": weight });
    change(&balancer, Method::PATCH, &args.backend.path(), Some(&body), &result)
}

/// Adds a backend.
pub(super) fn add(args: &AddArgs) -> Result<(), Failure> {
    let balancer = args.target.balancer()?;
    let path = format!("{}/backends", upstream_path(&args.upstream));
    let mut body = json!({ "url": args.url, "weight": args.weight, "priority": args.priority });
    if let (Some(zone), Value::Object(body)) = (&args.zone, &mut body) {
        body.insert("zone".to_owned(), zone.as_str().into());
    }
    change(&balancer, Method::POST, &path, Some(&body), "added")
}

/// Sends a change, and prints what became of it.
fn change(
    balancer: &Balancer,
    method: Method,
    path: &str,
    body: Option<&Value>,
    result: &str,
) -> Result<(), Failure> {
    let address = &balancer.address;
    let body = body.map(ToString::to_string);
    let response = block_on(admin::send_json(address, balancer.token.clone(), method, path, body))?;
    let said: Value = serde_json::from_slice(&response.body).unwrap_or_default();
    if !matches!(response.status, StatusCode::OK | StatusCode::CREATED) {
        return Err(match said.get("detail").and_then(Value::as_str) {
            Some(detail) => Failure::refused(detail),
            None => response.unexpected(address),
        });
    }
    if said.get("upstream").is_none_or(|name| !name.is_string()) {
        return Err(Failure::refused(format!(
            "{address}: the response is not one of an admin address: expected the address of admin, not one of a listener"
        )));
    }
    let text = |key: &str| said.get(key).and_then(Value::as_str).unwrap_or_default();
    let name = said.pointer("/backend/name").and_then(Value::as_str);
    let name = name.map(|name| format!(" {name}")).unwrap_or_default();
    let unchanged = if said.get("changed") == Some(&Value::Bool(false)) { " (as before)" } else { "" };
    print(&format!("upstream {}: backend{name} {result}{unchanged}\n", text("upstream")))?;
    print("This survives a reload, and ends with the process.\n")?;
    if said.get("usable_backends") == Some(&Value::from(0)) {
        tell(&format!("warning: upstream {} has no backend that can be picked now", text("upstream")));
    }
    Ok(())
}

fn upstream_path(upstream: &str) -> String {
    format!("/v1/upstreams/{}", percent_encoded(upstream.as_bytes()))
}

// === impl Args ===

impl Args {
    fn patch(&self, body: &Value, result: &str) -> Result<(), Failure> {
        let balancer = self.target.balancer()?;
        change(&balancer, Method::PATCH, &self.backend.path(), Some(body), result)
    }
}

// === impl Backend ===

impl Backend {
    fn path(&self) -> String {
        format!("{}/backends/{}", upstream_path(&self.upstream), percent_encoded(self.backend.as_bytes()))
    }
}
