//! One HTTP/2 request as Pingora takes it: a session over a stream that the listener accepted.
//!
//! Pingora's own session for HTTP/2 is not used: it drops interim responses, does not tell when it waits for the client, and
//! leaves nothing to respond with once its task was ended.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use evenkeel_http::http1::date;
use evenkeel_http::message::is_forbidden_in_trailers;
use http::{HeaderMap, HeaderName, Response, StatusCode, header};
use pingora_core::protocols::Digest;
use pingora_core::protocols::http::HttpTask;
use pingora_core::protocols::http::custom::CustomMessageWrite;
use pingora_core::protocols::http::custom::server::Session;
use pingora_core::protocols::l4::socket::SocketAddr;
use pingora_core::{Error, ErrorType, OrErr, Result};
use pingora_http::{RequestHeader, ResponseHeader};

use crate::stream::H2Stream;

/// One HTTP/2 request as Pingora takes it.
pub struct H2Session {
    stream: Arc<H2Stream>,
    request: RequestHeader,
    written: Option<Box<ResponseHeader>>,
    read: usize,
    sent: usize,
    replay: Option<Replay>,
}

/// The beginning of the request's body, to be sent again.
#[derive(Debug, Default)]
struct Replay {
    kept: BytesMut,
    truncated: bool,
}

/// The most of a body that is kept to be sent again: as much as Pingora keeps of HTTP/1's.
const MOST_KEPT: usize = 64 * 1024;

// === impl H2Session ===

impl H2Session {
    /// A request whose head has come, as backends get it.
    pub fn new(stream: Arc<H2Stream>, request: RequestHeader) -> Self {
        Self { stream, request, written: None, read: 0, sent: 0, replay: None }
    }

    fn is_empty(&self) -> bool {
        let length = self.request.headers.get(header::CONTENT_LENGTH);
        self.read == 0 && (self.stream.is_read() || length.is_some_and(|length| length.as_bytes() == b"0"))
    }

    fn is_done(&self) -> bool {
        self.is_empty() || self.stream.is_read()
    }

    async fn read(&mut self) -> Result<Option<Bytes>> {
        let data = std::future::poll_fn(|cx| self.stream.poll_read(cx)).await.transpose();
        let data = data.or_err(ErrorType::ReadError, "the client broke off in the request's body")?;
        if let Some(data) = &data {
            self.read += data.len();
            if let Some(replay) = &mut self.replay {
                replay.keep(data);
            }
        }
        Ok(data)
    }

    fn head(&mut self, mut head: Box<ResponseHeader>, end: bool) -> Result<()> {
        if self.written.is_some() {
            return Ok(());
        }
        remove_hop_fields(&mut head);
        if head.status.is_informational() {
            let mut interim = Response::new(());
            *interim.status_mut() = head.status;
            *interim.headers_mut() = head.headers.clone();
            return self.stream.send_interim(interim).or_err(ErrorType::WriteError, "a client gave up");
        }
        if !head.headers.contains_key(header::DATE) {
            head.insert_header(header::DATE, date())?;
        }
        let response = Response::from_parts(head.as_owned_parts(), ());
        self.stream.send_head(response, end).or_err(ErrorType::WriteError, "a client gave up")?;
        self.written = Some(head);
        Ok(())
    }

    async fn body(&mut self, mut data: Bytes, end: bool) -> Result<()> {
        let length = data.len();
        let written = std::future::poll_fn(|cx| self.stream.poll_write(cx, &mut data, end)).await;
        written.or_err(ErrorType::WriteError, "a client gave up")?;
        self.sent += length;
        Ok(())
    }

    fn trailers(&mut self, mut trailers: HeaderMap) -> Result<()> {
        let forbidden = |name: &&HeaderName| is_forbidden_in_trailers(name.as_str().as_bytes());
        let names: Vec<HeaderName> = trailers.keys().filter(forbidden).cloned().collect();
        for name in names {
            trailers.remove(name);
        }
        self.stream.send_trailers(trailers).or_err(ErrorType::WriteError, "a client gave up")
    }
}

#[async_trait]
impl Session for H2Session {
    fn req_header(&self) -> &RequestHeader {
        &self.request
    }

    fn req_header_mut(&mut self) -> &mut RequestHeader {
        &mut self.request
    }

    async fn read_body_bytes(&mut self) -> Result<Option<Bytes>> {
        self.read().await
    }

    async fn drain_request_body(&mut self) -> Result<()> {
        // The stream ends with its response; what is left of the request is not waited for.
        Ok(())
    }

    async fn write_response_header(&mut self, head: Box<ResponseHeader>, end: bool) -> Result<()> {
        self.head(head, end)
    }

    async fn write_response_header_ref(&mut self, head: &ResponseHeader, end: bool) -> Result<()> {
        self.head(Box::new(head.clone()), end)
    }

    async fn write_body(&mut self, data: Bytes, end: bool) -> Result<()> {
        self.body(data, end).await
    }

    async fn write_trailers(&mut self, trailers: HeaderMap) -> Result<()> {
        self.trailers(trailers)
    }

    async fn response_duplex_vec(&mut self, tasks: Vec<HttpTask>) -> Result<bool> {
        let mut ended = false;
        for task in tasks {
            let end = match task {
                HttpTask::Header(head, end) => {
                    self.head(head, end).map_err(Error::into_down)?;
                    end
                }
                HttpTask::Body(data, end) => {
                    if let Some(data) = data.filter(|data| !data.is_empty()) {
                        self.body(data, false).await.map_err(Error::into_down)?;
                    }
                    end
                }
                HttpTask::Trailer(Some(trailers)) => {
                    self.trailers(*trailers).map_err(Error::into_down)?;
                    true
                }
                HttpTask::Trailer(None) | HttpTask::Done => true,
                HttpTask::UpgradedBody(..) => {
                    return Error::e_explain(ErrorType::InternalError, "HTTP/2 has no upgrade");
                }
                HttpTask::Failed(error) => return Err(error),
            };
            ended |= end;
        }
        if ended {
            self.finish().await.map_err(Error::into_down)?;
        }
        Ok(ended)
    }

    // All waits are the watchdog's.
    fn set_read_timeout(&mut self, _: Option<Duration>) {}

    fn get_read_timeout(&self) -> Option<Duration> {
        None
    }

    fn set_write_timeout(&mut self, _: Option<Duration>) {}

    fn get_write_timeout(&self) -> Option<Duration> {
        None
    }

    fn set_total_drain_timeout(&mut self, _: Option<Duration>) {}

    fn get_total_drain_timeout(&self) -> Option<Duration> {
        None
    }

    fn request_summary(&self) -> String {
        format!("{} {}", self.request.method, self.request.uri)
    }

    fn response_written(&self) -> Option<&ResponseHeader> {
        self.written.as_deref()
    }

    async fn shutdown(&mut self, _: u32, _: &str) {
        self.stream.break_off();
    }

    fn is_body_done(&mut self) -> bool {
        self.is_done()
    }

    async fn finish(&mut self) -> Result<()> {
        if self.written.is_none() {
            return Ok(());
        }
        self.body(Bytes::new(), true).await
    }

    fn is_body_empty(&mut self) -> bool {
        self.is_empty()
    }

    async fn read_body_or_idle(&mut self, no_body_expected: bool) -> Result<Option<Bytes>> {
        if !no_body_expected && !self.is_done() {
            return self.read().await;
        }
        let reset = std::future::poll_fn(|cx| self.stream.poll_reset(cx)).await;
        reset.or_err(ErrorType::H2Error, "the client disconnected")?;
        Error::e_explain(ErrorType::H2Error, "the client gave the stream up")
    }

    fn body_bytes_sent(&self) -> usize {
        self.sent
    }

    fn body_bytes_read(&self) -> usize {
        self.read
    }

    fn digest(&self) -> Option<&Digest> {
        None
    }

    fn digest_mut(&mut self) -> Option<&mut Digest> {
        None
    }

    fn client_addr(&self) -> Option<&SocketAddr> {
        None
    }

    fn server_addr(&self) -> Option<&SocketAddr> {
        None
    }

    fn pseudo_raw_h1_request_header(&self) -> Bytes {
        // Only for requests that a request causes, which we never make.
        Bytes::new()
    }

    fn enable_retry_buffering(&mut self) {
        self.replay.get_or_insert_default();
    }

    fn retry_buffer_truncated(&self) -> bool {
        self.replay.as_ref().is_some_and(|replay| replay.truncated)
    }

    fn get_retry_buffer(&self) -> Option<Bytes> {
        let replay = self.replay.as_ref().filter(|replay| !replay.truncated && !replay.kept.is_empty())?;
        Some(Bytes::copy_from_slice(&replay.kept))
    }

    async fn finish_custom(&mut self) -> Result<()> {
        Ok(())
    }

    fn take_custom_message_reader(
        &mut self,
    ) -> Option<Box<dyn futures_core::Stream<Item = Result<Bytes>> + Unpin + Send + Sync + 'static>> {
        None
    }

    fn restore_custom_message_reader(
        &mut self,
        _: Box<dyn futures_core::Stream<Item = Result<Bytes>> + Unpin + Send + Sync + 'static>,
    ) -> Result<()> {
        Ok(())
    }

    fn take_custom_message_writer(&mut self) -> Option<Box<dyn CustomMessageWrite>> {
        None
    }

    fn restore_custom_message_writer(&mut self, _: Box<dyn CustomMessageWrite>) -> Result<()> {
        Ok(())
    }
}

// === impl Replay ===

impl Replay {
    fn keep(&mut self, data: &[u8]) {
        if self.truncated || self.kept.len() + data.len() > MOST_KEPT {
            *self = Self { kept: BytesMut::new(), truncated: true };
        } else {
            self.kept.extend_from_slice(data);
        }
    }
}

/// Takes out the fields that HTTP/2 does not have (RFC 9113, 8.2.2).
fn remove_hop_fields(head: &mut ResponseHeader) {
    const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
    const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
    for name in [header::CONNECTION, header::TRANSFER_ENCODING, header::UPGRADE, KEEP_ALIVE, PROXY_CONNECTION]
    {
        head.remove_header(&name);
    }
    if head.status == StatusCode::NO_CONTENT {
        head.remove_header(&header::CONTENT_LENGTH);
    }
}
