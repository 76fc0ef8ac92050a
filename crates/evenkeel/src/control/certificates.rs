//! Keeps the certificates of listeners up to date: their files are looked at every second.

use std::sync::Weak;
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use super::state::{ListenerState, State};
use crate::tls::{Certificate, ServerTls, date};

/// How often the files are looked at. A renewed certificate is in use within two of these.
const EVERY: Duration = Duration::from_secs(1);

/// Looks at the files as long as there is a balancer.
pub(super) async fn watch(state: Weak<State>) {
    loop {
        tokio::time::sleep(EVERY).await;
        let Some(listeners) = state.upgrade().map(|state| state.listeners()) else { return };
        for listener in listeners {
            if let Some(tls) = listener.tls.clone() {
                // The last one has ended before the next begins. Files can be on a disk that is slow.
                let _ = tokio::task::spawn_blocking(move || refresh(&listener, &tls)).await;
            }
        }
    }
}

fn refresh(listener: &ListenerState, tls: &ServerTls) {
    let name = &listener.name;
    match tls.refresh() {
        None => {}
        Some(Ok(())) => {
            listener.metrics.certificates_read(true);
            let serials: Vec<String> = tls.certificates().iter().map(|one| one.serial.clone()).collect();
            log::info!(
                "listener {name}: files of TLS have changed and are in use: certificates with serial {}",
                serials.join(", ")
            );
            warn_of_doubts(name, tls);
        }
        Some(Err(error)) => {
            listener.metrics.certificates_read(false);
            log::warn!("listener {name}: {error}: the old files stay in use");
        }
    }
}

/// Tells the log which certificates clients may not accept.
pub(super) fn warn_of_doubts(listener: &str, tls: &ServerTls) {
    for certificate in tls.certificates() {
        for doubt in certificate.doubts(now()) {
            log::warn!("listener {listener}: certificate {} {doubt}", certificate.files.cert.display());
        }
    }
}

/// Now, in seconds since 1970.
pub(super) fn now() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

/// What `/status` says of a certificate.
pub(super) fn status(certificate: &Certificate) -> Value {
    json!({
        "cert": certificate.files.cert.display().to_string(),
        "names": certificate.names,
        "serial": certificate.serial,
        "issuer": certificate.issuer,
        "not_before": date(certificate.not_before),
        "not_after": date(certificate.not_after),
    })
}
