//! From what was written to what it means: names resolved, rules checked that no single type can hold.
//!
//! This room never reads YAML. It serves files and the builder alike: a file also has a tree, to look places up in.

mod address;
mod algorithm;
mod context;
mod general;
mod health;
mod limits;
mod listener;
mod retry;
mod route;
mod upstream;

pub(crate) use context::Context;

use crate::wire::File;
use crate::yaml::Path;
use crate::{Action, Model, Route, Upstream};

/// What the file means. `None` if something is wrong that leaves no model; then, and whenever anything else is wrong, the
/// context holds what.
pub(crate) fn resolve(file: &File, context: &mut Context<'_>) -> Option<Model> {
    let root = Path::default();
    let listeners = listener::all(&file.listeners, &root.key("listeners"), context);
    let upstreams = upstream::all(&file.upstreams, &root.key("upstreams"), context);
    let names: Vec<&str> = file.upstreams.0.iter().map(|(name, _)| name.as_str()).collect();
    let routes = match (file.routes.is_empty(), names.as_slice()) {
        (true, [_]) => vec![Route::default_to(0)],
        (true, []) => {
            context.absent(
                &root.key("upstreams"),
                "is missing: expected at least one upstream, or routes that answer",
            );
            Vec::new()
        }
        (true, [first, ..]) => {
            let message = format!(
                "is missing: with several upstreams, routes say which requests go where, like [{{ name: all, upstream: {first} }}]"
            );
            context.absent(&root.key("routes"), message);
            Vec::new()
        }
        (false, _) => route::all(&file.routes, &names, &root.key("routes"), context),
    };
    let trusted_proxies =
        general::trusted_proxies(&file.trusted_proxies, &root.key("trusted_proxies"), context);
    let forwarding = general::forwarding(&file.forwarding, &root.key("forwarding"), context);
    let shutdown = general::shutdown(&file.shutdown, &root.key("shutdown"), context);
    let admin = general::admin(file.admin.as_ref(), &listeners, &root.key("admin"), context);
    let access_log =
        general::access_log(file.access_log.as_ref().map(|log| &log.0), &root.key("access_log"), context);
    let workers = general::workers(file.workers, &root.key("workers"), context);
    if let Some(zone) = &file.zone {
        general::label(zone, &root.key("zone"), context);
    }
    // What depends on several parts is only judged when each is right.
    if context.is_clean() {
        effects(file.zone.is_some(), &routes, &upstreams, context);
    }
    if !context.is_clean() {
        return None;
    }
    Some(Model {
        listeners,
        routes,
        upstreams,
        trusted_proxies,
        forwarding: forwarding?,
        shutdown: shutdown?,
        admin: admin?,
        access_log: access_log?,
        workers,
        lanes: file.lanes.into(),
        zone: file.zone.clone(),
    })
}

/// Notes what would do nothing.
fn effects(has_zone: bool, routes: &[Route], upstreams: &[Upstream], context: &mut Context<'_>) {
    let root = Path::default();
    let mut backends = upstreams.iter().flat_map(|upstream| &upstream.backends);
    if has_zone && backends.all(|backend| backend.zone.is_none()) {
        context.wrong_key(&root.key("zone"), "has no effect: no backend has a zone");
    }
    for (index, upstream) in upstreams.iter().enumerate() {
        let leads_here = |route: &&Route| match &route.action {
            Action::Upstream(target) => *target == index,
            Action::Split(targets) => targets.iter().any(|(target, _)| *target == index),
            Action::Redirect(_) | Action::Respond(_) => false,
        };
        let mut leading = routes.iter().filter(leads_here).peekable();
        if upstream.limits.deadline_header.is_some()
            && leading.peek().is_some()
            && leading.all(|route| route.timeout.is_none())
        {
            let path = root.key("upstreams").key(&upstream.name).key("deadline_header");
            context.wrong_key(&path, "has no effect: no route that leads here has a timeout");
        }
    }
}

/// What need not be given: the outer `None` if it is given and wrong.
fn given<W, T>(wire: Option<W>, resolve: impl FnOnce(W) -> Option<T>) -> Option<Option<T>> {
    match wire {
        None => Some(None),
        Some(wire) => resolve(wire).map(Some),
    }
}
