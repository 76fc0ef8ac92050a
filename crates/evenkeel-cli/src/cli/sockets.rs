//! Listening sockets that a supervisor passes to the process, and what the system does with connections when sockets are closed.

use std::os::fd::OwnedFd;

use listenfd::ListenFd;

use super::failure::Failure;

/// The sockets that systemd, or whatever sets `LISTEN_FDS`, has passed.
pub(super) fn passed() -> Result<Vec<OwnedFd>, Failure> {
    let mut passed = ListenFd::from_env();
    let mut sockets = Vec::with_capacity(passed.len());
    for index in 0..passed.len() {
        // A listener on TCP, or else on a path.
        let socket = match passed.take_tcp_listener(index) {
            Ok(listener) => listener.map(OwnedFd::from),
            Err(_) => passed.take_unix_listener(index).map_err(unusable)?.map(OwnedFd::from),
        };
        sockets.extend(socket);
    }
    Ok(sockets)
}

fn unusable(error: std::io::Error) -> Failure {
    Failure::start(format!("LISTEN_FDS: {error}: expected listening TCP or Unix stream sockets"))
}

/// Connections that are being set up with a socket of the old process when that closes are reset, unless the system moves them
/// to another socket of the address.
pub(super) fn warn_of_resets() {
    const SETTING: &str = "/proc/sys/net/ipv4/tcp_migrate_req";
    if std::fs::read_to_string(SETTING).is_ok_and(|value| value.trim() == "0") {
        log::warn!(
            "net.ipv4.tcp_migrate_req is 0: connections that are being set up when the old process ends can be reset: \
             set it to 1"
        );
    }
}
