//! Random tables and requests over an alphabet so small that everything meets everything.

use std::net::IpAddr;

use fastrand::Rng;

use super::super::{
    FieldMatch, FieldValue, HostPattern, Origin, OriginMatch, PathMatch, RouteMatch, RouteTable, TextRegex,
};
use super::Request;

const TABLES: usize = 4_000;
const REQUESTS: usize = 40;

#[test]
fn finds_the_first_that_matches() {
    let mut rng = Rng::with_seed(0x5eed);
    let (mut hits, mut misses) = (0, 0);
    for _ in 0..TABLES {
        let routes = routes(&mut rng);
        let table = RouteTable::new(routes.clone());
        for _ in 0..REQUESTS {
            let request = request(&mut rng);
            let expected = routes.iter().position(|route| route.matches(&request));
            assert_eq!(table.find(&request), expected, "{request:?} in {routes:#?}");
            let explained = table.routes().iter().position(|route| route.mismatch(&request).is_none());
            assert_eq!(explained, expected, "{request:?} in {routes:#?}");
            if expected.is_some_and(|route| route > 0) { hits += 1 } else { misses += 1 }
        }
    }
    assert!(
        hits > TABLES * REQUESTS / 4 && misses > TABLES,
        "the alphabet tests something: {hits}, {misses}"
    );
}

#[test]
fn reports_only_the_unreachable_and_all_that_one_route_covers() {
    let mut rng = Rng::with_seed(0xdead);
    let (mut reported, mut tried) = (0, 0);
    for _ in 0..TABLES {
        let routes = routes(&mut rng);
        let table = RouteTable::new(routes.clone());
        let found = table.unreachable();
        let expected: Vec<_> = (0..routes.len())
            .filter_map(|late| Some((late, (0..late).find(|&early| routes[early].covers(&routes[late]))?)))
            .collect();
        assert_eq!(found.iter().map(|one| (one.route, one.by)).collect::<Vec<_>>(), expected, "{routes:#?}");
        for _ in 0..REQUESTS {
            let request = request(&mut rng);
            for one in &found {
                if routes[one.route].matches(&request) {
                    assert!(
                        routes[one.by].matches(&request),
                        "{request:?} tells {one:?} apart in {routes:#?}"
                    );
                    tried += 1;
                }
            }
        }
        reported += found.len();
    }
    assert!(reported > TABLES && tried > TABLES, "the alphabet tests something: {reported}, {tried}");
}

fn routes(rng: &mut Rng) -> Vec<RouteMatch> {
    (0..rng.usize(1..24)).map(|_| route(rng)).collect()
}

fn route(rng: &mut Rng) -> RouteMatch {
    let mut route = RouteMatch::default();
    for _ in 0..rng.usize(..3) {
        route = route.host(pattern(rng));
    }
    match rng.usize(..8) {
        0..3 => route = route.path(PathMatch::exact(&path(rng)).unwrap()),
        3..6 => route = route.path(PathMatch::prefix(&path(rng)).unwrap()),
        6 => route = route.path(PathMatch::regex(pick(rng, &["^/a", "b$", "/a/", "^/$", ""])).unwrap()),
        _ => {}
    }
    for _ in 0..rng.usize(..8).saturating_sub(5) {
        route = route.method(pick(rng, &["GET", "POST", "PUT"]));
    }
    if rng.usize(..4) == 0 {
        route = route.header(FieldMatch::header(pick(rng, &["x", "Y"]), value(rng)).unwrap());
    }
    if rng.usize(..4) == 0 {
        route = route.query(FieldMatch::query(pick(rng, &["a", "b c"]), value(rng)).unwrap());
    }
    if rng.usize(..8) == 0 {
        route.host_regex = Some(TextRegex::new(pick(rng, &["^a", "ba$", "a.a"])).unwrap());
    }
    if rng.usize(..6) == 0 {
        route.origin = origin_match(rng);
    }
    if rng.usize(..8) == 0 {
        route.not.push(condition(rng));
    }
    if rng.usize(..8) == 0 {
        route.any_of = vec![condition(rng), condition(rng)];
    }
    route
}

/// A condition within `not` or `any_of`.
fn condition(rng: &mut Rng) -> RouteMatch {
    match rng.usize(..3) {
        0 => RouteMatch::default().method(pick(rng, &["GET", "POST"])),
        1 => RouteMatch::default().path(PathMatch::prefix(&path(rng)).unwrap()),
        _ => RouteMatch { origin: origin_match(rng), ..RouteMatch::default() },
    }
}

fn origin_match(rng: &mut Rng) -> OriginMatch {
    let mut origin = OriginMatch::default();
    match rng.usize(..4) {
        0 => origin.listeners = vec![pick(rng, &["in", "out"]).into()],
        1 => {
            origin.clients =
                Some([pick(rng, &["10.0.0.0/8", "10.1.0.0/16"]).parse().unwrap()].into_iter().collect())
        }
        2 => origin.https = Some(rng.bool()),
        _ => origin.server_names = vec![pattern(rng)],
    }
    origin
}

fn request(rng: &mut Rng) -> Request {
    let mut headers = Vec::new();
    for name in ["x", "y"] {
        if rng.bool() {
            headers.push((name, pick(rng, &["1", "2", ""]).into()));
        }
    }
    let queries = ["", "a", "a=1", "a=2&b+c=1", "b%20c=2", "a=&b=1", "b+c&a=%31"];
    Request {
        method: pick(rng, &["GET", "POST", "PUT", "get"]).into(),
        host: match rng.usize(..8) {
            0 => String::new(),
            1 => format!("{}.", name(rng)),
            2 => name(rng).to_uppercase(),
            3 => format!(".{}", name(rng)),
            4 => "a".repeat(rng.usize(250..256)) + ".a",
            _ => name(rng),
        },
        origin: Origin {
            listener: pick(rng, &["", "in", "out"]),
            client: rng.bool().then(|| IpAddr::from([10, rng.u8(..3), 0, 1])),
            https: rng.bool(),
            server_name: rng.bool().then(|| pick(rng, &["a", "ba.a", "A.a."])),
        },
        path: if rng.usize(..16) == 0 { "*".into() } else { path(rng) },
        query: rng.bool().then(|| pick(rng, &queries).into()),
        headers,
    }
}

fn pattern(rng: &mut Rng) -> HostPattern {
    match rng.usize(..8) {
        0 => HostPattern::Any,
        1..5 => HostPattern::Exact(name(rng).into()),
        _ => HostPattern::Suffix(name(rng).to_uppercase().into()),
    }
}

/// One to three labels; the longer ones end as the shorter do.
fn name(rng: &mut Rng) -> String {
    let labels: Vec<_> = (0..rng.usize(1..4)).map(|_| pick(rng, &["a", "a", "ba"])).collect();
    labels.join(".")
}

/// Up to three segments, some empty.
fn path(rng: &mut Rng) -> String {
    let segments: Vec<_> = (0..rng.usize(1..4)).map(|_| pick(rng, &["", "a", "ab", "b"])).collect();
    format!("/{}", segments.join("/"))
}

fn value(rng: &mut Rng) -> FieldValue {
    match rng.usize(..4) {
        3 => FieldValue::Regex(TextRegex::new(pick(rng, &["^$", "1|2"])).unwrap()),
        0 => FieldValue::Present,
        1 => FieldValue::Exact("1".into()),
        _ => FieldValue::Exact("".into()),
    }
}

fn pick<'a>(rng: &mut Rng, from: &[&'a str]) -> &'a str {
    from[rng.usize(..from.len())]
}
