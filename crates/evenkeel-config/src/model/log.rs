//! What the access log is: where records go, and what they look like.

use std::path::PathBuf;

use crate::Format;

/// The access log.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct AccessLog {
    /// Where records go. Default stdout.
    pub to: LogTarget,
    /// What a record looks like. Default JSON.
    pub format: LogFormat,
    /// The headers of requests and responses that records have.
    pub headers: LogHeaders,
    /// The share of successful requests that are recorded, from 0 to 1. Default 1.
    pub sample: f64,
}

/// The headers of requests and responses that records of the access log have, in lower case. Default none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogHeaders {
    /// Headers of requests, as the client sent them.
    pub request: Vec<Box<str>>,
    /// Headers of responses, as the client receives them.
    pub response: Vec<Box<str>>,
}

/// Where the access log goes.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LogTarget {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
    /// A file, appended to, opened again on SIGUSR1.
    File(PathBuf),
    /// A server of syslog.
    Syslog(SyslogTarget),
}

/// A server of syslog, and what records are marked with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyslogTarget {
    /// Where it is.
    pub transport: SyslogTransport,
    /// The facility, 0 to 23. Default 16, which is `local0`.
    pub facility: u8,
    /// The name of the program. Default `evenkeel`.
    pub tag: String,
}

/// Where a server of syslog is.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SyslogTransport {
    /// A Unix datagram socket.
    Unix(PathBuf),
    /// A host and port, over UDP.
    Udp(String, u16),
    /// A host and port, over TCP.
    Tcp(String, u16),
}

/// What a record of the access log looks like.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// The combined log format of Apache and nginx.
    Combined,
    /// A template with the names of the fields in braces: `{client} {status}`.
    Template(Format),
}
