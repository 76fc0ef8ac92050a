//! The pauses in a request's body and in its response that limits of bandwidth ask for.
//!
//! They exist only for a request with such a limit.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use evenkeel_core::limit::piece;
use tokio::time::Sleep;

use super::clock::micros;
use super::connection::Connection;
use super::in_flight::InFlight;
use super::request::Exchange;
use crate::filter::{BandwidthShare, Direction};

/// The pauses of both directions.
#[derive(Debug, Default)]
pub(super) struct Throttles {
    pub(super) download: Throttle,
    pub(super) upload: Throttle,
}

/// One direction.
#[derive(Debug)]
pub(super) struct Throttle {
    limits: Vec<BandwidthShare>,
    /// How many bytes are moved at once.
    piece: usize,
    /// When the next bytes can be moved, by the connection's clock.
    until: u64,
    timer: Option<Pin<Box<Sleep>>>,
}

/// Adds limits to those of a request.
pub(super) fn throttle(throttles: &mut Option<Box<Throttles>>, limits: Vec<BandwidthShare>) {
    if !limits.is_empty() {
        throttles.get_or_insert_default().add(limits);
    }
}

// === impl Exchange ===

impl Exchange {
    /// Counts bytes that came from the client, of a body or after an upgrade. Gives how many there were in all.
    pub fn count_received(&mut self, bytes: u64) -> u64 {
        self.record.received += bytes;
        if let Some(throttles) = &mut self.throttles {
            throttles.upload.moved(bytes, self.in_flight.connection());
        }
        self.record.received
    }

    /// This many more bytes of the response body go to the client.
    pub fn count_sent(&mut self, bytes: u64) {
        self.record_sent(bytes);
        self.throttle_download(bytes);
    }

    /// Counts bytes for the record that limits of bandwidth have counted already.
    pub fn record_sent(&mut self, bytes: u64) {
        self.record.sent += bytes;
    }

    /// Counts bytes for limits of bandwidth only: those of a body that gets another size on its way to the client.
    pub fn throttle_download(&mut self, bytes: u64) {
        if let Some(throttles) = &mut self.throttles {
            throttles.download.moved(bytes, self.in_flight.connection());
        }
    }

    /// How many bytes of the response body can be sent to the client now. Pending while a limit of bandwidth asks for a pause.
    #[inline]
    pub fn poll_download(&mut self, cx: &mut Context<'_>) -> Poll<usize> {
        match &mut self.throttles {
            Some(throttles) => throttles.download.poll(cx, &self.in_flight),
            None => Poll::Ready(usize::MAX),
        }
    }

    /// How many bytes of the request's body can be taken from the client now.
    #[inline]
    pub fn poll_upload(&mut self, cx: &mut Context<'_>) -> Poll<usize> {
        match &mut self.throttles {
            Some(throttles) => throttles.upload.poll(cx, &self.in_flight),
            None => Poll::Ready(usize::MAX),
        }
    }

    /// How long to pause before more of the response is sent, for a data path that cannot send a part of what it has.
    pub fn download_pause(&mut self) -> Option<Duration> {
        self.throttles.as_mut()?.download.pause(&self.in_flight)
    }

    /// How long to pause before more of the request is taken.
    pub fn upload_pause(&mut self) -> Option<Duration> {
        self.throttles.as_mut()?.upload.pause(&self.in_flight)
    }
}

// === impl Throttles ===

impl Throttles {
    /// More limits.
    pub(super) fn add(&mut self, limits: Vec<BandwidthShare>) {
        for limit in limits {
            match limit.direction() {
                Direction::Download => self.download.add(limit),
                Direction::Upload => self.upload.add(limit),
            }
        }
    }
}

// === impl Throttle ===

impl Throttle {
    /// One more limit.
    fn add(&mut self, limit: BandwidthShare) {
        self.piece = self.piece.min(piece(limit.rate()));
        self.limits.push(limit);
    }

    /// How many bytes can be moved now.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, in_flight: &InFlight) -> Poll<usize> {
        if self.until == 0 {
            return Poll::Ready(self.piece);
        }
        let connection = in_flight.connection();
        if connection.now() < self.until {
            let at = connection.instant(self.until).into();
            let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(at)));
            if timer.deadline() != at {
                timer.as_mut().reset(at);
            }
            if timer.as_mut().poll(cx).is_pending() {
                // It is no one's fault.
                in_flight.paused_until(self.until);
                return Poll::Pending;
            }
        }
        self.until = 0;
        Poll::Ready(self.piece)
    }

    /// How long to pause before the next bytes are moved, for a caller that does.
    pub(super) fn pause(&mut self, in_flight: &InFlight) -> Option<Duration> {
        let until = std::mem::take(&mut self.until);
        let left = until.saturating_sub(in_flight.connection().now());
        if left == 0 {
            return None;
        }
        in_flight.paused_until(until);
        Some(Duration::from_micros(left))
    }

    /// Counts bytes that were moved.
    pub(super) fn moved(&mut self, bytes: u64, connection: &Connection) {
        if bytes == 0 {
            return;
        }
        let take = |limit: &BandwidthShare| limit.take(bytes, connection.moment());
        let pause = self.limits.iter().map(take).max().unwrap_or_default();
        if !pause.is_zero() {
            self.until = connection.now().saturating_add(micros(pause).max(1));
        }
    }
}

impl Default for Throttle {
    fn default() -> Self {
        Self { limits: Vec::new(), piece: usize::MAX, until: 0, timer: None }
    }
}
