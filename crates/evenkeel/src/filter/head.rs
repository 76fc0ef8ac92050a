//! What may be seen of a request's and an answer's head, whichever data path carries it.

use std::fmt::Debug;

use evenkeel_core::route::RequestParts;
use http::HeaderValue;

/// The head of a request: what routes see of it ([`RequestParts`]), and the rest.
pub trait RequestHead: RequestParts + Debug {
    /// Calls `visit` with the value of each field of this (lower-case) name, in order.
    fn each(&self, name: &str, visit: &mut dyn FnMut(&[u8]));

    /// The whole request target, as sent.
    fn target(&self) -> &str;

    /// The host and port that were asked for, as sent; empty when there is none.
    fn authority(&self) -> &str;

    /// The same as a value for another field; a data path that has one need not make it anew.
    fn authority_value(&self) -> Option<HeaderValue> {
        HeaderValue::from_str(self.authority()).ok()
    }

    /// Whether the version is HTTP/1.0 rather than 1.1.
    fn is_http_10(&self) -> bool;
}

/// The head of an answer.
pub trait ResponseHead: Debug {
    /// The status.
    fn status(&self) -> u16;

    /// The first field with this (lower-case) name.
    fn header(&self, name: &str) -> Option<&[u8]>;
}
