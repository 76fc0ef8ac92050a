//! The life of one request as decisions: client address, route, filters, choose, retry or not, what to record.
//!
//! This room never knows which transport carries the request: it sees a head through a trait, and returns edits, a
//! refusal, or a backend to try.

mod affinity;
mod attempts;
mod choosing;
mod client;
mod clock;
mod complaints;
mod connection;
mod copy;
mod entry;
mod explain;
mod failure;
mod forwarding;
mod gate;
mod hedge;
mod interim;
mod max_forwards;
mod pace;
mod path;
mod record;
mod redirect;
mod request;
mod table;
mod trying;

pub use affinity::{Affinity, cookie_value};
pub use attempts::Attempt;
pub use client::{ClientAddress, client_address};
pub use clock::moment_of;
pub use complaints::{Alarms, Complaints};
pub use connection::{Connection, Expired, Phase};
pub use copy::RequestCopy;
pub use explain::{WouldChoose, would_choose};
pub use failure::{Break, ConnectError, Failure, TlsError};
pub use gate::Gate;
pub use hedge::Hedging;
pub use interim::Interim;
pub use path::{Respelled, respelled};
pub use record::{Ending, Record, RequestId};
pub use redirect::redirect;
pub use request::{Decision, Environment, Exchange, Lane, ListenerFacts};
pub use table::{Alarm, Bell, Endpoint, EndpointTls, Members, Roster, Rule, RuleAction, Table, Upstream};
