//! Sockets with their buffers: what was read ahead, and what is gathered until it is worth a system call.
//!
//! This room never knows what the bytes mean, except where a request that was handed to a data path ends.

mod grant;
mod h2_stream;
mod link;
mod own;
mod relay;
mod secured;
mod socket;
mod transport;

pub use grant::Grant;
pub use h2_stream::H2Stream;
pub use link::{Link, Read};
pub use own::Own;
pub use relay::{Broken, FarEnd, Relay};
pub use secured::Secured;
pub use socket::Socket;
pub use transport::Transport;
