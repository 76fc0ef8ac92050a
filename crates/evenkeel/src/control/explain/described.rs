//! A request that was not sent: described by its method, its URL and other relevant facts.

use std::net::{IpAddr, Ipv4Addr};

use evenkeel_core::route::{RequestParts, percent_encoded, query_decoded};
use evenkeel_http::message::{RequestHead, Version};
use http::{HeaderName, HeaderValue, Method};

/// A request to be explained, seen as those that were sent are.
///
/// ```
/// use evenkeel::explain::Described;
///
/// let request = Described::new("GET", "http://api.example.com/v1/users")?.with_header("x-beta: 1")?;
/// assert_eq!(Described::from_query(&request.to_query())?, request);
/// # Ok::<(), evenkeel::explain::DescribedError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Described {
    pub(super) method: String,
    pub(super) url: String,
    pub(super) tls: bool,
    pub(super) peer: IpAddr,
    /// The name of the listener that it comes on.
    pub(super) listener: Option<String>,
    target: String,
    /// `host` is the first.
    fields: Vec<(HeaderName, HeaderValue)>,
}

/// Why a description is none. The message says what is expected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DescribedError {
    /// The method is no method.
    #[error("expected a method, like GET, found `{0}`")]
    Method(String),
    /// The URL is not one that a client asks for.
    #[error("expected a URL like http://api.example.com/v1/users, found `{0}`")]
    Url(String),
    /// The text is no header field.
    #[error("expected a header field like 'x-beta: 1', found `{0}`")]
    Header(String),
    /// The text is no IP address.
    #[error("expected an IP address, found `{0}`")]
    From(String),
    /// A query says something else, or the same twice.
    #[error("expected method, url, from, listener and header, all but header at most once, found `{0}`")]
    Parameter(String),
}

// === impl Described ===

impl Described {
    /// A request for this URL, from this machine.
    ///
    /// # Errors
    /// When the method is none, or the URL has no scheme `http` or `https`, no host, or what must be percent-encoded.
    pub fn new(method: &str, url: &str) -> Result<Self, DescribedError> {
        if Method::from_bytes(method.as_bytes()).is_err() {
            return Err(DescribedError::Method(method.to_owned()));
        }
        let bad = || DescribedError::Url(url.to_owned());
        let (tls, rest) = match url.split_once("://") {
            Some(("http", rest)) => (false, rest),
            Some(("https", rest)) => (true, rest),
            _ => return Err(bad()),
        };
        // What stands behind a `#` is never sent.
        let rest = rest.split('#').next().unwrap_or_default();
        let (authority, target) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        let sane = rest.bytes().all(|byte| byte.is_ascii_graphic());
        if authority.is_empty() || authority.starts_with(':') || authority.contains('@') || !sane {
            return Err(bad());
        }
        let target = if target.starts_with('/') { target.to_owned() } else { format!("/{target}") };
        let host = HeaderValue::from_str(authority).map_err(|_| bad())?;
        let (method, url) = (method.to_owned(), url.to_owned());
        let fields = vec![(http::header::HOST, host)];
        Ok(Self { method, url, tls, peer: Ipv4Addr::LOCALHOST.into(), listener: None, target, fields })
    }

    /// The same from this address: the peer's, which is the client's unless it is a trusted proxy.
    ///
    /// # Errors
    /// When this is no IP address.
    pub fn with_peer(mut self, ip: &str) -> Result<Self, DescribedError> {
        self.peer = ip.parse().map_err(|_| DescribedError::From(ip.to_owned()))?;
        Ok(self)
    }

    /// The same on the listener of this name. Default: the listener on the port of the URL.
    #[must_use]
    pub fn with_listener(mut self, name: impl Into<String>) -> Self {
        self.listener = Some(name.into());
        self
    }

    /// The same with one more field, as `name: value`. `host` takes the place of the URL's.
    ///
    /// # Errors
    /// When this is no header field.
    pub fn with_header(mut self, line: &str) -> Result<Self, DescribedError> {
        let bad = || DescribedError::Header(line.to_owned());
        let (name, value) = line.split_once(':').ok_or_else(bad)?;
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| bad())?;
        let value = HeaderValue::from_str(value.trim()).map_err(|_| bad())?;
        if name == http::header::HOST {
            self.fields.retain(|(name, _)| *name != http::header::HOST);
            self.fields.insert(0, (name, value));
        } else {
            self.fields.push((name, value));
        }
        Ok(self)
    }

    /// The port that the URL asks for.
    pub(super) fn port(&self) -> Option<u16> {
        let (_, rest) = self.url.split_once("://")?;
        let authority = rest.split(['/', '?', '#']).next()?;
        match authority.rsplit_once(':') {
            Some((_, port)) if !port.ends_with(']') => port.parse().ok(),
            _ => Some(if self.tls { 443 } else { 80 }),
        }
    }

    /// The output of [`to_query`](Described::to_query), or a query written by hand: `method` (default GET), `url`,
    /// `from`, `listener`, and any number of `header`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn from_query(query: &str) -> Result<Self, DescribedError> {
        let (mut once, mut lines) = ([None, None, None, None], Vec::new());
        for parameter in query.split('&').filter(|parameter| !parameter.is_empty()) {
            let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            let value = String::from_utf8_lossy(&query_decoded(value).collect::<Vec<u8>>()).into_owned();
            let [method, url, from, listener] = &mut once;
            let slot = match name {
                "method" => method,
                "url" => url,
                "from" => from,
                "listener" => listener,
                "header" => {
                    lines.push(value);
                    continue;
                }
                _ => return Err(DescribedError::Parameter(name.to_owned())),
            };
            if slot.replace(value).is_some() {
                return Err(DescribedError::Parameter(name.to_owned()));
            }
        }
        let [method, url, from, listener] = once;
        let mut described = Self::new(method.as_deref().unwrap_or("GET"), &url.unwrap_or_default())?;
        if let Some(from) = from {
            described = described.with_peer(&from)?;
        }
        if let Some(listener) = listener {
            described = described.with_listener(listener);
        }
        lines.iter().try_fold(described, |described, line| described.with_header(line))
    }

    /// This as the query of the admin address's `/explain`.
    pub fn to_query(&self) -> String {
        let (method, url) = (percent_encoded(self.method.as_bytes()), percent_encoded(self.url.as_bytes()));
        let mut query =
            format!("method={method}&url={url}&from={}", percent_encoded(self.peer.to_string().as_bytes()));
        if let Some(listener) = &self.listener {
            query.push_str(&format!("&listener={}", percent_encoded(listener.as_bytes())));
        }
        for (name, value) in &self.fields {
            query.push_str(&format!("&header={name}:%20{}", percent_encoded(value.as_bytes())));
        }
        query
    }
}

impl RequestParts for Described {
    fn method(&self) -> &str {
        &self.method
    }

    fn host(&self) -> &str {
        let authority = self.authority();
        match authority.rfind(':') {
            // The last colon of a bare IPv6 literal is inside its brackets.
            Some(at) if !authority.ends_with(']') => authority.get(..at).unwrap_or(authority),
            _ => authority,
        }
    }

    fn path(&self) -> &str {
        self.target.split_once('?').map_or(&*self.target, |(path, _)| path)
    }

    fn query(&self) -> Option<&str> {
        self.target.split_once('?').map(|(_, query)| query)
    }

    fn header(&self, name: &str) -> Option<&[u8]> {
        self.fields.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_bytes())
    }
}

impl RequestHead for Described {
    fn each(&self, name: &str, visit: &mut dyn FnMut(&[u8])) {
        let named = self.fields.iter().filter(|(known, _)| known == name);
        named.for_each(|(_, value)| visit(value.as_bytes()));
    }

    fn target(&self) -> &str {
        &self.target
    }

    fn authority(&self) -> &str {
        let host = self.header(http::header::HOST.as_str());
        host.and_then(|host| std::str::from_utf8(host).ok()).unwrap_or_default()
    }

    fn version(&self) -> Version {
        Version::Http11
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_taken_apart_as_it_would_be_sent() {
        for (url, host, path, query) in [
            ("http://a.test", "a.test", "/", None),
            ("https://A.test:8443/x//y?z=1&%20#part", "A.test", "/x//y", Some("z=1&%20")),
            ("http://[2001:db8::1]/?", "[2001:db8::1]", "/", Some("")),
            ("http://[2001:db8::1]:80?q", "[2001:db8::1]", "/", Some("q")),
        ] {
            let described = Described::new("GET", url).unwrap();
            assert_eq!((described.host(), described.path(), described.query()), (host, path, query), "{url}");
        }
        for url in
            ["", "/v1", "a.test/v1", "ftp://a.test", "http://", "http:///x", "http://u@a", "http://a/b c"]
        {
            assert_eq!(Described::new("GET", url), Err(DescribedError::Url(url.to_owned())));
        }
        assert!(matches!(Described::new("G T", "http://a"), Err(DescribedError::Method(_))));
    }

    #[test]
    fn a_query_is_read_as_it_was_written() {
        let described = Described::new("POST", "http://a.test/x?y=a+b&z=%26").unwrap();
        let described = described.with_peer("2001:db8::7").unwrap().with_listener("a b");
        let described = ["X-Beta:  1 & 2", "cookie: a=1; b=2", "cookie: c=3"]
            .iter()
            .try_fold(described, |described, line| described.with_header(line))
            .unwrap();
        let query = described.to_query();
        assert_eq!(Described::from_query(&query).unwrap(), described, "{query}");
        assert_eq!(described.header("x-beta"), Some(&b"1 & 2"[..]));
        let mut cookies = Vec::new();
        described.each("cookie", &mut |value| cookies.push(value.to_vec()));
        assert_eq!(cookies, [&b"a=1; b=2"[..], b"c=3"]);
    }

    #[test]
    fn a_host_field_takes_the_place_of_the_urls() {
        let described = Described::new("GET", "http://127.0.0.1:8080/").unwrap();
        let described = described.with_header("Host: a.test:81").unwrap();
        assert_eq!((described.host(), described.authority()), ("a.test", "a.test:81"));
        assert_eq!(Described::from_query(&described.to_query()).unwrap(), described);
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (query, error) in [
            ("", "expected a URL like http://api.example.com/v1/users, found ``"),
            ("url=http://a&url=http://b", "found `url`"),
            ("url=http://a&colour=red", "found `colour`"),
            ("url=http://a&from=localhost", "expected an IP address, found `localhost`"),
            ("url=http://a&header=x", "expected a header field like 'x-beta: 1', found `x`"),
            ("url=http://a&header=a%0A:b", "expected a header field"),
            ("url=http://a&method=", "expected a method, like GET, found ``"),
        ] {
            let said = Described::from_query(query).unwrap_err().to_string();
            assert!(said.contains(error), "{query}: {said}");
        }
    }
}
