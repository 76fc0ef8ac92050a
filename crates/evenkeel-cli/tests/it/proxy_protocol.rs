//! PROXY headers from clients: whose are believed, what they are, and that they are gone before anything else is read. And those
//! that backends receive.

#![cfg(test)]

use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

use crate::support::http2::PREFACE;
use crate::support::samples::Samples;
use crate::support::tls::TEST_NAME;
use crate::support::{Authority, Backend, Balancer, Client, PATIENCE, TlsClient};

const TEXT: &[u8] = b"PROXY TCP4 192.0.2.7 192.0.2.1 4711 443\r\n";
const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
const IPV4: &[u8] = &[192, 0, 2, 7, 192, 0, 2, 1, 0x12, 0x67, 1, 187];
/// The result of a connection that is not served.
const CLOSED: &str = "closed";

/// A header of version 2.
fn binary(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
    let length = u16::try_from(rest.len()).expect("a length").to_be_bytes();
    [SIGNATURE, &[command, family], &length, rest].concat()
}

/// A balancer that trusts 127.0.0.1, and its client over TLS if it speaks that.
struct Bench {
    balancer: Balancer,
    backend: Backend,
    tls: Option<TlsClient>,
    /// The certificate that vouches for its own, as PEM.
    authority: String,
    folder: tempfile::TempDir,
}

impl Bench {
    async fn start(mode: &str, over_tls: bool, more: &str) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let backend = Backend::saying("hello").await;
        let authority = Authority::new(folder.path());
        let pair = authority.pair("own", &[TEST_NAME]);
        let tls =
            if over_tls { format!(", tls: {{ certificates: [{}] }}", pair.yaml()) } else { String::new() };
        let yaml = format!(
            "listeners: [{{ address: 127.0.0.1:0, proxy_protocol: {{ mode: {mode}, trusted: [127.0.0.1]{more} }}{tls} }}]\n\
             upstreams: {{ web: {{ backends: [\"{}\"] }} }}",
            backend.url()
        );
        let balancer = Balancer::start(&yaml).await;
        Self {
            balancer,
            backend,
            tls: over_tls.then(|| authority.client()),
            authority: authority.pem(),
            folder,
        }
    }

    /// The client of a request as the record and the backend have it, after these first bytes in these pieces; or `closed`.
    async fn client_after(&self, from: &str, pieces: &[&[u8]], target: &str) -> String {
        let mut stream = self.connect(from).await;
        for piece in pieces {
            if stream.write_all(piece).await.is_err() {
                return CLOSED.to_owned();
            }
            tokio::task::yield_now().await;
        }
        let mut client = match &self.tls {
            None => Client::over(Box::new(stream)),
            Some(tls) => match tls.over(stream, TEST_NAME).await {
                Ok(stream) => Client::over(Box::new(stream)),
                Err(_) => return CLOSED.to_owned(),
            },
        };
        let request = format!("GET {target} HTTP/1.1\r\nHost: test\r\n\r\n");
        if client.try_send(request).await.is_err() {
            return CLOSED.to_owned();
        }
        match client.try_response_to("GET").await {
            Ok(response) if response.status() == 200 => {}
            Ok(response) => return response.status().to_string(),
            Err(_) => return CLOSED.to_owned(),
        }
        let record = self.balancer.log_line_of(target).await;
        let client = record["client"].as_str().expect("an address").to_owned();
        assert_eq!(self.backend.last_request().header("x-forwarded-for"), Some(&*client));
        client
    }

    async fn connect(&self, from: &str) -> TcpStream {
        let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
        socket.bind(format!("{from}:0").parse().expect("an address")).expect("an address of the machine");
        let stream = socket.connect(self.balancer.address()).await.expect("the balancer accepts");
        stream.set_nodelay(true).expect("a TCP option");
        stream
    }

    async fn failures(&self, cause: &str) -> f64 {
        let samples = Samples::parse(&self.balancer.metrics().await);
        samples.sum("evenkeel_proxy_protocol_failures_total", &[("cause", cause)])
    }

    async fn until_failures(&self, cause: &str, count: f64) {
        let start = Instant::now();
        while self.failures(cause).await != count {
            assert!(start.elapsed() < PATIENCE, "{count} times {cause}: {}", self.failures(cause).await);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

/// What a connection begins with, and the client it is then served for, by the mode: optional, required.
fn table() -> Vec<(Vec<u8>, [&'static str; 2])> {
    let v6 =
        [&[0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7][..], &[0; 16], &[0, 80, 1, 187]].concat();
    let tlvs = [IPV4, &[1, 0, 2, b'h', b'2'], &[2, 0, 4], b"test", &[4, 0, 0]].concat();
    let large = [IPV4, &[4, 0x10, 0], &[0; 0x1000]].concat();
    let (client, proxy) = ("192.0.2.7", "127.0.0.1");
    vec![
        (TEXT.to_vec(), [client; 2]),
        (b"PROXY TCP6 2001:db8::7 ::1 4711 443\r\n".to_vec(), ["2001:db8::7"; 2]),
        (b"PROXY TCP6 ::ffff:192.0.2.7 ::1 4711 443\r\n".to_vec(), [client; 2]),
        (b"PROXY UNKNOWN\r\n".to_vec(), [proxy; 2]),
        (b"PROXY TCP4 192.0.2.7 192.0.2.1 4711\r\n".to_vec(), [CLOSED; 2]),
        ([b"PROXY UNKNOWN ".as_slice(), &[b'x'; 200]].concat(), [CLOSED; 2]),
        (binary(0x21, 0x11, IPV4), [client; 2]),
        (binary(0x21, 0x21, &v6), ["2001:db8::7"; 2]),
        (binary(0x21, 0x11, &tlvs), [client; 2]),
        (binary(0x20, 0x00, &[]), [proxy; 2]),
        (binary(0x20, 0x11, IPV4), [proxy; 2]),
        (binary(0x21, 0x00, &[]), [proxy; 2]),
        (binary(0x21, 0x31, &[b'x'; 216]), [proxy; 2]),
        (binary(0x21, 0x11, &IPV4[..7]), [CLOSED; 2]),
        (binary(0x21, 0x11, &[IPV4, &[4, 9, 9]].concat()), [CLOSED; 2]),
        (binary(0x21, 0x11, &large), [CLOSED; 2]),
        (Vec::new(), [proxy, CLOSED]),
    ]
}

#[tokio::test]
async fn a_header_of_a_trusted_proxy_says_who_the_client_is() {
    for over_tls in [false, true] {
        for (column, mode) in ["optional", "required"].into_iter().enumerate() {
            let bench = Bench::start(mode, over_tls, "").await;
            for (number, (header, clients)) in table().iter().enumerate() {
                let target = format!("/{number}");
                let client = bench.client_after("127.0.0.1", &[header], &target).await;
                let shown = String::from_utf8_lossy(header);
                assert_eq!(client, clients[column], "{mode}, TLS: {over_tls}, {shown:?}");
            }
            let missing = if mode == "required" { 1.0 } else { 0.0 };
            for (cause, count) in
                [("malformed", 3.0), ("too_large", 2.0), ("missing", missing), ("untrusted", 0.0)]
            {
                assert_eq!(bench.failures(cause).await, count, "{mode}, TLS: {over_tls}, {cause}");
            }
        }
    }
}

#[tokio::test]
async fn a_header_of_anyone_else_is_rejected() {
    for over_tls in [false, true] {
        let bench = Bench::start("optional", over_tls, "").await;
        for header in [TEXT, &binary(0x21, 0x11, IPV4), &binary(0x20, 0x00, &[])] {
            assert_eq!(bench.client_after("127.0.0.2", &[header], "/").await, CLOSED);
        }
        assert_eq!(bench.client_after("127.0.0.2", &[], "/none").await, "127.0.0.2");
        assert_eq!(bench.failures("untrusted").await, 3.0);
        let bench = Bench::start("required", over_tls, "").await;
        for header in [TEXT, b"".as_slice()] {
            assert_eq!(bench.client_after("127.0.0.2", &[header], "/").await, CLOSED);
        }
        assert_eq!(bench.failures("untrusted").await, 2.0);
        assert_eq!(bench.backend.count(), 0);
    }
}

#[tokio::test]
async fn a_header_can_come_in_pieces_and_with_what_follows() {
    let bench = Bench::start("required", false, "").await;
    for (number, header) in [TEXT.to_vec(), binary(0x21, 0x11, IPV4)].into_iter().enumerate() {
        let bytes: Vec<&[u8]> = header.chunks(1).collect();
        let target = format!("/pieces/{number}");
        assert_eq!(bench.client_after("127.0.0.1", &bytes, &target).await, "192.0.2.7");
        let mut stream = bench.connect("127.0.0.1").await;
        let request = "GET /first HTTP/1.1\r\nHost: test\r\n\r\nGET /second HTTP/1.1\r\nHost: test\r\n\r\n";
        stream.write_all(&[&header, request.as_bytes()].concat()).await.expect("taken");
        let mut client = Client::over(Box::new(stream));
        assert_eq!((client.response().await.status(), client.response().await.status()), (200, 200));
    }
    // A part of what could be a header, and is a request after all.
    let optional = Bench::start("optional", false, "").await;
    let mut client = Client::over(Box::new(optional.connect("127.0.0.1").await));
    for part in ["P", "OST / HTTP/1.1\r\nHost: test\r\nContent-Length: 0\r\n\r\n"] {
        client.send(part).await;
        tokio::task::yield_now().await;
    }
    assert_eq!(client.response_to("POST").await.status(), 200);
    // A second header is no header.
    assert_eq!(bench.client_after("127.0.0.1", &[TEXT, TEXT], "/").await, "400");
}

#[tokio::test]
async fn http2_without_tls_can_follow_a_header() {
    let backend = Backend::saying("hello").await;
    let yaml = format!(
        "listeners: [{{ address: 127.0.0.1:0, proxy_protocol: {{ mode: required, trusted: [127.0.0.1] }}, http: {{ h2c: true }} }}]\n\
         upstreams: {{ web: {{ backends: [\"{}\"] }} }}",
        backend.url()
    );
    let balancer = Balancer::start(&yaml).await;
    let mut client = balancer.client().await;
    client.send([TEXT, PREFACE].concat()).await;
    assert!(!client.bytes(9).await.starts_with(b"HTTP"), "a frame of HTTP/2");
}

#[tokio::test]
async fn a_header_that_does_not_come_ends_the_connection() {
    let bench = Bench::start("required", false, ", timeout: 200ms").await;
    for part in [b"".as_slice(), b"PROXY TCP4 192.0", SIGNATURE] {
        let mut client = Client::over(Box::new(bench.connect("127.0.0.1").await));
        client.send(part).await;
        assert_eq!(client.closed().await, b"");
    }
    assert_eq!(bench.failures("timeout").await, 3.0);
    for part in [b"".as_slice(), b"PROXY TCP4 192.0", SIGNATURE] {
        let mut stream = bench.connect("127.0.0.1").await;
        stream.write_all(part).await.expect("taken");
        stream.shutdown().await.expect("half a close");
        assert_eq!(Client::over(Box::new(stream)).closed().await, b"");
    }
    bench.until_failures("client_left", 3.0).await;
    // Where it is optional, a client that is slow to speak is served, and one that stops within a header is not.
    let bench = Bench::start("optional", false, ", timeout: 100ms").await;
    let mut silent = Client::over(Box::new(bench.connect("127.0.0.1").await));
    let mut slow = Client::over(Box::new(bench.connect("127.0.0.1").await));
    slow.send("PROXY").await;
    assert_eq!(slow.closed().await, b"");
    assert_eq!(silent.get("/").await.status(), 200);
}

#[tokio::test]
async fn the_client_of_the_header_has_the_limit_of_connections() {
    let backend = Backend::saying("hello").await;
    let yaml = format!(
        "listeners: [{{ address: 127.0.0.1:0, max_connections_per_client: 2, proxy_protocol: {{ mode: required, trusted: [127.0.0.1] }} }}]\n\
         upstreams: {{ web: {{ backends: [\"{}\"] }} }}",
        backend.url()
    );
    let balancer = Balancer::start(&yaml).await;
    let of = async |ip: &str| {
        let mut client = balancer.client().await;
        client.send(format!("PROXY TCP4 {ip} 192.0.2.1 4711 80\r\n")).await;
        client.is_reusable().await.then_some(client)
    };
    let mut open = Vec::new();
    for ip in ["192.0.2.7", "192.0.2.7", "192.0.2.8", "192.0.2.8"] {
        open.push(of(ip).await.expect("within the limit"));
    }
    assert!(of("192.0.2.7").await.is_none());
    // The proxy itself has no limit.
    for _ in 0..4 {
        let mut client = balancer.client().await;
        client.send("PROXY UNKNOWN\r\n").await;
        assert!(client.is_reusable().await);
        open.push(client);
    }
    drop(open);
    let start = Instant::now();
    while of("192.0.2.7").await.is_none() {
        assert!(start.elapsed() < PATIENCE, "the places are free again");
    }
}

/// HAProxy with this configuration; `None` if it is not installed.
fn haproxy(folder: &Path, config: &str) -> Option<Child> {
    let program = ["/usr/sbin/haproxy", "/usr/local/sbin/haproxy", "/usr/bin/haproxy"];
    let Some(program) = program.iter().map(Path::new).find(|path| path.exists()) else {
        eprintln!("skipped: haproxy is not installed");
        return None;
    };
    let file = folder.join("haproxy.cfg");
    std::fs::write(&file, config).expect("a file");
    let mut command = Command::new(program);
    command.arg("-db").arg("-f").arg(file).kill_on_drop(true);
    Some(command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().expect("it starts"))
}

fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("its address").port()
}

#[tokio::test]
async fn headers_of_haproxy_are_understood() {
    for (over_tls, how) in [
        (false, "send-proxy"),
        (false, "send-proxy-v2"),
        (true, "send-proxy-v2-ssl-cn"),
        (true, "send-proxy"),
    ] {
        let bench = Bench::start("required", over_tls, "").await;
        let (port, folder) = (free_port(), tempfile::tempdir().expect("a temporary folder"));
        let config = format!(
            "defaults\n mode tcp\n timeout connect 5s\n timeout client 5s\n timeout server 5s\n\
             frontend in\n bind 127.0.0.1:{port}\n default_backend out\n\
             backend out\n server one {} {how}\n",
            bench.balancer.address()
        );
        let Some(_haproxy) = haproxy(folder.path(), &config) else { return };
        let start = Instant::now();
        let stream = loop {
            let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
            socket.bind("127.0.0.3:0".parse().expect("an address")).expect("an address of the machine");
            match socket.connect(([127, 0, 0, 1], port).into()).await {
                Ok(stream) => break stream,
                Err(error) => assert!(start.elapsed() < PATIENCE, "haproxy: {error}"),
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        };
        let mut client = match &bench.tls {
            None => Client::over(Box::new(stream)),
            Some(tls) => Client::over(Box::new(tls.over(stream, TEST_NAME).await.expect("a handshake"))),
        };
        assert_eq!(client.get("/").await.status(), 200, "{how}");
        assert_eq!(bench.balancer.log_line_of("/").await["client"], "127.0.0.3", "{how}");
    }
}

/// A balancer in front of this backend that sends headers of this version. It checks the backend's health with them.
async fn sender(version: &str, backend: &str, more: &str) -> Balancer {
    let yaml = format!(
        "upstreams: {{ web: {{ backends: [\"{backend}\"], proxy_protocol: {version}{more}, \
         health_check: {{ http: {{ path: /health }}, interval: 100ms, start: down }} }} }}"
    );
    let balancer = Balancer::start(&format!("listeners: [{{ address: 127.0.0.1:0 }}]\n{yaml}")).await;
    let start = Instant::now();
    while balancer.get("/").await.status() != 200 {
        assert!(start.elapsed() < PATIENCE, "the health check with a header of {version}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    balancer
}

#[tokio::test]
async fn backends_learn_the_client_of_each_connection() {
    for over_tls in [false, true] {
        for version in ["v1", "v2"] {
            let receiver = Bench::start("required", over_tls, "").await;
            let address = receiver.balancer.address();
            let ca = receiver.folder.path().join("ca.pem");
            std::fs::write(&ca, &receiver.authority).expect("a file");
            let (url, tls) = match over_tls {
                false => (format!("http://{address}"), String::new()),
                true => (
                    format!("https://{address}"),
                    format!(", tls: {{ ca: {}, server_name: {TEST_NAME} }}", ca.display()),
                ),
            };
            let sender = sender(version, &url, &tls).await;
            let mut clients = Vec::new();
            for last in 5..9 {
                let ip = format!("127.0.0.{last}");
                let from = ip.parse().expect("an address");
                clients.push((ip, Client::connect_from(from, sender.address()).await));
            }
            for round in 0..3 {
                for (ip, client) in &mut clients {
                    let target = format!("/{ip}/{round}");
                    assert_eq!(client.get(&target).await.status(), 200, "{version}, TLS: {over_tls}");
                    let record = receiver.balancer.log_line_of(&target).await;
                    assert_eq!(record["client"], ip.as_str(), "{version}, TLS: {over_tls}");
                }
            }
            // Probes name no client.
            assert_eq!(receiver.balancer.log_line_of("/health").await["client"], "127.0.0.1");
            for cause in ["missing", "malformed", "untrusted", "timeout"] {
                assert_eq!(receiver.failures(cause).await, 0.0, "{version}, TLS: {over_tls}, {cause}");
            }
        }
    }
}

#[tokio::test]
async fn haproxy_understands_our_headers() {
    for version in ["v1", "v2"] {
        let (port, folder) = (free_port(), tempfile::tempdir().expect("a temporary folder"));
        let config = format!(
            "defaults\n mode http\n timeout connect 5s\n timeout client 5s\n timeout server 5s\n\
             frontend in\n bind 127.0.0.1:{port} accept-proxy\n \
             http-request return status 200 content-type text/plain lf-string \"%[src]:%[src_port]\"\n"
        );
        let Some(_haproxy) = haproxy(folder.path(), &config) else { return };
        let sender = sender(version, &format!("http://127.0.0.1:{port}"), "").await;
        let mut client =
            Client::connect_from("127.0.0.7".parse().expect("an address"), sender.address()).await;
        let seen = client.get("/").await.text();
        assert!(seen.starts_with("127.0.0.7:"), "{version}: {seen}");
        assert_eq!(client.get("/").await.text(), seen, "the port of the client's connection");
    }
}
