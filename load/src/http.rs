//! HTTP/1.1 connections of clients, by hyper. Knows nothing of what is sent over them.

use std::io;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::Request;
use hyper::body::Body;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use xtask::failure::Failure;

/// Connects to a port of this machine. A task of its own reads and writes for as long as the connection is open.
pub(crate) async fn connect<B>(port: u16) -> io::Result<SendRequest<B>>
where
    B: Body<Data: Send, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + Send + 'static,
{
    let (sender, connection) = handshake(TokioIo::new(open(port).await?)).await.map_err(io::Error::other)?;
    // Its error is also that of the request, which reports it.
    tokio::spawn(async move { drop(connection.await) });
    Ok(sender)
}

/// The same without hyper, for clients that break the rules.
pub(crate) async fn open(port: u16) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(("127.0.0.1", port)).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// The body of a 200 from a connection of its own.
pub(crate) async fn get(port: u16, path: &str) -> Result<String, Failure> {
    let failure = |e: &dyn std::fmt::Display| Failure::new(format!("cannot get {path}: {e}"));
    let mut connection = connect(port).await.map_err(|e| failure(&e))?;
    let request = Request::get(path).header("host", "soak").header("connection", "close");
    let request = request.body(Empty::<Bytes>::new()).map_err(|e| failure(&e))?;
    let response = connection.send_request(request).await.map_err(|e| failure(&e))?;
    let status = response.status();
    let body = response.into_body().collect().await.map_err(|e| failure(&e))?.to_bytes();
    if status != 200 {
        return Err(failure(&status));
    }
    String::from_utf8(body.into()).map_err(|e| failure(&e))
}
