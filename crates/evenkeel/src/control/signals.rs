//! The signals that a balancer obeys.

use std::io;
use std::task::Poll;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SignalAction {
    /// SIGTERM or SIGQUIT: drain, then end.
    Drain,
    /// SIGINT: drain without `pre_stop` and for a few seconds at most, then end.
    Quit,
    /// SIGUSR1: open the access log's file again.
    Reopen,
    /// SIGHUP: read the configuration again.
    Reload,
    /// SIGUSR2: reserved for handing over to a new binary; nothing changes.
    Upgrade,
}

/// The signals, from here on caught.
#[derive(Debug)]
pub struct Signals {
    /// Each with what it asks for.
    all: [(Signal, SignalAction); 6],
}

impl Signals {
    /// Catches the signals.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            all: [
                (signal(SignalKind::terminate())?, SignalAction::Drain),
                (signal(SignalKind::quit())?, SignalAction::Drain),
                (signal(SignalKind::interrupt())?, SignalAction::Quit),
                (signal(SignalKind::user_defined1())?, SignalAction::Reopen),
                (signal(SignalKind::hangup())?, SignalAction::Reload),
                (signal(SignalKind::user_defined2())?, SignalAction::Upgrade),
            ],
        })
    }

    /// The next order.
    pub async fn next(&mut self) -> SignalAction {
        std::future::poll_fn(|cx| {
            let mut all = self.all.iter_mut();
            let arrived = all.find_map(|(signal, order)| signal.poll_recv(cx).is_ready().then_some(*order));
            arrived.map_or(Poll::Pending, Poll::Ready)
        })
        .await
    }
}
