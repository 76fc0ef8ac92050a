//! What finding a route costs: no allocation, and no more for ten thousand routes than for one.

use std::hint::black_box;
use std::time::Instant;

use fastrand::Rng;

use super::super::{FieldMatch, PathMatch, RouteMatch, RouteTable};
use super::{Request, exact, get, hosts, is, prefix};

const MANY: usize = 10_000;

/// A usual shape of a configuration: its route and its request of each number.
type Mix = (&'static str, fn(usize) -> RouteMatch, fn(usize) -> Request);

const MIXES: [Mix; 5] = [
    ("exact hosts", |n| hosts(&[&host(n)]), |n| get(&host(n), "/index.html")),
    (
        "wildcard hosts",
        |n| hosts(&[&format!("*.{}", host(n))]),
        |n| get(&format!("www.{}", host(n)), "/index.html"),
    ),
    (
        "hosts, a prefix each",
        |n| hosts(&[&host(n)]).path(prefix("/v1/")),
        |n| get(&host(n), "/v1/items/1234"),
    ),
    (
        "one host, exact paths",
        |n| hosts(&["api.example.com"]).path(exact(&format!("/v1/service-{n:05}"))),
        |n| get("api.example.com", &format!("/v1/service-{n:05}")),
    ),
    (
        "one host, prefixes",
        |n| hosts(&["api.example.com"]).path(prefix(&format!("/v1/service-{n:05}/"))),
        |n| get("api.example.com", &format!("/v1/service-{n:05}/items/1234")),
    ),
];

fn host(n: usize) -> String {
    format!("tenant-{n:05}.example.com")
}

#[test]
fn finding_allocates_nothing() {
    let mut routes: Vec<_> = MIXES.iter().flat_map(|(_, route, _)| (0..20).map(route)).collect();
    routes.push(RouteMatch::default().path(PathMatch::regex("^/re[0-9]+").unwrap()));
    routes.push(
        RouteMatch::default()
            .method("GET")
            .header(FieldMatch::header("x-beta", is("1")).unwrap())
            .query(FieldMatch::query("q", is("a b")).unwrap()),
    );
    let table = RouteTable::new(routes);
    let mut requests: Vec<_> = MIXES.iter().map(|(_, _, request)| request(7)).collect();
    requests.push(get("TENANT-00003.Example.com.", "/x?q=a%20b"));
    requests.push(get("nowhere.example.org", "/re12?q=a+b"));
    requests.push(get("nowhere.example.org", "/x?q=a+b&%zz"));
    for request in &mut requests {
        request.headers.push(("x-beta", "1".into()));
    }
    let find_all = || requests.iter().map(|request| table.find(request)).filter(Option::is_some).count();
    // The regular expression makes its cache at its first use in a thread.
    assert_eq!(find_all(), requests.len());
    let allocations = allocation_counter::measure(|| {
        black_box(find_all());
    });
    assert_eq!(allocations.count_total, 0);
}

/// `cargo test --release -p evenkeel-core -- --ignored --nocapture cost_of_many` prints the figures.
#[test]
#[ignore = "a measurement: it wants a release build and a quiet machine"]
fn cost_of_many() {
    println!(
        "ns a find: the same request again and again, and {MANY} requests in turn, which leave the CPU's caches"
    );
    println!("{:24} {:>17} {:>17} {:>12}", "", "same: 1, 10000", "in turn: 1, 10000", "bytes/route");
    for (name, route, request) in MIXES {
        let one = RouteTable::new([route(MANY / 2)]);
        let mut many = None;
        let memory = allocation_counter::measure(|| many = Some(RouteTable::new((0..MANY).map(route))));
        let many = many.unwrap();
        let same: Vec<_> = (0..MANY).map(|_| request(MANY / 2)).collect();
        let mut rng = Rng::with_seed(1);
        let uniform: Vec<_> = (0..MANY).map(|_| request(rng.usize(..MANY))).collect();
        println!(
            "{name:24} {:8.1} {:8.1} {:8.1} {:8.1} {:12}",
            nanoseconds(&one, &same[..1]),
            nanoseconds(&many, &same[..1]),
            nanoseconds(&one, &same),
            nanoseconds(&many, &uniform),
            memory.bytes_current / MANY as i64,
        );
    }
    let alike = (0..MANY)
        .map(|n| RouteMatch::default().header(FieldMatch::header("x-tenant", is(&format!("{n}"))).unwrap()));
    let table = RouteTable::new(alike);
    let start = Instant::now();
    assert_eq!(table.unreachable(), []);
    println!("unreachable() of {MANY} routes that differ by a header alone: {:?}", start.elapsed());
}

/// The best of several rounds, which is the one that was disturbed least.
fn nanoseconds(table: &RouteTable, requests: &[Request]) -> f64 {
    const FINDS: usize = 200_000;
    let round = || {
        let start = Instant::now();
        for request in requests.iter().cycle().take(FINDS) {
            assert!(black_box(table.find(black_box(request))).is_some());
        }
        start.elapsed().as_secs_f64() * 1e9 / FINDS as f64
    };
    (0..15).map(|_| round()).fold(f64::INFINITY, f64::min)
}
