//! Connections that are carried as they are: where a listener sends them, and what has no effect on them.

use evenkeel_core::balance::{HashKey, LoadBalancingAlgorithm};
use evenkeel_core::route::HostPattern;

use super::route::{Names, upstream};
use super::{Context, listener};
use crate::wire;
use crate::yaml::Path;
use crate::{Action, Http2, Listener, Pool, Protocol, Route, Tcp, TcpRoute, Timeouts, Upstream};

/// Whether an upstream as it is written is one of TCP backends.
pub(super) fn is_tcp(upstream: &wire::Upstream) -> bool {
    let discovers =
        upstream.discovery.as_ref().is_some_and(|discovery| discovery.scheme == wire::Scheme::Tcp);
    discovers || upstream.backends.iter().any(|wire::OrText(backend)| backend.url.starts_with("tcp"))
}

/// Where a listener with `protocol: tcp` sends its connections.
pub(super) fn tcp(
    wire: Option<&wire::Tcp>,
    tls: bool,
    upstreams: &Names<'_>,
    path: &Path,
    context: &mut Context<'_>,
) -> Option<Tcp> {
    let none = wire::Tcp::default();
    let given = wire.unwrap_or(&none);
    let routes_path = path.key("routes");
    let paths = context.entries(&routes_path, given.routes.len());
    let routes: Vec<_> = given
        .routes
        .iter()
        .zip(paths)
        .map(|(wire, path)| route(wire, tls, upstreams, &path, context))
        .collect();
    let default = match &given.upstream {
        Some(name) => Some(upstream(name, upstreams, &path.key("upstream"), true, context)),
        None if !given.routes.is_empty() || context.is_damaged(&routes_path) => None,
        None => Some(match *upstreams.tcp() {
            [only] => Some(only),
            [] => {
                let message = "has no upstream: expected one with TCP backends, like { db: { backends: [\"tcp://10.0.0.1:5432\"] } }";
                context.absent(path, message);
                None
            }
            [first, ..] => {
                let first = upstreams.name(first);
                let message = format!(
                    "has no upstream: with several upstreams of TCP backends, expected upstream: {first}"
                );
                context.absent(path, message);
                None
            }
        }),
    };
    let idle_timeout = listener::timeout(given.idle_timeout, &path.key("idle_timeout"), context);
    let hello_path = path.key("client_hello_timeout");
    let client_hello_timeout = listener::timeout(given.client_hello_timeout, &hello_path, context);
    if context.node(&hello_path).is_some() && (tls || given.routes.is_empty()) {
        let message = "has no effect: the first message of a client is read for routes, and without tls on the listener";
        context.wrong_key(&hello_path, message);
    }
    Some(Tcp {
        routes: routes.into_iter().collect::<Option<_>>()?,
        // The inner value is missing where it was wrong.
        upstream: match default {
            None => None,
            Some(index) => Some(index?),
        },
        idle_timeout: idle_timeout?,
        client_hello_timeout: client_hello_timeout?,
    })
}

fn route(
    wire: &wire::TcpRoute,
    tls: bool,
    upstreams: &Names<'_>,
    path: &Path,
    context: &mut Context<'_>,
) -> Option<TcpRoute> {
    let names_path = path.key("server_names");
    let mut server_names = Some(Vec::new());
    for (text, path) in wire.server_names.iter().zip(context.entries(&names_path, wire.server_names.len())) {
        match text.parse::<HostPattern>() {
            Ok(name) => server_names.iter_mut().for_each(|names| names.push(name.clone())),
            Err(error) => {
                context.wrong(&path, text, format!("is not a name to match: {error}"));
                server_names = None;
            }
        }
    }
    let alpn_path = path.key("alpn");
    for (text, path) in wire.alpn.iter().zip(context.entries(&alpn_path, wire.alpn.len())) {
        if text.is_empty() || text.len() > usize::from(u8::MAX) {
            context.wrong(&path, text, "is not a protocol of ALPN: expected 1 to 255 bytes, like h2 or mqtt");
        }
    }
    if tls && !wire.alpn.is_empty() {
        let message = "has no effect: this listener speaks TLS itself: expected server_names, or a listener without tls";
        context.wrong_key(&alpn_path, message);
    }
    for (key, count) in [("server_names", wire.server_names.len()), ("alpn", wire.alpn.len())] {
        let path = path.key(key);
        if count == 0 && context.node(&path).is_some() && !context.is_damaged(&path) {
            context.wrong_key(&path, "has no entries: leave it out to match every one");
        }
    }
    let target = upstream(&wire.upstream, upstreams, &path.key("upstream"), true, context);
    Some(TcpRoute { server_names: server_names?, alpn: wire.alpn.clone(), upstream: target? })
}

/// Notes where HTTP and TCP are mixed, and what has no effect on connections that are carried as they are. Everything that is
/// given here is right by itself.
pub(super) fn effects(
    (listeners, routes, upstreams): (&[Listener], &[Route], &[Upstream]),
    context: &mut Context<'_>,
) {
    let root = Path::default();
    for upstream in upstreams {
        let path = root.key("upstreams").key(&upstream.name);
        one_protocol(upstream, &path, context);
        if upstream.protocol() == Protocol::Tcp {
            without_effect(upstream, &path, context);
        }
    }
    let protocol = |index: usize| upstreams.get(index).map(Upstream::protocol);
    let places = context.entries(&root.key("listeners"), listeners.len());
    for (listener, path) in listeners.iter().zip(places) {
        let Some(tcp) = &listener.tcp else { continue };
        let path = path.key("tcp");
        let rules = tcp.routes.iter().enumerate();
        let rules = rules.map(|(at, route)| (route.upstream, path.key("routes").index(at).key("upstream")));
        let all = rules.chain(tcp.upstream.map(|upstream| (upstream, path.key("upstream"))));
        for (index, path) in all.filter(|(index, _)| protocol(*index) == Some(Protocol::Http)) {
            let name = upstreams.get(index).map_or("", |upstream| upstream.name.as_str());
            let message =
                "has HTTP backends: expected an upstream with TCP backends, like tcp://10.0.0.1:5432";
            context.wrong(&path, name, message);
        }
    }
    let places = context.entries(&root.key("routes"), routes.len());
    if listeners.iter().all(|listener| listener.tcp.is_some()) && !routes.is_empty() {
        let message =
            "have no effect: every listener has protocol: tcp, which has its own tcp: { routes: […] }";
        context.wrong_key(&root.key("routes"), message);
        return;
    }
    for (route, path) in routes.iter().zip(places) {
        let targets: Vec<(usize, Path)> = match &route.action {
            Action::Upstream(target) => vec![(*target, path.key("upstream"))],
            Action::Split(targets) => {
                targets.iter().map(|(target, _)| (*target, path.key("split"))).collect()
            }
            Action::Redirect(_) | Action::Respond(_) => Vec::new(),
        };
        for (index, path) in targets.into_iter().filter(|(index, _)| protocol(*index) == Some(Protocol::Tcp))
        {
            let name = upstreams.get(index).map_or("", |upstream| upstream.name.as_str());
            let message =
                "has TCP backends: expected an upstream with HTTP backends, or a listener with protocol: tcp";
            context.wrong(&path, name, message);
        }
    }
}

fn one_protocol(upstream: &Upstream, path: &Path, context: &mut Context<'_>) {
    let path = path.key("backends");
    let places = context.entries(&path, upstream.backends.len());
    let other = upstream.backends.iter().zip(places).find(|(one, _)| one.url.protocol != upstream.protocol());
    if let Some((backend, place)) = other {
        let message = "does not fit the other backends: expected either HTTP or TCP in one upstream (for discovery: scheme: tcp)";
        context.wrong(&place, &backend.url.text, message);
    }
}

/// Notes the keys of an upstream of TCP backends that are about requests.
fn without_effect(upstream: &Upstream, path: &Path, context: &mut Context<'_>) {
    let timeouts = Timeouts::default();
    let hashes = match &upstream.algorithm {
        LoadBalancingAlgorithm::ConsistentHash(options) => options.key != HashKey::ClientIp,
        LoadBalancingAlgorithm::Maglev(options) | LoadBalancingAlgorithm::Rendezvous(options) => {
            options.key != HashKey::ClientIp
        }
        _ => false,
    };
    let of_timeouts = |key: &str| path.key("timeouts").key(key);
    let keys = [
        (hashes, path.key("algorithm")),
        (upstream.hedge.is_some(), path.key("hedge")),
        (upstream.sticky.is_some(), path.key("sticky")),
        (upstream.http2 != Http2::Never, path.key("http2")),
        (upstream.limits.deadline_header.is_some(), path.key("deadline_header")),
        (upstream.pool != Pool::default(), path.key("pool")),
        (upstream.timeouts.first_byte != timeouts.first_byte, of_timeouts("first_byte")),
        (upstream.timeouts.idle != timeouts.idle, of_timeouts("idle")),
        (upstream.timeouts.upgraded_idle != timeouts.upgraded_idle, of_timeouts("upgraded_idle")),
        (upstream.retry.per_try_timeout.is_some(), path.key("retry").key("per_try_timeout")),
    ];
    for (_, path) in keys.into_iter().filter(|(given, _)| *given) {
        let message = match path.to_string().ends_with(".algorithm") {
            true => "hashes a part of a request, and these are TCP backends: expected key: client_ip",
            false => "has no effect: it is about HTTP, and these are TCP backends",
        };
        context.wrong_key(&path, message);
    }
}
