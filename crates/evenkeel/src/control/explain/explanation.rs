//! What is said of a request, as data: JSON for programs; the command makes text of it.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// What would become of a request, and why.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Explanation {
    /// Its method.
    pub method: String,
    /// Its URL, as given.
    pub url: String,
    /// Whether a running balancer was asked. If not, nothing is in flight and no probe has run.
    pub live: bool,
    /// Who asks.
    pub client: ClientExplanation,
    /// The path that routes and filters see, where it is not the one that the client sends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// The routes before the one that takes it, in order; all of them if none does.
    pub passed_over: Vec<PassedOver>,
    /// The route that takes it.
    pub route: Option<String>,
    /// The route's filters, in order, up to the one that ends it.
    pub filters: Vec<FilterExplanation>,
    /// The path and query that a backend receives. `None` if no backend receives the request.
    pub target: Option<String>,
    /// Where it goes: one upstream, or several with their shares, if the route splits.
    pub upstreams: Vec<UpstreamExplanation>,
    /// The result.
    pub outcome: Outcome,
}

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ClientExplanation {
    /// The client's address, as everything sees it.
    pub ip: Option<IpAddr>,
    /// The address that the connection comes from.
    pub peer: IpAddr,
    /// Whether that is a trusted proxy, which is believed about the client.
    pub peer_trusted: bool,
}

/// A route that does not take the request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct PassedOver {
    /// Its name.
    pub route: String,
    /// Its first condition that does not hold: `host: example.org is not example.com`.
    pub reason: String,
}

/// What a filter does with the request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct FilterExplanation {
    /// What the configuration calls it.
    pub kind: String,
    /// What it says of the request.
    pub verdict: VerdictKind,
    /// The path that it makes, without the query, if it makes another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Names of fields that it sets; values may be secrets.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub set: Vec<String>,
    /// Names of fields that it adds values to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub added: Vec<String>,
    /// Names of fields that it takes out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub removed: Vec<String>,
    /// What else it says of the request.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// What a filter says of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum VerdictKind {
    /// Go on.
    Continue,
    /// It responds itself.
    Answer,
    /// It refuses.
    Refuse,
    /// It waits for something before it decides. The explanation goes on as if it let the request continue.
    Wait,
}

/// The result of a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Outcome {
    /// An upstream receives the request: see there.
    Upstream,
    /// The balancer responds as configured.
    Answer {
        /// The status.
        status: u16,
        /// Where the client is sent, if it is sent somewhere.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        location: Option<String>,
    },
    /// It is refused.
    Refusal(Refused),
}

/// Why a request is refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Refused {
    /// The status of the response.
    pub status: u16,
    /// The word for it in metrics.
    pub reason: String,
    /// The text for the client.
    pub message: String,
}

/// What an upstream would do with a request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct UpstreamExplanation {
    /// Its name.
    pub name: String,
    /// Its part of the route's requests, from 0 to 1, if the route splits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub share: Option<f64>,
    /// What the configuration calls its algorithm.
    pub algorithm: String,
    /// How it chooses: `normal`, `fail_open`, `panic` or `refuse`.
    pub mode: String,
    /// What the algorithm hashes, if it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hash: Option<HashExplanation>,
    /// Its sticky cookie, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cookie: Option<CookieExplanation>,
    /// All its backends, in the order of the configuration.
    pub backends: Vec<BackendExplanation>,
    /// Which one it would choose.
    pub choice: ChoiceExplanation,
}

/// What an algorithm hashes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct HashExplanation {
    /// The key: `client_ip`, `header x-user`, …
    pub key: String,
    /// Its value. `None`: the request has none, and the client's address takes its place.
    pub value: Option<String>,
    /// The hash, as 16 hexadecimal digits.
    pub hash: String,
}

/// A sticky cookie.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct CookieExplanation {
    /// Its name.
    pub name: String,
    /// Whether the request has it.
    pub sent: bool,
    /// The backend that it names, if that is one that may be chosen now.
    pub backend: Option<String>,
}

/// A backend, and whether it may be chosen.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct BackendExplanation {
    /// Its URL.
    pub name: String,
    /// `up`, `starting`, `down`, `ejected` or `out`.
    pub state: String,
    /// Its weight, as configured.
    pub weight: u32,
    /// Which part of its weight it has while it starts, from 0 to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub starting_share: Option<f64>,
    /// Whether probes and traffic disagree about it.
    pub gray: bool,
    /// Its attempts under way.
    pub in_flight: u32,
    /// What the algorithm goes by, if that is a number; lower is better.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub score: Option<f64>,
    /// Whether it would be chosen.
    pub chosen: bool,
    /// Why it may not be chosen; `None` for a candidate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left_out: Option<String>,
}

/// The result of a pick.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[non_exhaustive]
pub enum ChoiceExplanation {
    /// A backend.
    Backend {
        /// Its URL.
        name: String,
        /// What named it.
        by: Basis,
    },
    /// All are busy: the request would wait until one has room.
    Wait {
        /// How many wait already.
        pending: usize,
    },
    /// None: the request would be refused.
    Refusal(Refused),
}

/// What names a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Basis {
    /// The client's cookie.
    Cookie,
    /// The hash of the key: the same for each request that has it, as long as the backends are the same.
    Hash,
    /// The algorithm, this time: turns, chance or load may have it otherwise the next time.
    Algorithm,
}

// === impl Explanation ===

impl Explanation {
    /// Why the request would be rejected. `None` if it would get a response, or if one of the upstreams of a split
    /// would serve it.
    pub fn refusal(&self) -> Option<&Refused> {
        if let Outcome::Refusal(refused) = &self.outcome {
            return Some(refused);
        }
        let mut refusals = self.upstreams.iter().map(|upstream| match &upstream.choice {
            ChoiceExplanation::Refusal(refused) => Some(refused),
            _ => None,
        });
        let first = refusals.next()??;
        refusals.all(|refusal| refusal.is_some()).then_some(first)
    }
}
