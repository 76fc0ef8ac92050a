//! One connection that is carried as it is, from its handshake to its end: its clock and its waits.

use std::sync::Arc;

use super::serve::Service;
use super::watch::Watch;
use crate::observe::ListenerMetrics;
use crate::stream::Link;
use crate::tcp::{Rules, TcpConnection};

/// Carries a connection to its end. Its clock is looked at each time its task wakes, and then only.
pub(super) async fn carry(
    service: &Service,
    link: Arc<Link>,
    rules: Arc<Rules>,
    metrics: Arc<ListenerMetrics>,
) {
    let connection = link.in_flight.connection().clone();
    let tcp = TcpConnection::new(service.environment.clone(), link.clone(), rules, metrics);
    let mut watch = Watch::new();
    let mut carried = std::pin::pin!(watch.guard(&link, Box::pin(tcp.carry())));
    let _ = std::future::poll_fn(|cx| {
        connection.tick();
        carried.as_mut().poll(cx)
    })
    .await;
}
