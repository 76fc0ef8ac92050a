//! HTTP as the product sees it: the messages, HTTP/1.1 as bytes, and heads of HTTP/2.
//!
//! Floor 0. This crate opens no socket and decides nothing: no route, no backend, no limit. It never knows which data path
//! carries a message.

pub mod http1;
pub mod http2;
pub mod message;
