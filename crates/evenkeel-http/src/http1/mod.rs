//! HTTP/1.1 as bytes (RFC 9112): heads read and written, bodies framed and re-framed.
//!
//! This room never knows a socket, and never decides: it says what the bytes mean, or that they mean nothing.

use crate::message::Malformed;

mod answer;
mod body;
mod buffer;
mod chunked;
mod date;
mod fields;
mod framing;
mod own;
mod request;
mod target;

pub use answer::{AnswerHead, AnswerStyle, malformed, with_answer};
pub use body::Body;
pub use buffer::{Buffer, give_back_spares};
pub use chunked::{Chunked, Piece};
pub use date::date;
pub(crate) use fields::is_for_the_proxy;
pub(crate) use framing::decimal;
pub use own::own_answer;
pub use request::{Head, ReadHead, Reader, with_request};
pub(crate) use target::{MALFORMED_HOST, check as check_target, is_same_origin, write_encoded};
