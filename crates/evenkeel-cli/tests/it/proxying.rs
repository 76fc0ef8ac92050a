//! Requests and responses on their way: the backend receives what the client sends, and the other way round.

#![cfg(test)]

use crate::support::{Backend, Balancer, Lane, Reply, get, lane};

const GET: &str = "GET / HTTP/1.1\r\nHost: test\r\n\r\n";

#[tokio::test]
async fn connections_are_kept_on_both_sides() {
    let backend = Backend::saying("hello").await;
    let balancer = Balancer::before(&backend.url()).await;
    let mut client = balancer.client().await;
    for number in 0..200 {
        let response = client.get(&format!("/{number}?q={number}")).await;
        assert_eq!((response.status(), response.text().as_str()), (200, "hello"));
        // HTTP/1.1 keeps connections without a word.
        let said = if lane() == Lane::Lean { None } else { Some("keep-alive") };
        assert_eq!(response.header("connection"), said);
    }
    assert_eq!((backend.connections(), backend.count()), (1, 200));
    let requests = backend.requests();
    assert!(requests.iter().enumerate().all(|(n, request)| request.target() == format!("/{n}?q={n}")));
    assert_eq!(requests[199].nth, 199);
    let records = balancer.log_lines(200).await;
    assert!(records.iter().all(|record| record["end"] == "ok" && record["attempts"] == 1));
    assert!(records.iter().all(|record| record["lane"] == lane().name()));
}

#[tokio::test]
async fn many_clients_need_few_connections_to_the_backend() {
    let backend = Backend::saying("hello").await;
    let balancer = Balancer::before(&backend.url()).await;
    for _ in 0..100 {
        assert_eq!(balancer.get("/").await.status(), 200);
    }
    // Each core keeps its own.
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    assert!(backend.connections() <= 2 * cores, "{} connections", backend.connections());
}

#[tokio::test]
async fn a_connection_ends_when_the_client_says_so() {
    let backend = Backend::saying("hello").await;
    let balancer = Balancer::before(&backend.url()).await;
    for (request, kept) in [
        ("GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n", false),
        ("GET / HTTP/1.1\r\nHost: test\r\nConnection: x, Close\r\n\r\n", false),
        ("GET / HTTP/1.0\r\nHost: test\r\n\r\n", false),
        ("GET / HTTP/1.0\r\nHost: test\r\nConnection: keep-alive\r\n\r\n", true),
        (GET, true),
    ] {
        let mut client = balancer.client().await;
        let response = client.ask(request).await;
        assert_eq!((response.status(), response.text().as_str()), (200, "hello"), "{request:?}");
        if kept {
            // An HTTP/1.0 client closes by default.
            if request.contains("HTTP/1.0") {
                assert_eq!(response.header("connection"), Some("keep-alive"), "{request:?}");
            }
            assert!(client.is_reusable().await, "{request:?}");
        } else {
            assert!(response.closes(), "{request:?}");
            assert_eq!(client.closed().await, b"", "{request:?}");
        }
        // That one connection ends says nothing about the other one.
        assert_eq!(backend.last_request().header("connection"), None, "{request:?}");
    }
}

#[tokio::test]
async fn a_client_of_http_10_gets_an_answer_that_it_can_read() {
    let backend = Backend::start(|_| {
        Reply::bytes("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n")
    })
    .await;
    let balancer = Balancer::before(&backend.url()).await;
    let response = balancer.client().await.ask("GET / HTTP/1.0\r\n\r\n").await;
    assert_eq!(response.header("transfer-encoding"), None, "HTTP/1.0 has no chunks");
    assert_eq!(response.text(), "hello");
    assert!(response.closes(), "its body ends with the connection");
    // The request to the backend uses HTTP/1.1, which requires a host (RFC 9112, 3.2).
    let seen = backend.only_request();
    assert_eq!((seen.first_line.as_str(), seen.header("host")), ("GET / HTTP/1.1", Some("")));
    assert_eq!(balancer.log_line().await["protocol"], "HTTP/1.0");
}

#[tokio::test]
async fn requests_that_come_together_are_answered_in_order() {
    let backend = Backend::start(|request| Reply::ok(request.target())).await;
    let balancer = Balancer::before(&backend.url()).await;
    let mut client = balancer.client().await;
    let post = "POST /post HTTP/1.1\r\nHost: test\r\nContent-Length: 4\r\n\r\nbody";
    let many: String = (0..50).map(|n| format!("GET /{n} HTTP/1.1\r\nHost: test\r\n\r\n")).collect();
    client.send(format!("{many}{post}{GET}")).await;
    for n in 0..50 {
        assert_eq!(client.response().await.text(), format!("/{n}"));
    }
    assert_eq!(client.response().await.text(), "/post");
    assert_eq!(client.response().await.text(), "/");
    let bodies: Vec<_> = backend.requests().iter().map(|request| request.text()).collect();
    assert_eq!(bodies[50..], ["body", ""]);
    assert_eq!(balancer.log_lines(52).await.len(), 52);
}

#[tokio::test]
async fn a_request_that_comes_in_pieces_is_one_request() {
    let backend = Backend::saying("hello").await;
    let balancer = Balancer::before(&backend.url()).await;
    let mut client = balancer.client().await;
    let text = "\r\n\r\nPOST /pieces HTTP/1.1\r\nHost: test\r\nContent-Length: 5\r\n\r\nhello";
    for byte in text.bytes() {
        client.send([byte]).await;
        tokio::task::yield_now().await;
    }
    assert_eq!(client.response().await.status(), 200);
    assert_eq!(backend.only_request().text(), "hello");
}

#[tokio::test]
async fn an_absolute_target_is_taken_for_what_it_means() {
    let backend = Backend::saying("hello").await;
    let yaml = format!(
        "routes: [{{ name: a, match: {{ hosts: [a.example], path: /x }}, upstream: web }}]\n\
         upstreams: {{ web: {{ backends: [\"{}\"] }} }}",
        backend.url()
    );
    let balancer = Balancer::start(&yaml).await;
    let mut client = balancer.client().await;
    let response = client.ask("GET http://a.example/x?y HTTP/1.1\r\nHost: a.example\r\n\r\n").await;
    assert_eq!(response.status(), 200);
    let seen = backend.only_request();
    assert_eq!(seen.target(), "/x?y");
    assert_eq!(seen.header("host"), Some("a.example"));
    let conflict = client.ask("GET http://b.example/x HTTP/1.1\r\nHost: a.example\r\n\r\n").await;
    assert_eq!(conflict.status(), 400);
    assert_eq!(backend.count(), 1);
}

#[tokio::test]
async fn an_answer_without_a_body_is_one_whatever_its_fields_say() {
    for (method, answer) in [
        ("HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 12345\r\n\r\n"),
        ("HEAD", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"),
        ("HEAD", "HTTP/1.1 404 Not Found\r\nContent-Length: 9\r\n\r\n"),
        ("GET", "HTTP/1.1 204 No Content\r\n\r\n"),
        ("GET", "HTTP/1.1 304 Not Modified\r\nContent-Length: 12345\r\nETag: \"a\"\r\n\r\n"),
        ("GET", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
        ("OPTIONS", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
    ] {
        let backend = Backend::start(move |_| Reply::bytes(answer)).await;
        let balancer = Balancer::before(&backend.url()).await;
        let mut client = balancer.client().await;
        for _ in 0..3 {
            let response = client.ask(format!("{method} / HTTP/1.1\r\nHost: test\r\n\r\n")).await;
            assert!(answer.contains(&response.status().to_string()), "{method}, {answer:?}");
            assert_eq!(response.body_length, 0);
            if method == "HEAD" && answer.contains("12345") {
                assert_eq!(response.header("content-length"), Some("12345"));
            }
        }
        assert_eq!((backend.connections(), backend.count()), (1, 3), "{method}, {answer:?}");
    }
}

#[tokio::test]
async fn fields_for_one_hop_stay_on_it() {
    let answer = "HTTP/1.1 200 OK\r\nConnection: X-Mine, keep-alive\r\nX-Mine: 1\r\nKeep-Alive: timeout=5\r\n\
        Proxy-Authenticate: Basic\r\nProxy-Connection: keep-alive\r\nX-Other: 2\r\nContent-Length: 0\r\n\r\n";
    let backend = Backend::start(move |_| Reply::bytes(answer)).await;
    let balancer = Balancer::before(&backend.url()).await;
    let mut client = balancer.client().await;
    let request = "GET / HTTP/1.1\r\nHost: test\r\nConnection: X-Hop, keep-alive\r\nX-Hop: 1\r\n\
        Keep-Alive: timeout=5\r\nProxy-Connection: keep-alive\r\nTE: trailers\r\nX-End: 2\r\n\r\n";
    let response = client.ask(request).await;
    let seen = backend.only_request();
    for name in ["x-hop", "keep-alive", "proxy-connection", "connection", "te"] {
        assert_eq!(seen.all(name), [""; 0], "{name} reached the backend");
    }
    assert_eq!(seen.header("x-end"), Some("2"));
    for name in ["x-mine", "keep-alive", "proxy-connection"] {
        assert_eq!(response.all(name), [""; 0], "{name} reached the client");
    }
    assert_eq!(response.header("x-other"), Some("2"));
    assert!(client.is_reusable().await);
}

#[tokio::test]
async fn fields_that_count_cannot_be_nominated_away() {
    let backend = Backend::saying("hello").await;
    let balancer = Balancer::before(&backend.url()).await;
    let request = "GET / HTTP/1.1\r\nHost: test\r\nConnection: X-Forwarded-For, X-Request-Id, Host\r\n\r\n";
    let response = balancer.client().await.ask(request).await;
    if response.status() == 200 {
        let seen = backend.only_request();
        assert_eq!(seen.header("x-forwarded-for"), Some("127.0.0.1"));
        assert!(seen.header("x-request-id").is_some());
        assert_eq!(seen.header("host"), Some("test"));
    } else {
        assert_eq!((response.status(), backend.count()), (400, 0));
    }
}

#[tokio::test]
async fn fields_pass_as_they_are() {
    let answer = "HTTP/1.1 299 Fine, Thanks\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\nServer: mine\r\n\
        X-Empty:\r\nDate: Mon, 01 Jan 2024 00:00:00 GMT\r\nContent-Length: 0\r\n\r\n";
    let backend = Backend::start(move |_| Reply::bytes(answer)).await;
    let balancer = Balancer::before(&backend.url()).await;
    let request = "GET /a%20b/../c//d?e=%2F&f HTTP/1.1\r\nHost: Test:8080\r\nAccept: a\r\nAccept: b\r\n\
        X-Utf8: gr\u{fc}n\r\nCookie: c=3\r\nAuthorization: Basic eDp5\r\n\r\n";
    let response = balancer.client().await.ask(request).await;
    assert_eq!(response.first_line, "HTTP/1.1 299 Fine, Thanks");
    assert_eq!(response.all("set-cookie"), ["a=1", "b=2"]);
    assert_eq!(response.header("server"), Some("mine"));
    assert_eq!(response.header("x-empty"), Some(""));
    // Whose clock counts is the backend's (RFC 9110, 6.6.1); Pingora writes its own all the same.
    let old = response.header("date") == Some("Mon, 01 Jan 2024 00:00:00 GMT");
    assert_eq!(old, lane() == Lane::Lean, "{:?}", response.header("date"));
    let seen = backend.only_request();
    assert_eq!(seen.target(), "/a%20b/../c//d?e=%2F&f");
    assert_eq!(seen.header("host"), Some("Test:8080"));
    assert_eq!(seen.all("accept"), ["a", "b"]);
    assert_eq!(seen.header("x-utf8"), Some("gr\u{fc}n"));
    assert_eq!(seen.header("authorization"), Some("Basic eDp5"));
    assert_eq!(seen.header("x-forwarded-host"), Some("Test:8080"));
}

/// Field names are case-insensitive (RFC 9110, 5.1), but some programs do not know that: the lean lane leaves them
/// unchanged. Pingora's lane does so with responses. To backends it writes names that it knows as the RFCs do, and all
/// others in lower case. Both add names in lower case.
#[tokio::test]
async fn names_of_fields_keep_their_spelling() {
    // Each as it is sent, and as Pingora's lane writes it to a backend.
    let names = [
        ("X-UPPER", "x-upper"),
        ("x-lower", "x-lower"),
        ("X-Mixed", "x-mixed"),
        ("cache-CONTROL", "Cache-Control"),
    ];
    let fields: String = names.iter().map(|(name, _)| format!("{name}: 1\r\n")).collect();
    let answer = format!("HTTP/1.1 200 OK\r\n{fields}content-length: 0\r\n\r\n");
    let backend = Backend::start(move |_| Reply::bytes(&answer)).await;
    let yaml = format!(
        "routes: [{{ name: all, filters: [request_headers: {{ add: {{ X-Added: new }} }}, \
         response_headers: {{ add: {{ X-Added: new }} }}], upstream: web }}]\n\
         upstreams: {{ web: {{ backends: [\"{}\"] }} }}",
        backend.url()
    );
    let balancer = Balancer::start(&yaml).await;
    let response = balancer.client().await.ask(format!("GET / HTTP/1.1\r\nhost: test\r\n{fields}\r\n")).await;
    let asked = backend.only_request().spellings();
    let answered = response.spellings();
    for (sent, by_pingora) in names {
        let spelled = if lane() == Lane::Lean { sent } else { by_pingora };
        assert!(asked.iter().any(|name| name == spelled), "{sent}: {asked:?}");
        assert!(answered.iter().any(|name| name == sent), "{sent}: {answered:?}");
    }
    for found in [&asked, &answered] {
        assert!(found.iter().any(|name| name == "x-added"), "{found:?}");
    }
    assert!(asked.iter().any(|name| name == "x-forwarded-for"), "{asked:?}");
}

#[tokio::test]
async fn an_answer_without_a_date_gets_one() {
    let backend = Backend::saying("hello").await;
    let balancer = Balancer::before(&backend.url()).await;
    let date = balancer.get("/").await.header("date").map(str::to_owned).expect("a date (RFC 9110, 6.6.1)");
    assert!(date.len() == 29 && date.ends_with(" GMT") && !date.contains("1970"), "{date:?}");
}

#[tokio::test]
async fn answers_before_the_final_one_are_relayed() {
    let early = "HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n";
    let backend = Backend::start(move |_| {
        Reply::bytes(early).send(early).send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
    })
    .await;
    let balancer = Balancer::before(&backend.url()).await;
    let mut client = balancer.client().await;
    for _ in 0..2 {
        client.send(GET).await;
        for _ in 0..2 {
            let hints = client.any_response_to("GET").await;
            assert_eq!((hints.status(), hints.header("link")), (103, Some("</a.css>; rel=preload")));
        }
        assert_eq!(client.any_response_to("GET").await.text(), "ok");
    }
    assert_eq!(backend.connections(), 1);
    let record = &balancer.log_lines(2).await[1];
    assert_eq!((&record["status"], &record["end"]), (&200.into(), &"ok".into()));
}

#[tokio::test]
async fn a_backend_on_a_unix_socket_serves_like_any_other() {
    let folder = tempfile::tempdir().unwrap();
    let options = crate::support::Options { unix: Some(folder.path().join("b.sock")), ..Default::default() };
    let backend = Backend::with(options, |_| Reply::ok("over a socket")).await;
    let balancer = Balancer::before(&backend.url()).await;
    let mut client = balancer.client().await;
    for _ in 0..10 {
        assert_eq!(client.get("/").await.text(), "over a socket");
    }
    assert_eq!(backend.connections(), 1);
}

#[tokio::test]
async fn several_listeners_serve_the_same_routes() {
    let backend = Backend::saying("hello").await;
    let yaml = format!(
        "listeners: [{{ address: 127.0.0.1:0 }}, {{ address: \"[::1]:0\" }}, {{ address: 127.0.0.1:0 }}]\n\
         upstreams: {{ web: {{ backends: [\"{}\"] }} }}",
        backend.url()
    );
    let balancer = Balancer::start(&yaml).await;
    for listener in 0..3 {
        assert_eq!(get(balancer.nth_address(listener), "/").await.text(), "hello");
    }
    balancer.stop();
}
