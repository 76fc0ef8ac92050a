//! Upstreams and their backends.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;

use super::general::label;
use super::{Context, address, algorithm, discovery, given, health, limits, listener, retry};
use crate::values::{self, Weight};
use crate::wire::{self, Named};
use crate::yaml::Path;
use crate::{Backend, BackendHost, Http2, Pool, ProxyVersion, Retry, Timeouts, Upstream, UpstreamTls};

/// Every upstream that is right, in the order of the file.
pub(super) fn all(
    upstreams: &Named<wire::Upstream>,
    path: &Path,
    context: &mut Context<'_>,
) -> Vec<Upstream> {
    let mut resolved = Vec::new();
    let mut names = HashSet::new();
    for (name, upstream) in &upstreams.0 {
        let path = path.key(name);
        label(name, &path, context);
        if !names.insert(name.as_str()) {
            context.wrong_key(&path, "is given twice");
        }
        resolved.extend(one(name, upstream, &path, context));
    }
    resolved
}

fn one(name: &str, upstream: &wire::Upstream, path: &Path, context: &mut Context<'_>) -> Option<Upstream> {
    let discovery = given(upstream.discovery.as_ref(), |wire| {
        discovery::discovery(wire, &path.key("discovery"), context)
    });
    let backends = backends(upstream, path, context);
    let tls = tls(upstream, &backends, path, context);
    let timeouts = timeouts(&upstream.timeouts, &path.key("timeouts"), context);
    let pool_path = path.key("pool").key("idle_timeout");
    let idle_timeout = listener::timeout(upstream.pool.idle_timeout, &pool_path, context);
    let algorithm = algorithm::algorithm(&upstream.algorithm.0, &path.key("algorithm"), context);
    let retry = retry::retry(&upstream.retry, &path.key("retry"), context);
    if let (Some(retry), Some(timeouts)) = (&retry, &timeouts) {
        shorter_tries(retry, timeouts, path, context);
    }
    let hedge = given(upstream.hedge.as_ref(), |wire| retry::hedge(wire, &path.key("hedge"), context));
    let health = health::health(upstream, &backends, path, context);
    let limits = limits::limits(upstream, path, context);
    let sticky = given(upstream.sticky.as_ref(), |wire| limits::sticky(wire, &path.key("sticky"), context));
    let proxy_protocol: Option<ProxyVersion> = upstream.proxy_protocol.into();
    if proxy_protocol.is_some() && Http2::from(upstream.http2) != Http2::Never {
        let message = "cannot be combined with http2: a connection of HTTP/2 carries requests of many clients; expected http2: never";
        context.wrong_key(&path.key("proxy_protocol"), message);
    }
    Some(Upstream {
        name: name.to_owned(),
        algorithm: algorithm?,
        backends,
        discovery: discovery?,
        timeouts: timeouts?,
        retry: retry?,
        hedge: hedge?,
        health: health?,
        limits: limits?,
        sticky: sticky?,
        http2: upstream.http2.into(),
        pool: Pool { idle_timeout: idle_timeout?, max_idle: upstream.pool.max_idle },
        tls,
        proxy_protocol,
    })
}

/// One attempt must not take longer than the whole response.
fn shorter_tries(retry: &Retry, timeouts: &Timeouts, path: &Path, context: &mut Context<'_>) {
    if let Some(per_try) = retry.per_try_timeout
        && per_try >= timeouts.first_byte
    {
        let first_byte = values::Duration(timeouts.first_byte);
        let message = format!("has no effect: expected less than timeouts.first_byte, which is {first_byte}");
        let path = path.key("retry").key("per_try_timeout");
        context.wrong(&path, &values::Duration(per_try).to_string(), message);
    }
}

fn backends(upstream: &wire::Upstream, path: &Path, context: &mut Context<'_>) -> Vec<Backend> {
    let discovers = upstream.discovery.is_some() || context.is_damaged(&path.key("discovery"));
    let (backends, path) = (&upstream.backends, &path.key("backends"));
    let paths = context.entries(path, backends.len());
    let mut seen: HashMap<(bool, BackendHost), Path> = HashMap::new();
    let mut resolved = Vec::new();
    for (wire::OrText(backend), path) in backends.iter().zip(paths) {
        let (priority, zone) = level_and_zone(backend, &path, context);
        // The short form is the URL itself, the long one has it under a key.
        let long = path.key("url");
        let path = if context.node(&long).is_some() { long } else { path };
        let url = match address::backend(&backend.url) {
            Ok(url) => url,
            Err(refused) => {
                context.wrong(&path, &backend.url, refused.message).suggestion = refused.suggestion;
                continue;
            }
        };
        if let Some(first) = seen.get(&(url.tls, url.host.clone())) {
            let line = context.line(first);
            context.wrong(&path, &url.text, format!("is given twice: {first}{line} is the same backend"));
        }
        weight(backend.weight, &path, context);
        context.keep_place(&path);
        seen.insert((url.tls, url.host.clone()), path);
        resolved.push(Backend { weight: backend.weight.0, priority, zone, ..Backend::new(url) });
    }
    if backends.is_empty() && !discovers {
        let message = match context.node(path) {
            Some(_) => "has no entries: expected at least one backend, like [\"http://127.0.0.1:8081\"]",
            None => {
                "is missing: expected a list of URLs: write backends: [\"http://127.0.0.1:8081\"], or discovery: …"
            }
        };
        context.absent(path, message);
    } else if !resolved.is_empty()
        && resolved.iter().all(|backend| backend.weight == 0)
        && !discovers
        && !context.is_damaged(path)
    {
        context.wrong_key(path, "all have the weight 0: expected at least one weight above 0");
    }
    resolved
}

fn level_and_zone(backend: &wire::Backend, path: &Path, context: &mut Context<'_>) -> (u8, Option<String>) {
    if backend.backup && backend.priority.is_some() {
        let message =
            "cannot be combined with backup: true, which is priority: 1: expected only one of the two";
        context.wrong_key(&path.key("priority"), message);
    }
    if let Some(zone) = &backend.zone {
        label(zone, &path.key("zone"), context);
    }
    (backend.priority.unwrap_or(backend.backup.into()), backend.zone.clone())
}

/// Text cannot say more than the largest weight; the builder can.
pub(super) fn weight(weight: Weight, path: &Path, context: &mut Context<'_>) {
    if weight.0 > Weight::MAX {
        let message = format!("has too large a weight: expected at most {}", Weight::MAX);
        context.wrong(path, &weight.to_string(), message);
    }
}

fn tls(
    upstream: &wire::Upstream,
    backends: &[Backend],
    path: &Path,
    context: &mut Context<'_>,
) -> UpstreamTls {
    let Some(tls) = &upstream.tls else { return UpstreamTls::default() };
    let used = upstream.health_check.as_ref().is_some_and(|wire::OrText(check)| check.tls.is_some())
        || backends.iter().any(|backend| backend.url.tls);
    // What a source reports is not known yet.
    let used = used || upstream.discovery.is_some();
    let unsure = ["backends", "health_check"].iter().any(|key| context.is_damaged(&path.key(key)));
    let path = path.key("tls");
    if !backends.is_empty() && !used && !unsure {
        context.wrong_key(&path, "has no effect: none of the backends is https");
    }
    if let Some(name) = &tls.server_name
        && !address::is_host_name(name)
        && name.parse::<std::net::IpAddr>().is_err()
    {
        let message = "is not a name for a certificate: expected a host name or an IP address";
        context.wrong(&path.key("server_name"), name, message);
    }
    if let Some(ca) = &tls.ca {
        context.keep_place(&path.key("ca"));
        if ca.is_empty() {
            context.wrong(&path.key("ca"), ca, "is empty: expected the path of a PEM file");
        }
        if tls.danger_accept_invalid_certificates {
            let message =
                "has no effect: danger_accept_invalid_certificates accepts certificates of any authority";
            context.wrong_key(&path.key("ca"), message);
        }
    }
    UpstreamTls {
        server_name: tls.server_name.clone(),
        ca: tls.ca.as_ref().map(PathBuf::from),
        danger_accept_invalid_certificates: tls.danger_accept_invalid_certificates,
    }
}

fn timeouts(timeouts: &wire::Timeouts, path: &Path, context: &mut Context<'_>) -> Option<Timeouts> {
    let connect = listener::timeout(timeouts.connect, &path.key("connect"), context);
    let first_byte = listener::timeout(timeouts.first_byte, &path.key("first_byte"), context);
    let idle = listener::timeout(timeouts.idle, &path.key("idle"), context);
    let upgraded_idle = listener::timeout(timeouts.upgraded_idle, &path.key("upgraded_idle"), context);
    Some(Timeouts { connect: connect?, first_byte: first_byte?, idle: idle?, upgraded_idle: upgraded_idle? })
}
