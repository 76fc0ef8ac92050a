//! What is recorded of a request that was ended from outside: by the watchdog, by the client, or by a panic.

use evenkeel_http::message::{Refusal, Waited};

use super::in_flight::Expired;
use super::record::Ending;
use super::request::Exchange;
use crate::upstream::Failure;

impl Exchange {
    /// What is recorded of a request whose data path was dropped in the middle: the watchdog's doing, or the client's.
    pub(super) fn settle(&mut self) {
        // Not at the data path's own hand, so perhaps long after the last tick.
        self.connection().tick();
        // A head that was too slow was refused before there was a data path, and noted then.
        let refusal = match self.in_flight.expired() {
            Some(Expired::Body) => Some(Refusal::BodyTimeout),
            Some(Expired::FirstByte) => Some(Refusal::BackendTimeout(Waited::FirstByte)),
            Some(Expired::Total) => Some(Refusal::Timeout),
            Some(Expired::Drain) => Some(Refusal::ShuttingDown),
            _ => None,
        };
        match (refusal, self.in_flight.expired()) {
            (Some(refusal), Some(expired)) => {
                if self.in_flight.has_head() {
                    self.record.ending = Some(Ending::Refused(refusal.end()));
                    self.record.error = Some(refusal.cause());
                } else {
                    let answer = self.refusal_answer(&refusal);
                    self.count_sent(answer.body.len() as u64);
                    self.in_flight.leave(answer);
                }
                self.blame(expired);
            }
            (None, Some(Expired::BackendIdle)) => {
                self.record.ending = Some(Ending::Refused("timeout=idle"));
                self.record.error = Some(Failure::Idle.text());
                self.blame(Expired::BackendIdle);
            }
            (None, Some(Expired::Send)) => self.record.ending = Some(Ending::Refused("timeout=send")),
            (None, Some(Expired::UpgradedIdle)) => {
                self.record.ending = Some(Ending::Refused("timeout=upgraded_idle"));
            }
            _ if std::thread::panicking() => self.record.ending = Some(Ending::Panic),
            _ => {
                if self.record.ending.is_none() {
                    self.on_end(Ending::ClientDisconnected);
                }
            }
        }
    }

    fn blame(&mut self, expired: Expired) {
        let at = self.at();
        match (&mut self.attempts, expired) {
            (Some(attempts), Expired::FirstByte | Expired::BackendIdle) => attempts.too_slow(at),
            // Perhaps the time went elsewhere; what it waited for this one is no less slow.
            (Some(attempts), Expired::Total) => attempts.client_left(at),
            _ => {}
        }
    }
}
