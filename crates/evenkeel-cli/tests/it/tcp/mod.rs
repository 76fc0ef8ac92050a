//! Listeners with `protocol: tcp`: bytes are carried as they are.

#![cfg(test)]

mod backends;
mod real;
mod routing;
mod transfer;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use self::backends::{Front, Peer, WAYS, Way, greet, read, read_all};
use crate::support::{Balancer, ClosedPort, assert_lasted, eventually, in_time};

#[tokio::test]
async fn bytes_come_back_and_the_record_counts_them() {
    for way in WAYS {
        let echo = Peer::echo().await;
        let front = Front::start(way, &[echo.url()], "", "").await;
        let mut client = front.connect().await;
        client.write_all(b"ping").await.unwrap();
        client.flush().await.unwrap();
        assert_eq!(read(&mut client, 4).await, "ping");
        client.shutdown().await.unwrap();
        assert_eq!(read_all(&mut client).await, "");
        let record = front.balancer.log_line().await;
        let expected = [("end", "ok"), ("protocol", "TCP"), ("upstream", "db"), ("client", "127.0.0.1")];
        for (field, value) in expected {
            assert_eq!(record[field], value, "{way:?}: {record}");
        }
        assert_eq!((&record["bytes_in"], &record["bytes_out"]), (&4.into(), &4.into()), "{record}");
        assert_eq!((record["backend"].as_str(), &record["attempts"]), (Some(&*echo.url()), &1.into()));
        assert_eq!(record["tls_version"].as_str(), (way == Way::Tls).then_some("TLSv1.3"), "{record}");
        let listener = front.balancer.address();
        let metrics = front.balancer.metrics().await;
        for line in [
            format!("evenkeel_tcp_connections_total{{listener=\"{listener}\",end=\"ok\"}} 1"),
            format!("evenkeel_tcp_received_bytes_total{{listener=\"{listener}\"}} 4"),
            format!("evenkeel_tcp_sent_bytes_total{{listener=\"{listener}\"}} 4"),
        ] {
            assert!(metrics.contains(&line), "{line}:\n{metrics}");
        }
    }
}

#[tokio::test]
async fn a_server_can_speak_first() {
    for way in WAYS {
        let backend = Peer::named("hello").await;
        let front = Front::start(way, &[backend.url()], "", "").await;
        let mut client = front.connect().await;
        assert_eq!(read(&mut client, 5).await, "hello", "{way:?}");
    }
}

#[tokio::test]
async fn a_client_that_has_said_all_still_gets_the_response() {
    for way in WAYS {
        let backend = Peer::start(|mut stream| {
            Box::pin(async move {
                let said = read_all(&mut stream).await;
                stream.write_all(format!("{said} and all").as_bytes()).await.unwrap();
            })
        });
        let backend = backend.await;
        let front = Front::start(way, &[backend.url()], "", "").await;
        let mut client = front.connect().await;
        client.write_all(b"this").await.unwrap();
        client.shutdown().await.unwrap();
        assert_eq!(read_all(&mut client).await, "this and all", "{way:?}");
        assert_eq!(front.balancer.log_line().await["end"], "ok");
    }
}

#[tokio::test]
async fn a_backend_that_has_said_all_still_gets_the_rest() {
    for way in WAYS {
        let (sender, mut received) = mpsc::channel(1);
        let backend = Peer::start(move |mut stream| {
            let sender = sender.clone();
            Box::pin(async move {
                stream.write_all(b"bye").await.unwrap();
                stream.shutdown().await.unwrap();
                sender.send(read_all(&mut stream).await).await.unwrap();
            })
        });
        let backend = backend.await;
        let front = Front::start(way, &[backend.url()], "", "").await;
        let mut client = front.connect().await;
        assert_eq!(read_all(&mut client).await, "bye");
        client.write_all(b"not yet").await.unwrap();
        client.shutdown().await.unwrap();
        assert_eq!(in_time("the rest", received.recv()).await.as_deref(), Some("not yet"), "{way:?}");
        assert_eq!(front.balancer.log_line().await["end"], "ok");
    }
}

#[tokio::test]
async fn a_reset_is_passed_on_as_a_reset() {
    let (sender, mut received) = mpsc::channel(1);
    let backend = Peer::start(move |mut stream| {
        let sender = sender.clone();
        Box::pin(async move {
            let said = read(&mut stream, 4).await;
            if said == "quit" {
                stream.set_zero_linger().unwrap();
                return;
            }
            let end = stream.read(&mut [0; 1]).await;
            sender.send(end.map_err(|error| error.kind())).await.unwrap();
        })
    })
    .await;
    let front = Front::start(Way::Plain, &[backend.url()], "", "").await;
    let mut client = front.connect().await;
    client.write_all(b"quit").await.unwrap();
    let end = in_time("the reset", client.read(&mut [0; 1])).await;
    assert_eq!(end.unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
    let record = front.balancer.log_line().await;
    assert_eq!(
        (&record["end"], &record["error"]),
        (&"backend_left".into(), &"connection reset by the backend".into())
    );

    let mut client = TcpStream::connect(front.balancer.address()).await.unwrap();
    client.write_all(b"stay").await.unwrap();
    eventually(Duration::from_secs(5), || backend.accepted() == 2).await;
    // The backend has the bytes before the reset drops them.
    client.flush().await.unwrap();
    eventually(Duration::from_secs(5), || front.balancer.records().len() == 1).await;
    tokio::task::yield_now().await;
    client.set_zero_linger().unwrap();
    drop(client);
    if let Some(end) = in_time("the backend's end", received.recv()).await {
        assert_eq!(end, Err(std::io::ErrorKind::ConnectionReset));
    }
    assert_eq!(front.balancer.log_lines(2).await[1]["end"], "client_left");
}

#[tokio::test]
async fn a_connection_that_reached_no_backend_moves_on() {
    let (closed, named) = (ClosedPort::new(), Peer::named("hello").await);
    // It accepts, and closes before a byte has passed.
    let closer = Peer::start(|stream| Box::pin(async move { drop(stream) })).await;
    let backends = [format!("tcp://{}", closed.address), closer.url(), named.url()];
    let front = Front::start(Way::Plain, &backends, "", "").await;
    for _ in 0..3 {
        let mut client = front.connect().await;
        assert_eq!(read(&mut client, 5).await, "hello");
    }
    let status = front.balancer.status().await;
    assert!(status["upstreams"][0]["backends"][0]["connect_failures"].as_u64() >= Some(1), "{status}");
}

#[tokio::test]
async fn a_connection_that_no_backend_takes_is_closed_and_says_why() {
    let closed = ClosedPort::new();
    let front = Front::start(Way::Plain, &[format!("tcp://{}", closed.address)], "", "").await;
    let mut client = front.connect().await;
    assert_eq!(in_time("the end", client.read(&mut [0; 1])).await.unwrap(), 0);
    let record = front.balancer.log_line().await;
    assert_eq!(
        (&record["end"], &record["error"]),
        (&"refused=unreachable".into(), &"connection refused".into())
    );
}

/// The backend waits for nothing and greets, so that a client knows that its connection has reached a process.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backend_that_is_killed_every_100_ms_loses_no_new_connection() {
    let steady = Peer::named("!").await;
    let address = {
        let first = Peer::named("!").await;
        first.address
    };
    let front = Front::start(Way::Plain, &[format!("tcp://{address}"), steady.url()], "", "").await;
    let over = Arc::new(AtomicBool::new(false));
    let killing = tokio::spawn({
        let over = over.clone();
        async move {
            let mut kills = 0;
            while !over.load(SeqCst) {
                let peer = rebound(address).await;
                tokio::time::sleep(Duration::from_millis(100)).await;
                drop(peer);
                kills += 1;
            }
            kills
        }
    });
    let begun = Instant::now();
    let mut connections = 0;
    while begun.elapsed() < Duration::from_secs(2) {
        let mut client = front.connect().await;
        assert_eq!(read(&mut client, 1).await, "!", "connection {connections}");
        connections += 1;
    }
    over.store(true, SeqCst);
    let kills = in_time("the end", killing).await.unwrap();
    assert!(kills >= 5 && connections >= 50, "{kills} kills, {connections} connections");
}

/// A backend on an address that had one a moment ago.
async fn rebound(address: SocketAddr) -> Peer {
    loop {
        // The one before is closed by its task, which may still have to run.
        match TcpListener::bind(address).await {
            Ok(listener) => return Peer::over(listener, |stream| Box::pin(greet("!", stream))),
            Err(_) => tokio::time::sleep(Duration::from_millis(1)).await,
        }
    }
}

#[tokio::test]
async fn a_silent_connection_is_closed_after_the_idle_timeout() {
    for way in WAYS {
        let echo = Peer::echo().await;
        let front = Front::start(way, &[echo.url()], "idle_timeout: 300ms", "").await;
        let mut client = front.connect().await;
        // The last byte moves after this, and the client has it later still.
        let begun = Instant::now();
        client.write_all(b"x").await.unwrap();
        client.flush().await.unwrap();
        assert_eq!(read(&mut client, 1).await, "x");
        let end = in_time("the end", client.read(&mut [0; 1])).await;
        assert!(!matches!(end, Ok(1..)), "{end:?}");
        assert_lasted("idle_timeout", begun.elapsed(), Duration::from_millis(300));
        assert_eq!(front.balancer.log_line().await["end"], "timeout=idle", "{way:?}");
    }
}

#[tokio::test]
async fn connections_that_are_open_outlive_a_drain_until_its_timeout() {
    let echo = Peer::echo().await;
    let yaml = |address: &str| {
        format!(
            "shutdown: {{ drain_timeout: 500ms }}\n\
             listeners: [{{ address: {address}, protocol: tcp }}]\n\
             upstreams: {{ db: {{ backends: [\"{}\"] }} }}",
            echo.url()
        )
    };
    let balancer = Balancer::start(&yaml("127.0.0.1:0")).await;
    let address = balancer.address();
    let mut client = TcpStream::connect(address).await.unwrap();
    client.write_all(b"a").await.unwrap();
    assert_eq!(read(&mut client, 1).await, "a");
    // A listener that is removed drains, as all of them do at SIGTERM.
    balancer.reload(&yaml("127.0.0.2:0")).await.unwrap();
    let begun = Instant::now();
    client.write_all(b"b").await.unwrap();
    assert_eq!(read(&mut client, 1).await, "b");
    eventually(Duration::from_secs(5), || std::net::TcpStream::connect(address).is_err()).await;
    let end = in_time("the end", client.read(&mut [0; 1])).await;
    assert!(!matches!(end, Ok(1..)), "{end:?}");
    assert_lasted("drain_timeout", begun.elapsed(), Duration::from_millis(500));
    // A connection that was tried before the listener closed has a record, too.
    let recorded = async {
        while !balancer.log_lines(1).await.iter().any(|record| record["end"] == "refused=shutting_down") {
            tokio::task::yield_now().await;
        }
    };
    in_time("the record", recorded).await;
}

#[tokio::test]
async fn connections_beyond_the_limits_are_closed_or_wait() {
    let echo = Peer::echo().await;
    let listener = "max_connections_per_client: 2, tcp: { upstream: db }";
    let upstream = format!(
        "upstreams: {{ db: {{ max_connections: 1, queue: {{ max_pending: 1, timeout: 5s }}, backends: [\"{}\"] }} }}",
        echo.url()
    );
    let front = Front::with(Way::Plain, listener, &upstream).await;
    let mut first = front.connect().await;
    first.write_all(b"1").await.unwrap();
    assert_eq!(read(&mut first, 1).await, "1");
    let mut second = front.connect().await;
    second.write_all(b"2").await.unwrap();
    let mut third = front.connect().await;
    assert!(
        !matches!(in_time("the end", third.read(&mut [0; 1])).await, Ok(1..)),
        "above the client's limit"
    );
    assert_eq!(echo.accepted(), 1, "the second one waits for room");
    drop(first);
    assert_eq!(read(&mut second, 1).await, "2");
}

#[tokio::test]
async fn a_reload_changes_where_new_connections_go_and_leaves_open_ones_alone() {
    let (one, two) = (Peer::named("one").await, Peer::named("two").await);
    let yaml = |backend: &Peer, idle: &str| {
        format!(
            "listeners: [{{ address: 127.0.0.1:0, protocol: tcp, tcp: {{ idle_timeout: {idle} }} }}]\n\
             upstreams: {{ db: {{ backends: [\"{}\"] }} }}",
            backend.url()
        )
    };
    let balancer = Balancer::start(&yaml(&one, "1h")).await;
    let mut old = TcpStream::connect(balancer.address()).await.unwrap();
    assert_eq!(read(&mut old, 3).await, "one");
    let changes = balancer.reload(&yaml(&two, "300ms")).await.unwrap();
    assert!(changes.iter().any(|change| change.contains("tcp.idle_timeout")), "{changes:?}");
    let mut new = TcpStream::connect(balancer.address()).await.unwrap();
    assert_eq!(read(&mut new, 3).await, "two");
    assert!(!matches!(in_time("the end", new.read(&mut [0; 1])).await, Ok(1..)), "its new idle_timeout");
    old.write_all(b"on").await.unwrap();
    assert_eq!(read(&mut old, 2).await, "on");
}
