//! The path that routes and filters see of a request, which may be spelled in another way than the client did.
//!
//! Never knows of routes. Both the exchange and what explains requests use it, so that they see the same path.

use std::borrow::Cow;

use evenkeel_config::{PathForm, Paths};
use evenkeel_core::route::{InvalidPath, RequestParts, normal_path};
use evenkeel_http::message::{Refusal, RequestHead, Version};
use http::HeaderValue;

/// A request's head with its path in another form. Everything else is as sent.
#[derive(Debug)]
pub struct WithPath<'a> {
    head: &'a dyn RequestHead,
    path: &'a str,
}

/// The path that routes and filters see, where it is not the one that the client sent.
///
/// # Errors
/// The refusal of a path that servers read in different ways.
pub fn respelled(head: &dyn RequestHead, paths: Paths) -> Result<Option<String>, Refusal> {
    let path = head.path();
    let normal = match paths.matching {
        PathForm::AsSent if memchr::memmem::find(path.as_bytes(), b"%00").is_some() => Err(InvalidPath::Nul),
        PathForm::AsSent => return Ok(None),
        _ => normal_path(path),
    };
    match normal {
        Ok(Cow::Borrowed(_)) => Ok(None),
        Ok(Cow::Owned(normal)) => Ok(Some(normal)),
        Err(error) => Err(Refusal::BadRequest(error.as_str())),
    }
}

// === impl WithPath ===

impl<'a> WithPath<'a> {
    /// This head with this path.
    pub fn new(head: &'a dyn RequestHead, path: &'a str) -> Self {
        Self { head, path }
    }
}

impl RequestParts for WithPath<'_> {
    fn method(&self) -> &str {
        self.head.method()
    }

    fn host(&self) -> &str {
        self.head.host()
    }

    fn path(&self) -> &str {
        self.path
    }

    fn query(&self) -> Option<&str> {
        self.head.query()
    }

    fn header(&self, name: &str) -> Option<&[u8]> {
        self.head.header(name)
    }
}

impl RequestHead for WithPath<'_> {
    fn each(&self, name: &str, visit: &mut dyn FnMut(&[u8])) {
        self.head.each(name, visit);
    }

    fn target(&self) -> &str {
        self.head.target()
    }

    fn authority(&self) -> &str {
        self.head.authority()
    }

    fn authority_value(&self) -> Option<HeaderValue> {
        self.head.authority_value()
    }

    fn version(&self) -> Version {
        self.head.version()
    }
}
