//! Which origins are allowed.

/// The origins that are allowed.
#[derive(Debug)]
pub(super) struct Origins {
    pub(super) any: bool,
    patterns: Vec<Pattern>,
}

/// One origin, or all subdomains of a domain. In lower case.
#[derive(Debug, PartialEq, Eq)]
enum Pattern {
    Exact(String),
    /// `https://`, and `.example.com` with the port.
    Below(String, String),
}

/// What an origin looks like.
pub(super) const EXPECTED: &str =
    "an origin without a path, like https://app.example.com or https://*.example.com, or *";

// === impl Origins ===

impl Origins {
    /// The origins as written; otherwise the place of the first that is none.
    pub(super) fn parse(written: &[String]) -> Result<Self, usize> {
        let any = written.iter().any(|origin| origin == "*");
        let others = written.iter().enumerate().filter(|(_, origin)| *origin != "*");
        let patterns =
            others.map(|(at, origin)| Pattern::parse(origin).ok_or(at)).collect::<Result<_, _>>()?;
        Ok(Self { any, patterns })
    }

    /// Whether a page of this origin is allowed.
    pub(super) fn allow(&self, origin: &[u8]) -> bool {
        self.any || self.patterns.iter().any(|pattern| pattern.is(origin))
    }
}

// === impl Pattern ===

impl Pattern {
    fn parse(text: &str) -> Option<Self> {
        let text = text.to_ascii_lowercase();
        if text == "null" {
            return Some(Self::Exact(text));
        }
        let (scheme, host) = text.split_once("://")?;
        let is_scheme = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.'));
        let is_host = |host: &str| {
            !host.is_empty() && !host.contains('*') && evenkeel_http::message::is_authority(host)
        };
        match host.strip_prefix("*.") {
            _ if !is_scheme => None,
            Some(domain) => {
                is_host(domain).then(|| Self::Below(format!("{scheme}://"), format!(".{domain}")))
            }
            None => is_host(host).then(|| Self::Exact(text.clone())),
        }
    }

    fn is(&self, origin: &[u8]) -> bool {
        match self {
            Self::Exact(known) => origin.eq_ignore_ascii_case(known.as_bytes()),
            Self::Below(scheme, domain) => {
                let Some((start, host)) = origin.split_at_checked(scheme.len()) else { return false };
                let Some(at) = host.len().checked_sub(domain.len()) else { return false };
                let (below, end) = host.split_at(at);
                let is_label = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
                start.eq_ignore_ascii_case(scheme.as_bytes())
                    && end.eq_ignore_ascii_case(domain.as_bytes())
                    && !below.is_empty()
                    && below.iter().all(is_label)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Origins;

    #[test]
    fn an_origin_is_allowed_as_a_whole() {
        let written = ["https://app.example.com", "https://*.example.org:8443", "http://[::1]:8080", "null"];
        let origins = Origins::parse(&written.map(str::to_owned)).unwrap();
        for (origin, expected) in [
            ("https://app.example.com", true),
            ("HTTPS://App.Example.com", true),
            ("http://app.example.com", false),
            ("https://app.example.com:444", false),
            ("https://app.example.com.evil.test", false),
            ("https://evil.test/https://app.example.com", false),
            ("https://a.example.org:8443", true),
            ("https://a.b.example.org:8443", true),
            ("https://example.org:8443", false),
            ("https://.example.org:8443", false),
            ("https://evilexample.org:8443", false),
            ("https://evil.test/.example.org:8443", false),
            ("https://evil.test#.example.org:8443", false),
            ("https://u@a.example.org:8443", false),
            ("https://a.example.org", false),
            ("http://[::1]:8080", true),
            ("null", true),
            ("", false),
            ("*", false),
        ] {
            assert_eq!(origins.allow(origin.as_bytes()), expected, "{origin}");
        }
    }

    #[test]
    fn what_is_no_origin_is_rejected() {
        for wrong in [
            "app.example.com",
            "https://",
            "https://a/",
            "https://a/b",
            "https://*",
            "https://a.*.b",
            "https://*.*.b",
            "://a",
            "",
        ] {
            assert_eq!(Origins::parse(&["https://a".to_owned(), wrong.to_owned()]).err(), Some(1), "{wrong}");
        }
    }
}
