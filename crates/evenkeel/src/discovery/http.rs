//! A list of backends that an HTTP server returns, requested at an interval: Prometheus' `http_sd`, or our own format.
//!
//! A server that sends an `ETag` is sent it back, and can respond with 304 while nothing has changed.

use std::pin::Pin;

use evenkeel_config::{HttpSource, Scheme, backend_list};
use http::header::{AUTHORIZATION, ETAG, HeaderMap, HeaderValue, IF_NONE_MATCH};
use tokio::time::{Instant, sleep_until};

use super::client::{Client, Reply};
use super::{BackendSet, Discovery, DiscoveryError};

/// A list of backends that an HTTP server returns.
#[derive(Debug)]
pub struct Http {
    source: HttpSource,
    scheme: Scheme,
    client: Client,
    /// What was received last, with its tag if it had one; nothing at the start.
    known: Option<(BackendSet, Option<HeaderValue>)>,
    /// When the next request is due; at once at the start and after an error.
    due: Option<Instant>,
}

// === impl Http ===

impl Http {
    /// The server that the configuration names; `scheme` is for backends without one.
    pub fn new(source: &HttpSource, scheme: Scheme) -> Self {
        let token = source.token.clone().map(|token| (AUTHORIZATION, token));
        let client = Client::new(&source.url, token);
        Self { source: source.clone(), scheme, client, known: None, due: None }
    }

    async fn read(&mut self) -> Result<BackendSet, DiscoveryError> {
        if let Some(due) = self.due.take() {
            sleep_until(due).await;
        }
        let mut headers = HeaderMap::new();
        if let Some((_, Some(tag))) = &self.known {
            headers.insert(IF_NONE_MATCH, tag.clone());
        }
        let begun = Instant::now();
        let reply = self.client.get(&self.source.url.path, headers, self.source.timeout).await?;
        let set = self.set(&reply)?;
        let tag = reply.headers.get(ETAG).cloned();
        self.known = Some((set.clone(), tag));
        self.due = Some(begun + self.source.interval);
        Ok(set)
    }

    fn set(&self, reply: &Reply) -> Result<BackendSet, DiscoveryError> {
        match (reply.status, &self.known) {
            (304, Some((set, Some(_)))) => return Ok(set.clone()),
            (200, _) => {}
            (status, _) => return Err(DiscoveryError::Unreachable(format!("status {status}"))),
        }
        let text = std::str::from_utf8(&reply.body);
        let text = text.map_err(|_| DiscoveryError::Invalid("the response is not UTF-8".to_owned()))?;
        if text.trim().is_empty() {
            return Err(DiscoveryError::Invalid("the response has no content".to_owned()));
        }
        let list = backend_list(text, "response", self.scheme);
        list.map(BackendSet::new).map_err(|error| DiscoveryError::invalid_list(&error))
    }
}

impl Discovery for Http {
    fn name(&self) -> String {
        // A query can contain a secret.
        let url = self.source.url.text.split('?').next().unwrap_or_default();
        format!("http {url}")
    }

    fn next(&mut self) -> Pin<Box<dyn Future<Output = Result<BackendSet, DiscoveryError>> + Send + '_>> {
        Box::pin(self.read())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use evenkeel_config::{HttpUrl, Token};
    use parking_lot::Mutex;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    /// Responds to one request after the other with these texts, each on a connection of its own. Gives what was received.
    async fn server(responses: Vec<String>) -> (String, Arc<Mutex<Vec<String>>>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/sd?secret=1", listener.local_addr().unwrap());
        let received = Arc::<Mutex<Vec<String>>>::default();
        let log = received.clone();
        tokio::spawn(async move {
            for response in responses {
                let (mut socket, _) = listener.accept().await.unwrap();
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(socket.read_u8().await.unwrap());
                }
                log.lock().push(String::from_utf8(head).unwrap().to_lowercase());
                socket.write_all(response.as_bytes()).await.unwrap();
            }
        });
        (url, received)
    }

    fn response(status: &str, headers: &str, body: &str) -> String {
        let length = body.len();
        format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\n{headers}connection: close\r\n\r\n{body}")
    }

    fn source(url: &str) -> HttpSource {
        let mut source = HttpSource::new(HttpUrl::parse(url).unwrap());
        source.interval = Duration::from_millis(10);
        source.timeout = Duration::from_millis(500);
        source
    }

    #[tokio::test]
    async fn an_etag_saves_the_body_and_the_token_is_sent() {
        let list = r#"[{"targets": ["10.0.0.1:80"], "labels": {"__meta_x": "y"}}]"#;
        let (url, received) = server(vec![
            response("200 OK", "etag: \"v1\"\r\n", list),
            response("304 Not Modified", "etag: \"v1\"\r\n", ""),
            response("200 OK", "", "[\"http://10.0.0.2:80\"]"),
            response("304 Not Modified", "", ""),
        ])
        .await;
        let mut source = source(&url);
        source.token = Some(Token::Value("s3cret".to_owned()));
        let mut http = Http::new(&source, Scheme::Http);
        let first = http.next().await.unwrap();
        assert_eq!(first[0].metadata["__meta_x"], "y");
        assert_eq!(http.next().await.unwrap(), first);
        assert_eq!(http.next().await.unwrap()[0].url.text, "http://10.0.0.2:80");
        // Without a tag, 304 says nothing.
        assert_eq!(http.next().await.unwrap_err().to_string(), "status 304");
        let received = received.lock();
        assert!(received[0].starts_with("get /sd?secret=1 http/1.1\r\n"), "{}", received[0]);
        assert!(received[0].contains("authorization: bearer s3cret\r\n"));
        assert!(!received[0].contains("if-none-match"));
        assert!(received[1].contains("if-none-match: \"v1\"\r\n"));
        assert!(!http.name().contains("secret"), "{}", http.name());
    }

    #[tokio::test]
    async fn whatever_goes_wrong_is_an_error_with_its_cause() {
        let (url, _) = server(vec![
            response("503 Service Unavailable", "", "[]"),
            response("200 OK", "", "<html>"),
            response("200 OK", "", ""),
            "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n[\"http://".to_owned(),
            "garbage\r\n\r\n".to_owned(),
        ])
        .await;
        let mut http = Http::new(&source(&url), Scheme::Http);
        let mut errors = Vec::new();
        for _ in 0..5 {
            errors.push(http.next().await.unwrap_err());
        }
        assert_eq!(errors[0], DiscoveryError::Unreachable("status 503".to_owned()));
        assert!(
            matches!(&errors[1], DiscoveryError::Invalid(text) if text.contains("is not a list")),
            "{errors:?}"
        );
        assert_eq!(errors[2], DiscoveryError::Invalid("the response has no content".to_owned()));
        assert!(
            matches!(&errors[3], DiscoveryError::Unreachable(text) if text.contains("broke off")),
            "{errors:?}"
        );
        assert!(matches!(&errors[4], DiscoveryError::Unreachable(_)), "{errors:?}");
    }

    #[tokio::test]
    async fn a_server_that_does_not_respond_costs_its_timeout_and_a_dead_one_nothing() {
        let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", silent.local_addr().unwrap());
        let error = Http::new(&source(&url), Scheme::Http).next().await.unwrap_err();
        assert_eq!(error.to_string(), "no response within 500ms");
        drop(silent);
        let error = Http::new(&source(&url), Scheme::Http).next().await.unwrap_err().to_string();
        assert!(error.starts_with("cannot connect"), "{error}");
    }
}
