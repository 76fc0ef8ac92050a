//! An answer that the balancer gives itself, as bytes.

use std::fmt::Write as _;

use super::date;
use crate::filter::Answer;

/// The whole answer (only its head in answer to a HEAD request), and how many bytes of body are in it. `connection` is what
/// its field of that name says, if anything.
pub fn own_answer(answer: &Answer, head_only: bool, connection: Option<&str>) -> (Vec<u8>, u64) {
    let status = http::StatusCode::from_u16(answer.status).unwrap_or(http::StatusCode::INTERNAL_SERVER_ERROR);
    let mut head = String::with_capacity(256);
    let _ =
        write!(head, "HTTP/1.1 {} {}\r\n", status.as_u16(), status.canonical_reason().unwrap_or("Refused"));
    let mut text = head.into_bytes();
    for (name, value) in &answer.headers {
        for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
            text.extend_from_slice(part);
        }
    }
    let bodiless = matches!(answer.status, 204 | 304);
    let mut tail = String::with_capacity(96);
    if !bodiless {
        let _ = write!(tail, "content-length: {}\r\n", answer.body.len());
    }
    let _ = date(|date| write!(tail, "date: {date}\r\n"));
    if let Some(connection) = connection {
        let _ = write!(tail, "connection: {connection}\r\n");
    }
    tail.push_str("\r\n");
    text.extend_from_slice(tail.as_bytes());
    if head_only || bodiless {
        return (text, 0);
    }
    text.extend_from_slice(&answer.body);
    (text, answer.body.len() as u64)
}
