//! Networks from the configuration and from a file that is watched.

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use evenkeel_config::FileStamp;
use evenkeel_core::limit::Networks;
use ipnet::IpNet;

use super::NetworkParams;
use crate::filter::{BuildContext, FilterError, Task};

/// Networks that can change.
#[derive(Debug)]
pub(super) struct Source {
    networks: Arc<ArcSwap<Networks>>,
    /// Reads the file again.
    _watch: Option<Task>,
}

/// How often the file is looked at.
const INTERVAL: Duration = Duration::from_millis(500);
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
            let networks = Arc::new(ArcSwap::from_pointee(fixed.into_iter().collect()));
            return Ok(Self { networks, _watch: None });
        };
        // Before the file is read: if it changes meanwhile, it is read again.
        let stamp = FileStamp::of(&path).ok();
        let read = read(&path, &fixed)
            .map_err(|problem| FilterError::new("file", format!("a file of networks: {problem}")))?;
        let networks = Arc::new(ArcSwap::from_pointee(read));
        let watch = context.spawn(watch(path, fixed, networks.clone(), stamp));
        Ok(Self { networks, _watch: Some(watch) })
    }

    /// Whether the client is in one of the networks.
    #[inline]
    pub(super) fn contains(&self, client: Option<IpAddr>) -> bool {
        client.is_some_and(|client| self.networks.load().contains(client))
    }
}

/// Puts the networks in force when the file changes.
async fn watch(
    path: PathBuf,
    fixed: Vec<IpNet>,
    networks: Arc<ArcSwap<Networks>>,
    mut seen: Option<FileStamp>,
) {
    let fixed = Arc::new(fixed);
    loop {
        tokio::time::sleep(INTERVAL).await;
        let (file, fixed, before) = (path.clone(), fixed.clone(), seen);
        let look = move || {
            let now = FileStamp::of(&file).ok();
            (now != before).then(|| (now, read(&file, &fixed)))
        };
        // A million lines take a while: not where other tasks wait.
        let Ok(Some((now, read))) = tokio::task::spawn_blocking(look).await else { continue };
        seen = now;
        match read {
            Ok(read) => {
                networks.store(Arc::new(read));
                log::info!("networks of {}: read again", path.display());
            }
            Err(problem) => {
                log::warn!("networks of {}: {problem}: the networks stay as they were", path.display())
            }
        }
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
