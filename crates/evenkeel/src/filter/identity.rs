//! Headers that tell a backend who a client is. A client's own copies of them never reach a backend.

use http::{HeaderName, HeaderValue};

use super::{FilterError, HeaderEdit, Request};

/// A header that only the balancer may set.
#[derive(Clone, Debug)]
pub(super) struct IdentityHeader {
    name: HeaderName,
    /// The same name with underscores in place of hyphens: servers make one variable of `x-user` and `x_user`.
    lookalikes: Vec<HeaderName>,
}

/// The most hyphens that a name can have: each doubles the number of names to look for.
const MOST_HYPHENS: usize = 6;

// === impl IdentityHeader ===

impl IdentityHeader {
    /// The header that is written at this key of the parameters.
    pub(super) fn new(name: &str, key: &str) -> Result<Self, FilterError> {
        let expected = || FilterError::new(key, "a header name, like x-user: letters, digits and -");
        let header = HeaderName::from_bytes(name.as_bytes()).map_err(|_| expected())?;
        if HeaderEdit::Remove(header.clone()).check().is_err() {
            let expected = format!("another header: the balancer writes {header}");
            return Err(FilterError::new(key, expected));
        }
        let hyphens: Vec<usize> = header.as_str().match_indices('-').map(|(at, _)| at).collect();
        if hyphens.len() > MOST_HYPHENS {
            return Err(FilterError::new(key, format!("a header name with at most {MOST_HYPHENS} hyphens")));
        }
        let lookalike = |which: u32| {
            let mut bytes = header.as_str().as_bytes().to_vec();
            for (bit, at) in hyphens.iter().enumerate() {
                if which & (1 << bit) != 0
                    && let Some(byte) = bytes.get_mut(*at)
                {
                    *byte = b'_';
                }
            }
            HeaderName::from_bytes(&bytes).ok()
        };
        let lookalikes = (1..1_u32 << hyphens.len()).filter_map(lookalike).collect();
        Ok(Self { name: header, lookalikes })
    }

    /// Its name.
    pub(super) fn name(&self) -> &HeaderName {
        &self.name
    }

    /// Gives the request to the backend this value, or none, whatever the client sent.
    pub(super) fn write(&self, request: &mut Request<'_>, value: Option<HeaderValue>) {
        for lookalike in &self.lookalikes {
            if request.head.header(lookalike.as_str()).is_some() {
                request.edits.danger_push(HeaderEdit::Remove(lookalike.clone()));
            }
        }
        let edit = match value {
            Some(value) => HeaderEdit::Set(self.name.clone(), value),
            None => HeaderEdit::Remove(self.name.clone()),
        };
        request.edits.danger_push(edit);
    }
}

#[cfg(test)]
mod tests {
    use super::IdentityHeader;

    #[test]
    fn every_spelling_with_underscores_is_known() {
        let header = IdentityHeader::new("X-Auth-User", "user_header").unwrap();
        let mut names: Vec<_> = header.lookalikes.iter().map(|name| name.as_str()).collect();
        names.sort_unstable();
        assert_eq!(names, ["x-auth_user", "x_auth-user", "x_auth_user"]);
        for wrong in ["a b", "", "content-length", "host", "connection", "a-b-c-d-e-f-g-h"] {
            assert!(IdentityHeader::new(wrong, "user_header").is_err(), "{wrong}");
        }
    }
}
