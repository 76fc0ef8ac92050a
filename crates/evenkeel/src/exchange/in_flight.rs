//! One request in flight on a client's connection: what it waits for, and when that has lasted too long.
//!
//! The times are kept as relaxed atomics because the transport writes them from inside a data path's future while the
//! request's watchdog reads them from outside; both run on the same core. One lazily armed timer then serves every
//! timeout of a request. HTTP/1 has one request at a time on a connection, and uses one of these for all of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use evenkeel_config::{HttpLimits, Timeouts};
use evenkeel_http::message::Answer;
use parking_lot::Mutex;

use super::clock::{NEVER, micros};
use super::connection::Connection;
use super::pace::Pace;

/// One request in flight on a connection, from the wait for its head to the last byte of its response.
#[derive(Debug)]
pub struct InFlight {
    connection: Arc<Connection>,
    /// Its stream, if it came as HTTP/2; else zero.
    stream: AtomicU32,
    /// Whether an exchange has taken the request that the transport was handed: until then nothing may be written.
    begun: AtomicBool,
    /// Whether the connection can carry another request although the data path gave it up: a refusal was written whole.
    reusable: AtomicBool,
    verdict: AtomicU8,
    /// What the listener is to say when the data path was ended before it said anything.
    farewell: Mutex<Option<Box<Answer>>>,
    timings: Timings,
    limits: Limits,
}

/// What is being waited for, and since when. Microseconds since the connection began; zero is never.
#[derive(Debug, Default)]
struct Timings {
    phase: AtomicU8,
    since: AtomicU64,
    /// When a byte last came from or went to the client.
    client_moved: AtomicU64,
    /// Since when the transport wants bytes of the client and there are none.
    awaiting_client: AtomicU64,
    /// Since when the client takes no bytes although there are some.
    blocked: AtomicU64,
    connected: AtomicU64,
    request_sent: AtomicU64,
    head_received: AtomicU64,
    backend_moved: AtomicU64,
    upgraded: AtomicBool,
    /// Whether the backend of an upgraded connection has said all.
    backend_ended: AtomicBool,
}

/// How long each wait may last, in microseconds; the first two are the listener's, the others the request's.
#[derive(Debug)]
struct Limits {
    body: Pace,
    send: Pace,
    first_byte: AtomicU64,
    backend_idle: AtomicU64,
    upgraded_idle: AtomicU64,
    /// When the whole request must have its response head, in microseconds since the connection started.
    deadline: AtomicU64,
}

/// What is done for a request, or for the next one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Phase {
    /// Waiting for the next request.
    Idle,
    /// Waiting for the first byte of the first request.
    Fresh,
    /// Receiving a head.
    Head,
    /// A data path has the request.
    Exchange,
    /// Sending the rest of a response.
    Flush,
}

/// Which wait has lasted too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Expired {
    /// For the next request.
    Idle = 1,
    /// For the request's head.
    Header,
    /// For the request's body.
    Body,
    /// For the client to read its response.
    Send,
    /// For the head of the backend's response.
    FirstByte,
    /// For more of the backend's response.
    BackendIdle,
    /// For anything on an upgraded connection.
    UpgradedIdle,
    /// For the whole request.
    Total,
    /// For what was under way as the balancer ended.
    Drain,
}

/// How long a connection that is to end may be quiet, in microseconds.
const LAST_CALL: u64 = 200_000;

// === impl InFlight ===

impl InFlight {
    /// No request yet, on this connection.
    pub fn new(connection: Arc<Connection>) -> Self {
        let limits = Limits::new(&connection.limits);
        Self {
            connection,
            stream: AtomicU32::new(0),
            begun: AtomicBool::new(false),
            reusable: AtomicBool::new(false),
            verdict: AtomicU8::new(0),
            farewell: Mutex::default(),
            timings: Timings::default(),
            limits,
        }
    }

    /// The connection that it is on.
    pub fn connection(&self) -> &Arc<Connection> {
        &self.connection
    }

    /// Notes on which stream of an HTTP/2 connection it came.
    pub fn set_stream(&self, id: u32) {
        self.stream.store(id, Relaxed);
    }

    /// The stream of an HTTP/2 connection on which it came.
    pub fn stream(&self) -> Option<u32> {
        Some(self.stream.load(Relaxed)).filter(|id| *id > 0)
    }

    fn now(&self) -> u64 {
        self.connection.now()
    }

    /// Enters a phase. The first head's time runs from the accept, so that silence before it is not for free.
    pub fn enter(&self, phase: Phase) {
        let before = self.timings.phase.load(Relaxed);
        self.timings.phase.store(phase as u8, Relaxed);
        if phase == Phase::Head && before == Phase::Fresh as u8 {
            return;
        }
        self.timings.since.store(self.now(), Relaxed);
    }

    /// Enters a phase, unless it is the current one: then its time goes on.
    pub fn stay_in(&self, phase: Phase) {
        if self.timings.phase.load(Relaxed) != phase as u8 {
            self.enter(phase);
        }
    }

    /// Forgets the last request: the next one begins.
    pub fn begin_request(&self) {
        self.timings.reset();
        self.limits.reset();
        self.begun.store(false, Relaxed);
        self.reusable.store(false, Relaxed);
        self.verdict.store(0, Relaxed);
    }

    /// Takes over the upstream's limits and the route's deadline for this request.
    pub fn set_limits(&self, timeouts: &Timeouts, deadline: Option<Duration>) {
        self.limits.first_byte.store(micros(timeouts.first_byte), Relaxed);
        self.limits.backend_idle.store(micros(timeouts.idle), Relaxed);
        self.limits.upgraded_idle.store(micros(timeouts.upgraded_idle), Relaxed);
        self.set_deadline(deadline);
    }

    /// Sets in what time the whole request must have its response head, if it must.
    pub fn set_deadline(&self, deadline: Option<Duration>) {
        if let Some(deadline) = deadline {
            self.limits.deadline.store(self.now().saturating_add(micros(deadline)), Relaxed);
        }
    }

    /// How much of the route's deadline is left.
    pub fn time_left(&self) -> Option<Duration> {
        let deadline = self.limits.deadline.load(Relaxed);
        (deadline != NEVER).then(|| Duration::from_micros(deadline.saturating_sub(self.now())))
    }

    /// When the wait that is on now will have lasted too long, and which it is. `u64::MAX` is never.
    pub fn expiry(&self) -> (u64, Expired) {
        let (timings, limits) = (&self.timings, &self.limits);
        if self.connection.is_cut() {
            // At once: the clock is never earlier.
            return (1, Expired::Drain);
        }
        let since = timings.since.load(Relaxed);
        match timings.phase.load(Relaxed) {
            phase if phase == Phase::Idle as u8 => {
                (since.saturating_add(self.quiet(self.connection.limits.idle_timeout)), Expired::Idle)
            }
            phase if phase == Phase::Fresh as u8 => {
                (since.saturating_add(self.quiet(self.connection.limits.header_timeout)), Expired::Idle)
            }
            phase if phase == Phase::Head as u8 => {
                (since.saturating_add(micros(self.connection.limits.header_timeout)), Expired::Header)
            }
            phase if phase == Phase::Flush as u8 => {
                let since = since.max(timings.client_moved.load(Relaxed));
                (limits.send.due(since), Expired::Send)
            }
            _ => self.exchange_expiry(),
        }
    }

    /// How long a connection can be idle: only briefly once it is draining. The short time lets a request that is on
    /// its way arrive and receive a response with `Connection: close`.
    fn quiet(&self, limit: Duration) -> u64 {
        let limit = micros(limit);
        if self.connection.is_draining() { limit.min(LAST_CALL) } else { limit }
    }

    fn exchange_expiry(&self) -> (u64, Expired) {
        let (timings, limits) = (&self.timings, &self.limits);
        let load = |value: &AtomicU64| value.load(Relaxed);
        let moved = load(&timings.client_moved).max(load(&timings.since)).max(load(&timings.backend_moved));
        if timings.upgraded.load(Relaxed) {
            let mut limit = load(&limits.upgraded_idle);
            if timings.backend_ended.load(Relaxed) {
                // Most clients have nothing more to say to it, and some are gone.
                limit = limit.min(limits.body.silence());
            }
            return (moved.saturating_add(limit), Expired::UpgradedIdle);
        }
        let blocked = load(&timings.blocked);
        if blocked > 0 {
            return (limits.send.due(blocked), Expired::Send);
        }
        if load(&timings.head_received) > 0 {
            return (moved.saturating_add(load(&limits.backend_idle)), Expired::BackendIdle);
        }
        let wait = if load(&timings.connected) == 0 {
            // Connecting has its own limit, in the connector, for that one can be tried again elsewhere.
            (NEVER, Expired::FirstByte)
        } else if load(&timings.request_sent) > 0 {
            let since = load(&timings.request_sent).max(load(&timings.connected));
            (since.saturating_add(load(&limits.first_byte)), Expired::FirstByte)
        } else if load(&timings.awaiting_client) > 0 {
            (limits.body.due(moved.max(load(&timings.connected))), Expired::Body)
        } else {
            // The client has more, and the backend does not take it.
            (moved.max(load(&timings.connected)).saturating_add(load(&limits.first_byte)), Expired::FirstByte)
        };
        let deadline = load(&limits.deadline);
        if deadline <= wait.0 { (deadline, Expired::Total) } else { wait }
    }

    /// Notes that a wait was ended, for the exchange that is about to be dropped.
    pub fn expire(&self, expired: Expired) {
        self.verdict.store(expired as u8, Relaxed);
    }

    /// The wait that ended the request, if one did.
    pub fn expired(&self) -> Option<Expired> {
        Expired::from_code(self.verdict.load(Relaxed))
    }

    /// Leaves a response for the listener to send.
    pub fn leave(&self, answer: Answer) {
        *self.farewell.lock() = Some(Box::new(answer));
    }

    /// The response that was left for the listener to send.
    pub fn take_farewell(&self) -> Option<Box<Answer>> {
        self.farewell.lock().take()
    }

    /// Notes that an exchange has taken the request.
    pub fn set_begun(&self) {
        self.begun.store(true, Relaxed);
    }

    /// Notes that the request is on its way to another data path, which has not taken it yet.
    pub fn unset_begun(&self) {
        self.begun.store(false, Relaxed);
    }

    /// Whether an exchange has taken the request.
    pub fn has_begun(&self) -> bool {
        self.begun.load(Relaxed)
    }

    /// Records that a complete response was written and nothing is left to read, whatever the data path reports.
    pub fn set_reusable(&self) {
        self.reusable.store(true, Relaxed);
    }

    /// Whether another request may follow although the data path gave the connection up.
    pub fn is_reusable(&self) -> bool {
        self.reusable.load(Relaxed)
    }

    /// Bytes came from the client.
    pub fn received(&self, count: usize) {
        let now = self.now();
        let since = self.timings.awaiting_client.load(Relaxed);
        if since > 0 {
            self.timings.awaiting_client.store(0, Relaxed);
            self.limits.body.moved(count as u64, now.saturating_sub(since));
        }
        self.timings.client_moved.store(now, Relaxed);
    }

    /// The transport wants bytes of the client, and there are none.
    pub fn awaits_client(&self) {
        if self.timings.awaiting_client.load(Relaxed) == 0 {
            self.timings.awaiting_client.store(self.now(), Relaxed);
        }
    }

    /// The client took bytes.
    pub fn sent(&self, count: usize) {
        let now = self.now();
        self.timings.client_moved.store(now, Relaxed);
        let since = self.timings.blocked.load(Relaxed);
        if since > 0 {
            // What still waits is written next. If that blocks again, its time starts again.
            self.timings.blocked.store(0, Relaxed);
            self.limits.send.moved(count as u64, now.saturating_sub(since));
        }
    }

    /// The client takes no more bytes for now.
    pub fn blocked(&self) {
        if self.timings.blocked.load(Relaxed) == 0 {
            self.timings.blocked.store(self.now(), Relaxed);
        }
    }

    /// A backend is being connected to.
    pub fn connecting(&self) {
        self.timings.connected.store(0, Relaxed);
    }

    /// A backend is connected.
    pub fn connected(&self) {
        self.timings.connected.store(self.now(), Relaxed);
    }

    /// The whole request has been handed to the backend.
    pub fn request_sent(&self) {
        self.timings.request_sent.store(self.now(), Relaxed);
    }

    /// When the backend was connected, and when it had the whole request; zero for never.
    pub fn sending(&self) -> (u64, u64) {
        (self.timings.connected.load(Relaxed), self.timings.request_sent.load(Relaxed))
    }

    /// The head of the final response has arrived.
    pub fn head_received(&self, upgraded: bool) {
        let now = self.now();
        self.timings.head_received.store(now, Relaxed);
        self.timings.backend_moved.store(now, Relaxed);
        self.timings.upgraded.store(upgraded, Relaxed);
    }

    /// A limit of bandwidth lets nothing move before then: until then, no one is slow.
    pub fn paused_until(&self, at: u64) {
        self.timings.backend_moved.fetch_max(at, Relaxed);
    }

    /// More of the response has arrived.
    pub fn backend_moved(&self) {
        self.timings.backend_moved.store(self.now(), Relaxed);
    }

    /// The backend of an upgraded connection has said all, and the client was told.
    pub fn backend_ended(&self) {
        self.timings.backend_ended.store(true, Relaxed);
    }

    /// Whether a response head has arrived.
    pub fn has_head(&self) -> bool {
        self.timings.head_received.load(Relaxed) > 0
    }

    /// Whether the connection left HTTP behind.
    pub fn is_upgraded(&self) -> bool {
        self.timings.upgraded.load(Relaxed)
    }
}

// === impl Timings ===

impl Timings {
    fn reset(&self) {
        for time in [
            &self.client_moved,
            &self.awaiting_client,
            &self.blocked,
            &self.connected,
            &self.request_sent,
            &self.head_received,
            &self.backend_moved,
        ] {
            time.store(0, Relaxed);
        }
        self.upgraded.store(false, Relaxed);
        self.backend_ended.store(false, Relaxed);
    }
}

// === impl Limits ===

impl Limits {
    fn new(limits: &HttpLimits) -> Self {
        Self {
            body: Pace::new(limits.body_timeout, limits.min_body_rate),
            send: Pace::new(limits.send_timeout, limits.min_send_rate),
            first_byte: AtomicU64::new(NEVER),
            backend_idle: AtomicU64::new(NEVER),
            upgraded_idle: AtomicU64::new(NEVER),
            deadline: AtomicU64::new(NEVER),
        }
    }

    fn reset(&self) {
        for limit in [&self.first_byte, &self.backend_idle, &self.upgraded_idle, &self.deadline] {
            limit.store(NEVER, Relaxed);
        }
        self.body.reset();
        self.send.reset();
    }
}

// === impl Expired ===

impl Expired {
    fn from_code(code: u8) -> Option<Self> {
        [
            Self::Idle,
            Self::Header,
            Self::Body,
            Self::Send,
            Self::FirstByte,
            Self::BackendIdle,
            Self::UpgradedIdle,
            Self::Total,
            Self::Drain,
        ]
        .into_iter()
        .find(|expired| *expired as u8 == code)
    }
}
