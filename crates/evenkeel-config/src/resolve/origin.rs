//! What a route asks of the listener, the client and the connection of a request.

use std::net::IpAddr;

use evenkeel_core::route::{HostPattern, OriginMatch};
use ipnet::IpNet;

use super::Context;
use crate::suggest::closest;
use crate::wire;
use crate::yaml::{Path, any_of};

/// The conditions on how a request came; `None` if something of them is wrong.
pub(super) fn origin(
    wire: &wire::Match,
    listeners: &[&str],
    path: &Path,
    context: &mut Context<'_>,
) -> Option<OriginMatch> {
    let mut origin = OriginMatch::default();
    let mut right = true;
    let list = path.key("listeners");
    for (name, path) in wire.listeners.iter().zip(context.entries(&list, wire.listeners.len())) {
        if listeners.contains(&name.as_str()) {
            origin.listeners.push(name.as_str().into());
            continue;
        }
        let message = match listeners {
            [] => "is not the name of a listener: no listener has a name: give it one with name".to_owned(),
            known => format!("is not the name of a listener: expected {}", any_of(known)),
        };
        context.wrong(&path, name, message).suggestion =
            closest(name, listeners.iter().copied()).map(str::to_owned);
        right = false;
    }
    let list = path.key("clients");
    let mut networks = Vec::new();
    for (text, path) in wire.clients.iter().zip(context.entries(&list, wire.clients.len())) {
        match (text.parse::<IpNet>(), text.parse::<IpAddr>()) {
            (Ok(network), _) => networks.push(network),
            (_, Ok(address)) => networks.push(IpNet::from(address)),
            _ => {
                let message = "is not a network: expected one like 10.0.0.0/8, or an address";
                context.wrong(&path, text, message);
                right = false;
            }
        }
    }
    origin.clients = (!networks.is_empty()).then(|| networks.into_iter().collect());
    origin.https = wire.scheme.map(|scheme| scheme == wire::Scheme::Https);
    let list = path.key("sni");
    for (text, path) in wire.sni.iter().zip(context.entries(&list, wire.sni.len())) {
        match text.parse::<HostPattern>() {
            Ok(name) => origin.server_names.push(name),
            Err(error) => {
                context.wrong(&path, text, format!("is not a host to match: {error}"));
                right = false;
            }
        }
    }
    right.then_some(origin)
}
