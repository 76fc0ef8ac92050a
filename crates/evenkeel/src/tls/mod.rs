//! TLS: certificates by name, what is agreed with a peer, and bytes encrypted and decrypted. The only room that names rustls.
//!
//! This room never knows a socket, what the bytes mean, or who is configured to speak to whom.

mod certificate;
mod client;
mod client_certificate;
mod failure;
mod hello;
mod names;
mod provider;
mod server;
mod session;
mod tickets;
mod trust;

pub(crate) use certificate::date;
pub use certificate::{Certificate, CertificateError, CertificateFile};
pub use client::{ClientTls, ClientTlsError};
pub use failure::{HandshakeFailure, PeerFailure};
pub use hello::{First, Hello, read_hello};
pub use provider::install_provider;
pub use server::{ServerTls, TlsError};
pub use session::{Negotiated, Session};
pub use trust::{read_authorities, system_authorities};
