//! Upstreams and their backends.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::path::PathBuf;

use super::{Context, address, listener};
use crate::values::Weight;
use crate::wire::{self, Named};
use crate::yaml::Path;
use crate::{Backend, BackendHost, Pool, Timeouts, Upstream, UpstreamTls};

/// Every upstream that is right, in the order of the file.
pub(super) fn all(
    upstreams: &Named<wire::Upstream>,
    path: &Path,
    context: &mut Context<'_>,
) -> Vec<Upstream> {
    let mut resolved = Vec::new();
    for (name, upstream) in &upstreams.0 {
        let path = path.key(name);
        super::general::label(name, &path, context);
        if resolved.iter().any(|known: &Upstream| known.name == *name) {
            context.wrong_key(&path, "is given twice");
        }
        resolved.extend(one(name, upstream, &path, context));
    }
    resolved
}

fn one(name: &str, upstream: &wire::Upstream, path: &Path, context: &mut Context<'_>) -> Option<Upstream> {
    let backends = backends(&upstream.backends, &path.key("backends"), context);
    let tls = tls(upstream.tls.as_ref(), &backends, path, context);
    let timeouts = timeouts(&upstream.timeouts, &path.key("timeouts"), context);
    let pool_path = path.key("pool").key("idle_timeout");
    let idle_timeout = listener::timeout(upstream.pool.idle_timeout, &pool_path, context);
    let wire::MaxAttempts(attempts) = upstream.max_attempts;
    if attempts == 0 || attempts > wire::MaxAttempts::MAX {
        let message = format!("is out of range: expected 1 to {}", wire::MaxAttempts::MAX);
        context.wrong(&path.key("max_attempts"), &attempts.to_string(), message);
    }
    Some(Upstream {
        name: name.to_owned(),
        algorithm: upstream.algorithm.0.clone(),
        backends,
        timeouts: timeouts?,
        max_attempts: NonZeroUsize::new(attempts)?,
        pool: Pool { idle_timeout: idle_timeout?, max_idle: upstream.pool.max_idle },
        tls,
    })
}

fn backends(
    backends: &[wire::OrText<wire::Backend>],
    path: &Path,
    context: &mut Context<'_>,
) -> Vec<Backend> {
    let paths = context.entries(path, backends.len());
    let mut seen: HashMap<(bool, BackendHost), Path> = HashMap::new();
    let mut resolved = Vec::new();
    for (wire::OrText(backend), path) in backends.iter().zip(paths) {
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
        seen.insert((url.tls, url.host.clone()), path);
        resolved.push(Backend { url, weight: backend.weight.0 });
    }
    if backends.is_empty() {
        context
            .absent(path, "has no entries: expected at least one backend, like [\"http://127.0.0.1:8081\"]");
    } else if !resolved.is_empty()
        && resolved.iter().all(|backend| backend.weight == 0)
        && !context.is_damaged(path)
    {
        context.wrong_key(path, "all have the weight 0: expected at least one that may be chosen");
    }
    resolved
}

/// Text cannot say more than the largest weight; the builder can.
pub(super) fn weight(weight: Weight, path: &Path, context: &mut Context<'_>) {
    if weight.0 > Weight::MAX {
        let message = format!("has too large a weight: expected at most {}", Weight::MAX);
        context.wrong(path, &weight.to_string(), message);
    }
}

fn tls(tls: Option<&wire::Tls>, backends: &[Backend], path: &Path, context: &mut Context<'_>) -> UpstreamTls {
    let Some(tls) = tls else { return UpstreamTls::default() };
    let (path, backends_path) = (path.key("tls"), path.key("backends"));
    if !backends.is_empty()
        && !context.is_damaged(&backends_path)
        && !backends.iter().any(|backend| backend.url.tls)
    {
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
