//! What is known of a connection when it ends: one line of the access log, one set of metrics.

use std::net::IpAddr;
use std::time::Duration;

use crate::exchange::tls_field;
use crate::observe::{Entry, Field, Message, Value};
use crate::stream::Link;
use crate::upstream::{Attempts, ConnectError, Failure, UpstreamError};

/// What is known of one connection.
#[derive(Debug, Default)]
pub(super) struct Record {
    /// When it began, by the wall clock; only for an access log.
    pub(super) time: Option<jiff::Timestamp>,
    pub(super) client: Option<IpAddr>,
    /// The name that the client asked for in a first message of TLS that was not ours.
    pub(super) server_name: Option<Box<str>>,
    /// From the pick of the last backend to its connection.
    pub(super) connected: Option<Duration>,
    /// Bytes from the client to the backend.
    pub(super) received: u64,
    /// Bytes from the backend to the client.
    pub(super) sent: u64,
    /// How it ended, once that is known: one of the ends that the metrics count.
    pub(super) end: Option<&'static str>,
    /// The cause, if it failed.
    pub(super) error: Option<&'static str>,
}

/// A connection, as the access log sees it.
#[derive(Debug)]
pub(super) struct Finished<'a> {
    pub(super) record: &'a Record,
    pub(super) link: &'a Link,
    pub(super) attempts: Option<&'a Attempts>,
}

// === impl Record ===

impl Record {
    /// The upstream does not serve it.
    pub(super) fn refuse(&mut self, error: UpstreamError) -> &'static str {
        let (end, cause) = match error {
            UpstreamError::NoBackend => ("refused=no_backend", "no healthy backend"),
            UpstreamError::CircuitOpen => ("refused=overloaded", "circuit breaker is open"),
            UpstreamError::QueueFull => ("refused=overloaded", "queue is full: queue.max_pending reached"),
            UpstreamError::QueueTimeout => ("refused=overloaded", "no backend had room within queue.timeout"),
            UpstreamError::Failed { failure, .. } => (end_of(failure), failure.text()),
        };
        (self.end, self.error) = (Some(end), Some(cause));
        cause
    }
}

/// How a connection ends whose last attempt failed so.
fn end_of(failure: Failure) -> &'static str {
    match failure {
        Failure::ConnectTimeout => "timeout=connect",
        Failure::TlsTimeout => "timeout=tls",
        Failure::Shortage | Failure::Connect(ConnectError::Exhausted) => "refused=out_of_resources",
        _ => "refused=unreachable",
    }
}

// === impl Finished ===

impl Entry for Finished<'_> {
    fn field(&self, field: Field) -> Value<'_> {
        let (record, connection) = (self.record, self.link.connection());
        let last = || self.attempts.and_then(Attempts::last);
        match field {
            Field::Time => record.time.map_or(Value::Absent, Value::Moment),
            Field::Client => record.client.map_or(Value::Absent, Value::Address),
            Field::Protocol => Value::Text("TCP"),
            Field::Upstream => match self.attempts {
                Some(attempts) => Value::Text(&attempts.upstream().name),
                None => Value::Absent,
            },
            Field::Backend => last().map_or(Value::Absent, |last| Value::Text(last.backend.name())),
            Field::Attempts => match self.attempts {
                Some(attempts) => Value::Number(attempts.count() as u64),
                None => Value::Absent,
            },
            Field::Duration => Value::Span(connection.since(0)),
            Field::FirstByte => record.connected.map_or(Value::Absent, Value::Span),
            Field::Received => Value::Number(record.received),
            Field::Sent => Value::Number(record.sent),
            Field::End => record.end.map_or(Value::Absent, Value::Text),
            Field::Error => record.error.map_or(Value::Absent, Value::Text),
            Field::TlsServerName if record.server_name.is_some() => {
                record.server_name.as_deref().map_or(Value::Absent, Value::Text)
            }
            field => connection.agreed().map_or(Value::Absent, |agreed| tls_field(agreed, field)),
        }
    }

    /// It has none.
    fn header(&self, _: Message, _: usize) -> Option<&str> {
        None
    }
}
