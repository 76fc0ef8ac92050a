//! One stream of a client's HTTP/2 connection: the body of a request in, its response out.
//!
//! It is shared between the data path that has the request and the listener, which responds where the data path was ended
//! before it did.

use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use evenkeel_http::http1::date;
use evenkeel_http::message::Answer;
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};

use super::own::Own;
use crate::exchange::InFlight;

/// One stream of a client's HTTP/2 connection.
#[derive(Debug)]
pub struct H2Stream {
    /// What it waits for.
    pub in_flight: Arc<InFlight>,
    state: Own<State>,
}

#[derive(Debug)]
struct State {
    body: RecvStream,
    response: Sending,
}

/// How far the response is.
#[derive(Debug)]
enum Sending {
    Head(SendResponse<Bytes>),
    Body(SendStream<Bytes>),
    Ended,
}

// === impl H2Stream ===

impl H2Stream {
    /// A stream whose head has come.
    pub fn new(in_flight: Arc<InFlight>, body: RecvStream, response: SendResponse<Bytes>) -> Arc<Self> {
        let response = Sending::Head(response);
        Arc::new(Self { in_flight, state: Own::new(State { body, response }) })
    }

    /// Whether the request is read completely.
    pub fn is_read(&self) -> bool {
        self.state.borrow().body.is_end_stream()
    }

    /// More of the request's body; `None` at its end. What is read makes room for as much more.
    pub fn poll_read(&self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, h2::Error>>> {
        let state = &mut *self.state.borrow();
        loop {
            let polled = state.body.poll_data(cx);
            if polled.is_pending() {
                self.in_flight.awaits_client();
            }
            let Some(data) = ready!(polled) else { return Poll::Ready(None) };
            let data = data.and_then(|data| {
                state.body.flow_control().release_capacity(data.len())?;
                Ok(data)
            });
            // The last frame is often empty. To a data path, nothing is the end of a chunked body.
            if data.as_ref().is_ok_and(Bytes::is_empty) {
                continue;
            }
            if let Ok(data) = &data {
                self.in_flight.received(data.len());
            }
            return Poll::Ready(Some(data));
        }
    }

    /// Waits until the client gives the stream up.
    pub fn poll_reset(&self, cx: &mut Context<'_>) -> Poll<Result<Reason, h2::Error>> {
        match &mut self.state.borrow().response {
            Sending::Head(response) => response.poll_reset(cx),
            Sending::Body(body) => body.poll_reset(cx),
            Sending::Ended => Poll::Pending,
        }
    }

    /// Sends an interim response.
    ///
    /// # Errors
    /// When the stream is over.
    pub fn send_interim(&self, head: Response<()>) -> Result<(), h2::Error> {
        match &mut self.state.borrow().response {
            Sending::Head(response) => response.send_informational(head),
            Sending::Body(_) | Sending::Ended => Ok(()),
        }
    }

    /// Sends the head of the response; `end` if it is the whole response.
    ///
    /// # Errors
    /// When the stream is over.
    pub fn send_head(&self, head: Response<()>, end: bool) -> Result<(), h2::Error> {
        let state = &mut *self.state.borrow();
        if let Sending::Head(response) = &mut state.response {
            let body = response.send_response(head, end)?;
            state.response = if end { Sending::Ended } else { Sending::Body(body) };
        }
        Ok(())
    }

    /// Sends more of the body, as much as the client takes; `end` if it is the last of it. Ready once all is sent.
    pub fn poll_write(
        &self,
        cx: &mut Context<'_>,
        data: &mut Bytes,
        end: bool,
    ) -> Poll<Result<(), h2::Error>> {
        let state = &mut *self.state.borrow();
        let Sending::Body(body) = &mut state.response else { return Poll::Ready(Ok(())) };
        while !data.is_empty() {
            body.reserve_capacity(data.len());
            let polled = body.poll_capacity(cx);
            if polled.is_pending() {
                self.in_flight.blocked();
            }
            let Some(room) = ready!(polled) else { return Poll::Ready(Err(Reason::CANCEL.into())) };
            let piece = data.split_to(room?.min(data.len()));
            self.in_flight.sent(piece.len());
            let last = end && data.is_empty();
            body.send_data(piece, last)?;
            if last {
                state.response = Sending::Ended;
                return Poll::Ready(Ok(()));
            }
        }
        if end {
            body.send_data(Bytes::new(), true)?;
            state.response = Sending::Ended;
        }
        Poll::Ready(Ok(()))
    }

    /// Ends the response with trailers.
    ///
    /// # Errors
    /// When the stream is over.
    pub fn send_trailers(&self, trailers: HeaderMap) -> Result<(), h2::Error> {
        let state = &mut *self.state.borrow();
        if let Sending::Body(body) = &mut state.response {
            body.send_trailers(trailers)?;
            state.response = Sending::Ended;
        }
        Ok(())
    }

    /// Breaks the stream off because the response is broken.
    pub fn break_off(&self) {
        self.reset(Reason::INTERNAL_ERROR);
    }

    /// Breaks the stream off, so that the client does not mistake a part of a response for the whole. Nothing happens to a
    /// complete response.
    pub fn reset(&self, reason: Reason) {
        let state = &mut *self.state.borrow();
        match &mut state.response {
            Sending::Head(response) => response.send_reset(reason),
            Sending::Body(body) => body.send_reset(reason),
            Sending::Ended => return,
        }
        state.response = Sending::Ended;
    }

    /// Sends a response of the balancer itself (only its head for a HEAD request), if none has begun. Returns how many bytes
    /// of body it has.
    pub fn say(&self, answer: &Answer, head_only: bool) -> u64 {
        let state = &mut *self.state.borrow();
        let Sending::Head(response) = &mut state.response else { return 0 };
        let bodiless = matches!(answer.status, 204 | 304);
        let end = head_only || bodiless || answer.body.is_empty();
        let sent = response.send_response(own_head(answer, bodiless), end);
        let length = match sent {
            // It is short, and waits in the connection's buffer where the client takes it later.
            Ok(mut body) if !end => body.send_data(answer.body.clone(), true).map(|()| answer.body.len()),
            sent => sent.map(|_| 0),
        };
        state.response = Sending::Ended;
        length.unwrap_or_default() as u64
    }
}

fn own_head(answer: &Answer, bodiless: bool) -> Response<()> {
    let mut head = Response::new(());
    *head.status_mut() = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = head.headers_mut();
    for (name, value) in &answer.headers {
        // HTTP/2 has no upgrade (RFC 9113, 8.6).
        if *name != header::UPGRADE {
            headers.append(name, value.clone());
        }
    }
    if !bodiless {
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(answer.body.len()));
    }
    headers.insert(header::DATE, date());
    head
}
