//! What routes and filters do with a request: change it, forward it, redirect it, respond to it; built-in filters and a
//! user's own.

#![cfg(test)]

use std::sync::atomic::{AtomicUsize, Ordering};

use evenkeel::filter::{
    Answer, BuildContext, Filter, FilterError, FilterKind, Registry, Request, Response, Verdict,
};

use crate::support::{Backend, Balancer, Message};

/// A balancer whose one route has these filters.
async fn filtered(backend: &Backend, filters: &str) -> Balancer {
    let yaml = format!(
        "routes: [{{ name: all, filters: [{filters}], upstream: web }}]\n\
         upstreams: {{ web: {{ backends: [\"{}\"] }} }}",
        backend.url()
    );
    Balancer::with(&yaml, Registry::builtin().with::<Tally>()).await
}

#[tokio::test]
async fn paths_are_stripped_and_rewritten() {
    for (filters, given, expected) in [
        ("{ strip_prefix: /v1 }", "/v1/users?a=/v1", "/users?a=/v1"),
        ("{ strip_prefix: /v1 }", "/v1", "/"),
        ("{ strip_prefix: /v1 }", "/v1?x", "/?x"),
        ("{ strip_prefix: /v1 }", "/v10/users", "/v10/users"),
        ("{ strip_prefix: /v1 }", "/v2/v1", "/v2/v1"),
        ("{ strip_prefix: /v1 }, { strip_prefix: /users }", "/v1/users/7", "/7"),
        ("{ rewrite_path: { from: '^/old/(.*)$', to: '/new/$1' } }", "/old/a%20b?q=1", "/new/a%20b?q=1"),
        ("{ rewrite_path: { from: '^/old/(.*)$', to: '/new/$1' } }", "/other", "/other"),
        ("{ strip_prefix: /v1 }, { rewrite_path: { from: '^/a$', to: /b } }", "/v1/a", "/b"),
    ] {
        let backend = Backend::saying("hello").await;
        let balancer = filtered(&backend, filters).await;
        assert_eq!(balancer.get(given).await.status(), 200, "{filters} {given}");
        assert_eq!(backend.only_request().target(), expected, "{filters} {given}");
        assert_eq!(balancer.log_line().await["target"], given, "the log has what the client sent");
    }
}

#[tokio::test]
async fn fields_of_the_request_are_changed() {
    let filters = "{ request_headers: { set: { x-set: new, host: inner.example }, add: { x-add: two }, \
                   remove: [x-gone, x-forwarded-for] } }";
    let backend = Backend::saying("hello").await;
    let balancer = filtered(&backend, filters).await;
    let request = "GET / HTTP/1.1\r\nHost: test\r\nX-Set: old\r\nX-Set: older\r\nX-Add: one\r\nX-Gone: 1\r\nX-Kept: 1\r\n\r\n";
    balancer.client().await.ask(request).await;
    let seen = backend.only_request();
    assert_eq!(seen.all("x-set"), ["new"]);
    assert_eq!(seen.all("x-add"), ["one", "two"]);
    assert_eq!((seen.header("x-gone"), seen.header("x-kept")), (None, Some("1")));
    assert_eq!(seen.header("host"), Some("inner.example"));
    assert_eq!(seen.header("x-forwarded-for"), None);
}

#[tokio::test]
async fn fields_of_the_answer_are_changed_and_of_our_own_too() {
    let filters = "{ response_headers: { set: { x-set: new }, add: { x-add: two }, remove: [server] } }";
    let backend = Backend::start(|_| {
        crate::support::Reply::bytes(
            "HTTP/1.1 200 OK\r\nServer: x\r\nX-Set: old\r\nX-Add: one\r\nContent-Length: 0\r\n\r\n",
        )
    })
    .await;
    let balancer = filtered(&backend, filters).await;
    let response = balancer.get("/").await;
    assert_eq!((response.header("x-set"), response.header("server")), (Some("new"), None));
    assert_eq!(response.all("x-add"), ["one", "two"]);
    drop(backend);
    let refused = balancer.get("/").await;
    assert_eq!((refused.status(), refused.header("x-set")), (502, Some("new")));
}

#[tokio::test]
async fn values_of_fields_have_placeholders() {
    let yaml = |backend: &Backend| {
        format!(
            "routes:\n- name: users\n  match: {{ path_regex: '^/u/(?P<id>[0-9]+)' }}\n  upstream: web\n  filters:\n\
             \x20 - request_headers:\n\
             \x20     set: {{ x-real-ip: '{{client_ip}}', x-user: '{{path.id}}', x-gone: '{{header.x-none}}', \
             x-url: '{{scheme}}://{{authority}}{{path}}{{query}}', host: '{{host}}' }}\n\
             \x20     add: {{ x-add: 'q={{query.q:-none}}', x-none: '{{cookie.none}}', x-json: '{{\"a\": {{\"b\": 1}}}}' }}\n\
             \x20 - response_headers: {{ set: {{ x-id: '{{request_id}}', x-from: '{{status}} {{upstream}} {{backend}} {{path.1}}', \
             server: '{{header.none}}' }} }}\n\
             upstreams: {{ web: {{ backends: [\"{}\"] }} }}",
            backend.url()
        )
    };
    let backend = Backend::start(|_| {
        crate::support::Reply::bytes("HTTP/1.1 200 OK\r\nServer: x\r\nContent-Length: 0\r\n\r\n")
    })
    .await;
    let balancer = Balancer::start(&yaml(&backend)).await;
    let request = "GET /u/17?q=a%0d%0aX-Evil:+1 HTTP/1.1\r\nHost: test:8080\r\nX-Gone: 1\r\n\r\n";
    let response = balancer.client().await.ask(request).await;
    let seen = backend.only_request();
    assert_eq!((seen.header("x-real-ip"), seen.header("x-user")), (Some("127.0.0.1"), Some("17")));
    assert_eq!(seen.header("x-url"), Some("http://test:8080/u/17?q=a%0d%0aX-Evil:+1"));
    assert_eq!((seen.header("host"), seen.header("x-evil")), (Some("test"), None));
    assert_eq!((seen.all("x-add"), seen.header("x-none")), (vec!["q=a%0D%0AX-Evil: 1"], None));
    assert_eq!(seen.header("x-gone"), None, "a client's own value is not left where ours is empty");
    assert_eq!(seen.header("x-json"), Some("{\"a\": {\"b\": 1}}"));
    assert_eq!(response.header("x-id"), seen.header("x-request-id"));
    let from = format!("200 web {} 17", backend.url());
    assert_eq!((response.header("x-from"), response.header("server")), (Some(&*from), None));
    drop(backend);
    let refused = balancer.get("/u/18").await;
    assert_eq!(refused.status(), 502);
    assert!(refused.header("x-from").is_some_and(|from| from.starts_with("502 web http://")));
}

#[tokio::test]
async fn a_request_that_a_filter_ends_has_the_placeholders_of_later_filters() {
    let filters = "{ deny: { networks: [127.0.0.0/8] } }, { response_headers: { set: { x-id: '{request_id} {path}' } } }";
    let backend = Backend::saying("hello").await;
    let balancer = filtered(&backend, filters).await;
    let refused = balancer.get("/a").await;
    let id = balancer.log_line().await["request_id"].as_str().expect("an id").to_owned();
    assert_eq!((refused.status(), refused.header("x-id")), (403, Some(&*format!("{id} /a"))));
}

#[tokio::test]
async fn a_split_goes_by_weight() {
    let (many, few, none) =
        (Backend::saying("many").await, Backend::saying("few").await, Backend::saying("none").await);
    let yaml = format!(
        "routes: [{{ name: all, split: {{ many: 90, few: 10, none: 0 }} }}]\nupstreams:\n  \
         many: {{ backends: [\"{}\"] }}\n  few: {{ backends: [\"{}\"] }}\n  none: {{ backends: [\"{}\"] }}",
        many.url(),
        few.url(),
        none.url()
    );
    let balancer = Balancer::start(&yaml).await;
    let mut client = balancer.client().await;
    for _ in 0..2000 {
        assert_eq!(client.get("/").await.status(), 200);
    }
    // Expected 200, with a standard deviation of 13: six of them leave no room for chance.
    assert!((120..280).contains(&few.count()), "{} of 2000", few.count());
    assert_eq!((many.count() + few.count(), none.count()), (2000, 0));
    let records = balancer.log_lines(2000).await;
    assert_eq!(records.iter().filter(|record| record["upstream"] == "few").count(), few.count());
}

#[tokio::test]
async fn redirects_go_where_they_are_told_to() {
    let yaml = "routes:
  - { name: secure, match: { hosts: [a.example] }, redirect: { to: 'https://{host}{path}{query}' } }
  - { name: moved, match: { path: /moved }, redirect: { to: '/new{query}', status: 308 } }
  - { name: same, redirect: { to: '{scheme}://other.example{path}', status: 303 } }
";
    let balancer = Balancer::start(yaml).await;
    let mut client = balancer.client().await;
    for (host, target, status, location) in [
        ("a.example", "/x?y=1&z", 302, "https://a.example/x?y=1&z"),
        ("a.example", "/", 302, "https://a.example/"),
        ("test", "/moved?q", 308, "/new?q"),
        ("test", "/moved", 308, "/new"),
        ("test", "/a%0d%0ab", 303, "http://other.example/a%0D%0Ab"),
    ] {
        let response = client.ask(format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n")).await;
        assert_eq!(response.status(), status, "{host}{target}");
        assert_eq!(response.header("location"), Some(location), "{host}{target}");
        assert_eq!(response.header("server"), None);
    }
    let records = balancer.log_lines(5).await;
    assert!(records.iter().all(|record| record["end"] == "ok"));
}

#[tokio::test]
async fn a_fixed_answer_is_given() {
    let yaml = "routes:
  - { name: json, match: { path: /json }, respond: { body: '{}', headers: { content-type: application/json, x-a: b } } }
  - { name: gone, match: { path: /gone }, respond: { status: 410, body: gone } }
  - { name: empty, match: { path: /empty }, respond: { status: 204 } }
";
    let balancer = Balancer::start(yaml).await;
    let mut client = balancer.client().await;
    let json = client.get("/json").await;
    assert_eq!((json.status(), json.text().as_str(), json.header("x-a")), (200, "{}", Some("b")));
    assert_eq!(json.header("content-type"), Some("application/json"));
    let gone = client.get("/gone").await;
    assert_eq!((gone.status(), gone.text().as_str()), (410, "gone"));
    assert_eq!(gone.header("content-type"), Some("text/plain; charset=utf-8"));
    let empty = client.get("/empty").await;
    assert_eq!(
        (empty.status(), empty.header("content-length"), empty.header("content-type")),
        (204, None, None)
    );
    let head = client.ask("HEAD /gone HTTP/1.1\r\nHost: test\r\n\r\n").await;
    assert_eq!((head.status(), head.header("content-length")), (410, Some("4")));
    // With a body that is not read.
    let post = client.ask("POST /gone HTTP/1.1\r\nHost: test\r\nContent-Length: 5\r\n\r\nhello").await;
    assert_eq!(post.status(), 410);
    assert!(client.is_reusable().await);
}

/// A user's own filter: counts, responds, rejects nothing, edits both ways.
#[derive(Debug)]
struct Tally {
    label: String,
    count: AtomicUsize,
}

impl Filter for Tally {
    fn on_request(&self, request: &mut Request<'_>) -> Verdict {
        let count = 1 + self.count.fetch_add(1, Ordering::SeqCst);
        if request.path() == "/tally" {
            return Verdict::Answer(Answer::new(200).body(count.to_string()));
        }
        let seen = format!("{} {count} {:?}", self.label, request.client);
        request
            .edits
            .set("x-tally".parse().expect("a name"), seen.parse().expect("a value"))
            .expect("it may be edited");
        Verdict::Continue
    }

    fn on_response(&self, response: &mut Response<'_>) {
        let label = format!("{} saw {}", self.label, response.head.status());
        response
            .edits
            .add("x-tally".parse().expect("a name"), label.parse().expect("a value"))
            .expect("it may be edited");
    }
}

impl FilterKind for Tally {
    const NAME: &'static str = "tally";
    const EXAMPLE: &'static str = "tally: a";
    const DOC: &'static str = "Counts requests.";
    type Params = String;

    fn new(label: String, _: &BuildContext<'_>) -> Result<Self, FilterError> {
        match label.as_str() {
            "" => Err(FilterError::new("", "a label")),
            _ => Ok(Self { label, count: AtomicUsize::new(0) }),
        }
    }
}

#[tokio::test]
async fn a_users_own_filter_works_like_ours() {
    let backend = Backend::saying("hello").await;
    let filters = "{ strip_prefix: /v1 }, { tally: a }, { tally: b }";
    let balancer = filtered(&backend, filters).await;
    let mut client = balancer.client().await;
    let response: Message = client.get("/v1/x").await;
    assert_eq!(backend.only_request().header("x-tally"), Some("b 1 Some(127.0.0.1)"));
    assert_eq!(response.all("x-tally"), ["b saw 200", "a saw 200"], "the response passes them in reverse");
    let own = client.get("/v1/tally").await;
    assert_eq!((own.text().as_str(), backend.count()), ("2", 1));
}

#[tokio::test]
async fn a_users_own_filter_is_refused_with_a_place_like_ours() {
    for (params, expected) in [("''", "a label"), ("[a]", "tally")] {
        let yaml = format!(
            "routes: [{{ name: all, filters: [{{ tally: {params} }}], upstream: web }}]\n\
             upstreams: {{ web: {{ backends: [\"http://127.0.0.1:1\"] }} }}"
        );
        let result = Balancer::try_with(&yaml, Registry::builtin().with::<Tally>()).await;
        let error = result.err().expect("refused").to_string();
        assert!(error.contains("test.yaml:1:") && error.contains(expected), "{error}");
    }
}
