//! The one `ProxyHttp`: each phase asks the exchange and does what it says.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use evenkeel_config::Http2;
use evenkeel_http::message::{Answer, Interim, Malformed};
use http::header;
use pingora_core::modules::http::HttpModules;
use pingora_core::protocols::Digest;
use pingora_core::server::configuration::ServerConf;
use pingora_core::upstreams::peer::HttpPeer;
use pingora_core::{Error, ErrorSource, ErrorType, Result};
use pingora_http::{RequestHeader, ResponseHeader};
use pingora_proxy::{FailToProxy, HttpProxy, ProxyHttp, ProxyWarnLogContext, Session};

use super::cause;
use super::compressor::{Compressor, Compressors};
use super::context::{Context, Incoming};
use super::head::{
    PingoraResponse, edit_response, forget_spelling, is_sound, remove_hop_fields, write_framing,
};
use super::peer::{Authorities, peer};
use super::respond;
use super::turns::Turns;
use crate::exchange::Ending;
use crate::upstream::Failure;

/// Pingora's lane for one worker.
#[derive(Debug)]
pub struct Proxy {
    authorities: Authorities,
    turns: Turns,
}

const GRPC_TIMEOUT: http::HeaderName = http::HeaderName::from_static("grpc-timeout");

/// Where Pingora reads root certificates from: it would read the system's at each start, and panic if it cannot. Each peer has
/// the authorities that it needs.
pub const NO_CERTIFICATES: &str = "/dev/null";

/// Pingora's proxy over our phases, with connections to backends of its own. It opens [`NO_CERTIFICATES`], and panics if it
/// cannot.
pub fn http_proxy() -> Arc<HttpProxy<Proxy>> {
    // One thread: each worker has its own proxy and its own pool.
    let conf = ServerConf {
        threads: 1,
        max_retries: usize::MAX,
        ca_file: Some(NO_CERTIFICATES.to_owned()),
        ..ServerConf::default()
    };
    let mut proxy = HttpProxy::new(
        Proxy { authorities: Authorities::default(), turns: Turns::default() },
        Arc::new(conf),
    );
    let mut options = pingora_core::apps::HttpServerOptions::default();
    // CONNECT is refused by the exchange, which records it; Pingora's own refusal would go unseen.
    options.allow_connect_method_proxying = true;
    proxy.server_options = Some(options);
    proxy.handle_init_modules();
    Arc::new(proxy)
}

// === impl Proxy ===

impl Proxy {
    async fn answer(&self, session: &mut Session, context: &mut Context, answer: Answer) -> Result<()> {
        let exchange = context.exchange()?;
        let sent = respond::write(session, exchange, answer).await?;
        exchange.count_sent(sent);
        Ok(())
    }
}

#[async_trait]
impl ProxyHttp for Proxy {
    type CTX = Context;

    fn init_downstream_modules(&self, modules: &mut HttpModules) {
        // Pingora's default adds a module of its own for compression, which would run, switched off, on every response.
        modules.add_module(Box::new(Compressors));
    }

    fn new_ctx(&self) -> Context {
        Context::default()
    }

    fn on_connection_reuse(
        &self,
        _: &mut Session,
        context: &mut Context,
        incoming: Box<dyn std::any::Any + Send + Sync>,
    ) {
        if let Ok(incoming) = incoming.downcast::<Incoming>() {
            context.take(&incoming);
        }
    }

    async fn request_filter(&self, session: &mut Session, context: &mut Context) -> Result<bool> {
        if context.exchange.is_none()
            && let Some(incoming) = session.req_header_mut().extensions_mut().remove::<Incoming>()
        {
            context.take(&incoming);
        } else {
            forget_spelling(session.req_header_mut())?;
        }
        if let Some(answer) = context.answer.take() {
            self.answer(session, context, answer).await?;
            return Ok(true);
        }
        let exchange = context.exchange()?;
        if !exchange.has_body() {
            exchange.in_flight().request_sent();
        }
        context.upgrade = other_upgrade(session.req_header());
        Ok(false)
    }

    async fn upstream_peer(&self, _: &mut Session, context: &mut Context) -> Result<Box<HttpPeer>> {
        context.interim = Interim::default();
        let exchange = context.exchange()?;
        let attempt = match exchange.next_attempt().await {
            Ok(attempt) => attempt,
            Err(refusal) => {
                context.refusal = Some(refusal);
                return Error::e_explain(ErrorType::ConnectError, "no backend to try");
            }
        };
        let timeout = exchange.connect_timeout();
        if attempt.reuse && attempt.endpoint.http2 != Http2::Never {
            context.turn = self.turns.take(attempt.endpoint.connections.id(), timeout).await;
        }
        let exchange = context.exchange()?;
        match exchange.upstream() {
            Some(upstream) => {
                peer(upstream, &attempt, timeout, exchange.connection().peer, &self.authorities)
            }
            None => Error::e_explain(ErrorType::InternalError, "an attempt without an upstream"),
        }
    }

    async fn connected_to_upstream(
        &self,
        _: &mut Session,
        _: bool,
        _: &HttpPeer,
        _: std::os::unix::io::RawFd,
        _: Option<&Digest>,
        context: &mut Context,
    ) -> Result<()> {
        context.turn = None;
        context.exchange()?.connected();
        Ok(())
    }

    async fn upstream_request_filter(
        &self,
        session: &mut Session,
        request: &mut RequestHeader,
        context: &mut Context,
    ) -> Result<()> {
        if let Some(protocol) = &context.upgrade {
            request.insert_header(header::UPGRADE, protocol.clone())?;
            request.insert_header(header::CONNECTION, "upgrade")?;
        }
        let exchange = context.exchange()?;
        if let Some((name, value)) = exchange.deadline() {
            request.insert_header(name, value)?;
        }
        if let Some(left) = exchange.grpc_timeout() {
            request.insert_header(GRPC_TIMEOUT, left)?;
        }
        // It is for one hop, and this hop has trailers too.
        if request.version == http::Version::HTTP_2 && session.req_header().headers.contains_key(header::TE) {
            request.insert_header(header::TE, "trailers")?;
        }
        Ok(())
    }

    async fn upstream_response_filter(
        &self,
        session: &mut Session,
        response: &mut ResponseHeader,
        context: &mut Context,
    ) -> Result<()> {
        if !is_sound(response) {
            return Error::e_explain(ErrorType::InvalidHTTPHeader, "").map_err(Error::into_up);
        }
        let replayable = is_replayable(session);
        if context.exchange()?.rejects(response.status.as_u16(), replayable) {
            context.rejected = true;
            return Error::e_explain(ErrorType::Custom("rejected"), "").map_err(Error::into_up);
        }
        Ok(())
    }

    async fn request_body_filter(
        &self,
        _: &mut Session,
        body: &mut Option<Bytes>,
        end: bool,
        context: &mut Context,
    ) -> Result<()> {
        let exchange = context.exchange()?;
        if let Err(refusal) = exchange.receive_body(body.as_ref().map_or(0, |body| body.len() as u64)) {
            context.refusal = Some(refusal);
            return Error::e_explain(ErrorType::Custom("body rejected"), "").map_err(Error::into_down);
        }
        if let Some(pause) = exchange.upload_pause() {
            tokio::time::sleep(pause).await;
        }
        if end {
            exchange.in_flight().request_sent();
        }
        Ok(())
    }

    async fn response_filter(
        &self,
        session: &mut Session,
        response: &mut ResponseHeader,
        context: &mut Context,
    ) -> Result<()> {
        let upgraded = response.status == http::StatusCode::SWITCHING_PROTOCOLS;
        if upgraded && !session.req_header().headers.contains_key(header::UPGRADE) {
            // The client did not request another protocol: what follows would be a tunnel past us.
            context.malformed = Some(Malformed::UnexpectedUpgrade);
            return Error::e_explain(ErrorType::InvalidHTTPHeader, "an unasked 101").map_err(Error::into_up);
        }
        if response.status.is_informational()
            && !upgraded
            && let Err(malformed) = context.interim.admit(PingoraResponse(response).size())
        {
            context.malformed = Some(malformed);
            return Error::e_explain(ErrorType::InvalidHTTPHeader, "too many 1xx").map_err(Error::into_up);
        }
        let exchange = context.exchange()?;
        let mut edits = match exchange.on_head(&PingoraResponse(response), upgraded) {
            Ok(edits) => edits,
            Err(refusal) => {
                context.refusal = Some(refusal);
                return Error::e_explain(ErrorType::InternalError, "").map_err(Error::into_in);
            }
        };
        if exchange.connection().is_draining() {
            session.set_keepalive(None);
        }
        // Pingora closes a connection whose body is not read when the response begins, and treats a 100 as that.
        session.set_close_on_response_before_downstream_finish(!response.status.is_informational());
        if session.req_header().version == http::Version::HTTP_10
            && response.remove_header(&header::TRANSFER_ENCODING).is_some()
        {
            // It knows no chunks: its body ends with the connection (RFC 9112, 6.1).
            session.set_keepalive(None);
        }
        if !upgraded {
            remove_hop_fields(response);
        }
        write_framing(response)?;
        if let (Some(compression), Some(compressor)) =
            (edits.take_compression(), session.downstream_modules_ctx.get_mut::<Compressor>())
        {
            compressor.want(compression);
            context.compressed = true;
        }
        edit_response(response, edits)
    }

    fn response_body_filter(
        &self,
        _: &mut Session,
        body: &mut Option<Bytes>,
        _: bool,
        context: &mut Context,
    ) -> Result<Option<std::time::Duration>> {
        // What is compressed has another size, which is known at the end.
        let (compressed, length) = (context.compressed, body.as_ref().map_or(0, |body| body.len() as u64));
        let exchange = context.exchange()?;
        if compressed {
            exchange.throttle_download(length);
        } else {
            exchange.count_sent(length);
        }
        exchange.in_flight().backend_moved();
        Ok(exchange.download_pause())
    }

    fn fail_to_connect(
        &self,
        _: &mut Session,
        _: &HttpPeer,
        context: &mut Context,
        mut error: Box<Error>,
    ) -> Box<Error> {
        context.turn = None;
        let failure = cause::connecting(&error);
        // Nothing of the body was read yet.
        context.fail(failure, true, &mut error);
        error
    }

    fn error_while_proxy(
        &self,
        _: &HttpPeer,
        session: &mut Session,
        mut error: Box<Error>,
        context: &mut Context,
        reused: bool,
    ) -> Box<Error> {
        let unprocessed = cause::is_unprocessed(&error);
        error.set_retry(false);
        if std::mem::take(&mut context.rejected) {
            error.set_retry(true);
            return error;
        }
        if *error.esource() == ErrorSource::Downstream || context.refusal.is_some() {
            return error;
        }
        let malformed = context.malformed.take().or_else(|| cause::response(&error));
        if context.exchange.as_ref().is_none_or(|exchange| exchange.in_flight().has_head()) {
            if let Some(exchange) = &mut context.exchange {
                exchange.cut(malformed.map_or_else(
                    || Failure::Cut(cause::broken(&error)),
                    |malformed| Failure::Malformed(malformed.text()),
                ));
            }
            return error;
        }
        let replayable = is_replayable(session);
        let idempotent = context.exchange.as_ref().is_some_and(|exchange| exchange.is_idempotent());
        let failure = match malformed {
            Some(malformed) => Failure::Malformed(malformed.text()),
            None if unprocessed => Failure::Stale,
            None => Failure::from(cause::broke(&error, reused, idempotent && replayable)),
        };
        context.fail(failure, replayable, &mut error);
        error
    }

    async fn fail_to_proxy(
        &self,
        session: &mut Session,
        error: &Error,
        context: &mut Context,
    ) -> FailToProxy {
        let mut failed = FailToProxy { error_code: 0, can_reuse_downstream: false };
        // After a 101 the connection is not HTTP's any more.
        let is_final = |status: http::StatusCode| !status.is_informational() || status == 101;
        if session.response_written().is_some_and(|written| is_final(written.status)) {
            return failed;
        }
        let Some(refusal) = context.refusal_of(error) else { return failed };
        let Ok(exchange) = context.exchange() else { return failed };
        let answer = exchange.refusal_answer(&refusal);
        failed.error_code = refusal.status();
        let kept = !exchange.has_body() || session.is_body_done();
        if self.answer(session, context, answer).await.is_ok() && kept {
            failed.can_reuse_downstream = true;
            // Pingora would close the connection after most errors; nothing is wrong with it.
            if let (Some(exchange), Some(_)) = (&context.exchange, session.get_keepalive()) {
                exchange.in_flight().set_reusable();
            }
        }
        failed
    }

    async fn logging(&self, session: &mut Session, error: Option<&Error>, context: &mut Context) {
        let compressed = session.downstream_modules_ctx.get::<Compressor>().map_or(0, Compressor::sent);
        let Ok(exchange) = context.exchange() else { return };
        exchange.record_sent(compressed);
        let complete = session.response_written().is_some();
        let ending = match error.map(Error::esource) {
            None if complete => Ending::Ok,
            Some(ErrorSource::Upstream) => Ending::BackendDisconnected,
            _ => Ending::ClientDisconnected,
        };
        exchange.on_end(ending);
    }

    fn suppress_error_log(&self, _: &Session, _: &Context, _: &Error) -> bool {
        // The access log and the metrics tell it, once for each request.
        true
    }

    fn suppress_proxy_warn_log(&self, _: &Session, _: &Context, _: &Error, _: ProxyWarnLogContext) -> bool {
        true
    }
}

/// Whether the whole request can be sent again.
fn is_replayable(session: &Session) -> bool {
    !session.as_ref().retry_buffer_truncated()
}

/// The protocol that a request wants to change to, other than a WebSocket, which Pingora passes on by itself.
fn other_upgrade(request: &RequestHeader) -> Option<http::HeaderValue> {
    let protocol = request.headers.get(header::UPGRADE)?;
    (!protocol.as_bytes().eq_ignore_ascii_case(b"websocket")).then(|| protocol.clone())
}
