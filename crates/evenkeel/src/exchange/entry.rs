//! One request, as the access log sees it.

use evenkeel_http::message::RequestId;

use super::record::Text;
use super::request::Exchange;
use crate::observe::{Entry, Field, Message, Value};
use crate::tls::Negotiated;
use crate::upstream::Attempts;

impl Entry for Exchange {
    fn field(&self, field: Field) -> Value<'_> {
        let (record, text) = (&self.record, self.record.text.as_deref());
        fn part(part: Option<&str>) -> Value<'_> {
            part.filter(|part| !part.is_empty()).map_or(Value::Absent, Value::Text)
        }
        match field {
            Field::Time => text.map_or(Value::Absent, |text| Value::Moment(text.time)),
            Field::RequestId => match &record.request_id {
                Some(RequestId::Random(id)) => Value::Id(*id),
                Some(RequestId::Given(id)) => Value::Text(id),
                _ => Value::Absent,
            },
            Field::Client => record.client.map_or(Value::Absent, Value::Address),
            Field::Status => Value::Number(record.status.into()),
            Field::Route => self.rule().map_or(Value::Absent, |rule| Value::Text(&rule.name)),
            Field::Upstream => self.upstream().map_or(Value::Absent, |upstream| Value::Text(&upstream.name)),
            Field::Attempts => match &self.attempts {
                Some(attempts) => Value::Number(attempts.count() as u64),
                None => Value::Absent,
            },
            Field::Backend => self.last_backend().map_or(Value::Absent, Value::Text),
            Field::Duration => Value::Span(self.connection().since(record.started)),
            Field::FirstByte => record.first_byte.map_or(Value::Absent, Value::Span),
            Field::Received => Value::Number(record.received),
            Field::Sent => Value::Number(record.sent),
            Field::End => record.ending.map_or(Value::Absent, |ending| Value::Text(ending.as_str())),
            Field::Error => record.error.map_or(Value::Absent, Value::Text),
            Field::Lane => self.lane.name().map_or(Value::Absent, Value::Text),
            Field::TlsVersion
            | Field::TlsCipher
            | Field::TlsServerName
            | Field::TlsResumed
            | Field::TlsClientSubject
            | Field::TlsClientFingerprint => {
                self.connection().agreed().map_or(Value::Absent, |agreed| tls_field(agreed, field))
            }
            Field::Explain => part(self.attempts.as_ref().and_then(Attempts::explanation)),
            Field::Method => part(text.map(Text::method)),
            Field::Host => part(text.map(Text::host)),
            Field::Target => part(text.map(Text::target)),
            Field::UserAgent => part(text.map(Text::user_agent)),
            Field::Referer => part(text.map(Text::referer)),
            Field::Stream => self.in_flight.stream().map_or(Value::Absent, |id| Value::Number(id.into())),
            Field::Protocol => match text {
                Some(text) if !text.method().is_empty() => Value::Text(text.version.name()),
                _ => Value::Absent,
            },
        }
    }

    fn header(&self, of: Message, place: usize) -> Option<&str> {
        let text = self.record.text.as_deref()?;
        let list = if of == Message::Request { &text.request_headers } else { &text.response_headers };
        list.get(place)?.as_deref()
    }
}

/// A field that is about TLS with the client.
pub fn tls_field(agreed: &Negotiated, field: Field) -> Value<'_> {
    match field {
        Field::TlsVersion => Value::Text(agreed.version),
        Field::TlsCipher => Value::Text(agreed.cipher),
        Field::TlsServerName => agreed.server_name.as_deref().map_or(Value::Absent, Value::Text),
        Field::TlsClientSubject => {
            agreed.client.as_ref().map_or(Value::Absent, |client| Value::Text(&client.subject))
        }
        Field::TlsClientFingerprint => {
            agreed.client.as_ref().map_or(Value::Absent, |client| Value::Text(&client.fingerprint))
        }
        Field::TlsResumed => Value::Text(if agreed.resumed { "yes" } else { "no" }),
        _ => Value::Absent,
    }
}
