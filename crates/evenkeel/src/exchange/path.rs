//! The path that routes and filters see of a request, which may be spelled in another way than the client did.
//!
//! Never knows of routes. Both the exchange and what explains requests use it, so that they see the same path.

use std::borrow::Cow;

use evenkeel_config::{PathForm, Paths};
use evenkeel_core::route::{InvalidPath, normal_path};
use evenkeel_http::message::{Refusal, RequestHead};

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
