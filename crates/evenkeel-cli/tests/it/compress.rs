//! `compress`: which responses are compressed, for which clients, and that they are whole.

#![cfg(test)]

use std::io::Read;
use std::time::Duration;

use crate::rate_limit::yaml;
use crate::support::http2::Http2;
use crate::support::{Backend, Balancer, Message, Reply, Seen};

/// A text of some size, not all the same.
fn text(size: usize) -> String {
    let mut text = String::new();
    for number in 0.. {
        if text.len() >= size {
            break;
        }
        text.push_str(&format!("line {number} of a text that repeats itself\n"));
    }
    text.truncate(size);
    text
}

fn decoded(message: &Message) -> String {
    let (body, mut text) = (message.body.as_slice(), String::new());
    match message.header("content-encoding") {
        None => return message.text(),
        Some("gzip") => flate2::read::GzDecoder::new(body).read_to_string(&mut text),
        Some("br") => brotli::Decompressor::new(body, 4096).read_to_string(&mut text),
        Some("zstd") => zstd::stream::read::Decoder::new(body).expect("a frame").read_to_string(&mut text),
        Some(other) => panic!("{other}"),
    }
    .expect("a whole body");
    text
}

/// What the target says: `/TYPE/SUBTYPE/SIZE/FRAMING`, with more fields of the request's `X-Fields`.
fn reply(seen: &Seen) -> Reply {
    let mut parts = seen.target().trim_start_matches('/').split('/');
    let mut next = || parts.next().unwrap_or_default().to_owned();
    let (kind, subtype, size, framing) = (next(), next(), next(), next());
    let body = text(size.parse().unwrap_or_default());
    let fields: String = seen.message.all("x-field").iter().map(|field| format!("{field}\r\n")).collect();
    let status = seen.message.header("x-status").unwrap_or("200 OK");
    let head = format!("HTTP/1.1 {status}\r\nContent-Type: {kind}/{subtype}\r\n{fields}");
    match framing.as_str() {
        "chunked" if body.is_empty() => {
            Reply::bytes(format!("{head}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"))
        }
        "chunked" => {
            let (first, rest) = body.split_at(body.len() / 2);
            Reply::bytes(format!("{head}Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{first}\r\n", first.len()))
                .wait(Duration::from_millis(10))
                .send(format!("{:x}\r\n{rest}\r\n0\r\n\r\n", rest.len()))
        }
        "close" => Reply::bytes(format!("{head}\r\n{body}")).close(),
        "head" => Reply::bytes(format!("{head}Content-Length: {}\r\n\r\n", body.len())),
        "none" => Reply::bytes(format!("{head}\r\n")),
        _ => Reply::bytes(format!("{head}Content-Length: {}\r\n\r\n{body}", body.len())),
    }
}

async fn ask(balancer: &Balancer, method: &str, target: &str, fields: &str) -> Message {
    let request = format!("{method} {target} HTTP/1.1\r\nHost: test\r\n{fields}\r\n");
    balancer.client().await.ask(request).await
}

#[tokio::test]
async fn a_response_is_compressed_as_the_client_likes_it() {
    let backend = Backend::start(reply).await;
    let balancer = Balancer::start(&yaml(&backend, "{ compress: {} }")).await;
    for (accept, coding) in [
        ("gzip", Some("gzip")),
        ("gzip, deflate, br, zstd", Some("zstd")),
        ("gzip, br", Some("br")),
        ("gzip;q=1, br;q=0.5", Some("gzip")),
        ("*", Some("zstd")),
        ("*;q=0.5, zstd;q=0", Some("br")),
        ("deflate", None),
        ("gzip;q=0", None),
        ("identity", None),
    ] {
        for (size, framing) in
            [(100_000, "length"), (100_000, "chunked"), (100_000, "close"), (2000, "length"), (0, "chunked")]
        {
            let target = format!("/text/plain/{size}/{framing}");
            let response = ask(&balancer, "GET", &target, &format!("Accept-Encoding: {accept}\r\n")).await;
            assert_eq!(
                (response.status(), response.header("content-encoding")),
                (200, coding),
                "{accept} {target}: {}",
                response.text()
            );
            assert!(response.complete, "{accept} {target}");
            assert_eq!(decoded(&response), text(size), "{accept} {target}");
            assert_eq!(response.all("vary"), ["accept-encoding"], "{accept} {target}");
            assert!(coding.is_none() || size < 3000 || response.body.len() < size / 3, "{accept} {target}");
        }
    }
    let plain = ask(&balancer, "GET", "/text/plain/5000/length", "").await;
    assert_eq!((plain.header("content-encoding"), plain.header("content-length")), (None, Some("5000")));
    assert_eq!(plain.all("vary"), ["accept-encoding"], "a cache must know");
}

#[tokio::test]
async fn what_must_stay_as_it_is_stays() {
    let backend = Backend::start(reply).await;
    let balancer = Balancer::start(&yaml(&backend, "{ compress: {} }")).await;
    for (method, target, fields, why) in [
        ("GET", "/image/png/5000/length", "", "a type that is compressed already"),
        ("GET", "/text/plain/1000/length", "", "too small"),
        ("GET", "/text/plain/5000/length", "X-Field: Content-Encoding: x-own\r\n", "encoded already"),
        (
            "GET",
            "/text/plain/5000/length",
            "X-Field: Cache-Control: public, No-Transform\r\n",
            "no-transform",
        ),
        (
            "GET",
            "/text/plain/5000/length",
            "X-Status: 206 Part\r\nX-Field: Content-Range: bytes 0-4999/9000\r\n",
            "a part",
        ),
        ("HEAD", "/text/plain/5000/head", "", "no body"),
        ("GET", "/text/plain/5000/none", "X-Status: 304 Not Modified\r\n", "no body"),
        ("GET", "/text/plain/5000/none", "X-Status: 204 No Content\r\n", "no body"),
    ] {
        let response = ask(&balancer, method, target, &format!("Accept-Encoding: gzip\r\n{fields}")).await;
        let coding = response.header("content-encoding").filter(|coding| *coding != "x-own");
        assert_eq!(coding, None, "{why}");
        let length = response.header("content-length");
        assert!(
            length.is_some() || response.status() == 204 || response.status() == 304,
            "{why}: {length:?}"
        );
    }
    let old = balancer
        .client()
        .await
        .ask("GET /text/plain/5000/length HTTP/1.0\r\nHost: test\r\nAccept-Encoding: gzip\r\n\r\n")
        .await;
    assert_eq!((old.header("content-encoding"), old.text()), (None, text(5000)));
}

#[tokio::test]
async fn validators_and_ranges_are_those_of_another_body() {
    let backend = Backend::start(reply).await;
    let balancer = Balancer::start(&yaml(&backend, "{ compress: {} }")).await;
    for (tag, weak) in [("\"a\"", Some("W/\"a\"")), ("W/\"a\"", Some("W/\"a\"")), ("a", None)] {
        let fields = format!(
            "Accept-Encoding: gzip\r\nX-Field: ETag: {tag}\r\nX-Field: Accept-Ranges: bytes\r\nX-Field: Vary: Cookie\r\n"
        );
        let response = ask(&balancer, "GET", "/text/html/5000/length", &fields).await;
        assert_eq!((response.header("etag"), response.header("accept-ranges")), (weak, None), "{tag}");
        assert_eq!(response.all("vary").join(", "), "Cookie, accept-encoding");
        assert_eq!((response.header("content-length"), decoded(&response)), (None, text(5000)));
    }
}

#[tokio::test]
async fn events_arrive_as_they_are_sent() {
    let backend = Backend::start(|_| {
        Reply::bytes(
            "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n",
        )
        .send("b\r\ndata: one\n\n\r\n")
        .hang()
    })
    .await;
    for coding in ["gzip", "br", "zstd"] {
        let filter = format!("{{ compress: {{ algorithms: [{coding}] }} }}");
        let balancer = Balancer::start(&yaml(&backend, &filter)).await;
        let mut client = balancer.client().await;
        client.send(format!("GET / HTTP/1.1\r\nHost: test\r\nAccept-Encoding: {coding}\r\n\r\n")).await;
        let head = client.head().await.expect("a head");
        assert_eq!(head.header("content-encoding"), Some(coding));
        // The event is in what has come, although the body goes on.
        let mut seen = Vec::new();
        let found = async {
            loop {
                seen.extend(client.bytes(1).await);
                if read_so_far(coding, &seen).as_deref() == Some(b"data: one\n\n") {
                    break;
                }
            }
        };
        crate::support::in_time("the event", found).await;
    }
}

/// The event, if these bytes of chunks have all of it.
fn read_so_far(coding: &str, chunks: &[u8]) -> Option<Vec<u8>> {
    let (mut body, mut rest) = (Vec::new(), chunks);
    while let Some(end) = rest.windows(2).position(|pair| pair == b"\r\n") {
        let size = usize::from_str_radix(std::str::from_utf8(&rest[..end]).ok()?, 16).ok()?;
        body.extend_from_slice(rest.get(end + 2..end + 2 + size)?);
        rest = rest.get(end + 4 + size..)?;
    }
    let mut event = vec![0; 11];
    let read = match coding {
        "gzip" => flate2::read::GzDecoder::new(&body[..]).read_exact(&mut event),
        "br" => brotli::Decompressor::new(&body[..], 4096).read_exact(&mut event),
        _ => zstd::stream::read::Decoder::new(&body[..]).ok()?.read_exact(&mut event),
    };
    read.ok().map(|()| event)
}

#[tokio::test]
async fn a_stream_of_http_2_is_compressed_too() {
    let backend = Backend::start(reply).await;
    let listener = "listeners: [{ address: 127.0.0.1:0, http: { h2c: true } }]\n";
    let balancer =
        Balancer::start(&format!("{listener}{}", yaml(&backend, "{ compress: { algorithms: [gzip] } }")))
            .await;
    let mut client = Http2::connect(balancer.address()).await;
    for framing in ["length", "chunked", "close"] {
        let mut request = crate::support::http2::request("GET", &format!("/text/plain/50000/{framing}"));
        request.headers_mut().insert("accept-encoding", "gzip".parse().expect("a value"));
        let (response, _) = client.begin(request, true).await;
        let response = crate::support::http2::Whole::read(response).await.expect("a response");
        assert_eq!(
            (response.status(), response.header("content-encoding")),
            (200, Some("gzip")),
            "{framing}"
        );
        let mut body = String::new();
        flate2::read::GzDecoder::new(&response.body[..]).read_to_string(&mut body).expect("a whole body");
        assert_eq!(body, text(50_000), "{framing}");
    }
}

#[tokio::test]
async fn only_what_may_be_compressed_leaves_the_lean_lane() {
    let backend = Backend::start(reply).await;
    let balancer = Balancer::start(&yaml(&backend, "{ compress: { algorithms: [gzip] } }")).await;
    ask(&balancer, "GET", "/text/plain/5000/length?a", "Accept-Encoding: gzip\r\n").await;
    ask(&balancer, "GET", "/text/plain/5000/length?b", "Accept-Encoding: br\r\n").await;
    let lane = async |query: &str| {
        balancer.log_line_of(&format!("/text/plain/5000/length?{query}")).await["lane"].clone()
    };
    let other = if crate::support::lane() == crate::support::Lane::Pingora { "pingora" } else { "lean" };
    assert_eq!((lane("a").await, lane("b").await), ("pingora".into(), other.into()));
    let record = balancer.log_line_of("/text/plain/5000/length?a").await;
    let sent = record["bytes_out"].as_u64().expect("a number");
    assert!(sent < 2000, "{sent}: the log has what the client got");
}
