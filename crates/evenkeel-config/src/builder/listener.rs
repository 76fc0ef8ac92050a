//! A listener from code.

use std::num::NonZeroU64;
use std::time::Duration;

use evenkeel_core::limit::Rate;
use serde::Serialize;

use super::route::step;
use super::{RateLimit, TcpBuilder, Tls};
use crate::values::{self, ByteRate, FileMode, HttpsRedirect, RequestRate, Size, SizeLimit};
use crate::wire;
use crate::yaml::Path;
use crate::{PathForm, ProxyProtocolMode, SpoofedHeaders};

/// Builds a listener.
#[derive(Clone, Debug)]
#[must_use]
pub struct ListenerBuilder {
    pub(super) wire: wire::Listener,
    pub(super) failed: Vec<(Path, String)>,
}

// === impl ListenerBuilder ===

impl ListenerBuilder {
    /// A listener on `ip:port` (port 0 takes a free one), `[ipv6]:port` or `unix:/path`.
    pub fn new(address: impl Into<String>) -> Self {
        Self { wire: wire::Listener::new(address.into()), failed: Vec::new() }
    }

    /// What routes and the placeholder `{listener}` call it. Default none.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.wire.name = Some(name.into());
        self
    }

    /// Connections open at once. Default 50,000.
    pub fn max_connections(mut self, count: usize) -> Self {
        self.wire.max_connections = count;
        self
    }

    /// Connections open at once from one client address. Default 500.
    pub fn max_connections_per_client(mut self, count: usize) -> Self {
        self.wire.max_connections_per_client = count;
        self
    }

    /// Which connections begin with a PROXY header, and the addresses and networks of the proxies that may send one. Default
    /// [`ProxyProtocolMode::Off`].
    pub fn proxy_protocol(
        mut self,
        mode: ProxyProtocolMode,
        trusted: impl IntoIterator<Item = impl Into<String>>,
    ) -> Self {
        self.wire.proxy_protocol.mode = mode.into();
        self.wire.proxy_protocol.trusted = trusted.into_iter().map(Into::into).collect();
        self
    }

    /// From the accept to the end of a PROXY header. Default 5 s.
    pub fn proxy_protocol_timeout(mut self, timeout: Duration) -> Self {
        self.wire.proxy_protocol.timeout = values::Duration(timeout);
        self
    }

    /// How often one client address can open a connection, such as `parse_rate("20/s")`. Default no limit.
    pub fn max_connection_rate_per_client(mut self, rate: Rate) -> Self {
        self.wire.max_connection_rate_per_client = Some(RequestRate(rate));
        self
    }

    /// How it speaks TLS. Default not.
    pub fn tls(mut self, tls: Tls) -> Self {
        self.wire.tls = Some(tls.wire);
        self
    }

    /// Adds a filter for all requests, before those of their routes: its kind, and its parameters as they would be written.
    pub fn filter(mut self, kind: impl Into<String>, params: impl Serialize) -> Self {
        let path = Path::default().key("filters").index(self.wire.filters.len());
        self.wire.filters.push(step(kind.into(), params, &path, &mut self.failed));
        self
    }

    /// Adds the filter with this name: see [`ConfigBuilder::shared_filter`](super::ConfigBuilder::shared_filter).
    pub fn use_filter(self, name: impl Into<String>) -> Self {
        self.filter("use", name.into())
    }

    /// Adds a rate limit that counts the requests of all routes together.
    pub fn rate_limit(mut self, limit: RateLimit) -> Self {
        self.wire.filters.push(limit.step());
        self
    }

    /// Carries connections as they are, whatever clients speak. Default: it speaks HTTP.
    pub fn tcp(mut self, tcp: TcpBuilder) -> Self {
        (self.wire.protocol, self.wire.tcp) = (wire::Protocol::Tcp, Some(tcp.wire));
        self
    }

    /// The mode of the socket of a `unix:` address, at most `0o777`. Default: what the umask of the process leaves.
    pub fn unix_socket_mode(mut self, mode: u32) -> Self {
        self.wire.unix_socket.mode = Some(FileMode(mode));
        self
    }

    /// The user that owns the socket of a `unix:` address, by name or number. Default: the user of the process.
    pub fn unix_socket_user(mut self, user: impl Into<String>) -> Self {
        self.wire.unix_socket.user = Some(user.into());
        self
    }

    /// The group of the socket of a `unix:` address, by name or number. Default: the group of the process.
    pub fn unix_socket_group(mut self, group: impl Into<String>) -> Self {
        self.wire.unix_socket.group = Some(group.into());
        self
    }

    /// From a request's first byte to the end of its head; then 408. Default 10 s.
    pub fn header_timeout(mut self, timeout: Duration) -> Self {
        self.wire.http.header_timeout = values::Duration(timeout);
        self
    }

    /// How long a connection may wait for its next request. Default 60 s.
    pub fn idle_timeout(mut self, timeout: Duration) -> Self {
        self.wire.http.idle_timeout = values::Duration(timeout);
        self
    }

    /// The longest silence within a request's body; then 408. Default 30 s.
    pub fn body_timeout(mut self, timeout: Duration) -> Self {
        self.wire.http.body_timeout = values::Duration(timeout);
        self
    }

    /// The longest time in which a client reads no byte of its response. Default 60 s.
    pub fn send_timeout(mut self, timeout: Duration) -> Self {
        self.wire.http.send_timeout = values::Duration(timeout);
        self
    }

    /// The lowest rate at which a client may send a request's body, in bytes a second, averaged over the body timeout; then
    /// 408. Off by default: see the key `min_body_rate`.
    pub fn min_body_rate(mut self, bytes: NonZeroU64) -> Self {
        self.wire.http.min_body_rate = ByteRate(Some(bytes.get()));
        self
    }

    /// The lowest rate at which a client may read a response, in bytes a second, averaged over the send timeout; then the
    /// connection is cut. `None` for no limit. Default 100 bytes a second: see the key `min_send_rate`.
    pub fn min_send_rate(mut self, bytes: impl Into<Option<NonZeroU64>>) -> Self {
        self.wire.http.min_send_rate = ByteRate(bytes.into().map(NonZeroU64::get));
        self
    }

    /// The largest request head, in bytes; then 431. Default 32 KiB.
    pub fn max_header_size(mut self, bytes: u64) -> Self {
        self.wire.http.max_header_size = Size(bytes);
        self
    }

    /// The most header fields in a request; then 431. Default 100.
    pub fn max_header_fields(mut self, count: usize) -> Self {
        self.wire.http.max_header_fields = count;
        self
    }

    /// The largest request body, in bytes, or `None` for no limit; then 413. Default 256 MiB.
    pub fn max_body_size(mut self, bytes: impl Into<Option<u64>>) -> Self {
        self.wire.http.max_body_size = SizeLimit(bytes.into());
        self
    }

    /// The port of HTTPS to which every request is redirected, with 308. Default none.
    pub fn https_redirect(mut self, port: u16) -> Self {
        self.wire.http.https_redirect = HttpsRedirect(Some(port));
        self
    }

    /// How long browsers use only HTTPS for a host after a response over TLS. Default not said.
    pub fn hsts(mut self, time: Duration) -> Self {
        self.wire.http.hsts = Some(values::Duration(time));
        self
    }

    /// Which form of a request's path routes and filters see. Default [`PathForm::Normal`].
    pub fn path_matching(mut self, form: PathForm) -> Self {
        self.wire.http.path_matching = form.into();
        self
    }

    /// What happens to headers that could pass for others. Default [`SpoofedHeaders::Drop`].
    pub fn spoofed_headers(mut self, done: SpoofedHeaders) -> Self {
        self.wire.http.spoofed_headers = done.into();
        self
    }

    /// Which form of a request's path backends get, unless a filter changes it. Default [`PathForm::AsSent`].
    pub fn forward_path(mut self, form: PathForm) -> Self {
        self.wire.http.forward_path = form.into();
        self
    }

    /// Whether clients can speak HTTP/2 without TLS, by beginning with its preface. Default no.
    pub fn h2c(mut self, allowed: bool) -> Self {
        self.wire.http.h2c = allowed;
        self
    }
}
