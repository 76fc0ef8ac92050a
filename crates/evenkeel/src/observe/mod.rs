//! What is measured and what is logged: the catalogue of metrics, the fields of the access log, and how both are written.
//!
//! This room never knows any other room of ours: what it counts is handed to it.

mod access_log;
mod catalogue;
mod discovery;
mod exposition;
mod fields;
mod health;
mod instruments;
mod limits;
mod listener;
mod sink;
mod syslog;
mod tcp;
mod text;

pub use access_log::{AccessLog, AccessLogError};
pub use catalogue::{BackendMetrics, BackendView, Metrics, RouteMetrics, View};
pub use discovery::DiscoveryView;
pub use exposition::Exposition;
pub use fields::{Entry, Field, Message, Value};
pub use health::{HealthView, UpstreamHealth, UpstreamView};
pub use instruments::{Counter, Sharded};
pub use limits::{LimitView, LimitsView};
pub use listener::{ConnectionLimit, ListenerMetrics};
pub use text::hexadecimal;
