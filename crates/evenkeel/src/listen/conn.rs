//! A client's connection as Pingora takes it: a stream over a [`Link`].

use std::any::Any;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use async_trait::async_trait;
use pingora_core::protocols::{
    GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl, TimingDigest,
    UniqueID, raw_connect::ProxyDigest,
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::stream::Link;

/// The stream of one request. The link outlives it: whatever the data path does with the stream, the listener keeps the
/// connection.
#[derive(Debug)]
pub(super) struct Conn(pub(super) Arc<Link>);

impl AsyncRead for Conn {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.0.poll_read(cx, buf)
    }
}

impl AsyncWrite for Conn {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.0.poll_write(cx, buf)
    }

    /// Done at once: the listener sends what was gathered as soon as the data path has nothing more to do.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    /// Pingora calls this after a complete response, and never after an incomplete one. The listener closes
    /// connections, once all is sent.
    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.end_answer();
        Poll::Ready(Ok(()))
    }
}

#[async_trait]
impl Shutdown for Conn {
    /// The listener closes connections, once all is sent.
    async fn shutdown(&mut self) {}
}

impl UniqueID for Conn {
    fn id(&self) -> i32 {
        self.0.id()
    }
}

impl Ssl for Conn {}

impl GetTimingDigest for Conn {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        Vec::new()
    }
}

impl GetProxyDigest for Conn {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        None
    }
}

impl GetSocketDigest for Conn {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        None
    }
}

#[async_trait]
impl Peek for Conn {}

#[expect(dead_code, reason = "a proof, for the compiler, that Pingora takes it")]
fn is_a_stream(conn: Conn) -> Box<dyn Any> {
    let stream: pingora_core::protocols::Stream = Box::new(conn);
    Box::new(stream)
}
