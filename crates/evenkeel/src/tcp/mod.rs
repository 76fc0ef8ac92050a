//! Connections that are carried as they are: which upstream, attempts, bytes both ways, the record; over the same `upstream/` as
//! requests.
//!
//! This room never knows HTTP, what the bytes mean beyond a first message of TLS, or who accepts connections. Of `exchange/` it
//! uses what belongs to a connection, whatever is spoken on it: its clock, its waits, the environment of its worker.

mod connection;
mod record;
mod rules;

pub use connection::TcpConnection;
pub use rules::Rules;
