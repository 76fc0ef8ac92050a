//! The changes that a filter makes to a head. The data path applies them.

use bytes::Bytes;
use http::{HeaderName, HeaderValue, header};

use super::compression::Compression;
use super::field::is_of_the_connection;
use super::head::is_authority;

/// Changes to a head, in order. Empty edits allocate nothing.
///
/// Headers that frame the message or are for one hop only (`Content-Length`, `Transfer-Encoding`, `Connection`, `Upgrade` and
/// the like) cannot be edited: the balancer writes them. `Host` can be set, but neither added nor removed.
#[derive(Clone, Debug, Default)]
pub struct Edits {
    /// Changes to the headers.
    pub(crate) headers: Vec<HeaderEdit>,
    /// How many of them the balancer made before any filter ran.
    pub(crate) own: usize,
    /// The path to send instead of the client's, without a query; requests only. Starts with `/`.
    pub path: Option<String>,
    /// Whether the headers by which a client says who it is are taken out; requests only.
    pub(crate) hides_claims: bool,
    /// What the body is replaced with; responses only.
    pub(crate) replacement: Option<Box<Replacement>>,
    /// How the body is compressed; responses only.
    pub(crate) compression: Option<Compression>,
    /// Whether the body of the response may be changed; requests only.
    pub(crate) transforms_response: bool,
}

/// A body in place of another one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replacement {
    /// Its type.
    pub content_type: HeaderValue,
    /// The body.
    pub body: Bytes,
}

/// One change to the headers of a message.
#[derive(Clone, Debug)]
pub enum HeaderEdit {
    /// Give the header this one value, replacing all of its values.
    Set(HeaderName, HeaderValue),
    /// Add another value to the header.
    Add(HeaderName, HeaderValue),
    /// Remove the header.
    Remove(HeaderName),
}

/// Why a header cannot be edited so.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EditError {
    /// It frames the message or is for one hop only.
    #[error("{0} cannot be edited: it frames the message or is for one hop only")]
    OfTheConnection(HeaderName),
    /// A request has exactly one `Host`.
    #[error("host can be set, but not added or removed: a request has exactly one")]
    OneHost,
    /// The new `Host` is none.
    #[error("{0:?} is not a host: expected a name or an IP address, and perhaps a port")]
    MalformedHost(HeaderValue),
}

impl Edits {
    /// Gives a header this one value.
    ///
    /// # Errors
    /// When the header cannot be edited, or is `Host` and the value is no host.
    pub fn set(&mut self, name: HeaderName, value: HeaderValue) -> Result<(), EditError> {
        self.push(HeaderEdit::Set(name, value))
    }

    /// Adds a value to a header.
    ///
    /// # Errors
    /// When the header cannot be edited, or is `Host`.
    pub fn add(&mut self, name: HeaderName, value: HeaderValue) -> Result<(), EditError> {
        self.push(HeaderEdit::Add(name, value))
    }

    /// Takes a header out.
    ///
    /// # Errors
    /// When the header cannot be edited, or is `Host`.
    pub fn remove(&mut self, name: HeaderName) -> Result<(), EditError> {
        self.push(HeaderEdit::Remove(name))
    }

    /// The changes to the headers, in order.
    pub fn headers(&self) -> &[HeaderEdit] {
        &self.headers
    }

    fn push(&mut self, edit: HeaderEdit) -> Result<(), EditError> {
        edit.check()?;
        self.headers.push(edit);
        Ok(())
    }

    /// The changes to the headers, in order, to be applied.
    pub fn into_headers(self) -> Vec<HeaderEdit> {
        self.headers
    }

    /// Makes room for this many more changes to the headers.
    pub fn reserve(&mut self, more: usize) {
        self.headers.reserve(more);
    }

    /// Ends the changes that the balancer itself makes: those that follow are of filters.
    pub fn end_own(&mut self) {
        self.own = self.headers.len();
    }

    /// The changes of filters to the headers, in order.
    pub fn of_filters(&self) -> &[HeaderEdit] {
        self.headers.get(self.own..).unwrap_or_default()
    }

    /// Whether the headers by which a client says who it is are taken out; requests only.
    pub fn hides_claims(&self) -> bool {
        self.hides_claims
    }

    /// Sets whether the headers by which a client says who it is are taken out; requests only.
    pub fn hide_claims(&mut self, hides: bool) {
        self.hides_claims = hides;
    }

    /// Replaces the body; responses with a status of 400 or more only. The rest of the backend's response is not read then.
    pub fn replace_body(&mut self, content_type: HeaderValue, body: Bytes) {
        self.replacement = Some(Box::new(Replacement { content_type, body }));
    }

    /// What the body is replaced with.
    pub fn take_replacement(&mut self) -> Option<Box<Replacement>> {
        self.replacement.take()
    }

    /// Compresses the body; responses to requests with [`Edits::transform_response`] only.
    pub fn compress(&mut self, compression: Compression) {
        self.compression = Some(compression);
    }

    /// How the body is compressed.
    pub fn take_compression(&mut self) -> Option<Compression> {
        self.compression.take()
    }

    /// Says that the body of the response may be changed; requests only. Such requests use Pingora's lane.
    pub fn transform_response(&mut self) {
        self.transforms_response = true;
    }

    /// Whether the body of the response may be changed.
    pub fn transforms_response(&self) -> bool {
        self.transforms_response
    }

    /// Adds a change without [`HeaderEdit::check`]: for headers that the balancer itself writes. With another header the
    /// message could be framed wrongly.
    pub fn danger_push(&mut self, edit: HeaderEdit) {
        self.headers.push(edit);
    }

    /// Adds changes that passed [`HeaderEdit::check`] before: see [`Edits::danger_push`].
    pub fn danger_extend(&mut self, edits: &[HeaderEdit]) {
        self.headers.extend_from_slice(edits);
    }

    /// Gives a header this one value without [`HeaderEdit::check`]: see [`Edits::danger_push`].
    pub fn danger_set(&mut self, name: HeaderName, value: HeaderValue) {
        self.danger_push(HeaderEdit::Set(name, value));
    }
}

impl HeaderEdit {
    /// Whether this change may be made.
    ///
    /// # Errors
    /// When the header cannot be edited so.
    pub fn check(&self) -> Result<(), EditError> {
        let (Self::Set(name, _) | Self::Add(name, _) | Self::Remove(name)) = self;
        if is_of_the_connection(name.as_str()) {
            return Err(EditError::OfTheConnection(name.clone()));
        }
        match self {
            Self::Set(name, value) if *name == header::HOST => {
                let host = value.to_str().ok().filter(|host| !host.is_empty() && is_authority(host));
                host.map(|_| ()).ok_or_else(|| EditError::MalformedHost(value.clone()))
            }
            _ if *name == header::HOST => Err(EditError::OneHost),
            _ => Ok(()),
        }
    }

    /// Applies the change to a list of headers.
    pub fn apply_to(self, headers: &mut Vec<(HeaderName, HeaderValue)>) {
        match self {
            Self::Add(name, value) => headers.push((name, value)),
            Self::Remove(name) => headers.retain(|(known, _)| *known != name),
            Self::Set(name, value) => {
                headers.retain(|(known, _)| *known != name);
                headers.push((name, value));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{EditError, Edits};
    use http::{HeaderName, HeaderValue, header};

    #[test]
    fn what_frames_a_message_cannot_be_edited() {
        for name in [
            "connection",
            "content-length",
            "transfer-encoding",
            "te",
            "trailer",
            "upgrade",
            "keep-alive",
            "proxy-connection",
        ] {
            let name = HeaderName::from_static(name);
            let (mut edits, value) = (Edits::default(), HeaderValue::from_static("1"));
            let expected = Err(EditError::OfTheConnection(name.clone()));
            assert_eq!(edits.set(name.clone(), value.clone()), expected);
            assert_eq!(edits.add(name.clone(), value), expected);
            assert_eq!(edits.remove(name), expected);
            assert!(edits.headers().is_empty());
        }
    }

    #[test]
    fn host_can_be_set_to_a_host_only() {
        let mut edits = Edits::default();
        for host in ["a", "a.example:8080", "[::1]:80", "192.0.2.7"] {
            assert_eq!(edits.set(header::HOST, HeaderValue::from_static(host)), Ok(()));
        }
        for other in ["", "a b", "a/b", "u@a", "a:x", "[::1"] {
            let error = edits.set(header::HOST, HeaderValue::from_static(other)).unwrap_err();
            assert!(matches!(error, EditError::MalformedHost(_)), "{other}");
        }
        assert_eq!(edits.add(header::HOST, HeaderValue::from_static("a")), Err(EditError::OneHost));
        assert_eq!(edits.remove(header::HOST), Err(EditError::OneHost));
    }
}
