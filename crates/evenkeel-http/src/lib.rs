//! HTTP as the product sees it: the messages, and HTTP/1.1 as bytes.
//!
//! Floor 0. This crate opens no socket and decides nothing: no route, no backend, no limit. It never knows which data path
//! carries a message.

pub mod http1;
pub mod message;
