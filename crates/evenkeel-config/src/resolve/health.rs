//! Health checks and outlier detection.

use std::num::NonZeroU32;

use evenkeel_core::health::{OutlierOptions, Thresholds};
use evenkeel_http::message::is_of_the_connection;

use super::general::{self, is_token, label, only_one, path_and_query, share};
use super::{Context, address, given, listener};
use crate::values::Duration;
use crate::wire::{self, Statuses, TcpProtocol};
use crate::yaml::{Path, any_of};
use crate::{
    Backend, BackendHost, CustomExtension, Health, HealthCheck, HealthCheckKind, HttpCheck, Protocol,
    TcpCheck, TcpExpect,
};

/// Which backends may be chosen.
pub(super) fn health(
    upstream: &wire::Upstream,
    backends: &[Backend],
    path: &Path,
    context: &mut Context<'_>,
) -> Option<Health> {
    let check_path = path.key("health_check");
    let check = given(upstream.health_check.as_ref(), |wire::OrText(wire)| {
        check(wire, backends, &check_path, context)
    });
    let wire::OrText(outliers) = &upstream.outlier_detection;
    let judged = !outliers.off;
    let outliers = given(judged.then_some(outliers), |wire| {
        outlier_detection(wire, &path.key("outlier_detection"), context)
    });
    let slow_start = listener::given_timeout(upstream.slow_start, &path.key("slow_start"), context);
    let panic_threshold = share(upstream.panic_threshold, &path.key("panic_threshold"), context);
    if !judged && upstream.health_check.is_none() && !context.is_damaged(&check_path) {
        let depending = [
            ("slow_start", upstream.slow_start.is_some()),
            ("when_all_down", matches!(upstream.when_all_down, wire::WhenAllDown::Refuse)),
            ("panic_threshold", upstream.panic_threshold.0 > 0.0),
        ];
        for (key, _) in depending.iter().filter(|(_, given)| *given) {
            let message =
                "has no effect: without health_check and outlier_detection, no backend is ever unhealthy";
            context.wrong_key(&path.key(key), message);
        }
    }
    Some(Health {
        check: check?,
        outliers: outliers?,
        slow_start: slow_start?,
        when_all_down: upstream.when_all_down.into(),
        panic_threshold: panic_threshold?,
    })
}

// === health checks ===

fn check(
    wire: &wire::HealthCheck,
    backends: &[Backend],
    path: &Path,
    context: &mut Context<'_>,
) -> Option<HealthCheck> {
    let kind = kind(wire, path, context);
    if matches!(kind, Some(HealthCheckKind::Tls))
        && let Some(plain) =
            backends.iter().find(|backend| !backend.url.tls && backend.url.protocol == Protocol::Http)
    {
        let message = format!("cannot be used for {}, which is not https", plain.url);
        context.wrong_key(&path.key("tls"), message);
    }
    let interval = listener::timeout(wire.interval, &path.key("interval"), context);
    let timeout_path = path.key("timeout");
    let timeout = match wire.timeout {
        Some(timeout) => listener::timeout(timeout, &timeout_path, context),
        None => interval.map(|interval| interval.min(wire::HealthCheck::default_timeout().0)),
    };
    if let (Some(interval), Some(timeout)) = (interval, timeout)
        && timeout > interval
    {
        let message = format!("is longer than the interval: expected at most {}", Duration(interval));
        context.wrong(&timeout_path, &Duration(timeout).to_string(), message);
    }
    listener::at_least_one(wire.rise as usize, &path.key("rise"), context);
    listener::at_least_one(wire.fall as usize, &path.key("fall"), context);
    if let Some(port) = wire.port {
        check_port(port, backends, path, context);
    }
    Some(HealthCheck {
        kind: kind?,
        interval: interval?,
        timeout: timeout?,
        thresholds: Thresholds {
            rise: NonZeroU32::new(wire.rise)?,
            fall: NonZeroU32::new(wire.fall)?,
            start: wire.start.into(),
        },
        port: wire.port,
    })
}

fn check_port(port: u16, backends: &[Backend], path: &Path, context: &mut Context<'_>) {
    let port_path = path.key("port");
    if port == 0 {
        context.wrong(&port_path, "0", "is out of range: expected 1 to 65535");
    }
    if let Some(backend) = backends.iter().find(|backend| matches!(backend.url.host, BackendHost::Unix(_))) {
        let message =
            format!("cannot be probed: the backend {} is a Unix socket, which has no ports", backend.url);
        context.wrong(&port_path, &port.to_string(), message);
    }
}

fn kind(wire: &wire::HealthCheck, path: &Path, context: &mut Context<'_>) -> Option<HealthCheckKind> {
    const KINDS: [&str; 5] = wire::HealthCheck::KINDS;
    let given = [
        wire.tcp.is_some(),
        wire.tls.is_some(),
        wire.http.is_some(),
        wire.grpc.is_some(),
        wire.custom.is_some() || wire.value.is_some(),
    ];
    let missing = format!("contains no check: expected one of {}", any_of(&KINDS));
    let name = only_one(&KINDS, &given, &missing, path, context)?;
    let path = path.key(name);
    if let Some(wire) = &wire.http {
        return http(wire, &path, context).map(HealthCheckKind::Http);
    }
    if let Some(grpc) = &wire.grpc {
        if grpc.service.chars().any(char::is_control) {
            let message = "is not the name of a service: expected no control characters";
            context.wrong(&path.key("service"), &grpc.service, message);
        }
        return Some(HealthCheckKind::Grpc { service: grpc.service.clone() });
    }
    if let Some(value) = &wire.value {
        return Some(HealthCheckKind::Custom(CustomExtension::Value(value.clone())));
    }
    if let Some(name) = &wire.custom {
        label(name, &path, context);
        return Some(HealthCheckKind::Custom(CustomExtension::Named(name.clone())));
    }
    Some(match &wire.tcp {
        Some(wire) => tcp(wire, &path, context),
        None => HealthCheckKind::Tls,
    })
}

fn tcp(wire: &wire::TcpCheck, path: &Path, context: &mut Context<'_>) -> HealthCheckKind {
    /// How much of a response is looked at.
    const MOST: usize = 64 << 10;
    for (key, text) in [("send", &wire.send), ("expect", &wire.expect)] {
        let path = path.key(key);
        match text {
            Some(_) if wire.protocol.is_some() => {
                context.wrong_key(&path, "cannot be combined with protocol: expected only one of the two");
            }
            Some(text) if text.is_empty() => {
                context.wrong(&path, text, "is empty: leave it out");
            }
            Some(text) if text.len() > MOST => {
                context.wrong_key(&path, "is too long: expected at most 64KiB");
            }
            _ => {}
        }
    }
    let starts_with = |beginnings: &[&str]| {
        Some(TcpExpect::StartsWith(beginnings.iter().map(|text| text.as_bytes().to_vec()).collect()))
    };
    let (send, expect, bye): (&[u8], _, &[u8]) = match wire.protocol {
        None if wire.send.is_none() && wire.expect.is_none() => return HealthCheckKind::Tcp,
        None => {
            let send = wire.send.as_deref().unwrap_or_default();
            let expect = wire.expect.as_ref().map(|text| TcpExpect::Contains(text.as_bytes().to_vec()));
            (send.as_bytes(), expect, b"")
        }
        Some(TcpProtocol::Redis) => (b"PING\r\n", starts_with(&["+PONG", "-NOAUTH"]), b"QUIT\r\n"),
        // SSLRequest: its length, and its number.
        Some(TcpProtocol::Postgres) => (&[0, 0, 0, 8, 4, 210, 22, 47], starts_with(&["S", "N"]), b""),
        Some(TcpProtocol::Mysql) => (b"", Some(TcpExpect::MySqlGreeting), b""),
        Some(TcpProtocol::Smtp) => (b"", starts_with(&["220"]), b"QUIT\r\n"),
    };
    HealthCheckKind::TcpExchange(TcpCheck { send: send.to_vec(), expect, bye: bye.to_vec() })
}

fn http(wire: &wire::HttpCheck, path: &Path, context: &mut Context<'_>) -> Option<HttpCheck> {
    /// How much of a body is looked at.
    const BODY: usize = 64 << 10;
    path_and_query(&wire.path, &path.key("path"), context);
    if let Err(suggestion) = general::method(&wire.method) {
        let message = "is not a method: expected one like GET or HEAD, in upper case";
        context.wrong(&path.key("method"), &wire.method, message).suggestion = suggestion;
    } else if wire.method == "CONNECT" {
        context.wrong(&path.key("method"), "CONNECT", "opens a tunnel: expected a method like GET or HEAD");
    }
    if let Some(host) = &wire.host
        && !address::is_authority(host)
    {
        let message = "is not a host: expected a name or an IP address, and perhaps a port";
        context.wrong(&path.key("host"), host, message);
    }
    let headers = headers(&wire.headers, &path.key("headers"), context);
    let expect_status = statuses(&wire.expect_status, &path.key("expect_status"), context);
    let body_path = path.key("expect_body");
    match &wire.expect_body {
        Some(_) if wire.method == "HEAD" => {
            context.wrong_key(&body_path, "has no effect: a response to HEAD has no body");
        }
        Some(body) if body.is_empty() => {
            context.wrong(&body_path, body, "is empty: leave it out to expect any body");
        }
        Some(body) if body.len() > BODY => {
            context
                .wrong_key(&body_path, "is too long: expected at most 64KiB, which is all that is looked at");
        }
        _ => {}
    }
    Some(HttpCheck {
        path: wire.path.clone(),
        method: wire.method.clone(),
        host: wire.host.clone(),
        headers: headers?,
        expect_status: expect_status?,
        expect_body: wire.expect_body.clone(),
    })
}

fn headers(
    wire: &wire::Named<String>,
    path: &Path,
    context: &mut Context<'_>,
) -> Option<Vec<(String, String)>> {
    let mut resolved = Vec::new();
    for (name, value) in &wire.0 {
        let path = path.key(name);
        let lower = name.to_ascii_lowercase();
        if !is_token(name) {
            context.wrong_key(&path, "is not the name of a header field");
        } else if lower == "host" {
            context.wrong_key(&path, "cannot be set here: use the key host, next to headers");
        } else if is_of_the_connection(&lower) {
            context.wrong_key(&path, "cannot be set: evenkeel sets it for each connection");
        } else if !general::is_field_value(value) {
            context.wrong(&path, value, "is not the value of a header field: expected no control characters");
        }
        resolved.push((lower, value.clone()));
    }
    Some(resolved)
}

/// Statuses and ranges of them.
fn statuses(texts: &[Statuses], path: &Path, context: &mut Context<'_>) -> Option<Vec<(u16, u16)>> {
    let mut resolved = Vec::new();
    for (Statuses(text), path) in texts.iter().zip(context.entries(path, texts.len())) {
        let (from, to) = text.split_once('-').map_or((text.as_str(), text.as_str()), |(from, to)| (from, to));
        let range = (status(from), status(to));
        if let (Some(from), Some(to)) = range
            && from <= to
        {
            resolved.push(Some((from, to)));
            continue;
        }
        let message = "is not a status or a range of them: expected 100 to 599, like 204 or 200-299";
        context.wrong(&path, text, message).suggestion = match (range, text.as_bytes()) {
            ((Some(from), Some(to)), _) => Some(format!("{to}-{from}")),
            (_, [class @ b'1'..=b'5', b'x' | b'X', b'x' | b'X']) => {
                let class = char::from(*class);
                Some(format!("{class}00-{class}99"))
            }
            _ => None,
        };
        resolved.push(None);
    }
    if texts.is_empty() {
        context.absent(path, "has no entries: leave it out to expect 200-299");
    }
    resolved.into_iter().collect()
}

fn status(text: &str) -> Option<u16> {
    text.trim().parse().ok().filter(|status| (100..=599).contains(status))
}

// === outlier detection ===

fn outlier_detection(
    wire: &wire::OutlierDetection,
    path: &Path,
    context: &mut Context<'_>,
) -> Option<OutlierOptions> {
    let consecutive_failures = NonZeroU32::new(wire.consecutive_failures);
    let rate_path = path.key("failure_rate");
    let failure_rate = given(wire.failure_rate, |rate| share(rate, &rate_path, context));
    if failure_rate == Some(Some(1.0)) {
        context.wrong(&rate_path, "100%", "can never be exceeded: expected less than 100%");
    }
    let factor_path = path.key("latency_factor");
    if let Some(factor) = wire.latency_factor
        && !(factor > 1.0 && factor.is_finite())
    {
        let message = "is out of range: expected a number larger than 1, like 3";
        context.wrong(&factor_path, &factor.to_string(), message);
    }
    let judges =
        consecutive_failures.is_some() || wire.failure_rate.is_some() || wire.latency_factor.is_some();
    if !judges && !context.is_damaged(path) {
        let message = "has every check turned off: expected consecutive_failures, failure_rate or latency_factor, or outlier_detection: off";
        context.wrong_key(path, message);
    }
    listener::at_least_one(wire.min_requests as usize, &path.key("min_requests"), context);
    let interval = listener::timeout(wire.interval, &path.key("interval"), context);
    let ejection_time = listener::timeout(wire.ejection_time, &path.key("ejection_time"), context);
    let longest_path = path.key("max_ejection_time");
    let longest = match wire.max_ejection_time {
        Some(longest) => listener::timeout(longest, &longest_path, context),
        None => ejection_time.map(|time| time.max(wire::OutlierDetection::default_max_ejection_time().0)),
    };
    if let (Some(time), Some(longest)) = (ejection_time, longest)
        && longest < time
    {
        let message = format!("is shorter than ejection_time: expected at least {}", Duration(time));
        context.wrong(&longest_path, &Duration(longest).to_string(), message);
    }
    let max_path = path.key("max_ejected");
    let max_ejected = share(wire.max_ejected, &max_path, context);
    if max_ejected == Some(0.0) {
        let message = "is too small: expected more than 0%; to eject no backend, use outlier_detection: off";
        context.wrong(&max_path, &wire.max_ejected.to_string(), message);
    }
    Some(OutlierOptions {
        consecutive_failures,
        failure_rate: failure_rate?,
        latency_factor: wire.latency_factor,
        min_requests: wire.min_requests,
        interval: interval?,
        ejection_time: ejection_time?,
        max_ejection_time: longest?,
        max_ejected: max_ejected?,
    })
}
