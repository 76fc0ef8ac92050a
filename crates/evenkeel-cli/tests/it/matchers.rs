//! Routes that look beyond the head: at the listener, the client, the scheme; expressions, exclusions and alternatives.

#![cfg(test)]

use super::support::{Backend, Balancer, Client};

const YAML: &str = "
listeners:
  - { name: public, address: 127.0.0.1:0 }
  - { name: inner, address: 127.0.0.1:0 }
trusted_proxies: [127.0.0.1]
routes:
  - { name: to-https, match: { listeners: [public], scheme: http, not: [{ path_prefix: /.well-known }] },
      redirect: { to: 'https://{host}{path}{query}', status: 308 } }
  - { name: office, match: { clients: [10.0.0.0/8, '2001:db8::/32'], path_prefix: /admin }, respond: { body: office } }
  - { name: admin, match: { path_prefix: /admin, listeners: [inner] }, respond: { body: 'admin of {client_ip} on {listener}' } }
  - { name: tenant, match: { host_regex: '^[a-z]+[.]tenant[.]test$' }, respond: { body: tenant } }
  - { name: beta, match: { any_of: [{ headers: { cookie: { regex: '(^|; ?)beta=1(;|$)' } } }, { query: { beta: { regex: '^(1|yes)$' } } }] },
      respond: { body: beta } }
  - { name: user, match: { path_regex: '^/u/(?P<id>[^/]+)/(.*)$' }, redirect: { to: '/user/{path.id}/{path.2}?from={header.x-from:-none}' } }
  - { name: rest, match: { not: [{ methods: [POST] }, { headers: { x-block: '*' } }] }, respond: { body: 'rest by {method} over {scheme}' } }
";

#[tokio::test]
async fn a_route_is_found_by_more_than_the_head() {
    let balancer = Balancer::start(YAML).await;
    let https = "X-Forwarded-For: 192.0.2.7\r\nX-Forwarded-Proto: https\r\n";
    let office = "X-Forwarded-For: 10.1.2.3\r\nX-Forwarded-Proto: https\r\n";
    for (listener, request, fields, expected) in [
        (0, "GET /a?b=1", "", "308 https://a.test/a?b=1"),
        (0, "GET /.well-known/x", "", "200 rest by GET over http"),
        (0, "GET /a", https, "200 rest by GET over https"),
        (1, "GET /a", "", "200 rest by GET over http"),
        (0, "GET /admin", https, "200 rest by GET over https"),
        (0, "GET /admin", office, "200 office"),
        (1, "GET /admin/x", "", "200 admin of 127.0.0.1 on inner"),
        (1, "GET /", "Cookie: a=1; beta=1\r\n", "200 beta"),
        (1, "GET /?beta=y%65s", "", "200 beta"),
        (1, "GET /?beta=12", "Cookie: xbeta=1\r\n", "200 rest by GET over http"),
        (1, "GET /u/17/%2F/x", "", "302 /user/17/%2F/x?from=none"),
        (1, "GET /u/17//evil.example", "X-From: a&b=/c\r\n", "302 /user/17/evil.example?from=a%26b%3D%2Fc"),
        (1, "POST /", "", "404"),
        (1, "GET /", "X-Block:\r\n", "404"),
    ] {
        let mut client = Client::connect(balancer.nth_address(listener)).await;
        let text = format!("{request} HTTP/1.1\r\nHost: a.test\r\n{fields}\r\n");
        let response = client.ask(&text).await;
        let said = match response.header("location") {
            Some(location) => location.to_owned(),
            None if response.status() == 404 => String::new(),
            None => response.text(),
        };
        assert_eq!(format!("{} {said}", response.status()).trim_end(), expected, "{request} {fields:?}");
    }
    let mut client = Client::connect(balancer.nth_address(1)).await;
    let tenant = client.ask("GET / HTTP/1.1\r\nHost: ACME.tenant.test:80\r\n\r\n").await;
    assert_eq!(tenant.text(), "tenant");
}

#[tokio::test]
async fn a_listener_gets_another_name_by_a_reload() {
    let yaml = |name: &str| {
        format!(
            "listeners: [{{ name: {name}, address: 127.0.0.1:0 }}]\n\
             routes: [{{ name: all, respond: {{ body: '{{listener}}' }} }}]\n"
        )
    };
    let balancer = Balancer::start(&yaml("one")).await;
    assert_eq!(balancer.get("/").await.text(), "one");
    let changes = balancer.reload(&yaml("two")).await.expect("a reload");
    assert!(changes.iter().any(|change| change.ends_with("changed: name")), "{changes:?}");
    assert_eq!(balancer.get("/").await.text(), "two");
}

#[tokio::test]
async fn bodies_and_fields_of_fixed_responses_are_escaped() {
    let yaml = "
routes:
  - { name: json, match: { path: /json }, respond: { headers: { content-type: application/json }, body: '{\"q\": \"{query.q}\"}' } }
  - { name: html, match: { path: /html }, respond: { headers: { content-type: text/html }, body: '<p>{query.q}</p>' } }
  - { name: text, respond: { headers: { x-q: '{query.q}', set-cookie: 'q={query.q}; Secure', location: '/{query.q}' }, body: '{query.q}' } }
";
    let balancer = Balancer::start(yaml).await;
    let q = "q=%3Cb%3E%22%0d%0aX:1;//e";
    assert_eq!(balancer.get(&format!("/json?{q}")).await.text(), "{\"q\": \"<b>\\\"\\r\\nX:1;//e\"}");
    assert_eq!(balancer.get(&format!("/html?{q}")).await.text(), "<p>&lt;b&gt;&quot;\r\nX:1;//e</p>");
    let text = balancer.get(&format!("/?{q}")).await;
    assert_eq!(text.text(), "<b>\"\r\nX:1;//e");
    assert_eq!(text.header("x-q"), Some("<b>\"%0D%0AX:1;//e"));
    assert_eq!(text.header("set-cookie"), Some("q=<b>%22%0D%0AX:1%3B//e; Secure"));
    assert_eq!(text.header("location"), Some("/%3Cb%3E%22%0D%0AX%3A1%3B%2F%2Fe"));
    assert_eq!(text.header("x"), None);
}

#[tokio::test]
async fn a_path_is_rewritten_with_values_of_the_request() {
    let backend = Backend::saying("hello").await;
    let yaml = format!(
        "routes: [{{ name: all, upstream: web, filters: [{{ rewrite_path: {{ from: '^/(.*)$', to: '/{{header.x-tenant:-none}}/$1' }} }}] }}]\n\
         upstreams: {{ web: {{ backends: [\"{}\"] }} }}",
        backend.url()
    );
    let balancer = Balancer::start(&yaml).await;
    for (field, expected) in [("", "/none/a?b"), ("X-Tenant: ../x?\r\n", "/..%2Fx%3F/a?b")] {
        let request = format!("GET /a?b HTTP/1.1\r\nHost: test\r\n{field}\r\n");
        assert_eq!(balancer.client().await.ask(&request).await.status(), 200);
        assert_eq!(backend.last_request().target(), expected, "{field}");
    }
}
