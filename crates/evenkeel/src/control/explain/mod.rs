//! Why a request would go where it would go: its route, its filters, its backend, each with the reason.
//!
//! The same code decides as for requests that are sent. Filters run too, and know that the request is only explained. An
//! algorithm that gives turns gives one away. Nothing else changes: no attempt is begun and nothing is recorded.

mod described;
mod explanation;
mod upstream;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Instant;

use evenkeel_config::PathForm;
use evenkeel_core::route::{Origin, RequestParts};
use evenkeel_http::message::{
    Answer, Arrival, Edits, HeaderEdit, Refusal, RequestFacts, RequestHead, ResponseHead,
};

pub use described::{Described, DescribedError};
pub use explanation::{
    BackendExplanation, Basis, ChoiceExplanation, ClientExplanation, CookieExplanation, Explanation,
    FilterExplanation, HashExplanation, Outcome, PassedOver, Refused, UpstreamExplanation, VerdictKind,
};

use super::board::StatusBoard;
use super::plan::Plan;
use crate::exchange::{
    Arrived, ClientAddress, Panicked, Rule, RuleAction, SeenHead, Table, client_address, redirect, respelled,
    uses_https, verdict,
};
use crate::filter::{Request, State, Verdict};
use crate::upstream::{Upstream, moment_of};

impl Plan {
    /// What would become of this request, if the plan ran and nothing else was in flight.
    pub fn explain(&self, request: &Described) -> Explanation {
        let boards: Vec<_> = self.keepers.iter().map(|keeper| keeper.board.clone()).collect();
        explain(&self.table, &boards, request)
    }
}

/// What would become of this request now. The boards are those of the table's upstreams, in their order.
///
/// # Cost
/// Linear in the routes before the one that takes the request, and in the backends of its upstream.
pub fn explain(table: &Table, boards: &[Arc<StatusBoard>], request: &Described) -> Explanation {
    let client = client_address(table, Some(request.peer), request);
    let mut said = Explanation {
        method: request.method().to_owned(),
        url: request.url.clone(),
        live: false,
        client: ClientExplanation { ip: client.ip, peer: request.peer, peer_trusted: client.peer_trusted },
        path: None,
        passed_over: Vec::new(),
        route: None,
        filters: Vec::new(),
        target: None,
        upstreams: Vec::new(),
        outcome: Outcome::Upstream,
    };
    if request.method() == "CONNECT" {
        said.outcome = refused(&Refusal::MethodNotAllowed);
        return said;
    }
    let listener = table.listener_at(request.listener.as_deref(), request.port());
    let paths = listener.map(|listener| listener.paths).unwrap_or_default();
    let origin = Origin {
        listener: request
            .listener
            .as_deref()
            .or(listener.map(|listener| &*listener.name))
            .unwrap_or_default(),
        client: client.ip,
        https: uses_https(client, request.tls, request),
        server_name: request.tls.then(|| request.host()),
    };
    let port = listener.map_or_else(|| request.port(), |listener| listener.port);
    let without_claims = SeenHead::without_claims(request);
    let head: &dyn RequestHead = if client.peer_trusted { request } else { &without_claims };
    let context = ExplainContext { table, boards, request: head, client, port, tls: request.tls, origin };
    let mut edits = Edits::default();
    match respelled(head, paths) {
        Ok(None) => route(&mut said, context, &mut edits),
        Ok(Some(path)) => {
            edits.path = (paths.forward == PathForm::Normal).then(|| path.clone());
            let head = &SeenHead::with_path(head, &path);
            route(&mut said, ExplainContext { request: head, ..context }, &mut edits);
            said.path = Some(path);
        }
        Err(refusal) => said.outcome = refused(&refusal),
    }
    said
}

/// Goes on with a request whose path is in the form that routes and filters see.
fn route(said: &mut Explanation, context: ExplainContext<'_>, edits: &mut Edits) {
    let ExplainContext { table, request, origin, .. } = context;
    let arrived = Arrived { head: request, origin };
    let found = table.routes.find(&arrived).and_then(|index| Some((index, table.rules.get(index)?)));
    said.passed_over = passed_over(table, found.map(|(index, _)| index), &arrived);
    let Some((_, rule)) = found else {
        said.outcome = refused(&Refusal::NoRoute);
        return;
    };
    said.route = Some(rule.name.to_string());
    let (filters, end) = run_filters(context, rule, edits);
    said.filters = filters;
    if let Some(end) = end {
        said.outcome = end;
        return;
    }
    let edited = SeenHead::with_edits(request, edits.of_filters());
    act(said, ExplainContext { request: &edited, ..context }, rule, edits);
    if said.outcome == Outcome::Upstream {
        let query = request.query().map(|query| format!("?{query}")).unwrap_or_default();
        let target = edits.path.take().map_or_else(|| request.target().to_owned(), |path| path + &query);
        said.target = Some(target);
    }
}

/// What everything is explained of.
#[derive(Clone, Copy)]
struct ExplainContext<'a> {
    table: &'a Table,
    boards: &'a [Arc<StatusBoard>],
    request: &'a dyn RequestHead,
    client: ClientAddress,
    port: Option<u16>,
    tls: bool,
    origin: Origin<'a>,
}

impl<'c> ExplainContext<'c> {
    /// How the request came. It has no port and no id, as it was not sent.
    fn arrival(&self) -> Arrival<'c> {
        let Origin { listener, https, server_name, .. } = self.origin;
        Arrival { listener, https, server_name, ..Arrival::default() }
    }

    /// What the placeholders of the route stand for.
    fn facts<'a>(&'a self, rule: &'a Rule, edits: &'a Edits) -> RequestFacts<'a> {
        RequestFacts {
            head: self.request,
            path: edits.path.as_deref().unwrap_or_else(|| self.request.path()),
            client: self.client.ip,
            route: &rule.name,
            path_regex: rule.path_regex.as_ref(),
            arrival: self.arrival(),
        }
    }
}

fn passed_over(table: &Table, found: Option<usize>, request: &Arrived<'_>) -> Vec<PassedOver> {
    let before = table.routes.routes().iter().zip(&table.rules).take(found.unwrap_or(usize::MAX));
    let reason = |(route, rule): (&evenkeel_core::route::RouteMatch, &Rule)| {
        let reason = route.mismatch(request)?.to_string();
        Some(PassedOver { route: rule.name.to_string(), reason })
    };
    before.filter_map(reason).collect()
}

/// Runs the filters as an exchange does. Gives what each said, and the end if one of them made it.
fn run_filters(
    context: ExplainContext<'_>,
    rule: &Rule,
    edits: &mut Edits,
) -> (Vec<FilterExplanation>, Option<Outcome>) {
    let chain = context.table.chain_at(context.port, rule);
    let (request, mut said) = (context.request, Vec::with_capacity(rule.filters.len()));
    let mut state = State::default();
    for ((place, filter), kind) in chain.filters().zip(chain.kinds()) {
        let (before, path) = (edits.headers().len(), edits.path.clone());
        let mut notes = Vec::new();
        let changed = edits.of_filters().to_vec();
        let edited = SeenHead::with_edits(request, &changed);
        let mut asked = Request::new(&edited, context.client.ip, edits, &mut state).dry_run(&mut notes);
        (asked.now, asked.route, asked.tls) = (moment_of(Instant::now()), &rule.name, context.tls);
        (asked.path_regex, asked.arrival) = (rule.path_regex.as_ref(), context.arrival());
        let verdict = verdict(filter, place, &mut asked);
        let mut step = FilterExplanation::new(kind, edits.headers().get(before..).unwrap_or_default());
        step.path = edits.path.clone().filter(|new| path.as_ref() != Some(new));
        step.notes = notes;
        let end = match verdict {
            Ok(Verdict::Continue) => None,
            Ok(Verdict::Answer(answer)) => {
                step.verdict = VerdictKind::Answer;
                Some(Outcome::Answer { status: answer.status, location: location(&answer) })
            }
            Ok(Verdict::Refuse(refusal)) => {
                step.verdict = VerdictKind::Refuse;
                Some(refused(&refusal))
            }
            Ok(Verdict::Wait(_)) => {
                step.verdict = VerdictKind::Wait;
                None
            }
            Err(Panicked) => {
                step.verdict = VerdictKind::Refuse;
                Some(refused(&Refusal::Internal))
            }
        };
        said.push(step);
        if end.is_some() {
            return (said, end);
        }
    }
    (said, None)
}

fn act(said: &mut Explanation, context: ExplainContext<'_>, rule: &Rule, edits: &Edits) {
    match &rule.action {
        RuleAction::Upstream(upstream) => said.upstreams.extend(explain_upstream(context, upstream, None)),
        RuleAction::Split { shares, total } => {
            let mut begin = 0;
            for (end, upstream) in shares {
                let share = (end - begin) as f64 / (*total).max(1) as f64;
                begin = *end;
                if share > 0.0 {
                    said.upstreams.extend(explain_upstream(context, upstream, Some(share)));
                }
            }
            if said.upstreams.is_empty() {
                said.outcome = refused(&Refusal::Internal);
            }
        }
        RuleAction::Redirect(to) => {
            said.outcome = match redirect(to, &context.facts(rule, edits)) {
                Ok(answer) => Outcome::Answer { status: answer.status, location: location(&answer) },
                Err(refusal) => refused(&refusal),
            };
        }
        RuleAction::Respond(answer) => {
            said.outcome = Outcome::Answer { status: answer.status, location: location(answer) };
        }
        RuleAction::Make(answer) => {
            let answer = answer.answer(&context.facts(rule, edits));
            said.outcome = Outcome::Answer { status: answer.status, location: location(&answer) };
        }
    }
}

fn explain_upstream(
    context: ExplainContext<'_>,
    upstream: &Arc<Upstream>,
    share: Option<f64>,
) -> Option<UpstreamExplanation> {
    let mut all = context.table.upstreams.iter().zip(context.boards);
    let (_, board) = all.find(|(one, _)| Arc::ptr_eq(one, upstream))?;
    Some(upstream::explain(upstream, board, (context.request, context.client.ip), share))
}

fn location(answer: &Answer) -> Option<String> {
    let value = answer.header(http::header::LOCATION.as_str())?;
    Some(String::from_utf8_lossy(value).into_owned())
}

fn refused(refusal: &Refusal) -> Outcome {
    Outcome::Refusal(Refused::of(refusal))
}

// === impl FilterExplanation ===

impl FilterExplanation {
    /// Of one that goes on. Names of fields only: a value may be a secret of the configuration.
    fn new(kind: &str, edits: &[HeaderEdit]) -> Self {
        let (mut set, mut added, mut removed) = (Vec::new(), Vec::new(), Vec::new());
        for edit in edits {
            match edit {
                HeaderEdit::Set(name, _) => set.push(name.to_string()),
                HeaderEdit::Add(name, _) => added.push(name.to_string()),
                HeaderEdit::Remove(name) => removed.push(name.to_string()),
            }
        }
        Self {
            kind: kind.to_owned(),
            verdict: VerdictKind::Continue,
            path: None,
            set,
            added,
            removed,
            notes: Vec::new(),
        }
    }
}

// === impl Refused ===

impl Refused {
    fn of(refusal: &Refusal) -> Self {
        let (reason, message) = (refusal.reason().to_owned(), refusal.message().to_owned());
        Self { status: refusal.status(), reason, message }
    }
}
