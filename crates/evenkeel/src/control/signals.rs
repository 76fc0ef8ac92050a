//! The signals that a balancer obeys.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// SIGTERM: end, in peace.
    Drain,
    /// SIGINT: end, without a wait for others to notice.
    Quit,
    /// SIGUSR1: open the log again.
    Reopen,
}

/// The signals, from here on caught.
#[derive(Debug)]
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
    user: Signal,
}

impl Signals {
    /// Catches the signals.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            user: signal(SignalKind::user_defined1())?,
        })
    }

    /// The next order.
    pub async fn next(&mut self) -> Order {
        tokio::select! {
            _ = self.terminate.recv() => Order::Drain,
            _ = self.interrupt.recv() => Order::Quit,
            _ = self.user.recv() => Order::Reopen,
        }
    }
}
