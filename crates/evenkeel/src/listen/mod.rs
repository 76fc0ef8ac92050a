//! Accepting: sockets, one current-thread runtime a core, head deadlines, client caps; hands a stream to a lane.
//!
//! This room never knows what is configured beyond its own limits, nor who asks it to stop.

mod accept;
mod bind;
mod conn;
mod handshake;
mod http2;
mod local;
mod owner;
mod permits;
mod proxy_header;
mod proxy_protocol;
mod serve;
mod shared;
mod tcp;
mod watch;
mod worker;

pub use bind::{BindError, Bound, Inherited, Sharing, SocketFile, bind};
pub use shared::{ListenerShared, OverloadSwitch};
pub use worker::{WorkerError, Workers};
