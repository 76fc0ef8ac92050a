//! The head of a request as routes, filters and keys see it: with its path in the form that they see, without what an untrusted
//! client says of itself, and with the edits of the filters so far.
//!
//! It never knows which filter made an edit.

use evenkeel_core::route::RequestParts;
use evenkeel_http::message::{Edits, HeaderEdit, RequestHead, Version, is_claim};
use http::HeaderValue;

/// A head with another path or other headers. Everything else is as in the head.
#[derive(Debug)]
pub struct SeenHead<'a> {
    head: &'a dyn RequestHead,
    path: Option<&'a str>,
    edits: &'a [HeaderEdit],
    hides_claims: bool,
}

// === impl SeenHead ===

impl<'a> SeenHead<'a> {
    /// The head without the headers by which a client says who it is.
    pub fn without_claims(head: &'a dyn RequestHead) -> Self {
        Self { head, path: None, edits: &[], hides_claims: true }
    }

    /// The head with these edits.
    pub fn with_edits(head: &'a dyn RequestHead, edits: &'a [HeaderEdit]) -> Self {
        Self { head, path: None, edits, hides_claims: false }
    }

    /// The head with its path in another form.
    pub fn with_path(head: &'a dyn RequestHead, path: &'a str) -> Self {
        Self { head, path: Some(path), edits: &[], hides_claims: false }
    }

    /// The head with what filters have changed.
    pub fn with_filters(head: &'a dyn RequestHead, edits: &'a Edits) -> Self {
        Self { head, path: None, edits: edits.of_filters(), hides_claims: edits.hides_claims() }
    }

    fn is_hidden(&self, name: &str) -> bool {
        self.hides_claims && is_claim(name.as_bytes())
    }
}

impl RequestParts for SeenHead<'_> {
    fn method(&self) -> &str {
        self.head.method()
    }

    fn host(&self) -> &str {
        self.head.host()
    }

    fn path(&self) -> &str {
        self.path.unwrap_or_else(|| self.head.path())
    }

    fn query(&self) -> Option<&str> {
        self.head.query()
    }

    fn header(&self, name: &str) -> Option<&[u8]> {
        let sent = if self.is_hidden(name) { None } else { self.head.header(name) };
        self.edits.iter().fold(sent, |value, edit| match edit {
            HeaderEdit::Set(edited, new) if edited.as_str() == name => Some(new.as_bytes()),
            HeaderEdit::Add(edited, new) if edited.as_str() == name => value.or(Some(new.as_bytes())),
            HeaderEdit::Remove(edited) if edited.as_str() == name => None,
            _ => value,
        })
    }
}

impl RequestHead for SeenHead<'_> {
    fn each(&self, name: &str, visit: &mut dyn FnMut(&[u8])) {
        let replaces = |edit: &HeaderEdit| match edit {
            HeaderEdit::Set(edited, _) | HeaderEdit::Remove(edited) => edited.as_str() == name,
            HeaderEdit::Add(..) => false,
        };
        let start = self.edits.iter().rposition(replaces);
        if start.is_none() && !self.is_hidden(name) {
            self.head.each(name, visit);
        }
        for edit in self.edits.get(start.unwrap_or(0)..).unwrap_or_default() {
            if let HeaderEdit::Set(edited, value) | HeaderEdit::Add(edited, value) = edit
                && edited.as_str() == name
            {
                visit(value.as_bytes());
            }
        }
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

#[cfg(test)]
mod tests {
    use evenkeel_core::route::RequestParts;
    use evenkeel_http::message::{Edits, RequestHead};
    use http::{HeaderName, HeaderValue};

    use super::SeenHead;
    use crate::control::Described;

    fn all(head: &SeenHead<'_>, name: &str) -> Vec<String> {
        let mut values = Vec::new();
        head.each(name, &mut |value| values.push(String::from_utf8_lossy(value).into_owned()));
        values
    }

    #[test]
    fn later_filters_see_what_earlier_ones_changed() {
        let sent = Described::new("GET", "http://test/").unwrap();
        let sent = sent.with_header("x-user: spoof").unwrap().with_header("x-a: 1").unwrap();
        let mut edits = Edits::default();
        let (name, value) = (HeaderName::from_static, HeaderValue::from_static);
        edits.set(name("x-own"), value("of the balancer")).unwrap();
        edits.end_own();
        edits.set(name("x-user"), value("ann")).unwrap();
        edits.add(name("x-a"), value("2")).unwrap();
        edits.add(name("x-b"), value("3")).unwrap();
        let head = SeenHead::with_filters(&sent, &edits);
        assert_eq!(all(&head, "x-user"), ["ann"]);
        assert_eq!(all(&head, "x-a"), ["1", "2"]);
        assert_eq!(head.header("x-a"), Some(&b"1"[..]));
        assert_eq!(head.header("x-b"), Some(&b"3"[..]));
        assert_eq!(head.header("x-own"), None);
        edits.remove(name("x-a")).unwrap();
        let head = SeenHead::with_filters(&sent, &edits);
        assert_eq!((head.header("x-a"), all(&head, "x-a")), (None, Vec::new()));
    }

    #[test]
    fn what_an_untrusted_client_says_of_itself_is_not_seen() {
        let sent = Described::new("GET", "http://test/").unwrap();
        let sent = sent.with_header("x-real-ip: 10.0.0.1").unwrap().with_header("x-other: 1").unwrap();
        let head = SeenHead::without_claims(&sent);
        assert_eq!((head.header("x-real-ip"), all(&head, "x-real-ip")), (None, Vec::new()));
        assert_eq!(head.header("x-other"), Some(&b"1"[..]));
    }
}
