//! A health check from code.

use std::time::Duration;

use evenkeel_core::health::Start;

use crate::wire::{self, GrpcCheck, HealthCheck, HttpCheck, Nothing, Statuses, TcpCheck, TcpProtocol};
use crate::{ExtensionValue, values};

/// Builds a health check: how backends are probed, and how often.
///
/// ```
/// use std::time::Duration;
/// use evenkeel_config::{HealthCheckBuilder, UpstreamBuilder};
///
/// let check = HealthCheckBuilder::http("/healthz").interval(Duration::from_secs(1)).timeout(Duration::from_millis(500));
/// let upstream = UpstreamBuilder::new("api").backend("http://10.0.0.1:80").health_check(check);
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct HealthCheckBuilder {
    pub(super) wire: HealthCheck,
}

// === impl HealthCheckBuilder ===

impl HealthCheckBuilder {
    /// Asks whether TCP connects.
    pub fn tcp() -> Self {
        Self::of_tcp(TcpCheck::default())
    }

    /// Sends this over TCP, and expects a response that contains that text in its first 64 KiB. An empty text sends nothing, or
    /// expects nothing.
    pub fn tcp_exchange(send: impl Into<String>, expect: impl Into<String>) -> Self {
        let given = |text: String| Some(text).filter(|text| !text.is_empty());
        let (send, expect) = (given(send.into()), given(expect.into()));
        Self::of_tcp(TcpCheck { send, expect, protocol: None })
    }

    /// Sends `PING` to a Redis server, and expects `PONG`, or that it asks for a password.
    pub fn redis() -> Self {
        Self::of_protocol(TcpProtocol::Redis)
    }

    /// Asks a PostgreSQL server whether it speaks TLS, which it tells without a password.
    pub fn postgres() -> Self {
        Self::of_protocol(TcpProtocol::Postgres)
    }

    /// Expects the greeting of a MySQL server.
    pub fn mysql() -> Self {
        Self::of_protocol(TcpProtocol::Mysql)
    }

    /// Expects the greeting `220` of an SMTP server.
    pub fn smtp() -> Self {
        Self::of_protocol(TcpProtocol::Smtp)
    }

    fn of_protocol(protocol: TcpProtocol) -> Self {
        Self::of_tcp(TcpCheck { protocol: Some(protocol), ..TcpCheck::default() })
    }

    fn of_tcp(check: TcpCheck) -> Self {
        Self { wire: HealthCheck { tcp: Some(check), ..HealthCheck::default() } }
    }

    /// Asks whether a TLS handshake succeeds, with the upstream's authorities and names.
    pub fn tls() -> Self {
        Self { wire: HealthCheck { tls: Some(Nothing {}), ..HealthCheck::default() } }
    }

    /// Asks for this path by HTTP/1.1, over TLS for backends that are `https`, and expects a status from 200 to 299.
    pub fn http(path: impl Into<String>) -> Self {
        let check = HttpCheck { path: path.into(), ..HttpCheck::default() };
        Self { wire: HealthCheck { http: Some(check), ..HealthCheck::default() } }
    }

    /// Asks for this service by the gRPC health protocol, over TLS for backends that are `https`; an empty name asks for the
    /// server as a whole.
    pub fn grpc(service: impl Into<String>) -> Self {
        let check = GrpcCheck { service: service.into() };
        Self { wire: HealthCheck { grpc: Some(check), ..HealthCheck::default() } }
    }

    /// Asks the check that is registered under this name.
    pub fn custom(name: impl Into<String>) -> Self {
        Self { wire: HealthCheck { custom: Some(name.into()), ..HealthCheck::default() } }
    }

    /// Runs a check that is a value, in the form that the library expects. Programs use `value` of the crate `evenkeel`.
    pub fn opaque(value: ExtensionValue) -> Self {
        Self { wire: HealthCheck { value: Some(value), ..HealthCheck::default() } }
    }

    /// From one probe of a backend to the next. Default 5 s.
    pub fn interval(mut self, interval: Duration) -> Self {
        self.wire.interval = values::Duration(interval);
        self
    }

    /// How long to wait for the result of a probe; not longer than the interval. Default 2 s, or the interval if that
    /// is shorter.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.wire.timeout = Some(values::Duration(timeout));
        self
    }

    /// Successes in a row that bring a backend back, 1 at least. Default 2.
    pub fn rise(mut self, successes: u32) -> Self {
        self.wire.rise = successes;
        self
    }

    /// Failures in a row that take a backend out, 1 at least. Default 3.
    pub fn fall(mut self, failures: u32) -> Self {
        self.wire.fall = failures;
        self
    }

    /// What a backend counts as before its first probe. Default [`Start::Up`].
    pub fn start(mut self, start: Start) -> Self {
        self.wire.start = start.into();
        self
    }

    /// The port to probe instead of the backend's.
    pub fn port(mut self, port: u16) -> Self {
        self.wire.port = Some(port);
        self
    }

    /// The method of a check by HTTP. Default `GET`.
    pub fn method(mut self, method: impl Into<String>) -> Self {
        self.asked().method = method.into();
        self
    }

    /// The host that a check by HTTP asks for. Default the backend URL's.
    pub fn host(mut self, host: impl Into<String>) -> Self {
        self.asked().host = Some(host.into());
        self
    }

    /// Adds a header field to a check by HTTP.
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.asked().headers.0.push((name.into(), value.into()));
        self
    }

    /// The statuses that are healthy for an HTTP check, instead of the default: `["200-299", "304"]`. Default 200 to
    /// 299.
    pub fn expect_status(mut self, statuses: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.asked().expect_status = statuses.into_iter().map(|text| Statuses(text.into())).collect();
        self
    }

    /// A text that the response body of an HTTP check must contain in its first 64 KiB. Default any body.
    pub fn expect_body(mut self, text: impl Into<String>) -> Self {
        self.asked().expect_body = Some(text.into());
        self
    }

    /// The part that only a check by HTTP has: a check of another kind with it is two at once, which is refused later.
    fn asked(&mut self) -> &mut wire::HttpCheck {
        self.wire.http.get_or_insert_default()
    }
}
