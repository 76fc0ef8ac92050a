//! Slow clients: who is slow and steady is served, and who is slower than is allowed is cut.

#![cfg(test)]

use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};

use crate::support::{Backend, Balancer, Reply, assert_lasted, in_time};

const SIZE: u64 = 16 << 20;
const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n";
const BEAT: Duration = Duration::from_millis(50);

async fn large() -> Backend {
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {SIZE}\r\n\r\n");
    Backend::start(move |_| Reply::bytes(&head).fill(SIZE)).await
}

/// A balancer with these limits of HTTP, on a port and on a Unix socket.
async fn balancer(backend: &Backend, limits: &str, socket: &std::path::Path) -> Balancer {
    let yaml = format!(
        "listeners: [{{ address: 127.0.0.1:0, http: {{ {limits} }} }}, \
                     {{ address: \"unix:{}\", http: {{ {limits} }} }}]\n\
         upstreams: {{ web: {{ backends: [\"{}\"] }} }}",
        socket.display(),
        backend.url()
    );
    Balancer::start(&yaml).await
}

/// Reads so many bytes at each beat for this long, or to the end; how many there were.
async fn read_slowly(stream: &mut (impl AsyncRead + Unpin), bytes: usize, time: Duration) -> u64 {
    let (start, mut piece, mut all) = (Instant::now(), vec![0; bytes], 0);
    while start.elapsed() < time {
        match stream.read(&mut piece).await {
            Ok(count @ 1..) => all += count as u64,
            _ => break,
        }
        tokio::time::sleep(BEAT).await;
    }
    all
}

/// The event queue tells of room only once much of the system's buffer is free, and that takes longer than `send_timeout`.
#[tokio::test]
async fn a_client_that_never_stops_reading_is_not_cut() {
    async fn served(mut stream: impl AsyncRead + AsyncWrite + Unpin, bytes: usize) {
        stream.write_all(REQUEST).await.expect("taken");
        let mut all = read_slowly(&mut stream, bytes, Duration::from_secs(6)).await;
        let mut rest = Vec::new();
        all += in_time("rest", stream.read_to_end(&mut rest)).await.expect("the rest") as u64;
        assert!(all > SIZE, "{all} bytes");
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    let socket = folder.path().join("web.sock");
    let backend = large().await;
    let balancer = balancer(&backend, "send_timeout: 1s, min_send_rate: 10KiB/s", &socket).await;
    let tcp = TcpStream::connect(balancer.address()).await.expect("a connection");
    let unix = UnixStream::connect(&socket).await.expect("a connection");
    tokio::join!(served(tcp, 50_000), served(unix, 4_000));
    for record in balancer.log_lines(2).await {
        assert_eq!((&record["end"], &record["bytes_out"]), (&"ok".into(), &SIZE.into()));
    }
}

#[tokio::test]
async fn a_client_that_reads_more_slowly_than_is_allowed_is_cut() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let socket = folder.path().join("web.sock");
    let backend = large().await;
    let balancer = balancer(&backend, "send_timeout: 1s, min_send_rate: 10MiB/s", &socket).await;
    let mut tcp = TcpStream::connect(balancer.address()).await.expect("a connection");
    let mut unix = UnixStream::connect(&socket).await.expect("a connection");
    tcp.write_all(REQUEST).await.expect("taken");
    unix.write_all(REQUEST).await.expect("taken");
    let most = Duration::from_secs(20);
    let start = Instant::now();
    let read = async {
        tokio::join!(read_slowly(&mut tcp, 50_000, most), read_slowly(&mut unix, 4_000, most));
    };
    let records = async {
        let records = balancer.log_lines(2).await;
        (records, start.elapsed())
    };
    let (records, lasted) = tokio::select! {
        () = read => panic!("no client was cut"),
        records = records => records,
    };
    assert!(lasted > Duration::from_millis(900), "{lasted:?}");
    for record in records {
        assert_eq!((&record["end"], &record["status"]), (&"timeout=send".into(), &200.into()));
    }
    backend.until_all_closed().await;
}

#[tokio::test]
async fn a_body_that_comes_more_slowly_than_is_allowed_is_a_408() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let backend = Backend::saying("never").await;
    let limits = "body_timeout: 500ms, min_body_rate: 1KiB/s";
    let balancer = balancer(&backend, limits, &folder.path().join("web.sock")).await;
    for framing in ["Content-Length: 1000\r\n\r\n", "Transfer-Encoding: chunked\r\n\r\n"] {
        let mut client = balancer.client().await;
        client.send(format!("POST / HTTP/1.1\r\nHost: test\r\n{framing}")).await;
        let start = Instant::now();
        while client.is_quiet_for(BEAT).await {
            // Valid for both: a chunk of one byte.
            let _ = client.try_send("1\r\nx\r\n").await;
            assert!(start.elapsed() < Duration::from_secs(10), "never cut");
        }
        assert_eq!(client.response().await.status(), 408, "{framing}");
        assert_lasted("body", start.elapsed(), Duration::from_millis(500));
    }
    for record in balancer.log_lines(2).await {
        assert_eq!((&record["end"], &record["status"]), (&"timeout=body".into(), &408.into()));
    }
}
