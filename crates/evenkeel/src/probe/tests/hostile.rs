//! Peers that send malformed data: the probe must end in time, with a reason, and without a panic.

use super::*;

/// What a frame of HTTP/2 begins with.
fn frame(length: u8, kind: u8, flags: u8, stream: u8) -> Vec<u8> {
    vec![0, 0, length, kind, flags, 0, 0, 0, stream]
}

/// A peer that sends this once, and that forever.
async fn endless(first: impl Into<Vec<u8>>, then: impl Into<Vec<u8>>) -> SocketAddr {
    let (first, then): (Arc<[u8]>, Arc<[u8]>) = (first.into().into(), then.into().repeat(64).into());
    peer(move |socket| {
        let (first, then) = (first.clone(), then.clone());
        async move {
            let (mut reader, mut writer) = socket.into_split();
            // A peer that does not read cannot be made to stop.
            tokio::spawn(async move { tokio::io::copy(&mut reader, &mut tokio::io::sink()).await });
            let mut said = writer.write_all(&first).await;
            while said.is_ok() {
                said = writer.write_all(&then).await;
            }
        }
    })
    .await
}

#[tokio::test]
async fn endless_answers_end() {
    let ok = "HTTP/1.1 200 OK\r\n";
    let large = "not HTTP/1.1: response head is too large";
    for (first, then, expected) in [
        ("", "x", "not HTTP/1.1: response has a malformed status line"),
        (
            "",
            "HTTP/1.1 100 Continue\r\n\r\n",
            "not HTTP/1.1: interim (1xx) responses are too many or too large",
        ),
        ("HTTP/1.1 200 ", "x", large),
        (ok, "X: y\r\n", large),
        (ok, "x", large),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            "0",
            "not HTTP/1.1: body has a chunk size that is too large",
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;",
            "x",
            "not HTTP/1.1: body has a chunk with extensions that are too long",
        ),
    ] {
        let address = endless(first, then).await;
        let timeout = if expected.contains("200ms") { SHORT } else { PATIENT };
        assert_eq!(
            reason(&probe(http(|_| {}), target(address), timeout)).await,
            expected,
            "{first:?} {then:?}"
        );
    }
    // A long body is healthy, as far as it is read.
    for (first, then) in [
        ("HTTP/1.1 200 OK\r\n\r\n", "x"),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "1\r\nx\r\n"),
    ] {
        let address = endless(first, then).await;
        assert_eq!(probe(http(|_| {}), target(address), PATIENT).run().await, Ok(()));
    }
}

#[tokio::test]
async fn endless_frames_end() {
    let settings = frame(0, 4, 0, 0);
    let ping = [frame(8, 6, 0, 0), vec![0; 8]].concat();
    // `:status: 103`, by its number in no table: a literal, without a name of its own.
    let early = [frame(5, 1, 4, 1), vec![0x08, 3, b'1', b'0', b'3']].concat();
    let opened = [frame(5, 1, 0, 1), vec![0x08, 3, b'1', b'0', b'3']].concat();
    let ok = [frame(1, 1, 4, 1), vec![0x88]].concat();
    let (much, wrong) = ("connection broken: the response is too large", "not HTTP/2");
    for (first, then, expected) in [
        (settings.clone(), ping, much),
        (settings.clone(), settings.clone(), much),
        (settings.clone(), early, much),
        ([settings.clone(), opened].concat(), frame(0, 9, 0, 1), wrong),
        ([settings.clone(), ok].concat(), frame(0, 0, 0, 1), "not gRPC"),
        (settings.clone(), [frame(1, 0x77, 0, 0), vec![0]].concat(), much),
        (settings, frame(0, 0, 0, 0), wrong),
    ] {
        let address = endless(first.clone(), then.clone()).await;
        assert_eq!(reason(&probe(grpc(""), target(address), PATIENT)).await, expected, "{first:?} {then:?}");
    }
}

#[tokio::test]
async fn random_bytes_are_survived() {
    let mut random = fastrand::Rng::with_seed(4);
    let pair = certified("web.test", |_| {});
    let heads: [&[u8]; 5] = [
        b"",
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        &[0, 0, 0, 4, 0, 0, 0, 0, 0],
        &[0x16, 3, 3, 0, 90, 2, 0, 0, 86, 3, 3],
    ];
    for round in 0..60 {
        let head = heads[round % heads.len()];
        let mut bytes = vec![0; random.usize(1..2000)];
        random.fill(&mut bytes);
        let address = answering_at_once([head, &bytes].concat()).await;
        let plain = target(address);
        let tls = over_tls(address, "web.test", Some(pair.authority.clone()));
        for (kind, target) in [
            (http(|check| check.expect_body = Some("never".to_owned())), plain.clone()),
            (grpc("a"), plain),
            (HealthCheckKind::Tls, tls.clone()),
            (http(|_| {}), tls),
        ] {
            let told = reason(&probe(kind, target, PATIENT)).await;
            assert!(!told.contains(char::is_control) && told.chars().count() < 250, "{told:?}");
        }
    }
}

/// A peer that waits for no question.
async fn answering_at_once(answer: Vec<u8>) -> SocketAddr {
    let answer: Arc<[u8]> = answer.into();
    peer(move |mut socket| {
        let answer = answer.clone();
        async move {
            let _ = socket.write_all(&answer).await;
            let _ = socket.shutdown().await;
            linger(socket).await;
        }
    })
    .await
}
