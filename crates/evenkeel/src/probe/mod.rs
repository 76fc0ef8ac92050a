//! Asks backends how they are: over TCP, TLS, HTTP, gRPC, or by a user's own check.
//!
//! This room never knows what its results cause, how backends are picked, or how requests are carried.
//!
//! A probe is made once for each backend and run as often as one likes. Every run opens a connection of its own and does
//! all that it does within one timeout; dropping its future ends it and closes what it opened. Nothing that a backend
//! sends can panic it, make it hold more than the first [`BODY`] bytes of a body, or stretch its time.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use evenkeel_config::{CustomExtension, HealthCheck, HealthCheckKind};
use evenkeel_core::backend::Address;

mod connect;
mod exchange;
mod failed;
mod grpc;
mod http1;
mod load;
mod orca;
mod own;
mod value;
mod watch;

#[cfg(test)]
mod tests;

pub use failed::ProbeFailure;
pub use load::{Load, LoadProbe};
pub use own::Check;
pub use value::CheckValue;
pub use watch::{Outcome, watch};

use self::connect::{Connector, Deadline, HTTP1};
use crate::dial::{DialError, Dialer, HeaderVersion, Names};

/// How much of a response body is read, in bytes.
pub const BODY: usize = 64 << 10;

/// The probe of one backend, and its address: made once, run again and again.
#[derive(Debug)]
pub struct Probe {
    target: Target,
    timeout: Duration,
    kind: ProbeKind,
    /// Whether it goes to a port of its own.
    elsewhere: bool,
}

/// Where a backend is, and what it is called.
#[derive(Clone, Debug)]
pub struct Target {
    /// Where it listens. For a check of your own, a name is resolved already.
    pub address: Address,
    /// What people call it: its URL as configured.
    pub url: String,
    /// What HTTP calls it, unless the check says otherwise: its host, with the port unless that is the scheme's own.
    pub host: String,
    /// TLS, if it speaks that.
    pub tls: Option<TlsTarget>,
    /// The addresses of its name, if it has one.
    pub names: Option<Arc<Names>>,
    /// The PROXY header with which its connections begin; that of a probe names no client.
    pub header: Option<HeaderVersion>,
}

/// How a backend speaks TLS.
#[derive(Clone, Debug)]
pub struct TlsTarget {
    /// The name that the certificate must carry.
    pub server_name: String,
    /// The certificates of the authorities to trust instead of the system's, in DER.
    pub ca: Option<Arc<[Vec<u8>]>>,
    /// Whether the certificate is looked at.
    pub verify: bool,
}

/// Why a probe cannot be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProbeError {
    /// The program registered no check of this name.
    #[error("no check named `{0}` is registered")]
    Unknown(String),
    /// The backend speaks no TLS, and the check is of TLS.
    #[error("a TLS check cannot be used for `{0}`, which is not https")]
    NotTls(String),
    /// A port cannot replace the address of a Unix socket.
    #[error("`port` cannot be used with `{0}`, which has no ports")]
    NoPort(String),
    /// The authorities cannot be used.
    #[error("certificate authorities: {0}")]
    Authorities(String),
    /// No certificate can carry this name.
    #[error("`{0}` is not a name for TLS")]
    ServerName(String),
    /// A part of the request cannot be sent.
    #[error("`{value}` is not a {what}")]
    Request {
        /// Which part.
        what: &'static str,
        /// What it says.
        value: String,
    },
}

#[derive(Debug)]
enum ProbeKind {
    Tcp(Connector),
    Tls(Connector),
    Exchange(exchange::TcpProbe),
    Http(Box<http1::HttpProbe>),
    Grpc(Box<grpc::GrpcProbe>),
    Own(Arc<dyn Check>),
}

// === impl Probe ===

impl Probe {
    /// What this check asks of this backend; `own` is the check of the program's own.
    ///
    /// The first probe that trusts the system's authorities reads them, from files, for all that follow.
    ///
    /// # Errors
    /// When it cannot be asked: see [`ProbeError`].
    pub fn new(check: &HealthCheck, target: Target, own: Option<Arc<dyn Check>>) -> Result<Self, ProbeError> {
        let configured = target.address.clone();
        let target = target.at_port(check.port)?;
        let elsewhere = target.address != configured;
        let kind = match &check.kind {
            HealthCheckKind::Tcp => ProbeKind::Tcp(Connector::plain(&target)),
            HealthCheckKind::TcpExchange(check) => {
                ProbeKind::Exchange(exchange::TcpProbe::new(check, &target))
            }
            HealthCheckKind::Tls if target.tls.is_none() => return Err(ProbeError::NotTls(target.url)),
            HealthCheckKind::Tls => {
                // What a backend of TCP speaks is not known.
                let protocol = if target.url.starts_with("tcp") { b"" } else { HTTP1 };
                ProbeKind::Tls(Connector::new(&target, protocol)?)
            }
            HealthCheckKind::Http(http) => ProbeKind::Http(Box::new(http1::HttpProbe::new(http, &target)?)),
            HealthCheckKind::Grpc { service } => {
                ProbeKind::Grpc(Box::new(grpc::GrpcProbe::new(service, check.timeout, &target)?))
            }
            HealthCheckKind::Custom(custom) => ProbeKind::Own(own.ok_or_else(|| {
                ProbeError::Unknown(match custom {
                    CustomExtension::Named(name) => name.clone(),
                    CustomExtension::Value(_) => "a value that is no check".to_owned(),
                })
            })?),
            _ => return Err(ProbeError::Unknown(format!("{:?}", check.kind))),
        };
        Ok(Self { target, timeout: check.timeout, kind, elsewhere })
    }

    /// Asks once, and is done within the check's timeout.
    ///
    /// # Errors
    /// Why the backend is unhealthy.
    pub async fn run(&self) -> Result<(), ProbeFailure> {
        let deadline = Deadline::after(self.timeout);
        match &self.kind {
            ProbeKind::Tcp(connector) | ProbeKind::Tls(connector) => {
                connect::part(connector.open(deadline).await?, deadline).await;
                Ok(())
            }
            ProbeKind::Exchange(probe) => probe.run(deadline).await,
            ProbeKind::Http(probe) => probe.run(deadline).await,
            ProbeKind::Grpc(probe) => probe.run(deadline).await,
            ProbeKind::Own(check) => {
                let target = self.target.resolved();
                let Some(target) = target else {
                    return Err(ProbeFailure::dialing(DialError::Unresolved, self.timeout));
                };
                deadline.hold(ProbeFailure::NoAnswer, own::run(check.as_ref(), &target)).await
            }
        }
    }

    /// Whether it makes a request where the backend takes requests.
    pub(crate) fn makes_a_request(&self) -> bool {
        !self.elsewhere && matches!(self.kind, ProbeKind::Http(_) | ProbeKind::Grpc(_))
    }

    /// What is probed: with the check's port, if it has one of its own.
    #[cfg(test)]
    fn target(&self) -> &Target {
        &self.target
    }
}

// === impl Target ===

impl Target {
    fn dialer(&self) -> Dialer {
        Dialer::new(&self.address, self.names.as_ref()).with_header(self.header)
    }

    /// With the address that is connected to first in place of a name; `None` as long as there is none.
    fn resolved(&self) -> Option<Cow<'_, Self>> {
        match &self.address {
            Address::Name(..) => Some(Cow::Owned(Self { address: self.dialer().first()?, ..self.clone() })),
            _ => Some(Cow::Borrowed(self)),
        }
    }

    fn at_port(mut self, port: Option<u16>) -> Result<Self, ProbeError> {
        match (&mut self.address, port) {
            (_, None) => {}
            (Address::Tcp(address), Some(port)) => address.set_port(port),
            (Address::Name(_, own), Some(port)) => *own = port,
            _ => return Err(ProbeError::NoPort(self.url)),
        }
        Ok(self)
    }
}
