//! Routes: what they match, and where they lead.

use std::collections::HashMap;
use std::sync::Arc;

use evenkeel_core::limit::RetryBudgetOptions;
use evenkeel_core::route::RouteTable;
use evenkeel_http::message::{Escape, LocationError, Map, Phase, Scope, Template, check_location};

use super::general::{label, only_one};
use super::{Context, filters, given, listener, matching, respond, retry, tcp};
use crate::placeholders::{self, TemplateFault};
use crate::suggest::closest;
use crate::values::{Duration, Weight};
use crate::wire::{self, Named};
use crate::yaml::{Path, any_of};
use crate::{Action, FilterSpec, Redirect, Retry, Route, RouteTimeouts};

/// The names of the upstreams, in their order, and found by name; those of the listeners; and the maps.
pub(super) struct Names<'a> {
    list: Vec<&'a str>,
    index: HashMap<&'a str, usize>,
    /// Those of HTTP backends, and those of TCP backends.
    http: Vec<usize>,
    tcp: Vec<usize>,
    /// The names of the listeners.
    listeners: Vec<&'a str>,
    maps: &'a [Arc<Map>],
}

impl<'a> Names<'a> {
    pub(super) fn new(file: &'a wire::File, maps: &'a [Arc<Map>]) -> Self {
        let upstreams = &file.upstreams.0;
        let listeners = file.listeners.iter().filter_map(|one| one.name.as_deref()).collect();
        let list: Vec<&str> = upstreams.iter().map(|(name, _)| name.as_str()).collect();
        let (tcp, http) = (0..list.len())
            .partition(|index| upstreams.get(*index).is_some_and(|(_, upstream)| tcp::is_tcp(upstream)));
        // Of a name that is there twice, which is refused, the first counts.
        let index = list.iter().enumerate().rev().map(|(index, name)| (*name, index)).collect();
        Self { list, index, http, tcp, listeners, maps }
    }

    /// The index of one.
    fn index(&self, name: &str) -> Option<usize> {
        self.index.get(name).copied()
    }

    /// The name of one.
    pub(super) fn name(&self, index: usize) -> &'a str {
        self.list.get(index).copied().unwrap_or_default()
    }

    /// Those of HTTP backends.
    pub(super) fn http(&self) -> &[usize] {
        &self.http
    }

    /// Those of TCP backends.
    pub(super) fn tcp(&self) -> &[usize] {
        &self.tcp
    }
}

/// Every route that is right.
pub(super) fn all(
    routes: &[wire::Route],
    (upstreams, shared): (&Names<'_>, &[FilterSpec]),
    path: &Path,
    context: &mut Context<'_>,
) -> Vec<Route> {
    let paths = context.entries(path, routes.len());
    let mut names: HashMap<&str, &Path> = HashMap::new();
    let mut resolved = Vec::new();
    for (route, path) in routes.iter().zip(&paths) {
        label(&route.name, &path.key("name"), context);
        if let Some(first) = names.insert(&route.name, path) {
            let line = context.line(&first.key("name"));
            let message = format!("is given twice: {first}{line} has the same name");
            context.wrong(&path.key("name"), &route.name, message);
        }
        resolved.extend(one(route, (upstreams, shared), path, context));
    }
    // A condition that was refused would make its route look wider than it is.
    if resolved.len() == routes.len() && !context.is_damaged(path) {
        reachable(&resolved, &paths, context);
    }
    resolved
}

fn reachable(routes: &[Route], paths: &[Path], context: &mut Context<'_>) {
    let table = RouteTable::new(routes.iter().map(|route| route.matches.clone()));
    for shadowed in table.unreachable() {
        let (Some(route), Some(by)) = (routes.get(shadowed.route), routes.get(shadowed.by)) else { continue };
        let (Some(path), Some(by_path)) = (paths.get(shadowed.route), paths.get(shadowed.by)) else {
            continue;
        };
        let line = context.line(&by_path.key("name"));
        let message = format!(
            "can never match: the route \"{}\"{line} comes first and matches all of its requests: move this route before it",
            by.name
        );
        context.wrong(&path.key("name"), &route.name, message);
    }
}

fn one(
    route: &wire::Route,
    (upstreams, shared): (&Names<'_>, &[FilterSpec]),
    path: &Path,
    context: &mut Context<'_>,
) -> Option<Route> {
    let matches = matching::matches(&route.matches, &upstreams.listeners, &path.key("match"), context);
    let filters = filters::steps(&route.filters, shared, &path.key("filters"), context);
    let path_regex = matches.as_ref().and_then(|matches| matches.path_regex().cloned());
    let scope = Scope { path_regex: path_regex.as_ref(), maps: upstreams.maps };
    let action = action(route, (upstreams, scope), path, context);
    let timeout = listener::given_timeout(route.timeout, &path.key("timeout"), context);
    let timeouts = timeouts(&route.timeouts, &path.key("timeouts"), context);
    let retry = given(route.retry.as_ref(), |wire| retry::retry(wire, &path.key("retry"), context));
    if let (Some(Some(timeout)), Some(Some(Retry { per_try_timeout: Some(per_try), .. }))) = (timeout, &retry)
        && *per_try >= timeout
    {
        let message =
            format!("has no effect: expected less than the route's timeout, which is {}", Duration(timeout));
        let path = path.key("retry").key("per_try_timeout");
        context.wrong(&path, &Duration(*per_try).to_string(), message);
    }
    if retry
        .as_ref()
        .and_then(Option::as_ref)
        .is_some_and(|retry| retry.budget != RetryBudgetOptions::default())
    {
        let message = "has no effect: the budget is the upstream's, over all routes that lead there";
        context.wrong_key(&path.key("retry").key("budget"), message);
    }
    if matches!(action, Some(Action::Redirect(_) | Action::Respond(_))) {
        let given = [
            ("timeout", route.timeout.is_some()),
            ("timeouts", timeouts.as_ref().is_some_and(|timeouts| !timeouts.is_empty())),
            ("retry", route.retry.is_some()),
            ("explain", route.explain),
        ];
        for (key, _) in given.iter().filter(|(_, given)| *given) {
            context.wrong_key(&path.key(key), "has no effect: this route responds by itself");
        }
    }
    Some(Route {
        name: route.name.clone(),
        matches: matches?,
        filters: filters?,
        action: action?,
        timeout: timeout?,
        timeouts: timeouts?,
        max_body_size: route.max_body_size.map(|limit| limit.0),
        retry: retry?,
        explain: route.explain,
    })
}

fn timeouts(timeouts: &wire::RouteTimeouts, path: &Path, context: &mut Context<'_>) -> Option<RouteTimeouts> {
    let mut one = |value, key| listener::given_timeout(value, &path.key(key), context);
    let (connect, first_byte) = (one(timeouts.connect, "connect"), one(timeouts.first_byte, "first_byte"));
    let (idle, upgraded_idle) = (one(timeouts.idle, "idle"), one(timeouts.upgraded_idle, "upgraded_idle"));
    Some(RouteTimeouts {
        connect: connect?,
        first_byte: first_byte?,
        idle: idle?,
        upgraded_idle: upgraded_idle?,
    })
}

// === where it leads ===

fn action(
    route: &wire::Route,
    (upstreams, scope): (&Names<'_>, Scope<'_>),
    path: &Path,
    context: &mut Context<'_>,
) -> Option<Action> {
    const KEYS: [&str; 4] = ["upstream", "split", "redirect", "respond"];
    let given =
        [route.upstream.is_some(), route.split.is_some(), route.redirect.is_some(), route.respond.is_some()];
    let missing = format!("has no target: expected one of {}", any_of(&KEYS));
    only_one(&KEYS, &given, &missing, path, context)?;
    if let Some(name) = &route.upstream {
        return upstream(name, upstreams, &path.key("upstream"), true, context).map(Action::Upstream);
    }
    if let Some(weights) = &route.split {
        return split(weights, upstreams, &path.key("split"), context).map(Action::Split);
    }
    if let Some(wire) = &route.redirect {
        return redirect(wire, scope, &path.key("redirect"), context).map(Action::Redirect);
    }
    let wire = route.respond.as_ref()?;
    respond::respond(wire, scope, &path.key("respond"), context).map(Action::Respond)
}

/// The index of an upstream. In a split its name is the key, elsewhere the value.
pub(super) fn upstream(
    name: &str,
    known: &Names<'_>,
    path: &Path,
    is_value: bool,
    context: &mut Context<'_>,
) -> Option<usize> {
    let index = known.index(name);
    // It may be missing because it was refused.
    if index.is_none() && !context.was_removed(&Path::default().key("upstreams").key(name)) {
        let message = match known.list.as_slice() {
            [] => "is not an upstream: there are none; name it under upstreams".to_owned(),
            known => format!("is not an upstream: expected {}", first_few(known)),
        };
        let noted =
            if is_value { context.wrong(path, name, message) } else { context.wrong_key(path, message) };
        noted.suggestion = closest(name, known.list.iter().copied()).map(str::to_owned);
    }
    index
}

fn first_few(names: &[&str]) -> String {
    const FEW: usize = 8;
    match names.get(..FEW) {
        Some(few) if names.len() > FEW => format!("one of {}, …", few.join(", ")),
        _ => any_of(names),
    }
}

fn split(
    weights: &Named<Weight>,
    upstreams: &Names<'_>,
    path: &Path,
    context: &mut Context<'_>,
) -> Option<Vec<(usize, u32)>> {
    let resolve = |(name, weight): &(String, Weight)| {
        super::upstream::weight(*weight, &path.key(name), context);
        upstream(name, upstreams, &path.key(name), false, context).map(|index| (index, weight.0))
    };
    let resolved: Vec<Option<(usize, u32)>> = weights.0.iter().map(resolve).collect();
    if weights.0.iter().all(|(_, weight)| weight.0 == 0) && !context.is_damaged(path) {
        context.wrong_key(path, "has only weights of 0: expected at least one weight above 0");
        return None;
    }
    resolved.into_iter().collect()
}

fn redirect(
    wire: &wire::Redirect,
    scope: Scope<'_>,
    path: &Path,
    context: &mut Context<'_>,
) -> Option<Redirect> {
    let status = u16::try_from(wire.status).ok().filter(|status| wire::Redirect::STATUSES.contains(status));
    if status.is_none() {
        let message = "is not a status that redirects: expected 301, 302, 303, 307 or 308";
        context.wrong(&path.key("status"), &wire.status.to_string(), message);
    }
    let path = path.key("to");
    if wire.to.is_empty() || !wire.to.bytes().all(|byte| byte.is_ascii_graphic()) {
        let message = "is not a location: expected a URL or a path, without spaces, and with other letters than ASCII as %XX";
        context.wrong(&path, &wire.to, message);
        return None;
    }
    match location(&wire.to, scope) {
        Ok(to) => Some(Redirect { to, status: status? }),
        Err(fault) => {
            context.wrong(&path, &wire.to, fault.message).suggestion = fault.suggestion;
            None
        }
    }
}

/// A location that no request can lead to another host.
fn location(text: &str, scope: Scope<'_>) -> Result<Template, TemplateFault> {
    let template = placeholders::template(text, Escape::Location, Phase::Request, scope)?;
    check_location(&template).map_err(|error| {
        let is_host = text.starts_with("{host}") || text.starts_with("{authority}");
        let suggestion = (is_host && error == LocationError::Beginning).then(|| format!("https://{text}"));
        TemplateFault::new(format!("is not a location: {error}"), suggestion)
    })?;
    Ok(template)
}
