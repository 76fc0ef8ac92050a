//! The table is held against the definition, [`RouteMatch::matches`], tried route by route.

mod cost;
mod mismatch;
mod property;

use super::{FieldMatch, FieldValue, Origin, PathMatch, RequestParts, RouteMatch, RouteTable};

/// A request as a test writes it.
#[derive(Clone, Debug)]
struct Request {
    method: String,
    host: String,
    path: String,
    query: Option<String>,
    headers: Vec<(&'static str, String)>,
    origin: Origin<'static>,
}

impl RequestParts for Request {
    fn method(&self) -> &str {
        &self.method
    }

    fn host(&self) -> &str {
        &self.host
    }

    fn path(&self) -> &str {
        &self.path
    }

    fn query(&self) -> Option<&str> {
        self.query.as_deref()
    }

    fn header(&self, name: &str) -> Option<&[u8]> {
        self.headers.iter().find(|(own, _)| *own == name).map(|(_, value)| value.as_bytes())
    }

    fn origin(&self) -> Origin<'_> {
        self.origin
    }
}

fn get(host: &str, target: &str) -> Request {
    let (path, query) = target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
    Request {
        method: "GET".into(),
        host: host.into(),
        path: path.into(),
        query: query.map(Into::into),
        headers: Vec::new(),
        origin: Origin::default(),
    }
}

fn hosts(patterns: &[&str]) -> RouteMatch {
    patterns.iter().fold(RouteMatch::default(), |route, pattern| route.host(pattern.parse().unwrap()))
}

fn prefix(path: &str) -> PathMatch {
    PathMatch::prefix(path).unwrap()
}

fn exact(path: &str) -> PathMatch {
    PathMatch::exact(path).unwrap()
}

fn is(value: &str) -> FieldValue {
    FieldValue::Exact(value.into())
}

#[test]
fn no_routes_match_nothing_and_an_empty_one_everything() {
    assert_eq!(RouteTable::new([]).find(&get("a", "/")), None);
    let all = RouteTable::new([RouteMatch::default()]);
    for request in [get("a", "/"), get("", "*"), get(&"a".repeat(9_000), "/x?y")] {
        assert_eq!(all.find(&request), Some(0), "{request:?}");
    }
}

#[test]
fn the_first_wins_not_the_most_exact() {
    let table = RouteTable::new([
        hosts(&["api.example.com"]).path(prefix("/v1/special")),
        hosts(&["*.example.com"]).path(prefix("/v1")),
        hosts(&["api.example.com"]).path(exact("/v1/x")),
        RouteMatch::default().path(PathMatch::regex(r"\.png$").unwrap()),
        hosts(&["api.example.com"]),
        RouteMatch::default(),
    ]);
    let cases = [
        ("api.example.com", "/v1/special/a", 0),
        ("API.example.com.", "/v1/special", 0),
        ("api.example.com", "/v1/x", 1),
        ("a.b.example.com", "/v1", 1),
        ("api.example.com", "/v2/a.png", 3),
        ("api.example.com", "/v2", 4),
        ("example.com", "/v1", 5),
        ("", "/a.png", 3),
        ("", "*", 5),
    ];
    for (host, path, expected) in cases {
        assert_eq!(table.find(&get(host, path)), Some(expected), "{host}{path}");
    }
}

#[test]
fn every_condition_must_hold() {
    let route = hosts(&["a", "b"])
        .path(prefix("/v1"))
        .method("GET")
        .method("POST")
        .header(FieldMatch::header("x-beta", is("1")).unwrap())
        .query(FieldMatch::query("q", FieldValue::Present).unwrap());
    let table = RouteTable::new([route]);
    let mut good = get("b", "/v1/x?q=1");
    good.headers.push(("x-beta", "1".into()));
    assert_eq!(table.find(&good), Some(0));
    let bad = [
        Request { host: "c".into(), ..good.clone() },
        Request { path: "/v2".into(), ..good.clone() },
        Request { method: "get".into(), ..good.clone() },
        Request { method: "HEAD".into(), ..good.clone() },
        Request { query: None, ..good.clone() },
        Request { headers: Vec::new(), ..good.clone() },
        Request { headers: vec![("x-beta", "2".into())], ..good.clone() },
    ];
    for request in bad {
        assert_eq!(table.find(&request), None, "{request:?}");
    }
}

#[test]
fn reports_what_an_earlier_route_covers() {
    let beta = |value| FieldMatch::header("x-beta", value).unwrap();
    let covered = [
        (RouteMatch::default(), hosts(&["a"]).path(prefix("/x")).method("GET")),
        (hosts(&["*.b", "c"]), hosts(&["a.b", "*.x.b", "c"])),
        (hosts(&["*"]), hosts(&[])),
        (hosts(&[]), hosts(&["*"])),
        (hosts(&["a"]).path(prefix("/v1")), hosts(&["A"]).path(exact("/v1/x"))),
        (RouteMatch::default().path(prefix("/")), RouteMatch::default().path(prefix("/x"))),
        (RouteMatch::default().method("GET").method("POST"), RouteMatch::default().method("POST")),
        (
            RouteMatch::default().header(beta(FieldValue::Present)),
            RouteMatch::default().header(beta(is("1"))),
        ),
    ];
    for (earlier, later) in covered {
        let found = RouteTable::new([hosts(&["other"]), earlier.clone(), later.clone()]).unreachable();
        assert!(
            matches!(&*found, [one] if one.route == 2 && one.by == 1),
            "{earlier:?} covers {later:?}: {found:?}"
        );
    }
    let open = [
        (hosts(&["a"]), RouteMatch::default()),
        (hosts(&["a.b"]), hosts(&["a.b", "c"])),
        (RouteMatch::default().path(prefix("/")), RouteMatch::default()),
        (RouteMatch::default().path(prefix("/v1/")), RouteMatch::default().path(prefix("/v1"))),
        (RouteMatch::default().method("GET"), RouteMatch::default()),
        (RouteMatch::default().method("GET"), RouteMatch::default().method("GET").method("HEAD")),
        (
            RouteMatch::default().header(beta(is("1"))),
            RouteMatch::default().header(beta(FieldValue::Present)),
        ),
        (RouteMatch::default().header(beta(is("1"))), RouteMatch::default().header(beta(is("2")))),
    ];
    for (earlier, later) in open {
        let found = RouteTable::new([earlier.clone(), later.clone()]).unreachable();
        assert_eq!(found, [], "{earlier:?} leaves room for {later:?}");
    }
}
