//! Whether there are enough open files for what the configuration allows.

use evenkeel_config::{Listener, Model};
use rustix::process::{Resource, getrlimit};

/// Files that are open whatever clients do: logs, event queues, the admin address.
const FIXED: usize = 64;
/// Files of each worker besides its listeners.
const OF_WORKER: usize = 4;

/// Fewer connections are no service, whatever `max_connections` is.
const FEWEST: usize = 1_000;

/// Warns when the limit on open files is too low for the `max_connections` that the user chose. The default is a bound, and no
/// promise: with it there is a warning only if there is no room for [`FEWEST`] connections.
pub(super) fn warn_if_few(model: &Model, workers: usize) {
    let wanted = model.listeners.iter().map(|listener| match listener.max_connections {
        Listener::MAX_CONNECTIONS => FEWEST,
        chosen => chosen,
    });
    let clients: usize = wanted.sum();
    let others = FIXED + workers * (model.listeners.len() + OF_WORKER);
    let needed = clients.saturating_mul(2).saturating_add(others);
    let Some(limit) = getrlimit(Resource::Nofile).current else { return };
    if limit < needed as u64 {
        log::warn!(
            "the limit on open files is {limit}, but {needed} may be needed: {clients} for clients (max_connections), as many for \
             backends, and {others} others: raise it (ulimit -n, LimitNOFILE=) or lower max_connections"
        );
    }
}
