//! Algorithms and their parameters.

use evenkeel_core::balance::{
    ConsistentHashOptions, HashKey, HashOptions, LoadBalancingAlgorithm, PeakEwmaOptions, PrequalOptions,
};

use super::general::{is_token, label, only_one, path_and_query, share};
use super::{Context, listener};
use crate::placeholders::plain_key;
use crate::suggest::closest;
use crate::values::{Duration, Percent};
use crate::wire::{self, Algorithm, Key};
use crate::yaml::{Path, any_of};

/// How a backend is chosen. What the builder gives is checked as a file's is.
pub(super) fn algorithm(
    wire: &Algorithm,
    path: &Path,
    context: &mut Context<'_>,
) -> Option<LoadBalancingAlgorithm> {
    if let Some(whole) = &wire.whole {
        return checked(whole, path, context);
    }
    let given = [
        wire.peak_ewma.is_some(),
        wire.consistent_hash.is_some(),
        wire.maglev.is_some(),
        wire.rendezvous.is_some(),
        wire.prequal.is_some(),
        wire.custom.is_some(),
    ];
    let missing = format!(
        "contains no algorithm: expected one with parameters: {}",
        any_of(&Algorithm::WITH_PARAMETERS)
    );
    let name = only_one(&Algorithm::WITH_PARAMETERS, &given, &missing, path, context)?;
    let algorithm = of_parameters(wire, &path.key(name), context)?;
    checked(&algorithm, path, context)
}

fn of_parameters(wire: &Algorithm, path: &Path, context: &mut Context<'_>) -> Option<LoadBalancingAlgorithm> {
    if let Some(name) = &wire.custom {
        label(name, path, context);
        return Some(LoadBalancingAlgorithm::Named(name.as_str().into()));
    }
    let mut key = |text: &Key| key(&text.0, &path.key("key"), context);
    Some(if let Some(wire::PeakEwma { decay, retest }) = wire.peak_ewma {
        LoadBalancingAlgorithm::PeakEwma(PeakEwmaOptions { decay: decay.0, retest: retest.0 })
    } else if let Some(hash) = &wire.consistent_hash {
        let options = ConsistentHashOptions { key: key(&hash.key)?, bounded_load: hash.bounded_load };
        LoadBalancingAlgorithm::ConsistentHash(options)
    } else if let Some(hash) = &wire.maglev {
        LoadBalancingAlgorithm::Maglev(HashOptions { key: key(&hash.key)? })
    } else if let Some(hash) = &wire.rendezvous {
        LoadBalancingAlgorithm::Rendezvous(HashOptions { key: key(&hash.key)? })
    } else {
        let prequal = wire.prequal.as_ref()?;
        LoadBalancingAlgorithm::Prequal(PrequalOptions {
            probe_path: prequal.probe_path.as_deref().map(Into::into),
            probes_per_request: prequal.probes_per_request,
            pool_size: prequal.pool_size,
            max_age: prequal.max_age.0,
            hot_quantile: prequal.hot_quantile.0,
        })
    })
}

/// The algorithm with its names in their one spelling.
fn checked(
    algorithm: &LoadBalancingAlgorithm,
    path: &Path,
    context: &mut Context<'_>,
) -> Option<LoadBalancingAlgorithm> {
    let path = path.key(algorithm.name());
    match algorithm {
        LoadBalancingAlgorithm::PeakEwma(options) => {
            let decay = listener::timeout(Duration(options.decay), &path.key("decay"), context);
            let retest = listener::timeout(Duration(options.retest), &path.key("retest"), context);
            Some(LoadBalancingAlgorithm::PeakEwma(PeakEwmaOptions { decay: decay?, retest: retest? }))
        }
        LoadBalancingAlgorithm::ConsistentHash(options) => {
            let key = named(&options.key, &path.key("key"), context);
            if let Some(bound) = options.bounded_load
                && !(bound > 1.0 && bound.is_finite())
            {
                let message = "is out of range: expected a number larger than 1, like 1.25";
                context.wrong(&path.key("bounded_load"), &bound.to_string(), message);
            }
            let bounded_load = options.bounded_load;
            Some(LoadBalancingAlgorithm::ConsistentHash(ConsistentHashOptions { key: key?, bounded_load }))
        }
        LoadBalancingAlgorithm::Maglev(options) => {
            let key = named(&options.key, &path.key("key"), context)?;
            Some(LoadBalancingAlgorithm::Maglev(HashOptions { key }))
        }
        LoadBalancingAlgorithm::Rendezvous(options) => {
            let key = named(&options.key, &path.key("key"), context)?;
            Some(LoadBalancingAlgorithm::Rendezvous(HashOptions { key }))
        }
        LoadBalancingAlgorithm::Prequal(options) => {
            prequal(options, &path, context);
            Some(algorithm.clone())
        }
        other => Some(other.clone()),
    }
}

fn prequal(options: &PrequalOptions, path: &Path, context: &mut Context<'_>) {
    const MOST_PROBES: f64 = 8.0;
    const POOL_SIZES: std::ops::RangeInclusive<usize> = 1..=32;
    if let Some(probed) = &options.probe_path {
        path_and_query(probed, &path.key("probe_path"), context);
    }
    if !(options.probes_per_request > 0.0 && options.probes_per_request <= MOST_PROBES) {
        let message = format!("is out of range: expected more than 0, and at most {MOST_PROBES}");
        context.wrong(&path.key("probes_per_request"), &options.probes_per_request.to_string(), message);
    }
    if !POOL_SIZES.contains(&options.pool_size) {
        let message = format!("is out of range: expected {} to {}", POOL_SIZES.start(), POOL_SIZES.end());
        context.wrong(&path.key("pool_size"), &options.pool_size.to_string(), message);
    }
    listener::timeout(Duration(options.max_age), &path.key("max_age"), context);
    share(Percent(options.hot_quantile), &path.key("hot_quantile"), context);
}

// === keys ===

/// The kinds of keys that take a name.
const NAMED: [&str; 3] = ["header", "cookie", "query"];

fn key(text: &str, path: &Path, context: &mut Context<'_>) -> Option<HashKey> {
    let plain = plain_key(text);
    let key = match plain.split_once(' ').map(|(kind, name)| (kind, name.trim())) {
        Some(("header", name)) => HashKey::Header(name.into()),
        Some(("cookie", name)) => HashKey::Cookie(name.into()),
        Some(("query", name)) => HashKey::Query(name.into()),
        None if plain == "client_ip" => HashKey::ClientIp,
        None if plain == "path" => HashKey::Path,
        _ => {
            let message = "is not a key: expected client_ip, header NAME, cookie NAME, query NAME or path";
            context.wrong(path, text, message).suggestion = corrected_key(text);
            return None;
        }
    };
    Some(key)
}

/// What was probably meant by `header:x-user`, `Cookie session` or `ip`.
fn corrected_key(text: &str) -> Option<String> {
    if let Some(variable) = text.strip_prefix('$') {
        let family = |prefix, kind| Some(format!("{kind} {}", variable.strip_prefix(prefix)?));
        let header = family("http_", "header").map(|key| key.replace('_', "-"));
        return match variable {
            "remote_addr" | "binary_remote_addr" => Some("client_ip".to_owned()),
            "request_uri" | "uri" | "document_uri" => Some("path".to_owned()),
            "http_host" | "host" => Some("header host".to_owned()),
            _ => header.or(family("cookie_", "cookie")).or(family("arg_", "query")),
        };
    }
    let calls = [
        ("req.hdr(", "header"),
        ("hdr(", "header"),
        ("req.cook(", "cookie"),
        ("cookie(", "cookie"),
        ("url_param(", "query"),
    ];
    if let Some((rest, kind)) = calls.iter().find_map(|(call, kind)| Some((text.strip_prefix(call)?, kind))) {
        return Some(format!("{kind} {}", rest.trim_end_matches(')')));
    }
    match text.split_once([' ', ':', '=']) {
        Some((kind, name)) if !name.trim().is_empty() => {
            let kind = closest(kind, NAMED)?;
            Some(format!("{kind} {}", name.trim_start_matches([' ', ':', '=']).trim()))
        }
        Some(_) => None,
        None if matches!(
            text,
            "ip" | "src" | "source" | "source_ip" | "address" | "client_address" | "remote_ip"
        ) =>
        {
            Some("client_ip".to_owned())
        }
        None => closest(text, ["client_ip", "path"]).map(str::to_owned),
    }
}

/// A key whose name can be one.
fn named(key: &HashKey, path: &Path, context: &mut Context<'_>) -> Option<HashKey> {
    let (written, what) = match key {
        HashKey::Header(name) if is_token(name) => {
            return Some(HashKey::Header(name.to_ascii_lowercase().into()));
        }
        HashKey::Cookie(name) if is_token(name) => return Some(key.clone()),
        HashKey::Query(name) if !name.is_empty() => return Some(key.clone()),
        HashKey::Header(name) => (format!("header {name}"), "a header field"),
        HashKey::Cookie(name) => (format!("cookie {name}"), "a cookie"),
        HashKey::Query(name) => (format!("query {name}"), "a query parameter"),
        other => return Some(other.clone()),
    };
    context.wrong(path, &written, format!("has no name of {what}"));
    None
}
