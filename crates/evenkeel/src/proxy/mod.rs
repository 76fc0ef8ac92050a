//! Pingora's lane: maps the phases of Pingora's proxy to the decisions of an exchange.
//!
//! The one type that implements Pingora's `ProxyHttp` is here ([`Proxy`]): each further one would compile Pingora's whole
//! pump again.

mod cause;
mod compressor;
mod context;
mod encoder;
mod head;
mod peer;
mod phases;
mod respond;
mod session;
mod turns;

pub use context::Incoming;
pub use phases::{NO_CERTIFICATES, Proxy, http_proxy};
pub use session::H2Session;
