//! What one upstream would do with a request: who may be chosen, who not and why not, and the choice.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use evenkeel_core::balance::{HashKey, Pick, Tried};
use evenkeel_core::health::State;
use evenkeel_http::message::{Overload, Refusal, RequestHead};

use super::super::board::{BackendStatus, Content, StatusBoard, mode_name, state_name};
use super::super::status::rounded;
use super::{
    BackendExplanation, Basis, ChoiceExplanation, CookieExplanation, HashExplanation, Refused,
    UpstreamExplanation,
};
use crate::upstream::{Endpoint, Members, Upstream, WouldChoose, moment_of, would_choose};

/// What this upstream would do with a request of this client now.
pub(super) fn explain(
    upstream: &Upstream,
    board: &StatusBoard,
    (request, client): (&dyn RequestHead, Option<IpAddr>),
    share: Option<f64>,
) -> UpstreamExplanation {
    let (members, now) = (upstream.members.load_full(), moment_of(Instant::now()));
    let affinity = &upstream.affinity;
    let key = affinity.key_of(request, client);
    let named = affinity.named(request, &members);
    let name_of = |index: usize| members.endpoints.get(index).map(|one| one.backend.name().to_owned());
    let look = UpstreamContext { upstream, members: &members, key };
    let (mode, mut backends) = board.read(|content| (mode_name(content.mode), look.backends(content)));
    let would = would_choose(upstream, &members, (key, named), now);
    let choice = choice(upstream, would, named, name_of);
    if let ChoiceExplanation::Backend { name, .. } = &choice {
        backends.iter_mut().for_each(|backend| backend.chosen = backend.name == *name);
    }
    UpstreamExplanation {
        name: upstream.name.to_string(),
        share: share.map(rounded),
        algorithm: upstream.algorithm.to_owned(),
        mode: mode.to_owned(),
        hash: affinity.key.as_ref().map(|by| HashExplanation {
            key: key_name(by),
            value: affinity.key_text(request),
            hash: format!("{key:016x}"),
        }),
        cookie: affinity.sticky.as_ref().map(|sticky| CookieExplanation {
            name: sticky.cookie.clone(),
            sent: affinity.cookie_text(request).is_some(),
            backend: named.and_then(name_of),
        }),
        backends,
        choice,
    }
}

fn choice(
    upstream: &Upstream,
    would: WouldChoose,
    named: Option<usize>,
    name_of: impl Fn(usize) -> Option<String>,
) -> ChoiceExplanation {
    let gate = &upstream.gate;
    let refusal = |refusal: Refusal| ChoiceExplanation::Refusal(Refused::of(&refusal));
    let most = gate.limits.circuit_breaker.max_in_flight;
    if let (Some(breaker), Some(most)) = (&gate.breaker, most)
        && breaker.in_flight() >= most
    {
        return refusal(Refusal::Overloaded(Overload::CircuitBreaker));
    }
    match would {
        WouldChoose::Backend(index) => {
            let by = match &upstream.affinity.key {
                _ if named == Some(index) => Basis::Cookie,
                Some(_) => Basis::Hash,
                None => Basis::Algorithm,
            };
            ChoiceExplanation::Backend { name: name_of(index).unwrap_or_default(), by }
        }
        WouldChoose::Full if gate.pending() < gate.limits.queue.max_pending => {
            ChoiceExplanation::Wait { pending: gate.pending() }
        }
        WouldChoose::Full => refusal(Refusal::Overloaded(Overload::QueueFull)),
        WouldChoose::Nothing => refusal(Refusal::NoBackend),
    }
}

/// As the configuration writes it.
fn key_name(key: &HashKey) -> String {
    match key {
        HashKey::Header(name) => format!("header {name}"),
        HashKey::Cookie(name) => format!("cookie {name}"),
        HashKey::Query(name) => format!("query {name}"),
        HashKey::Path => "path".to_owned(),
        _ => "client_ip".to_owned(),
    }
}

/// A look at an upstream's backends, for a request with this key.
struct UpstreamContext<'a> {
    upstream: &'a Upstream,
    members: &'a Members,
    key: u64,
}

impl UpstreamContext<'_> {
    fn backends(&self, content: &Content) -> Vec<BackendExplanation> {
        let (tried, mut rng) = (Tried::default(), fastrand::Rng::new());
        let pick = Pick::new(self.key, &tried, &mut rng).at(moment_of(Instant::now()));
        // Members are in the same order as all backends.
        let mut members = self.members.endpoints.iter().enumerate().peekable();
        let places = self.members.roster.iter().filter_map(|endpoint| {
            let place = members.next_if(|(_, member)| Arc::ptr_eq(member, endpoint)).map(|(at, _)| at);
            Some((endpoint, content.status(endpoint.id)?, place))
        });
        let places: Vec<_> = places.collect();
        let level = places
            .iter()
            .filter(|(.., place)| place.is_some())
            .map(|(_, status, _)| status.description.priority);
        let level = level.min();
        let backend = |(endpoint, status, place): (&Arc<Endpoint>, &BackendStatus, Option<usize>)| {
            let in_flight = endpoint.backend.counters().in_flight();
            let score = |at| self.members.balancer.score(&self.members.snapshot, at, &pick);
            BackendExplanation {
                name: endpoint.backend.name().to_owned(),
                state: state_name(status.state).to_owned(),
                weight: endpoint.spec.weight,
                starting_share: match status.state {
                    State::Starting { share } => Some(rounded(share)),
                    _ => None,
                },
                gray: status.gray,
                in_flight,
                score: place.and_then(score).map(rounded),
                chosen: false,
                left_out: match place {
                    Some(_) => self.full(in_flight),
                    None => Some(left_out(status, level)),
                },
            }
        };
        places.into_iter().map(backend).collect()
    }

    fn full(&self, in_flight: u32) -> Option<String> {
        let most = self.upstream.gate.limits.max_connections?.get();
        (in_flight >= most).then(|| format!("full: {in_flight} of {most} in flight"))
    }
}

/// Why a backend is not among those that may be chosen, where backends of this level are.
fn left_out(status: &BackendStatus, level: Option<u8>) -> String {
    let priority = status.description.priority;
    match (status.state, level) {
        (State::Out, _) => "weight 0".to_owned(),
        (State::Down, _) => {
            let failed = status.probe.as_ref().and_then(|probe| probe.failed.as_deref());
            format!("down: {}", failed.unwrap_or("no probe has passed yet"))
        }
        (State::Ejected { until }, _) => {
            let left = until.since(moment_of(Instant::now()));
            format!("ejected for {:.1} s more", left.as_secs_f64())
        }
        (_, Some(level)) if level != priority => format!("priority {priority}: {level} is in use"),
        (_, Some(_)) if !status.description.local => "in another zone".to_owned(),
        // It has changed in this moment.
        _ => "not in use yet".to_owned(),
    }
}
