//! Balancing from outside: which backend responds, in which order, and that a dead one costs no request.

#![cfg(test)]

use std::collections::BTreeMap;
use std::sync::Arc;

use super::support::samples::Samples;
use super::support::{Backend, Balancer, Client, ClosedPort, Reply};

const ALGORITHMS: [&str; 4] = ["round_robin", "random", "least_connections", "power_of_two_choices"];

/// Three backends that say their own letter.
async fn letters() -> [Backend; 3] {
    [Backend::saying("a").await, Backend::saying("b").await, Backend::saying("c").await]
}

async fn balancer(algorithm: &str, backends: &[Backend], weights: [u32; 3]) -> Balancer {
    let backends: Vec<String> = backends
        .iter()
        .zip(weights)
        .map(|(backend, weight)| format!("{{ url: \"{}\", weight: {weight} }}", backend.url()))
        .collect();
    let backends = backends.join(", ");
    Balancer::start(&format!("upstreams: {{ web: {{ algorithm: {algorithm}, backends: [{backends}] }} }}"))
        .await
}

/// The names in the responses to this many requests on one connection.
async fn answers(balancer: &Balancer, count: usize) -> String {
    let mut client = balancer.client().await;
    let mut letters = String::new();
    for _ in 0..count {
        let answer = client.get("/").await;
        assert_eq!(answer.status(), 200);
        letters += &answer.text();
    }
    letters
}

#[tokio::test]
async fn weights_of_five_one_and_one_are_interleaved_smoothly() {
    let backends = letters().await;
    let balancer = balancer("round_robin", &backends, [5, 1, 1]).await;
    let sequence = answers(&balancer, 140).await;
    let round = &sequence[..7];
    let count = |letter: char| round.matches(letter).count();
    assert_eq!([count('a'), count('b'), count('c')], [5, 1, 1], "{round}");
    assert_eq!(sequence, round.repeat(20), "every round is like the first");
    // The smooth sequence is a a b a c a a, from wherever it begins: never more than four of the heavy one in a row
    // (two at the end of a round, two at the start of the next), and never both light ones together.
    assert!("aabacaa".repeat(2).contains(round), "{round}");
}

#[tokio::test]
async fn connections_do_not_disturb_the_sequence() {
    let backends = letters().await;
    let balancer = balancer("round_robin", &backends, [1, 1, 1]).await;
    let mut sequence = String::new();
    for _ in 0..30 {
        sequence += &balancer.get("/").await.text();
    }
    assert_eq!(sequence, sequence[..3].repeat(10));
    assert_eq!(backends.each_ref().map(Backend::count), [10; 3]);
}

#[tokio::test]
async fn chance_keeps_to_the_weights() {
    // Two degrees of freedom: a fair choice is beyond this once in a million runs.
    const CRITICAL: f64 = 27.6;
    const REQUESTS: usize = 3000;
    for (algorithm, weights) in
        [("random", [1, 1, 1]), ("random", [2, 1, 1]), ("power_of_two_choices", [1, 1, 1])]
    {
        let backends = letters().await;
        let balancer = balancer(algorithm, &backends, weights).await;
        answers(&balancer, REQUESTS).await;
        let total = f64::from(weights.iter().sum::<u32>());
        let counts = backends.each_ref().map(|backend| u32::try_from(backend.count()).expect("few"));
        assert_eq!(counts.iter().sum::<u32>() as usize, REQUESTS);
        let terms = counts.iter().zip(weights).map(|(&count, weight)| {
            let expected = 3000.0 * f64::from(weight) / total;
            (f64::from(count) - expected).powi(2) / expected
        });
        let chi_square: f64 = terms.sum();
        assert!(chi_square < CRITICAL, "{algorithm} by {weights:?}: {counts:?}, chi-square {chi_square}");
        assert!(counts.iter().all(|count| *count > 0), "{algorithm} by {weights:?}: {counts:?}");
    }
}

#[tokio::test]
async fn the_idle_one_is_preferred_to_busy_ones() {
    let backends: [Backend; 3] = {
        let behave = |letter: &'static str| {
            Backend::start(move |request| match request.target() {
                "/hold" => Reply::silence(),
                _ => Reply::ok(letter),
            })
        };
        [behave("a").await, behave("b").await, behave("c").await]
    };
    let balancer = balancer("least_connections", &backends, [1, 1, 1]).await;
    let mut held = Vec::new();
    for count in 1..=2 {
        let mut client = balancer.client().await;
        client.send("GET /hold HTTP/1.1\r\nHost: test\r\n\r\n").await;
        super::support::eventually(super::support::PATIENCE, || {
            backends.iter().map(Backend::count).sum::<usize>() == count
        })
        .await;
        held.push(client);
    }
    let counts = backends.each_ref().map(Backend::count);
    assert_eq!(counts.iter().max(), Some(&1), "the second went to an idle one: {counts:?}");
    let idle = counts.iter().position(|count| *count == 0).expect("one is idle");
    let letter = ["a", "b", "c"][idle];
    assert_eq!(answers(&balancer, 40).await, letter.repeat(40));
}

#[tokio::test]
async fn a_closed_port_among_three_costs_no_request() {
    const CONNECTIONS: usize = 10;
    const REQUESTS: usize = 250;
    // 10,000 requests in all: each algorithm takes a quarter.
    for algorithm in ALGORITHMS {
        let backends: [Arc<Backend>; 2] =
            [Backend::saying("a").await.into(), Backend::saying("b").await.into()];
        let closed = ClosedPort::new();
        let [first, second] = backends.each_ref().map(|backend| backend.url());
        let balancer = Balancer::start(&format!(
            "upstreams: {{ web: {{ algorithm: {algorithm}, backends: [\"{first}\", \"{}\", \"{second}\"] }} }}",
            closed.url()
        ))
        .await;
        let address = balancer.address();
        let clients = (0..CONNECTIONS).map(|number| {
            tokio::spawn(async move {
                let mut client = Client::connect(address).await;
                for request in 0..REQUESTS {
                    let body = format!("body {number} {request}");
                    let answer = match request % 4 {
                        0 => client.get("/").await,
                        1 => {
                            let chunk = format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len());
                            let head = "POST /c HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n";
                            client.ask(format!("{head}{chunk}")).await
                        }
                        _ => {
                            let length = body.len();
                            let head =
                                format!("POST /l HTTP/1.1\r\nHost: test\r\nContent-Length: {length}\r\n\r\n");
                            client.ask(head + &body).await
                        }
                    };
                    assert_eq!(answer.status(), 200, "request {request} of connection {number}");
                    assert_ne!(answer.header("connection"), Some("close"), "the connection is kept");
                }
            })
        });
        for client in clients.collect::<Vec<_>>() {
            client.await.unwrap_or_else(|error| panic!("{algorithm}: {error}"));
        }
        let mut bodies = BTreeMap::new();
        let seen = backends.iter().flat_map(|backend| backend.requests());
        for request in seen.filter(|request| request.method() == "POST") {
            assert!(request.whole, "{algorithm}: {}", request.first_line);
            *bodies.entry(request.text()).or_insert(0) += 1;
        }
        let posts = (0..REQUESTS).filter(|request| request % 4 > 0).count();
        assert_eq!(bodies.len(), CONNECTIONS * posts, "{algorithm}");
        assert!(bodies.values().all(|count| *count == 1), "{algorithm}: a body came twice");
        let samples = Samples::parse(&balancer.metrics().await);
        let failures = samples.sum("evenkeel_backend_connect_failures_total", &[("backend", &closed.url())]);
        assert!((1.0..100.0).contains(&failures), "{algorithm}: the closed port was tried {failures} times");
    }
}
