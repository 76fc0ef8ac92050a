//! From what was written to what it means: names resolved, rules checked that no single type can hold.
//!
//! This room never reads YAML. It serves files and the builder alike: a file also has a tree, to look places up in.

mod address;
mod admin;
mod algorithm;
mod context;
mod discovery;
mod effects;
mod filters;
mod general;
mod health;
mod lean;
mod limits;
mod list;
mod listener;
mod maps;
mod matching;
mod origin;
mod respond;
mod retry;
mod route;
mod syslog;
mod tcp;
mod tls;
mod upstream;

pub(crate) use context::Context;
pub(crate) use list::{backend_url, groups, listed};

use crate::wire::{File, Protocol};
use crate::yaml::Path;
use crate::{FilterSpec, Model, Route};

/// What the file means. `None` if something is wrong that leaves no model; then, and whenever anything else is wrong, the
/// context holds what.
pub(crate) fn resolve(file: &File, context: &mut Context<'_>) -> Option<Model> {
    let root = Path::default();
    let filters = filters::shared(&file.filters, &root.key("filters"), context);
    let maps = maps::all(&file.maps, &root.key("maps"), context);
    let names = route::Names::new(file, &maps);
    let listeners = listener::all(&file.listeners, (&names, &filters), &root.key("listeners"), context);
    let upstreams = upstream::all(&file.upstreams, &root.key("upstreams"), context);
    let routes = routes(file, &names, &filters, context);
    let (trusted_proxies, trusts_unix) =
        general::networks(&file.trusted_proxies, &root.key("trusted_proxies"), context);
    let forwarding = general::forwarding(&file.forwarding, &root.key("forwarding"), context);
    let overload = general::overload(&file.overload_protection, &root.key("overload_protection"), context);
    let shutdown = general::shutdown(&file.shutdown, &root.key("shutdown"), context);
    let admin = admin::admin(file.admin.as_ref(), &listeners, &root.key("admin"), context);
    let access_log =
        general::access_log(file.access_log.as_ref().map(|log| &log.0), &root.key("access_log"), context);
    let workers = general::workers(file.workers, &root.key("workers"), context);
    if let Some(zone) = &file.zone {
        general::label(zone, &root.key("zone"), context);
    }
    // What depends on several parts is only judged when each is right.
    if context.is_clean() {
        tcp::effects((&listeners, &routes, &upstreams), context);
        effects::effects(file.zone.is_some(), (&listeners, &routes, &upstreams), context);
    }
    if !context.is_clean() {
        return None;
    }
    Some(Model {
        listeners,
        routes,
        filters,
        upstreams,
        trusted_proxies,
        trusts_unix,
        forwarding: forwarding?,
        overload_protection: overload?,
        shutdown: shutdown?,
        admin: admin?,
        access_log: access_log?,
        workers,
        lanes: file.lanes.into(),
        zone: file.zone.clone(),
        maps,
    })
}

/// The routes; without any, all requests go to the only upstream of HTTP backends.
fn routes(
    file: &File,
    names: &route::Names<'_>,
    filters: &[FilterSpec],
    context: &mut Context<'_>,
) -> Vec<Route> {
    let root = Path::default();
    // Without a listener, which is wrong, it is not known what there should be.
    let speaks_http = file.listeners.iter().any(|listener| listener.protocol == Protocol::Http);
    match (file.routes.is_empty(), names.http()) {
        (true, _) if !speaks_http && !file.listeners.is_empty() => Vec::new(),
        (true, [only]) => vec![Route::default_to(*only)],
        (true, []) if !names.tcp().is_empty() => {
            let message =
                "speaks HTTP, and every upstream has TCP backends: expected protocol: tcp next to address";
            let at = file.listeners.iter().position(|listener| listener.protocol == Protocol::Http);
            context.wrong_key(&root.key("listeners").index(at.unwrap_or_default()), message);
            Vec::new()
        }
        (true, []) => {
            context.absent(
                &root.key("upstreams"),
                "is missing: expected at least one upstream, or routes that respond",
            );
            Vec::new()
        }
        (true, [first, ..]) => {
            let message = format!(
                "is missing: with several upstreams, routes say which requests go where, like [{{ name: all, upstream: {} }}]",
                names.name(*first)
            );
            context.absent(&root.key("routes"), message);
            Vec::new()
        }
        (false, _) => {
            let known = (names, filters);
            route::all(&file.routes, known, &root.key("routes"), context)
        }
    }
}

/// An optional value. The outer `None` means that it is present and wrong.
fn given<W, T>(wire: Option<W>, resolve: impl FnOnce(W) -> Option<T>) -> Option<Option<T>> {
    match wire {
        None => Some(None),
        Some(wire) => resolve(wire).map(Some),
    }
}
