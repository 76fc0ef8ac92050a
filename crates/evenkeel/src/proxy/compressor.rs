//! Compresses the bodies that a filter wants compressed, as a module of Pingora's session: it sees the end of every body.

use std::any::Any;

use async_trait::async_trait;
use bytes::Bytes;
use evenkeel_http::message::Compression;
use http::{HeaderMap, header};
use pingora_core::modules::http::{HttpModule, HttpModuleBuilder, Module};
use pingora_core::{Error, ErrorType, OrErr, Result};
use pingora_http::ResponseHeader;

use super::encoder::Encoder;

/// The compression of one response, if there is one.
#[derive(Debug, Default)]
pub(super) struct Compressor {
    /// Decided on, and not begun.
    wanted: Option<Compression>,
    encoder: Option<Box<Encoder>>,
    /// How many bytes there are to send so far, of a body that is compressed.
    sent: u64,
}

/// Gives each session a [`Compressor`].
#[derive(Debug)]
pub(super) struct Compressors;

// === impl Compressor ===

impl Compressor {
    /// Compresses the body of the response whose head comes next.
    pub(super) fn want(&mut self, compression: Compression) {
        self.wanted = Some(compression);
    }

    /// How many bytes of a compressed body there were to send.
    pub(super) fn sent(&self) -> u64 {
        self.sent
    }

    /// A piece of the body, as it is to be sent.
    fn encode(&mut self, body: &mut Option<Bytes>, end: bool) -> Result<()> {
        let Some(encoder) = &mut self.encoder else { return Ok(()) };
        let encoded = encoder.encode(body.as_deref().unwrap_or_default(), end);
        let encoded = encoded.or_err(ErrorType::InternalError, "compression").map_err(Error::into_in)?;
        if end {
            self.encoder = None;
        }
        self.sent += encoded.len() as u64;
        *body = Some(encoded).filter(|encoded| !encoded.is_empty());
        Ok(())
    }

    /// What is left, of a body whose end came by itself.
    fn finish(&mut self) -> Result<Option<Bytes>> {
        let mut rest = None;
        self.encode(&mut rest, true)?;
        Ok(rest)
    }
}

#[async_trait]
impl HttpModule for Compressor {
    async fn response_header_filter(&mut self, response: &mut ResponseHeader, end: bool) -> Result<()> {
        let Some(compression) = self.wanted.take() else { return Ok(()) };
        self.encoder = if end { None } else { Encoder::new(compression).ok().map(Box::new) };
        if self.encoder.is_none() {
            response.remove_header(&header::CONTENT_ENCODING);
            return Ok(());
        }
        response.remove_header(&header::CONTENT_LENGTH);
        // HTTP/2 has frames of its own, and Pingora takes this out there.
        response.insert_header(header::TRANSFER_ENCODING, "chunked")
    }

    fn response_body_filter(&mut self, body: &mut Option<Bytes>, end: bool) -> Result<()> {
        self.encode(body, end)
    }

    fn response_trailer_filter(&mut self, _: &mut Option<Box<HeaderMap>>) -> Result<Option<Bytes>> {
        self.finish()
    }

    fn response_done_filter(&mut self) -> Result<Option<Bytes>> {
        self.finish()
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }
}

// === impl Compressors ===

impl HttpModuleBuilder for Compressors {
    fn init(&self) -> Module {
        Box::new(Compressor::default())
    }
}
