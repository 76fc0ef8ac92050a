//! Responses of the balancer itself, written through Pingora's session.

use evenkeel_http::message::Answer;
use http::header;
use pingora_core::{Error, Result};
use pingora_proxy::Session;

use super::head::response;
use crate::exchange::Exchange;

/// Writes a complete response; returns how many bytes of body it has.
///
/// Pingora's own helper is not used: it always closes the connection, and says `Server: Pingora`.
pub(super) async fn write(session: &mut Session, exchange: &Exchange, answer: Answer) -> Result<u64> {
    let facts = exchange.facts();
    if !session.is_body_done() {
        let withheld = session.get_header(header::EXPECT).is_some();
        if Exchange::discards(facts.content_length, withheld) {
            // Pingora reads the rest before it hands the connection back.
            session.set_close_on_response_before_downstream_finish(false);
        } else {
            session.set_keepalive(None);
        }
    }
    if exchange.connection().is_draining() {
        session.set_keepalive(None);
    }
    let mut head = response(answer.status, answer.headers.len() + 3)?;
    for (name, value) in answer.headers {
        head.append_header(name, value)?;
    }
    let bodiless = answer.status == 204 || answer.status == 304;
    if !bodiless {
        head.insert_header(header::CONTENT_LENGTH, answer.body.len())?;
    }
    let head_only = bodiless || session.req_header().method == http::Method::HEAD;
    let empty = head_only || answer.body.is_empty();
    session.write_response_header(Box::new(head), empty).await.map_err(Error::into_down)?;
    let sent = if empty { 0 } else { answer.body.len() as u64 };
    if !empty {
        session.write_response_body(Some(answer.body), true).await.map_err(Error::into_down)?;
    } else if session.as_http1().is_none() {
        // Pingora sends the head of a stream as if a body followed, so the stream is ended here.
        session.write_response_body(None, true).await.map_err(Error::into_down)?;
    }
    Ok(sent)
}
