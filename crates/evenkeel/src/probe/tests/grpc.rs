//! The gRPC health protocol, with a small server that follows a script.

use bytes::Bytes;
use http::{HeaderMap, Response};

use super::*;

/// How the server responds to a call.
#[derive(Clone, Debug, Default)]
struct Says {
    status: u16,
    kind: &'static str,
    /// Fields of the head, and with them the end if there is no body.
    head: Vec<(&'static str, &'static str)>,
    body: Vec<u8>,
    trailers: Vec<(&'static str, &'static str)>,
}

/// A health response with this status, as a message of gRPC.
fn message(status: u8) -> Vec<u8> {
    vec![0, 0, 0, 0, 2, 0x08, status]
}

fn says(body: Vec<u8>) -> Says {
    let trailers = vec![("grpc-status", "0")];
    Says { status: 200, kind: "application/grpc", body, trailers, ..Says::default() }
}

/// The status of a call that failed at once.
fn at_once(fields: &[(&'static str, &'static str)]) -> Says {
    Says { status: 200, kind: "application/grpc", head: fields.to_vec(), ..Says::default() }
}

fn fields(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
    let parse = |&(name, value): &(&'static str, &'static str)| {
        (name.parse().expect("a name"), value.parse().expect("a value"))
    };
    pairs.iter().map(parse).collect()
}

/// Serves one connection, and checks the calls.
async fn serve(socket: impl AsyncRead + AsyncWrite + Unpin, says: Says, service: &str) {
    let mut connection = h2::server::handshake(socket).await.expect("a handshake");
    while let Some(Ok((request, mut respond))) = connection.accept().await {
        let (head, mut body) = request.into_parts();
        assert_eq!(head.uri.path(), "/grpc.health.v1.Health/Check");
        assert_eq!(head.uri.authority().expect("an authority").as_str(), "web.test:81");
        assert_eq!(head.headers["te"], "trailers");
        assert_eq!(head.headers["content-type"], "application/grpc");
        assert_eq!(head.headers["user-agent"], "evenkeel-health");
        let says = says.clone();
        let service = service.to_owned();
        tokio::spawn(async move {
            let mut asked = Vec::new();
            while let Some(Ok(data)) = body.data().await {
                asked.extend_from_slice(&data);
            }
            let (prefix, message) = asked.split_at(5);
            assert_eq!(prefix, [0, 0, 0, 0, u8::try_from(message.len()).expect("short")]);
            let (key, name) = message.split_at(message.len() - service.len());
            let length = u8::try_from(service.len()).expect("short");
            assert_eq!(key, if service.is_empty() { vec![] } else { vec![0x0a, length] });
            assert_eq!(name, service.as_bytes());
            let mut answer = Response::builder().status(says.status).body(()).expect("a response");
            *answer.headers_mut() = fields(&says.head);
            answer.headers_mut().insert("content-type", says.kind.parse().expect("a value"));
            let bare = says.body.is_empty() && says.trailers.is_empty();
            let mut stream = respond.send_response(answer, bare).expect("a response");
            if !bare {
                stream.send_data(Bytes::from(says.body), says.trailers.is_empty()).expect("a body");
                if !says.trailers.is_empty() {
                    stream.send_trailers(fields(&says.trailers)).expect("trailers");
                }
            }
        });
    }
}

async fn told(says: Says, service: &'static str) -> Result<(), String> {
    let address = peer(move |socket| serve(socket, says.clone(), service)).await;
    let target = Target { host: "web.test:81".to_owned(), ..target(address) };
    probe(grpc(service), target, PATIENT).run().await.map_err(|failed| failed.to_string())
}

fn failed(reason: &str) -> Result<(), String> {
    Err(reason.to_owned())
}

#[tokio::test]
async fn serving_is_well_and_nothing_else_is() {
    assert_eq!(told(says(message(1)), "").await, Ok(()));
    assert_eq!(told(says(message(1)), "shop.Cart").await, Ok(()));
    assert_eq!(told(says(message(0)), "").await, failed("gRPC: UNKNOWN"));
    // Zero is left out of a message.
    assert_eq!(told(says(vec![0; 5]), "").await, failed("gRPC: UNKNOWN"));
    assert_eq!(told(says(message(2)), "").await, failed("gRPC: NOT_SERVING"));
    assert_eq!(told(says(message(3)), "shop.Cart").await, failed("gRPC: SERVICE_UNKNOWN (`shop.Cart`)"));
    assert_eq!(told(says(message(9)), "").await, failed("gRPC: serving status 9"));
}

#[tokio::test]
async fn fields_to_come_are_skipped() {
    let message = [0x10, 0xff, 0x01, 0x19, 0, 0, 0, 0, 0, 0, 0, 0, 0x22, 1, 7, 0x2d, 0, 0, 0, 0, 0x08, 1];
    let mut body = vec![0, 0, 0, 0, u8::try_from(message.len()).expect("short")];
    body.extend(message);
    assert_eq!(told(says(body), "").await, Ok(()));
}

#[tokio::test]
async fn what_is_no_message_is_told() {
    let expected = failed("not a message of the gRPC health protocol");
    for body in [
        vec![],
        vec![0, 0, 0],
        vec![1, 0, 0, 0, 2, 0x08, 1],
        vec![0, 0, 0, 0, 3, 0x08, 1],
        vec![0, 0, 0, 0, 1, 0x08, 1],
        vec![0, 0, 0, 0, 1, 0x08],
        vec![0, 0, 0, 0, 1, 0x0b],
        vec![0, 0, 0, 0, 11, 0x08, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255],
        vec![0, 0, 0, 0, 11, 0x0a, 255, 255, 255, 255, 255, 255, 255, 255, 255, 1],
        vec![0; 5000],
    ] {
        assert_eq!(told(says(body.clone()), "").await, expected, "{body:?}");
    }
}

#[tokio::test]
async fn calls_that_fail_say_why() {
    let call = |code, message| {
        let fields = [("grpc-status", code), ("grpc-message", message)];
        [at_once(&fields), Says { trailers: fields.to_vec(), ..says(vec![]) }]
    };
    for (code, message, expected) in [
        ("12", "Method not found!", "gRPC: UNIMPLEMENTED (the backend has no gRPC health service)"),
        ("5", "unknown service", "gRPC: NOT_FOUND (service `shop.Cart`)"),
        ("14", "draining", "gRPC: UNAVAILABLE: draining"),
        ("8", "", "gRPC: RESOURCE_EXHAUSTED"),
        ("99", "", "gRPC: status 99"),
        ("x", "", "gRPC: status x"),
    ] {
        for says in call(code, message) {
            assert_eq!(told(says, "shop.Cart").await, failed(expected));
        }
    }
    let no_status = Says { trailers: vec![], ..says(message(1)) };
    assert_eq!(told(no_status, "").await, failed("gRPC: no status"));
}

#[tokio::test]
async fn what_is_no_grpc_is_told() {
    assert_eq!(told(Says { status: 503, ..says(vec![]) }, "").await, failed("status 503"));
    assert_eq!(told(Says { kind: "text/html", ..says(vec![]) }, "").await, failed("not gRPC"));
    let old = answering("HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n").await;
    assert_eq!(reason(&probe(grpc(""), target(old), PATIENT)).await, "not HTTP/2");
    let silent = peer(linger).await;
    assert_eq!(reason(&probe(grpc(""), target(silent), SHORT)).await, "no response within 200ms");
    let closing = peer(|mut socket| async move {
        // Reads first: with something unread, closing resets.
        let mut bytes = [0; 1024];
        let _ = socket.read(&mut bytes).await;
    })
    .await;
    let told = reason(&probe(grpc(""), target(closing), PATIENT)).await;
    assert!(told.contains("closed") || told.contains("reset") || told.contains("broken"), "{told}");
}

#[tokio::test]
async fn over_tls_http2_is_agreed_on() {
    let mut pair = certified("web.test", |_| {});
    pair.config.alpn_protocols = vec![b"h2".to_vec()];
    let authority = Some(pair.authority.clone());
    let address = secure(pair.config.clone(), |stream| serve(stream, says(message(1)), "")).await;
    let host = "web.test:81".to_owned();
    let target = Target { host: host.clone(), ..over_tls(address, "web.test", authority.clone()) };
    assert_eq!(probe(grpc(""), target, PATIENT).run().await, Ok(()));
    pair.config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let address = secure(pair.config, linger).await;
    let target = Target { host, ..over_tls(address, "web.test", authority) };
    assert_eq!(reason(&probe(grpc(""), target, PATIENT)).await, "TLS: alert NoApplicationProtocol");
}
