//! Sources of backends.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use super::general::{label, only_one};
use super::{Context, address, listener};
use crate::values::{Duration, Secret};
use crate::wire;
use crate::yaml::{Path, any_of};
use crate::{
    ConsulSource, CustomExtension, Discovery, DiscoverySource, DnsSource, FileSource, HttpSource, HttpUrl,
    Token,
};

/// The port of DNS servers.
const DNS: u16 = 53;

/// The source of an upstream.
pub(super) fn discovery(wire: &wire::Discovery, path: &Path, context: &mut Context<'_>) -> Option<Discovery> {
    const KINDS: [&str; 5] = wire::Discovery::KINDS;
    let given = [
        wire.file.is_some(),
        wire.dns.is_some(),
        wire.http.is_some(),
        wire.consul.is_some(),
        wire.custom.is_some() || wire.value.is_some(),
    ];
    let missing = format!("has no source: expected one of {}", any_of(&KINDS));
    let debounce = listener::bounded(wire.debounce, &path.key("debounce"), context);
    let start_timeout = listener::bounded(wire.start_timeout, &path.key("start_timeout"), context);
    let name = only_one(&KINDS, &given, &missing, path, context)?;
    let source = source(wire, &path.key(name), context)?;
    Some(Discovery {
        scheme: wire.scheme.into(),
        allow_empty: wire.allow_empty,
        debounce: debounce?,
        start_timeout: start_timeout?,
        source,
    })
}

fn source(wire: &wire::Discovery, path: &Path, context: &mut Context<'_>) -> Option<DiscoverySource> {
    if let Some(file) = &wire.file {
        let path = path.key("path");
        context.keep_place(&path);
        if file.path.is_empty() {
            context.wrong(&path, &file.path, "is empty: expected the path of a file");
        }
        return Some(DiscoverySource::File(FileSource::new(&file.path)));
    }
    if let Some(wire) = &wire.dns {
        return dns(wire, path, context).map(DiscoverySource::Dns);
    }
    if let Some(wire) = &wire.http {
        return http(wire, path, context).map(DiscoverySource::Http);
    }
    if let Some(wire) = &wire.consul {
        return consul(wire, path, context).map(DiscoverySource::Consul);
    }
    if let Some(value) = &wire.value {
        return Some(DiscoverySource::Custom(CustomExtension::Value(value.clone())));
    }
    let name = wire.custom.as_ref()?;
    label(name, path, context);
    Some(DiscoverySource::Custom(CustomExtension::Named(name.clone())))
}

fn dns(wire: &wire::DnsSource, path: &Path, context: &mut Context<'_>) -> Option<DnsSource> {
    if !address::is_host_name(&wire.name) {
        context.wrong(&path.key("name"), &wire.name, "is not a name: expected one like api.internal");
    }
    if wire.port == Some(0) {
        context.wrong(&path.key("port"), "0", "is out of range: expected 1 to 65535");
    }
    let servers_path = path.key("servers");
    let places = context.entries(&servers_path, wire.servers.len());
    let mut servers = Vec::with_capacity(wire.servers.len());
    for (text, place) in wire.servers.iter().zip(places) {
        match text.parse::<IpAddr>() {
            Ok(ip) => servers.push(SocketAddr::new(ip, DNS)),
            Err(_) => match text.parse() {
                Ok(server) => servers.push(server),
                Err(_) => _ = context.wrong(&place, text, "is not an address: expected ip:port or ip"),
            },
        }
    }
    let timeout = listener::timeout(wire.timeout, &path.key("timeout"), context);
    let min_ttl = listener::timeout(wire.min_ttl, &path.key("min_ttl"), context);
    let max_ttl = listener::timeout(wire.max_ttl, &path.key("max_ttl"), context);
    if let (Some(min), Some(max)) = (min_ttl, max_ttl)
        && min > max
    {
        let message = format!("is shorter than min_ttl: expected at least {}", Duration(min));
        context.wrong(&path.key("max_ttl"), &Duration(max).to_string(), message);
    }
    Some(DnsSource {
        servers,
        tcp: wire.tcp,
        timeout: timeout?,
        min_ttl: min_ttl?,
        max_ttl: max_ttl?,
        ..DnsSource::new(&wire.name, wire.port)
    })
}

fn http(wire: &wire::HttpSource, path: &Path, context: &mut Context<'_>) -> Option<HttpSource> {
    let url = url(&wire.url, &path.key("url"), context);
    let interval = listener::timeout(wire.interval, &path.key("interval"), context);
    let timeout = listener::timeout(wire.timeout, &path.key("timeout"), context);
    let token = token(wire.token.as_ref(), wire.token_file.as_ref(), path, context);
    Some(HttpSource { interval: interval?, timeout: timeout?, token, ..HttpSource::new(url?) })
}

fn consul(wire: &wire::ConsulSource, path: &Path, context: &mut Context<'_>) -> Option<ConsulSource> {
    let url = url(&wire.url, &path.key("url"), context);
    let named = |key: &str, text: &str, context: &mut Context<'_>| {
        if text.is_empty() || text.chars().any(char::is_control) {
            context.wrong(&path.key(key), text, "is not a name: expected text without control characters");
        }
    };
    named("service", &wire.service, context);
    wire.tags.iter().for_each(|tag| named("tags", tag, context));
    wire.datacenter.iter().for_each(|datacenter| named("datacenter", datacenter, context));
    let token = token(wire.token.as_ref(), wire.token_file.as_ref(), path, context);
    Some(ConsulSource {
        tags: wire.tags.clone(),
        datacenter: wire.datacenter.clone(),
        passing_only: wire.passing_only,
        token,
        ..ConsulSource::new(url?, &wire.service)
    })
}

fn url(text: &str, path: &Path, context: &mut Context<'_>) -> Option<HttpUrl> {
    let url = HttpUrl::parse(text).and_then(|url| match url.tls {
        true => {
            Err("is https, which discovery does not support yet: expected http://host:port/path".to_owned())
        }
        false => Ok(url),
    });
    url.map_err(|message| _ = context.wrong(path, text, message)).ok()
}

fn token(
    value: Option<&Secret>,
    file: Option<&String>,
    path: &Path,
    context: &mut Context<'_>,
) -> Option<Token> {
    if value.is_some() && file.is_some() {
        context
            .wrong_key(&path.key("token_file"), "cannot be combined with token: expected only one of them");
    }
    if let Some(Secret(secret)) = value
        && (secret.is_empty() || !secret.bytes().all(|byte| byte.is_ascii_graphic()))
    {
        context.wrong_key(
            &path.key("token"),
            "is not a token: expected visible ASCII characters, without spaces",
        );
    }
    match (value, file) {
        (Some(Secret(secret)), _) => Some(Token::Value(secret.clone())),
        (None, Some(file)) => {
            context.keep_place(&path.key("token_file"));
            if file.is_empty() {
                context.wrong(&path.key("token_file"), file, "is empty: expected the path of a file");
            }
            Some(Token::File(PathBuf::from(file)))
        }
        (None, None) => None,
    }
}
