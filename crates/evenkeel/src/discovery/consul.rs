//! The instances of a service in the catalog of a Consul agent, by blocking queries: a change arrives at once.
//!
//! Consul's own checks decide which instances there are. The address is the service's, else the node's; the weight is that of
//! the service for its state; the fields `zone` and `priority` of its metadata have the same meaning as in the
//! configuration.
//!
//! Source: "Blocking Queries" in Consul's API documentation: the index of a response is sent with the next request, and starts
//! again at zero when it goes back.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::time::Duration;

use evenkeel_config::{Backend, BackendUrl, ConsulSource, Scheme};
use http::HeaderMap;
use http::header::HeaderName;
use serde::Deserialize;
use tokio::time::{Instant, sleep_until};

use super::client::{Client, Reply};
use super::{BackendSet, Discovery, DiscoveryError};

/// The instances of a service in Consul.
#[derive(Debug)]
pub struct Consul {
    source: ConsulSource,
    scheme: Scheme,
    client: Client,
    /// The index of the last response; 0 at the start and after an error.
    index: u64,
    /// When the next request can be sent; at once at the start and after an error.
    due: Option<Instant>,
}

/// One instance, as the agent reports it.
#[derive(Debug, Deserialize)]
struct Entry {
    #[serde(rename = "Node")]
    node: Node,
    #[serde(rename = "Service")]
    service: Service,
    #[serde(rename = "Checks", default)]
    checks: Vec<Check>,
}

#[derive(Debug, Deserialize)]
struct Node {
    #[serde(rename = "Node", default)]
    name: String,
    #[serde(rename = "Address", default)]
    address: String,
}

#[derive(Debug, Deserialize)]
struct Service {
    #[serde(rename = "ID", default)]
    id: String,
    #[serde(rename = "Address", default)]
    address: String,
    #[serde(rename = "Port", default)]
    port: u16,
    #[serde(rename = "Tags", default)]
    tags: Option<Vec<String>>,
    #[serde(rename = "Meta", default)]
    meta: Option<BTreeMap<String, String>>,
    #[serde(rename = "Weights", default)]
    weights: Option<Weights>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
struct Weights {
    #[serde(rename = "Passing")]
    passing: u32,
    #[serde(rename = "Warning")]
    warning: u32,
}

#[derive(Debug, Deserialize)]
struct Check {
    #[serde(rename = "Status", default)]
    status: String,
}

/// How long the agent holds a request while nothing changes. It adds up to a sixteenth of this.
const WAIT: Duration = Duration::from_secs(20);
/// The least time between two requests: other services can change all the time.
const GAP: Duration = Duration::from_millis(100);
/// The time between two requests if the agent sends no index to wait for.
const INTERVAL: Duration = Duration::from_secs(1);
/// How much longer than `WAIT` a response can take.
const PATIENCE: Duration = Duration::from_secs(5);

// === impl Consul ===

impl Consul {
    /// The service that the configuration names; `scheme` says how its instances are reached.
    pub fn new(source: &ConsulSource, scheme: Scheme) -> Self {
        let token = source.token.clone();
        let token = token.map(|token| (HeaderName::from_static("x-consul-token"), token));
        let client = Client::new(&source.url, token);
        Self { source: source.clone(), scheme, client, index: 0, due: None }
    }

    async fn read(&mut self) -> Result<BackendSet, DiscoveryError> {
        // Taken out, so that after an error the next request does not wait for a change.
        let index = std::mem::take(&mut self.index);
        if let Some(due) = self.due.take() {
            sleep_until(due).await;
        }
        let begun = Instant::now();
        let path = self.path(index);
        let limit = if index > 0 { WAIT + WAIT / 16 + PATIENCE } else { PATIENCE };
        let reply = self.client.get(&path, HeaderMap::new(), limit).await?;
        if reply.status != 200 {
            return Err(DiscoveryError::Unreachable(refusal(&reply)));
        }
        let entries: Vec<Entry> = serde_json::from_slice(&reply.body).map_err(|error| {
            DiscoveryError::Invalid(format!("the response is not a list of services: {error}"))
        })?;
        let set = BackendSet::new(self.backends(entries)?);
        self.index = next_index(index, &reply.headers);
        self.due = Some(begun + if self.index > 0 { GAP } else { INTERVAL });
        Ok(set)
    }

    fn path(&self, index: u64) -> String {
        let source = &self.source;
        let prefix = source.url.path.trim_end_matches('/');
        let mut path = format!("{prefix}/v1/health/service/{}?stale", escaped(&source.service));
        if source.passing_only {
            path.push_str("&passing=true");
        }
        for tag in &source.tags {
            path.push_str("&tag=");
            path.push_str(&escaped(tag));
        }
        if let Some(datacenter) = &source.datacenter {
            path.push_str("&dc=");
            path.push_str(&escaped(datacenter));
        }
        if index > 0 {
            path.push_str(&format!("&index={index}&wait={}s", WAIT.as_secs()));
        }
        path
    }

    fn backends(&self, entries: Vec<Entry>) -> Result<Vec<Backend>, DiscoveryError> {
        let usable = entries.into_iter().filter(|entry| entry.state() != State::Critical);
        let mut backends = usable.map(|entry| entry.backend(self.scheme)).collect::<Result<Vec<_>, _>>()?;
        // The agent's order changes from response to response.
        backends.sort_by(|one, other| one.url.text.cmp(&other.url.text));
        Ok(backends)
    }
}

impl Discovery for Consul {
    fn name(&self) -> String {
        format!("consul {} of {}", self.source.service, self.source.url.authority())
    }

    fn next(&mut self) -> Pin<Box<dyn Future<Output = Result<BackendSet, DiscoveryError>> + Send + '_>> {
        Box::pin(self.read())
    }
}

/// The state of an instance: that of its worst check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Passing,
    Warning,
    Critical,
}

// === impl Entry ===

impl Entry {
    fn state(&self) -> State {
        let is = |status: &str| self.checks.iter().any(|check| check.status == status);
        match () {
            () if is("critical") || is("maintenance") => State::Critical,
            () if is("warning") => State::Warning,
            () => State::Passing,
        }
    }

    fn backend(self, scheme: Scheme) -> Result<Backend, DiscoveryError> {
        let state = self.state();
        let Self { node, service, .. } = self;
        let id = &service.id;
        let wrong = |what: &str| DiscoveryError::Invalid(format!("instance {id}: {what}"));
        let host = if service.address.is_empty() { node.address } else { service.address };
        if service.port == 0 {
            return Err(wrong("has no port"));
        }
        let url = match host.parse::<IpAddr>() {
            Ok(ip) => BackendUrl::with(SocketAddr::new(ip, service.port), scheme),
            Err(_) => {
                let url = BackendUrl::parse(&format!("{}://{host}:{}", scheme.as_str(), service.port));
                url.map_err(|error| wrong(&format!("its address {error}")))?
            }
        };
        let mut metadata = service.meta.unwrap_or_default();
        let mut backend = Backend::new(url);
        backend.weight = match (service.weights, state) {
            (None, _) => 1,
            (Some(weights), State::Warning) => weights.warning,
            (Some(weights), _) => weights.passing,
        };
        backend.weight = backend.weight.min(u16::MAX.into());
        backend.zone = metadata.remove("zone").filter(|zone| !zone.is_empty());
        if let Some(priority) = metadata.remove("priority") {
            let priority = priority.parse();
            backend.priority = priority.map_err(|_| wrong("its priority is not a number from 0 to 255"))?;
        }
        metadata.insert("consul_id".to_owned(), service.id);
        metadata.insert("consul_node".to_owned(), node.name);
        if let Some(tags) = service.tags.filter(|tags| !tags.is_empty()) {
            metadata.insert("consul_tags".to_owned(), tags.join(","));
        }
        backend.metadata = metadata;
        Ok(backend)
    }
}

/// The index for the next request. One that goes back means that the agent has a new state: it starts again.
fn next_index(before: u64, headers: &HeaderMap) -> u64 {
    let index = headers.get("x-consul-index").and_then(|value| value.to_str().ok()?.parse().ok());
    match index {
        Some(index) if index >= before => index,
        _ => 0,
    }
}

/// What the agent says of a request that it rejects.
fn refusal(reply: &Reply) -> String {
    let body: String =
        String::from_utf8_lossy(&reply.body).chars().filter(|c| !c.is_control()).take(100).collect();
    let body = body.trim();
    if body.is_empty() {
        format!("status {}", reply.status)
    } else {
        format!("status {}: {body}", reply.status)
    }
}

/// A text as a part of a URL.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(byte.into()),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use evenkeel_config::HttpUrl;

    fn consul(scheme: Scheme) -> Consul {
        let mut source = ConsulSource::new(HttpUrl::parse("http://127.0.0.1:8500").unwrap(), "web app");
        source.tags = vec!["v1".to_owned(), "a&b".to_owned()];
        source.datacenter = Some("eu".to_owned());
        Consul::new(&source, scheme)
    }

    fn read(json: &str) -> Result<Vec<Backend>, DiscoveryError> {
        consul(Scheme::Http).backends(serde_json::from_str(json).unwrap())
    }

    #[test]
    fn the_request_has_every_filter() {
        let start = "/v1/health/service/web%20app?stale&passing=true&tag=v1&tag=a%26b&dc=eu";
        assert_eq!(consul(Scheme::Http).path(0), start);
        assert_eq!(consul(Scheme::Http).path(7), format!("{start}&index=7&wait=20s"));
    }

    #[test]
    fn instances_become_backends() {
        let json = r#"[
            {"Node": {"Node": "n2", "Address": "10.0.0.2"},
             "Service": {"ID": "b", "Service": "web", "Address": "", "Port": 8081, "Tags": null, "Meta": null},
             "Checks": [{"Status": "passing"}, {"Status": "warning"}]},
            {"Node": {"Node": "n1", "Address": "10.0.0.9"},
             "Service": {"ID": "a", "Address": "10.0.0.1", "Port": 8080, "Tags": ["v1", "x"],
                         "Meta": {"zone": "eu-1", "rack": "r", "priority": "1"}, "Weights": {"Passing": 7, "Warning": 2}},
             "Checks": [{"Status": "passing"}]},
            {"Node": {"Node": "n3", "Address": "10.0.0.3"},
             "Service": {"ID": "c", "Address": "", "Port": 8082}, "Checks": [{"Status": "critical"}]},
            {"Node": {"Node": "n4", "Address": "10.0.0.4"},
             "Service": {"ID": "d", "Address": "host.internal", "Port": 8083, "Weights": {"Passing": 7, "Warning": 2}},
             "Checks": [{"Status": "warning"}]}]"#;
        let backends = read(json).unwrap();
        let shown: Vec<String> = backends
            .iter()
            .map(|one| format!("{} {} {} {:?}", one.url.text, one.weight, one.priority, one.zone))
            .collect();
        assert_eq!(
            shown,
            [
                "http://10.0.0.1:8080 7 1 Some(\"eu-1\")",
                "http://10.0.0.2:8081 1 0 None",
                "http://host.internal:8083 2 0 None"
            ]
        );
        let metadata = &backends[0].metadata;
        assert_eq!((metadata["rack"].as_str(), metadata["consul_tags"].as_str()), ("r", "v1,x"));
    }

    #[test]
    fn an_instance_without_a_port_makes_the_set_invalid() {
        let json = r#"[{"Node": {"Address": "10.0.0.1"}, "Service": {"ID": "a"}}]"#;
        assert_eq!(read(json).unwrap_err().to_string(), "instance a: has no port");
    }

    #[test]
    fn an_index_that_goes_back_starts_again() {
        let next = |before, value: &str| {
            next_index(
                before,
                &HeaderMap::from_iter([(HeaderName::from_static("x-consul-index"), value.parse().unwrap())]),
            )
        };
        assert_eq!((next(5, "6"), next(5, "5"), next(5, "4"), next(5, "x")), (6, 5, 0, 0));
        assert_eq!(next_index(5, &HeaderMap::new()), 0);
    }
}
