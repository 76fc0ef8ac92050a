//! What the access log has of the heads of a request and its response.

use evenkeel_http::message::{Edits, HeaderEdit, RequestHead, ResponseHead};

use super::record::Text;
use super::request::Exchange;

impl Exchange {
    /// The parts of a request's head that the log has.
    pub(super) fn log_text(&self, head: &dyn RequestHead) -> Text {
        let mut text = Text::of(head);
        if let Some(log) = &self.table.log {
            let names = log.headers().request.iter();
            text.request_headers = names.map(|name| Text::header(name, head.header(name))).collect();
        }
        text
    }

    /// Keeps the headers of a response that the log has, as the client receives them.
    pub(super) fn log_response(&mut self, head: &dyn ResponseHead, edits: &Edits) {
        let (Some(log), Some(text)) = (&self.table.log, &mut self.record.text) else { return };
        let names = log.headers().response.iter();
        text.response_headers = names.map(|name| Text::header(name, edited(head, edits, name))).collect();
    }
}

/// The value of a header after the edits.
fn edited<'a>(head: &'a dyn ResponseHead, edits: &'a Edits, name: &str) -> Option<&'a [u8]> {
    let last = edits.headers().iter().rev().find_map(|edit| match edit {
        HeaderEdit::Set(known, value) if known == name => Some(Some(value.as_bytes())),
        HeaderEdit::Add(known, value) if known == name => {
            // The first value counts.
            Some(head.header(name).or(Some(value.as_bytes())))
        }
        HeaderEdit::Remove(known) if known == name => Some(None),
        _ => None,
    });
    last.unwrap_or_else(|| head.header(name))
}
