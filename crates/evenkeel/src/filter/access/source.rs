//! Networks from the configuration and from a file that is watched.

use std::fs;
use std::net::IpAddr;
use std::path::Path;

use evenkeel_core::limit::Networks;
use ipnet::IpNet;

use super::NetworkParams;
use crate::filter::watched::Watched;
use crate::filter::{BuildContext, FilterError};

/// Networks that can change.
#[derive(Debug)]
pub(super) struct Source(Watched<Networks>);

const EXPECTED: &str = "a network or an address, like 10.0.0.0/8 or 192.0.2.7";

// === impl Source ===

impl Source {
    pub(super) fn new(params: NetworkParams, context: &BuildContext<'_>) -> Result<Self, FilterError> {
        let key = if params.is_list { "" } else { "networks" };
        let fixed = params.networks.iter().enumerate().map(|(at, text)| {
            network(text).ok_or_else(|| FilterError::new(format!("{key}[{at}]"), EXPECTED))
        });
        let fixed = fixed.collect::<Result<Vec<_>, _>>()?;
        let Some(path) = params.file else {
            return Ok(Self(Watched::fixed(fixed.into_iter().collect())));
        };
        let watched = Watched::file(path, "networks", context, move |path| read(path, &fixed));
        watched
            .map(Self)
            .map_err(|problem| FilterError::new("file", format!("a file of networks: {problem}")))
    }

    /// Whether the client is in one of the networks.
    #[inline]
    pub(super) fn contains(&self, client: Option<IpAddr>) -> bool {
        client.is_some_and(|client| self.0.load().contains(client))
    }
}

/// The networks of a file, one on each line, together with others.
fn read(path: &Path, fixed: &[IpNet]) -> Result<Networks, String> {
    let text = fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let lines = text
        .lines()
        .enumerate()
        .map(|(at, line)| (at + 1, line.split('#').next().unwrap_or_default().trim()));
    let lines = lines.filter(|(_, line)| !line.is_empty());
    let mut wrong = None;
    let read = lines.map_while(|(number, line)| {
        let read = network(line);
        if read.is_none() {
            wrong = Some(format!(
                "{}:{number}: \"{}\": expected {EXPECTED}",
                path.display(),
                line.escape_debug()
            ));
        }
        read
    });
    let networks = fixed.iter().copied().chain(read).collect();
    wrong.map_or(Ok(networks), Err)
}

fn network(text: &str) -> Option<IpNet> {
    text.parse::<IpNet>().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from))
}
