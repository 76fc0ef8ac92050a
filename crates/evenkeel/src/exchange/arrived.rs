//! A request's head together with how it came: what routes look at.
//!
//! Never knows of routes. Both the exchange and what explains requests use it, so that they see the same.

use evenkeel_core::route::{Origin, RequestParts};
use evenkeel_http::message::RequestHead;

/// A request's head, and how it came.
#[derive(Clone, Copy, Debug)]
pub struct Arrived<'a> {
    /// The head.
    pub head: &'a dyn RequestHead,
    /// How it came.
    pub origin: Origin<'a>,
}

// === impl Arrived ===

impl RequestParts for Arrived<'_> {
    fn method(&self) -> &str {
        self.head.method()
    }

    fn host(&self) -> &str {
        self.head.host()
    }

    fn path(&self) -> &str {
        self.head.path()
    }

    fn query(&self) -> Option<&str> {
        self.head.query()
    }

    fn header(&self, name: &str) -> Option<&[u8]> {
        self.head.header(name)
    }

    fn origin(&self) -> Origin<'_> {
        self.origin
    }
}
