//! A response that the balancer generates itself, as bytes.

use super::Buffer;
use super::answer::write_status;
use super::date::write_date;
use super::fields::{write_connection, write_field};
use crate::message::Answer;

/// Writes the complete response (only its head for a HEAD request). Returns how many bytes of body it has. `connection`
/// is the value of this field, if any.
pub fn own_answer(answer: &Answer, head_only: bool, connection: Option<&str>, out: &mut Buffer) -> u64 {
    let status = http::StatusCode::from_u16(answer.status).unwrap_or(http::StatusCode::INTERNAL_SERVER_ERROR);
    write_status(out, status.as_u16(), status.canonical_reason().unwrap_or("Refused"));
    for (name, value) in &answer.headers {
        write_field(out, name.as_str().as_bytes(), value.as_bytes());
    }
    let bodiless = matches!(answer.status, 204 | 304);
    if !bodiless {
        write_field(out, b"content-length", answer.body.len().to_string().as_bytes());
    }
    write_date(out);
    let upgrade = answer.headers.iter().any(|(name, _)| *name == http::header::UPGRADE);
    write_connection(out, connection, upgrade);
    out.push(b"\r\n");
    if head_only || bodiless {
        return 0;
    }
    out.push(&answer.body);
    answer.body.len() as u64
}
