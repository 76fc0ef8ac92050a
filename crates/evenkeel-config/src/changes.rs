//! What differs between two configurations, as data and as text: the first half of a reload.
//!
//! Things are compared by name: a listener by its address, a route and an upstream by their names, a backend by its URL.
//! Every field of the model is compared, and the compiler holds that: each type is taken apart without `..`.

use std::collections::HashMap;
use std::fmt;
use std::hash::Hash;

use crate::model::{
    Action, Backend, Health, HttpLimits, Listener, ListenerTls, Model, Paths, ProxyProtocol, Route,
    RouteTimeouts, Tcp, TcpRoute, Upstream, UpstreamLimits,
};

/// Everything that differs between two configurations. Empty if they mean the same.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes(Vec<Change>);

/// One thing that differs.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Change {
    /// What differs.
    pub subject: Subject,
    /// How.
    pub kind: ChangeKind,
}

/// What a [`Change`] is about.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Subject {
    /// A top-level key of the file that is none of the following, such as `access_log`.
    Setting(&'static str),
    /// A listener, by its configured address.
    Listener(String),
    /// A route, by its name.
    Route(String),
    /// The order of the routes: the first one that matches wins.
    RouteOrder,
    /// An upstream, by its name.
    Upstream(String),
    /// A backend of an upstream, by its URL.
    Backend {
        /// The upstream's name.
        upstream: String,
        /// The backend's URL as written.
        url: String,
    },
}

/// How a thing differs.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ChangeKind {
    /// It is in the new configuration only.
    Added,
    /// It is in the old configuration only.
    Removed,
    /// It is in both, and these keys differ. Empty where the subject is a single key.
    Changed(Vec<&'static str>),
}

/// Settings, and keys of a listener, that only a restart can change.
const RESTART_ONLY: &[&str] = &["workers", "unix_socket"];

/// The keys of two values of one struct that differ: `key: field` pairs, and after `;` the fields that are compared elsewhere.
/// A field that is in neither list does not compile. Fields that one key sets stand next to each other.
macro_rules! differing {
    ($type:ident, $old:expr, $new:expr, { $($key:literal: $field:ident),* $(,)? } $(elsewhere $($other:ident),*)?) => {{
        let (old, new) = ($old, $new);
        let $type { $($field: _,)* $($($other: _,)*)? } = old;
        let mut keys: Vec<&'static str> = Vec::new();
        $(if old.$field != new.$field { keys.push($key); })*
        keys.dedup();
        keys
    }};
}

// === impl Model ===

impl Model {
    /// What changes when `next` takes the place of this configuration.
    ///
    /// Cost: linear in the size of both.
    pub fn changes(&self, next: &Self) -> Changes {
        let mut changes = Changes::default();
        changes.settings(self, next);
        changes.compare(
            &self.listeners,
            &next.listeners,
            |one| one.address.to_string(),
            Subject::Listener,
            |old, new| listener((old, self), (new, next)),
        );
        let routes = |old: &Route, new: &Route| {
            let mut keys = route(old, new);
            let (before, after) = (NamedAction::new(&old.action, self), NamedAction::new(&new.action, next));
            keys.extend((before != after).then_some("target"));
            keys
        };
        changes.compare(&self.routes, &next.routes, |one| one.name.clone(), Subject::Route, routes);
        changes.route_order(self, next);
        changes.compare(
            &self.upstreams,
            &next.upstreams,
            |one| one.name.clone(),
            Subject::Upstream,
            upstream,
        );
        changes.backends(self, next);
        changes
    }
}

// === impl Changes ===

impl Changes {
    /// Whether the two configurations mean the same.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The changes: settings, listeners, routes, upstreams, backends, each in the order of the files.
    pub fn iter(&self) -> impl Iterator<Item = &Change> {
        self.0.iter()
    }

    /// The changes that need a restart: a reload that has any is rejected.
    pub fn needs_restart(&self) -> impl Iterator<Item = &Change> {
        self.iter().filter(|change| match (&change.subject, &change.kind) {
            (Subject::Setting(key), _) => RESTART_ONLY.contains(key),
            (Subject::Listener(_), ChangeKind::Changed(keys)) => {
                keys.iter().any(|key| RESTART_ONLY.contains(key))
            }
            _ => false,
        })
    }

    fn push(&mut self, subject: Subject, kind: ChangeKind) {
        self.0.push(Change { subject, kind });
    }

    fn settings(&mut self, old: &Model, new: &Model) {
        let keys = differing!(Model, old, new, {
            "filters": filters,
            "trusted_proxies": trusted_proxies,
            "trusted_proxies": trusts_unix,
            "forwarding": forwarding,
            "overload_protection": overload_protection,
            "shutdown": shutdown,
            "admin": admin,
            "access_log": access_log,
            "workers": workers,
            "lanes": lanes,
            "zone": zone,
            "maps": maps,
        } elsewhere listeners, routes, upstreams);
        for key in keys {
            self.push(Subject::Setting(key), ChangeKind::Changed(Vec::new()));
        }
    }

    fn route_order(&mut self, old: &Model, new: &Model) {
        let kept = |routes: &[Route], other: &[Route]| {
            let other: std::collections::HashSet<&str> =
                other.iter().map(|route| route.name.as_str()).collect();
            let kept = routes.iter().map(|route| route.name.clone());
            kept.filter(|name| other.contains(name.as_str())).collect::<Vec<_>>()
        };
        if kept(&old.routes, &new.routes) != kept(&new.routes, &old.routes) {
            self.push(Subject::RouteOrder, ChangeKind::Changed(Vec::new()));
        }
    }

    fn backends(&mut self, old: &Model, new: &Model) {
        let before: HashMap<&str, &Upstream> =
            old.upstreams.iter().map(|one| (one.name.as_str(), one)).collect();
        for upstream in &new.upstreams {
            let Some(before) = before.get(upstream.name.as_str()) else { continue };
            let subject = |url| Subject::Backend { upstream: upstream.name.clone(), url };
            self.compare(&before.backends, &upstream.backends, |one| one.url.text.clone(), subject, backend);
        }
    }

    /// Compares two lists of named things.
    fn compare<T, K: Clone + Eq + Hash>(
        &mut self,
        old: &[T],
        new: &[T],
        name: impl Fn(&T) -> K,
        subject: impl Fn(K) -> Subject,
        differing: impl Fn(&T, &T) -> Vec<&'static str>,
    ) {
        let mut before: HashMap<K, &T> = old.iter().map(|one| (name(one), one)).collect();
        for one in new {
            let key = name(one);
            match before.remove(&key) {
                None => self.push(subject(key), ChangeKind::Added),
                Some(old) => {
                    let keys = differing(old, one);
                    if !keys.is_empty() {
                        self.push(subject(key), ChangeKind::Changed(keys));
                    }
                }
            }
        }
        for one in old.iter().map(&name).filter(|key| before.contains_key(key)) {
            self.push(subject(one), ChangeKind::Removed);
        }
    }
}

fn listener((old, before): (&Listener, &Model), (new, after): (&Listener, &Model)) -> Vec<&'static str> {
    let mut keys = differing!(Listener, old, new, {
        "name": name,
        "max_connections": max_connections,
        "max_connections_per_client": max_connections_per_client,
        "max_connection_rate_per_client": max_connection_rate_per_client,
        "unix_socket": unix_socket,
        "filters": filters,
    } elsewhere address, http, tls, tcp, proxy_protocol);
    keys.extend(differing!(ProxyProtocol, &old.proxy_protocol, &new.proxy_protocol, {
        "proxy_protocol.mode": mode,
        "proxy_protocol.trusted": trusted,
        "proxy_protocol.trusted": trusts_unix,
        "proxy_protocol.timeout": timeout,
    }));
    keys.extend(tls(old.tls.as_ref(), new.tls.as_ref()));
    keys.extend(tcp((old.tcp.as_ref(), before), (new.tcp.as_ref(), after)));
    keys.extend(differing!(HttpLimits, &old.http, &new.http, {
        "http.header_timeout": header_timeout,
        "http.idle_timeout": idle_timeout,
        "http.body_timeout": body_timeout,
        "http.send_timeout": send_timeout,
        "http.min_body_rate": min_body_rate,
        "http.min_send_rate": min_send_rate,
        "http.max_header_size": max_header_size,
        "http.max_header_fields": max_header_fields,
        "http.max_body_size": max_body_size,
        "http.https_redirect": https_redirect,
        "http.hsts": hsts,
        "http.h2c": h2c,
        "http.spoofed_headers": spoofed_headers,
    } elsewhere paths));
    keys.extend(differing!(Paths, &old.http.paths, &new.http.paths, {
        "http.path_matching": matching,
        "http.forward_path": forward,
    }));
    keys
}

/// The keys of `tls` that differ; `tls` alone where only one of the two has it.
fn tls(old: Option<&ListenerTls>, new: Option<&ListenerTls>) -> Vec<&'static str> {
    let (old, new) = match (old, new) {
        (Some(old), Some(new)) => (old, new),
        (None, None) => return Vec::new(),
        _ => return vec!["tls"],
    };
    differing!(ListenerTls, old, new, {
        "tls.certificates": certificates,
        "tls.min_version": min_version,
        "tls.max_version": max_version,
        "tls.cipher_suites": cipher_suites,
        "tls.groups": groups,
        "tls.strict_sni": strict_sni,
        "tls.http2": http2,
        "tls.client_auth": client_auth,
        "tls.ticket_keys": ticket_keys,
        "tls.handshake_timeout": handshake_timeout,
        "tls.max_handshakes": max_handshakes,
    } elsewhere protocol)
}

/// The keys of `tcp` that differ; `protocol` alone where only one of the two has it.
fn tcp((old, before): (Option<&Tcp>, &Model), (new, after): (Option<&Tcp>, &Model)) -> Vec<&'static str> {
    let (old, new) = match (old, new) {
        (Some(old), Some(new)) => (old, new),
        (None, None) => return Vec::new(),
        _ => return vec!["protocol"],
    };
    let mut keys = differing!(Tcp, old, new, {
        "tcp.idle_timeout": idle_timeout,
        "tcp.client_hello_timeout": client_hello_timeout,
    } elsewhere routes, upstream);
    let default = |tcp: &Tcp, model: &Model| tcp.upstream.map(|index| name_of(model, index).to_owned());
    keys.extend((default(old, before) != default(new, after)).then_some("tcp.upstream"));
    let routes = |tcp: &Tcp, model: &Model| {
        let named = tcp.routes.iter().map(|TcpRoute { server_names, alpn, upstream }| {
            (server_names.clone(), alpn.clone(), name_of(model, *upstream).to_owned())
        });
        named.collect::<Vec<_>>()
    };
    keys.extend((routes(old, before) != routes(new, after)).then_some("tcp.routes"));
    keys
}

/// What an upstream is called.
fn name_of(model: &Model, index: usize) -> &str {
    model.upstreams.get(index).map_or("", |upstream| upstream.name.as_str())
}

fn route(old: &Route, new: &Route) -> Vec<&'static str> {
    let mut keys = differing!(Route, old, new, {
        "match": matches,
        "filters": filters,
        "timeout": timeout,
        "max_body_size": max_body_size,
        "retry": retry,
        "explain": explain,
    } elsewhere name, action, timeouts);
    keys.extend(differing!(RouteTimeouts, &old.timeouts, &new.timeouts, {
        "timeouts.connect": connect,
        "timeouts.first_byte": first_byte,
        "timeouts.idle": idle,
        "timeouts.upgraded_idle": upgraded_idle,
    }));
    keys
}

fn upstream(old: &Upstream, new: &Upstream) -> Vec<&'static str> {
    let mut keys = differing!(Upstream, old, new, {
        "algorithm": algorithm,
        "timeouts": timeouts,
        "retry": retry,
        "hedge": hedge,
        "sticky": sticky,
        "http2": http2,
        "pool": pool,
        "tls": tls,
        "proxy_protocol": proxy_protocol,
        "discovery": discovery,
    } elsewhere name, backends, health, limits);
    keys.extend(differing!(Health, &old.health, &new.health, {
        "health_check": check,
        "outlier_detection": outliers,
        "slow_start": slow_start,
        "when_all_down": when_all_down,
        "panic_threshold": panic_threshold,
    }));
    keys.extend(differing!(UpstreamLimits, &old.limits, &new.limits, {
        "max_connections": max_connections,
        "queue": queue,
        "circuit_breaker": circuit_breaker,
        "deadline_header": deadline_header,
    }));
    keys
}

fn backend(old: &Backend, new: &Backend) -> Vec<&'static str> {
    differing!(Backend, old, new, { "weight": weight, "priority": priority, "zone": zone, "metadata": metadata } elsewhere url)
}

/// Where a route sends requests, with names where the model has indices: those differ between two files that mean the same.
#[derive(PartialEq)]
enum NamedAction<'a> {
    Upstreams(Vec<(&'a str, u32)>),
    Other(&'a Action),
}

impl<'a> NamedAction<'a> {
    fn new(action: &'a Action, model: &'a Model) -> Self {
        let name = |index: usize| name_of(model, index);
        match action {
            Action::Upstream(index) => Self::Upstreams(vec![(name(*index), 1)]),
            Action::Split(shares) => {
                Self::Upstreams(shares.iter().map(|&(index, weight)| (name(index), weight)).collect())
            }
            other => Self::Other(other),
        }
    }
}

// === words ===

impl fmt::Display for Changes {
    /// One line for each change.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|change| writeln!(f, "{change}"))
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let subject = &self.subject;
        match &self.kind {
            ChangeKind::Added => write!(f, "{subject} added"),
            ChangeKind::Removed => write!(f, "{subject} removed"),
            ChangeKind::Changed(keys) if keys.is_empty() => write!(f, "{subject} changed"),
            ChangeKind::Changed(keys) => write!(f, "{subject} changed: {}", keys.join(", ")),
        }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Setting(key) => f.write_str(key),
            Self::Listener(address) => write!(f, "listener {address}"),
            Self::Route(name) => write!(f, "route {name}"),
            Self::RouteOrder => f.write_str("order of routes"),
            Self::Upstream(name) => write!(f, "upstream {name}"),
            Self::Backend { upstream, url } => write!(f, "upstream {upstream}: backend {url}"),
        }
    }
}
