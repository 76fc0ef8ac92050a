//! TCP, Unix sockets, TLS.

use rcgen::date_time_ymd;
use socket2::{Domain, Socket, Type};
use tokio::net::UnixListener;

use super::*;

const NAME: &str = "backend.test";

#[tokio::test]
async fn tcp_connects_to_who_listens() {
    let address = peer(linger).await;
    assert_eq!(probe(HealthCheckKind::Tcp, target(address), PATIENT).run().await, Ok(()));
}

#[tokio::test]
async fn nobody_refuses() {
    for kind in [HealthCheckKind::Tcp, http(|_| {}), grpc("")] {
        assert_eq!(reason(&probe(kind, target(nobody().await), PATIENT)).await, "refused");
    }
}

#[tokio::test]
async fn a_port_of_its_own_is_probed() {
    let (wrong, right) = (nobody().await, peer(linger).await);
    let mut check = check(HealthCheckKind::Tcp, PATIENT);
    check.port = Some(right.port());
    let probe = Probe::new(&check, target(wrong), None).expect("a probe");
    assert_eq!(probe.run().await, Ok(()));
    assert!(matches!(probe.target().address, Address::Tcp(address) if address == right));
}

#[tokio::test]
async fn a_full_queue_is_no_connection() {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    let any: SocketAddr = "127.0.0.1:0".parse().expect("an address");
    socket.bind(&any.into()).expect("a port");
    socket.listen(0).expect("a listener");
    let address = socket.local_addr().expect("an address").as_socket().expect("an IP address");
    let mut queued = Vec::new();
    while let Ok(socket) = std::net::TcpStream::connect_timeout(&address, Duration::from_millis(100)) {
        queued.push(socket);
        assert!(queued.len() < 100, "the queue has no end");
    }
    for kind in [HealthCheckKind::Tcp, http(|_| {}), grpc("")] {
        assert_eq!(reason(&probe(kind, target(address), SHORT)).await, "no connection within 200ms");
    }
}

#[tokio::test]
async fn unix_sockets_are_probed() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("backend");
    let target = Target { address: Address::Unix(path.clone()), ..target(nobody().await) };
    let probes = [HealthCheckKind::Tcp, http(|_| {})].map(|kind| probe(kind, target.clone(), PATIENT));
    for probe in &probes {
        assert_eq!(reason(probe).await, "no connection: no such socket");
    }
    let listener = UnixListener::bind(&path).expect("a socket");
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            tokio::spawn(async move {
                read_head(&mut socket).await;
                let _ = socket.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
            });
        }
    });
    for probe in &probes {
        assert_eq!(probe.run().await, Ok(()));
    }
}

#[tokio::test]
async fn a_dead_unix_socket_refuses() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("backend");
    drop(UnixListener::bind(&path).expect("a socket"));
    let target = Target { address: Address::Unix(path), ..target(nobody().await) };
    assert_eq!(reason(&probe(HealthCheckKind::Tcp, target, PATIENT)).await, "refused");
}

#[tokio::test]
async fn tls_shakes_hands_with_whom_it_trusts() {
    let pair = certified(NAME, |_| {});
    let (ended, mut ends) = tokio::sync::mpsc::channel(1);
    let address = secure(pair.config, move |mut stream| {
        let ended = ended.clone();
        // An end without an error only if the client said that it closes.
        async move {
            ended.send(stream.read(&mut [0]).await.map_err(|error| error.to_string())).await.expect("open")
        }
    })
    .await;
    let target = over_tls(address, NAME, Some(pair.authority));
    assert_eq!(probe(HealthCheckKind::Tls, target, PATIENT).run().await, Ok(()));
    assert_eq!(ends.recv().await, Some(Ok(0)));
}

#[tokio::test]
async fn an_address_can_be_the_name() {
    let pair = certified("127.0.0.1", |_| {});
    let address = secure(pair.config, linger).await;
    let target = over_tls(address, "127.0.0.1", Some(pair.authority));
    assert_eq!(probe(HealthCheckKind::Tls, target, PATIENT).run().await, Ok(()));
}

#[tokio::test]
async fn an_underscore_matches_as_for_requests() {
    let pair = certified("*.backend.test", |_| {});
    let address = secure(pair.config, linger).await;
    let target = over_tls(address, "my_service.backend.test", Some(pair.authority));
    assert_eq!(probe(HealthCheckKind::Tls, target, PATIENT).run().await, Ok(()));
}

#[tokio::test]
async fn a_wrong_certificate_is_told_and_may_be_ignored() {
    let old = |params: &mut CertificateParams| params.not_after = date_time_ymd(2020, 1, 1);
    let early = |params: &mut CertificateParams| params.not_before = date_time_ymd(4000, 1, 1);
    let (other, plain) = (certified("other.test", |_| {}), certified(NAME, |_| {}));
    let (old, early) = (certified(NAME, old), certified(NAME, early));
    let stranger = certified_by("a stranger", NAME, |_| {}).authority;
    let namesake = certified(NAME, |_| {}).authority;
    let cases = [
        (other.config, Some(other.authority), "certificate: not valid for name backend.test"),
        (plain.config.clone(), Some(stranger), "certificate: unknown authority"),
        (plain.config.clone(), Some(namesake), "certificate: not signed by the authority it names"),
        (plain.config, None, "certificate: unknown authority"),
        (old.config, Some(old.authority), "certificate: expired"),
        (early.config, Some(early.authority), "certificate: not valid yet"),
    ];
    for (config, authority, expected) in cases {
        let address = secure(config, linger).await;
        let target = over_tls(address, NAME, authority);
        for kind in [HealthCheckKind::Tls, http(|_| {}), grpc("")] {
            assert_eq!(reason(&probe(kind, target.clone(), PATIENT)).await, expected);
        }
        let probe = probe(HealthCheckKind::Tls, unverified(target), PATIENT);
        assert_eq!(probe.run().await, Ok(()), "unverified: {expected}");
    }
}

#[tokio::test]
async fn what_is_no_tls_is_told() {
    let pair = certified(NAME, |_| {});
    let cases = [
        (peer(linger).await, SHORT, "no TLS session within 200ms"),
        (peer(|socket| async { drop(socket) }).await, PATIENT, "TLS: connection closed in the handshake"),
    ];
    for (address, timeout, expected) in cases {
        let target = over_tls(address, NAME, Some(pair.authority.clone()));
        let told = reason(&probe(HealthCheckKind::Tls, target, timeout)).await;
        // A peer that closes with something unread resets.
        assert!(told == expected || told == "connection broken: reset", "{told}, not {expected}");
    }
    let address = peer(|mut socket| async move {
        let _ = socket.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        linger(socket).await;
    })
    .await;
    let target = over_tls(address, NAME, Some(pair.authority));
    assert_eq!(reason(&probe(HealthCheckKind::Tls, target, PATIENT)).await, "not TLS");
}
