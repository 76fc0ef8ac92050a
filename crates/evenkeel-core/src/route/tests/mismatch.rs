//! What is said of a route that does not take a request.

use super::super::{FieldMatch, FieldValue, Mismatch, Origin, OriginMatch, PathMatch, RouteMatch, TextRegex};
use super::{exact, get, hosts, is, prefix};

fn said(route: &RouteMatch, request: &super::Request) -> String {
    route.mismatch(request).as_ref().map(Mismatch::to_string).unwrap_or_default()
}

#[test]
fn the_first_condition_that_fails_is_told() {
    let route = hosts(&["api.example.com", "*.api.example.com"])
        .path(prefix("/v1"))
        .method("GET")
        .method("POST")
        .header(FieldMatch::header("X-Beta", is("1")).unwrap())
        .query(FieldMatch::query("q", is("a b")).unwrap());
    let mut request = get("example.org", "/v2?q=a%2Bb");
    request.method = "PUT".into();
    assert_eq!(said(&route, &request), "host: example.org is none of api.example.com, *.api.example.com");
    request.host = "api.example.com".into();
    assert_eq!(said(&route, &request), "path: /v2 does not begin with /v1");
    request.path = "/v1".into();
    assert_eq!(said(&route, &request), "method: PUT is none of GET, POST");
    request.method = "GET".into();
    assert_eq!(said(&route, &request), "header x-beta: absent, expected 1");
    request.headers.push(("x-beta", "2".into()));
    assert_eq!(said(&route, &request), "header x-beta: 2, expected 1");
    request.headers = vec![("x-beta", "1".into())];
    assert_eq!(said(&route, &request), "query q: a+b, expected a b");
    request.query = Some("q=a+b".into());
    assert_eq!(route.mismatch(&request), None);
}

#[test]
fn conditions_beyond_the_head_are_told_too() {
    let mut request = get("a.test", "/admin");
    request.origin =
        Origin { listener: "public", client: Some([192, 0, 2, 7].into()), https: false, server_name: None };
    let origin = |origin| RouteMatch { origin, ..RouteMatch::default() };
    let not = RouteMatch { not: vec![RouteMatch::default().path(prefix("/admin"))], ..RouteMatch::default() };
    let any_of = RouteMatch {
        any_of: vec![RouteMatch::default().path(exact("/a")), RouteMatch::default().method("PUT")],
        ..RouteMatch::default()
    };
    let host = RouteMatch { host_regex: Some(TextRegex::new("^b").unwrap()), ..RouteMatch::default() };
    let regex = FieldMatch::header("x", FieldValue::Regex(TextRegex::new("^1$").unwrap())).unwrap();
    for (route, expected) in [
        (
            origin(OriginMatch { listeners: vec!["inner".into()], ..OriginMatch::default() }),
            "listeners: public is not inner",
        ),
        (
            origin(OriginMatch {
                clients: Some(["10.0.0.0/8".parse().unwrap()].into_iter().collect()),
                ..OriginMatch::default()
            }),
            "clients: 192.0.2.7 is in none of the networks",
        ),
        (origin(OriginMatch { https: Some(true), ..OriginMatch::default() }), "scheme: http is not https"),
        (
            origin(OriginMatch { server_names: vec!["a.test".parse().unwrap()], ..OriginMatch::default() }),
            "sni: absent is not a.test",
        ),
        (not, "not: the request is one that the route excludes"),
        (any_of, "any_of: no alternative matches; the first: path: /admin is not /a"),
        (host, "host: a.test does not match ^b"),
        (RouteMatch::default().header(regex), "header x: absent, expected a value that matches ^1$"),
    ] {
        assert_eq!(said(&route, &request), expected);
    }
}

#[test]
fn messages_read_well_at_the_edges() {
    let any_beta = FieldMatch::header("x-beta", FieldValue::Present).unwrap();
    let empty_q = FieldMatch::query("q", is("")).unwrap();
    let many: Vec<String> = (0..10).map(|at| format!("h{at}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let table = [
        (hosts(&["a"]), get("", "/"), "host: absent, expected a"),
        (hosts(&["a", "b"]), get("", "/"), "host: absent, expected one of a, b"),
        (hosts(&["a"]), get("b", "/"), "host: b is not a"),
        (hosts(&many), get("b", "/"), "host: b is none of h0, h1, h2, h3, h4, h5, h6, h7 and 2 more"),
        (RouteMatch::default().path(exact("/v1")), get("", "/v1/"), "path: /v1/ is not /v1"),
        (
            RouteMatch::default().path(prefix("/v1")),
            get("", "/v1beta"),
            "path: /v1beta does not begin with /v1 as whole segments",
        ),
        (
            RouteMatch::default().path(PathMatch::regex("^/v[0-9]").unwrap()),
            get("", "/"),
            "path: / does not match ^/v[0-9]",
        ),
        (RouteMatch::default().header(any_beta), get("", "/"), "header x-beta: absent, expected any value"),
        (RouteMatch::default().query(empty_q), get("", "/?q=1"), "query q: 1, expected an empty value"),
        (
            RouteMatch::default().query(FieldMatch::query("q", is("1")).unwrap()),
            get("", "/?q"),
            "query q: empty, expected 1",
        ),
    ];
    for (route, request, expected) in table {
        assert_eq!(said(&route, &request), expected);
    }
}
