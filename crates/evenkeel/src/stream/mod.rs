//! Sockets with their buffers: what was read ahead, and what is gathered until it is worth a system call.
//!
//! This room never knows what the bytes mean, except where a request that was handed to a data path ends.

mod grant;
mod link;
mod own;
mod socket;

pub use grant::Grant;
pub use link::{Link, Read};
pub use own::Own;
pub use socket::Socket;
