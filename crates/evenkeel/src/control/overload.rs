//! Watches the process's own memory and descriptors, and has the listeners shed load before either runs out.

use std::sync::{Arc, Weak};
use std::time::Duration;

use evenkeel_config::OverloadProtection;
use evenkeel_core::limit::OverloadLevel;
use rustix::process::{Resource, getrlimit};
use tokio::sync::watch;

use super::state::State;
use crate::listen::OverloadSwitch;

/// How often it looks.
const INTERVAL: Duration = Duration::from_millis(250);

/// What is in use, as shares of the thresholds.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Shares {
    memory: f64,
    descriptors: f64,
}

/// Watches for as long as the state lives. While no threshold is configured, it only waits for one.
pub(super) async fn watch(
    state: Weak<State>,
    switch: Arc<OverloadSwitch>,
    mut thresholds: watch::Receiver<OverloadProtection>,
) {
    let mut level = OverloadLevel::default();
    loop {
        let wanted = thresholds.borrow_and_update().clone();
        let shares = shares(&wanted);
        let next =
            shares.map_or(OverloadLevel::Normal, |shares| level.next(shares.memory.max(shares.descriptors)));
        if next != level {
            report(next, shares);
            level = next;
        }
        if state.upgrade().is_none() {
            return;
        }
        switch.set(level);
        let is_off = wanted == OverloadProtection::default();
        tokio::select! {
            changed = thresholds.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(INTERVAL), if !is_off => {}
        }
    }
}

fn report(level: OverloadLevel, shares: Option<Shares>) {
    let Shares { memory, descriptors } = shares.unwrap_or(Shares { memory: 0.0, descriptors: 0.0 });
    let (what, share) = if memory >= descriptors { ("memory", memory) } else { ("descriptors", descriptors) };
    let share = share * 100.0;
    match level {
        OverloadLevel::Normal => log::info!("overload protection: enough memory and descriptors again"),
        OverloadLevel::CloseIdle => {
            log::warn!(
                "overload protection: {what} at {share:.0}% of the threshold: closing idle connections"
            );
        }
        OverloadLevel::Reject => {
            log::warn!(
                "overload protection: {what} at {share:.0}% of the threshold: rejecting new connections"
            );
        }
    }
}

/// What is in use. `None` if nothing is configured.
fn shares(thresholds: &OverloadProtection) -> Option<Shares> {
    if *thresholds == OverloadProtection::default() {
        return None;
    }
    let memory = thresholds.max_memory.map(|most| resident_bytes() as f64 / most.max(1) as f64);
    let descriptors = thresholds.max_descriptors.zip(getrlimit(Resource::Nofile).current);
    let descriptors =
        descriptors.map(|(share, limit)| open_descriptors() as f64 / (limit as f64 * share).max(1.0));
    Some(Shares { memory: memory.unwrap_or_default(), descriptors: descriptors.unwrap_or_default() })
}

/// The memory that the process holds; zero where the system does not say.
fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kilobytes.unwrap_or_default() * 1024
}

/// How many files and sockets are open; zero where the system does not say.
fn open_descriptors() -> u64 {
    let folder = "/proc/self/fd";
    // Since Linux 6.2 its size is their number. Before, they have to be counted.
    match std::fs::metadata(folder).map(|folder| folder.len()) {
        Ok(count @ 1..) => count,
        _ => std::fs::read_dir(folder).map_or(0, |entries| entries.count() as u64),
    }
}

#[cfg(test)]
mod tests {
    use super::{open_descriptors, resident_bytes};

    #[test]
    fn the_system_says_what_is_in_use() {
        assert!(resident_bytes() > 1 << 20, "{}", resident_bytes());
        let before = open_descriptors();
        let files: Vec<_> = (0..50).map(|_| std::fs::File::open("/dev/null").unwrap()).collect();
        // Other tests open and close files meanwhile.
        assert!(open_descriptors() + 30 > before + files.len() as u64);
        assert!(open_descriptors() >= files.len() as u64);
    }
}
