//! Listeners.

use std::collections::HashMap;
use std::time::Duration;

use super::general::label;
use super::route::Names;
use super::{Context, address, filters, general, given, tcp, tls};
use crate::values::Size;
use crate::wire;
use crate::yaml::Path;
use crate::{
    FilterSpec, HttpLimits, ListenAddress, Listener, PathForm, Paths, ProxyProtocol, ProxyProtocolMode, Tcp,
    UnixSocket, values,
};

/// Every listener that is right. Addresses that only the system can refuse are not tried here.
pub(super) fn all(
    listeners: &[wire::Listener],
    (upstreams, shared): (&Names<'_>, &[FilterSpec]),
    path: &Path,
    context: &mut Context<'_>,
) -> Vec<Listener> {
    if listeners.is_empty() {
        context
            .absent(path, "is missing: expected at least one listener, like [{ address: 127.0.0.1:8080 }]");
    }
    let paths = context.entries(path, listeners.len());
    let mut seen: HashMap<ListenAddress, Path> = HashMap::new();
    let mut names: HashMap<&str, Path> = HashMap::new();
    let mut resolved = Vec::new();
    for (listener, path) in listeners.iter().zip(paths) {
        if let Some(name) = &listener.name {
            let path = path.key("name");
            label(name, &path, context);
            if let Some(first) = names.insert(name, path.clone()) {
                let message = format!("is given twice: {first}{} has the same name", context.line(&first));
                context.wrong(&path, name, message);
            }
        }
        let Some(listener) = one(listener, (upstreams, shared), &path, context) else { continue };
        let path = path.key("address");
        match seen.get(&listener.address) {
            Some(first) => {
                let line = context.line(first);
                context.wrong(
                    &path,
                    &listener.address.to_string(),
                    format!("is taken: {first}{line} listens on it already: give one of them another port"),
                );
            }
            None if matches!(&listener.address, ListenAddress::Tcp(address) if address.port() == 0) => {}
            None => _ = seen.insert(listener.address.clone(), path),
        }
        resolved.push(listener);
    }
    resolved
}

fn one(
    listener: &wire::Listener,
    (upstreams, shared): (&Names<'_>, &[FilterSpec]),
    path: &Path,
    context: &mut Context<'_>,
) -> Option<Listener> {
    let address = match address::listen(&listener.address) {
        Ok(address) => Some(address),
        Err(refused) => {
            context.wrong(&path.key("address"), &listener.address, refused.message).suggestion =
                refused.suggestion;
            None
        }
    };
    at_least_one(listener.max_connections, &path.key("max_connections"), context);
    at_least_one(listener.max_connections_per_client, &path.key("max_connections_per_client"), context);
    let proxy_protocol = proxy_protocol(&listener.proxy_protocol, &path.key("proxy_protocol"), context);
    let tls = given(listener.tls.as_ref(), |wire| {
        tls::listener(wire, listener.protocol.into(), &path.key("tls"), context)
    });
    let unix_socket = unix_socket(&listener.unix_socket, &path.key("unix_socket"), context);
    if let Some(ListenAddress::Tcp(address)) = &address
        && unix_socket != UnixSocket::default()
    {
        let message = "applies to a unix: address only: remove it, or listen on unix:/path";
        context.wrong(&path.key("unix_socket"), &address.to_string(), message);
    }
    let http = http(&listener.http, &path.key("http"), context);
    let filters = filters::steps(&listener.filters, shared, &path.key("filters"), context);
    let encrypted = listener.tls.is_some();
    if encrypted && listener.http.https_redirect.0.is_some() {
        let message = "has no effect: this listener speaks TLS: expected it on the listener without TLS";
        context.wrong_key(&path.key("http").key("https_redirect"), message);
    }
    if !encrypted && listener.http.hsts.is_some() {
        let message = "has no effect: this listener does not speak TLS: expected it on the listener with tls";
        context.wrong_key(&path.key("http").key("hsts"), message);
    }
    let tcp = of_protocol(listener, upstreams, path, context);
    Some(Listener {
        name: listener.name.clone(),
        address: address?,
        max_connections: listener.max_connections,
        max_connections_per_client: listener.max_connections_per_client,
        max_connection_rate_per_client: listener.max_connection_rate_per_client.map(|rate| rate.0),
        proxy_protocol: proxy_protocol?,
        tls: tls?,
        unix_socket,
        http: http?,
        filters: filters?,
        tcp: tcp?,
    })
}

fn proxy_protocol(
    wire: &wire::ProxyProtocol,
    path: &Path,
    context: &mut Context<'_>,
) -> Option<ProxyProtocol> {
    let timeout = timeout(wire.timeout, &path.key("timeout"), context);
    let (trusted, trusts_unix) = general::networks(&wire.trusted, &path.key("trusted"), context);
    let mode = wire.mode.into();
    if mode != ProxyProtocolMode::Off && wire.trusted.is_empty() {
        let message =
            "is missing: expected the addresses of the proxies that send the header, like [10.0.0.0/8]";
        context.absent(&path.key("trusted"), message);
    }
    Some(ProxyProtocol { mode, trusted, trusts_unix, timeout: timeout? })
}

/// Where connections go that are carried as they are; the outer `None` if something of it is wrong.
fn of_protocol(
    listener: &wire::Listener,
    upstreams: &Names<'_>,
    path: &Path,
    context: &mut Context<'_>,
) -> Option<Option<Tcp>> {
    if listener.protocol == wire::Protocol::Http {
        if listener.tcp.is_some() {
            context.wrong_key(&path.key("tcp"), "has no effect: expected protocol: tcp next to it");
        }
        return Some(None);
    }
    let http = context.node(&path.key("http")).is_some();
    for (key, _) in
        [("http", http), ("filters", !listener.filters.is_empty())].iter().filter(|(_, given)| *given)
    {
        context.wrong_key(&path.key(key), "has no effect: this listener has protocol: tcp");
    }
    let tls = listener.tls.is_some();
    tcp::tcp(listener.tcp.as_ref(), tls, upstreams, &path.key("tcp"), context).map(Some)
}

/// Whether there is such a user or group is known where the socket is made.
fn unix_socket(socket: &wire::UnixSocket, path: &Path, context: &mut Context<'_>) -> UnixSocket {
    let wire::UnixSocket { mode, user, group } = socket;
    // Text cannot say more; the builder can.
    if let Some(mode) = mode.filter(|mode| mode.0 > 0o777) {
        context.wrong(&path.key("mode"), &mode.to_string(), "is not a file mode: expected at most 0777");
    }
    for (key, name) in [("user", user), ("group", group)] {
        if name.as_ref().is_some_and(String::is_empty) {
            context.wrong(&path.key(key), "", format!("is empty: expected the name or number of a {key}"));
        }
    }
    UnixSocket { mode: mode.map(|mode| mode.0), user: user.clone(), group: group.clone() }
}

fn http(http: &wire::Http, path: &Path, context: &mut Context<'_>) -> Option<HttpLimits> {
    // Pingora reads at most 256 fields and 1 MiB - 1, and returns 400 instead of 431 above that.
    const HEADER_SIZES: std::ops::RangeInclusive<u64> = 1 << 10..=512 << 10;
    const HEADER_FIELDS: std::ops::RangeInclusive<usize> = 1..=250;
    let Size(header_size) = http.max_header_size;
    if !HEADER_SIZES.contains(&header_size) {
        let text = http.max_header_size.to_string();
        context.wrong(&path.key("max_header_size"), &text, "is out of range: expected 1KiB to 512KiB");
    }
    if !HEADER_FIELDS.contains(&http.max_header_fields) {
        let text = http.max_header_fields.to_string();
        context.wrong(&path.key("max_header_fields"), &text, "is out of range: expected 1 to 250");
    }
    let paths = Paths::new(http.path_matching.into(), http.forward_path.into());
    if (paths.matching, paths.forward) == (PathForm::AsSent, PathForm::Normal) {
        let message = "cannot be combined with path_matching: as_sent: backends would get another path than routes were \
                       matched with, and a route that blocks a path could be bypassed; expected forward_path: as_sent, or \
                       path_matching: normal";
        context.wrong(&path.key("forward_path"), "normal", message);
    }
    Some(HttpLimits {
        header_timeout: timeout(http.header_timeout, &path.key("header_timeout"), context)?,
        idle_timeout: timeout(http.idle_timeout, &path.key("idle_timeout"), context)?,
        body_timeout: timeout(http.body_timeout, &path.key("body_timeout"), context)?,
        send_timeout: timeout(http.send_timeout, &path.key("send_timeout"), context)?,
        min_body_rate: http.min_body_rate.0,
        min_send_rate: http.min_send_rate.0,
        max_header_size: usize::try_from(header_size).ok()?,
        max_header_fields: http.max_header_fields,
        max_body_size: http.max_body_size.0,
        https_redirect: http.https_redirect.0,
        hsts: given(http.hsts, |hsts| bounded(hsts, &path.key("hsts"), context))?,
        paths,
        h2c: http.h2c,
        spoofed_headers: http.spoofed_headers.into(),
    })
}

/// A time after which something is given up, so it cannot be nothing.
pub(super) fn timeout(value: values::Duration, path: &Path, context: &mut Context<'_>) -> Option<Duration> {
    if value.0 < Duration::from_millis(1) {
        context.wrong(path, &value.to_string(), "is too short: expected at least 1ms");
        return None;
    }
    bounded(value, path, context)
}

/// The same, where none need be given.
pub(super) fn given_timeout(
    value: Option<values::Duration>,
    path: &Path,
    context: &mut Context<'_>,
) -> Option<Option<Duration>> {
    given(value, |value| timeout(value, path, context))
}

/// Any time that a timer can hold. Text cannot say more; the builder can.
pub(super) fn bounded(value: values::Duration, path: &Path, context: &mut Context<'_>) -> Option<Duration> {
    if value.0 > values::Duration::MAX {
        context.wrong(path, &value.to_string(), "is too long: expected at most 365d");
        return None;
    }
    Some(value.0)
}

/// A count that cannot be nothing.
pub(super) fn at_least_one(value: usize, path: &Path, context: &mut Context<'_>) {
    if value == 0 {
        context.wrong(path, "0", "is out of range: expected at least 1");
    }
}
