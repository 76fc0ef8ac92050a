//! Backends from real systems: BIND, dnsmasq and Consul. A system that is not installed is skipped, and the test says so.

use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use tokio::io::AsyncWriteExt;
use tokio::process::{Child, Command};

use super::load::Load;
use super::{replace, until_backends, until_shown, upstream};
use crate::support::{Backend, Balancer, PATIENCE, Reply, eventually, get, in_time, send};

/// A program that a test starts. Dropping it kills it.
struct Daemon {
    _child: Child,
}

/// The secret of dynamic updates.
const SECRET: &str = "c2VjcmV0LXNlY3JldC1zZWNyZXQ=";

/// The path of a program; `None` if it is not installed, which the test then says.
fn installed(name: &str, variable: &str) -> Option<PathBuf> {
    if let Some(path) = std::env::var_os(variable) {
        return Some(path.into());
    }
    let places = ["/usr/sbin", "/usr/bin", "/usr/local/bin", "/sbin"];
    let found = places.iter().map(|folder| Path::new(folder).join(name)).find(|path| path.exists());
    if found.is_none() {
        eprintln!("skipped: {name} is not installed; {variable} may name it");
    }
    found
}

/// How long a system is gone, besides what a test needs to see that: `EVENKEEL_OUTAGE` in seconds, for a run by hand.
fn outage() -> Duration {
    let seconds = std::env::var_os("EVENKEEL_OUTAGE").and_then(|text| text.to_str()?.parse().ok());
    Duration::from_secs(seconds.unwrap_or(0))
}

/// As many requests as are sent while a system is gone, and at least so many.
fn served(least: usize) -> usize {
    least.max(outage().as_secs() as usize * 1_000)
}

/// A port that is free for TCP and UDP.
fn free_port() -> u16 {
    loop {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("its address").port();
        if UdpSocket::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

// === impl Daemon ===

impl Daemon {
    fn start(program: &Path, arguments: &[&str]) -> Self {
        let mut command = Command::new(program);
        command.args(arguments).kill_on_drop(true);
        // A test that fails shows what it printed.
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::inherit()).spawn();
        Self { _child: child.expect("it starts") }
    }

    async fn stop(mut self) {
        self._child.kill().await.expect("it is killed");
    }
}

/// BIND with a zone `test` that can be updated.
struct Bind {
    named: PathBuf,
    nsupdate: PathBuf,
    folder: tempfile::TempDir,
    port: u16,
    daemon: Option<Daemon>,
}

// === impl Bind ===

impl Bind {
    /// Starts it; `None` if it is not installed.
    async fn start(records: &str) -> Option<Self> {
        let named = installed("named", "EVENKEEL_NAMED")?;
        let nsupdate = installed("nsupdate", "EVENKEEL_NSUPDATE")?;
        let folder = tempfile::tempdir().expect("a folder");
        let port = free_port();
        let home = folder.path().display();
        let zone = format!(
            "$TTL 1\n@ IN SOA ns hostmaster 1 3600 600 86400 1\n@ IN NS ns\nns IN A 127.0.0.1\n{records}\n"
        );
        std::fs::write(folder.path().join("test.zone"), zone).expect("a zone");
        let config = format!(
            "options {{ directory \"{home}\"; listen-on port {port} {{ 127.0.0.1; }}; listen-on-v6 {{ none; }};
               recursion no; pid-file none; session-keyfile none; managed-keys-directory \"{home}\"; dnssec-validation no; }};
             controls {{ }};
             key upd {{ algorithm hmac-sha256; secret \"{SECRET}\"; }};
             zone test {{ type master; max-records-per-type 0; file \"test.zone\"; allow-update {{ key upd; }}; }};"
        );
        std::fs::write(folder.path().join("named.conf"), config).expect("a configuration");
        let mut bind = Self { named, nsupdate, folder, port, daemon: None };
        bind.run().await;
        Some(bind)
    }

    async fn run(&mut self) {
        let config = self.folder.path().join("named.conf");
        let config = config.to_str().expect("a path");
        self.daemon = Some(Daemon::start(&self.named, &["-g", "-n", "1", "-c", config]));
        let ready = async {
            while self.try_update("update delete nothing.test. A").await.is_err() {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        in_time("BIND", ready).await;
    }

    async fn stop(&mut self) {
        self.daemon.take().expect("it runs").stop().await;
    }

    async fn update(&self, lines: &str) {
        self.try_update(lines).await.expect("an update");
    }

    async fn try_update(&self, lines: &str) -> Result<(), String> {
        let mut command = Command::new(&self.nsupdate);
        command.args(["-t", "2", "-r", "0", "-y", &format!("hmac-sha256:upd:{SECRET}")]).kill_on_drop(true);
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("nsupdate");
        let script = format!("server 127.0.0.1 {}\nzone test.\n{lines}\nsend\n", self.port);
        child.stdin.take().expect("a pipe").write_all(script.as_bytes()).await.expect("it reads");
        let output = child.wait_with_output().await.expect("its end");
        if output.status.success() {
            Ok(())
        } else {
            Err(String::from_utf8_lossy(&output.stderr).into_owned())
        }
    }

    fn yaml(&self, dns: &str) -> String {
        format!(
            "upstreams: {{ web: {{ discovery: {{ dns: {{ {dns}, servers: [\"127.0.0.1:{}\"], timeout: 500ms }} }} }} }}",
            self.port
        )
    }
}

/// Two backends on one port, at different addresses of this machine.
async fn pair() -> (Backend, Backend, u16) {
    let first = Backend::saying("a").await;
    let port = first.address().port();
    let options = crate::support::Options {
        address: Some(SocketAddr::from(([127, 0, 0, 2], port))),
        ..crate::support::Options::default()
    };
    let second = Backend::with(options, |_| Reply::ok("b")).await;
    (first, second, port)
}

#[tokio::test]
async fn bind_adds_and_removes_addresses_within_their_ttl() {
    let Some(mut bind) = Bind::start("web IN A 127.0.0.1").await else { return };
    let (a, b, port) = pair().await;
    let balancer = Balancer::start(&bind.yaml(&format!("name: web.test., port: {port}"))).await;
    let load = Load::start(balancer.address(), 1_000);
    eventually(PATIENCE, || a.count() > 50).await;
    let begun = Instant::now();
    bind.update("update add web.test. 1 A 127.0.0.2").await;
    eventually(PATIENCE, || b.count() > 0).await;
    println!("BIND: added after {:?}", begun.elapsed());
    assert!(begun.elapsed() < Duration::from_secs(3));
    let begun = Instant::now();
    bind.update("update delete web.test. A 127.0.0.1").await;
    until_backends(&balancer, 1).await;
    println!("BIND: removed after {:?}", begun.elapsed());
    assert!(begun.elapsed() < Duration::from_secs(3));
    let last = a.count();
    // The server is gone for a while: the last set serves.
    bind.stop().await;
    until_shown(&balancer, |shown| !shown["discovery"]["error"].is_null()).await;
    let before = b.count();
    eventually(PATIENCE + outage(), || b.count() > before + served(1_000)).await;
    assert!(a.count() <= last + 1);
    bind.run().await;
    let begun = Instant::now();
    bind.update("update add web.test. 1 A 127.0.0.1").await;
    until_backends(&balancer, 2).await;
    println!("BIND: a change after its return in use after {:?}", begun.elapsed());
    load.end().await;
}

#[tokio::test]
async fn bind_has_aliases_two_hundred_addresses_and_both_families() {
    let many: String = (1..=200).map(|n| format!("many IN A 127.0.3.{n}\n")).collect();
    let records = format!("{many}a IN CNAME b\nb IN CNAME c\nc IN A 127.0.0.1\nc IN AAAA ::1\n");
    let Some(bind) = Bind::start(&records).await else { return };
    for (dns, count) in [
        ("name: many.test., port: 80", 200),
        ("name: a.test., port: 80", 2),
        ("name: a.test., port: 80, tcp: true", 2),
    ] {
        let balancer = Balancer::start(&bind.yaml(dns)).await;
        until_backends(&balancer, count).await;
    }
}

#[tokio::test]
async fn bind_srv_records_give_ports_weights_and_levels() {
    let (a, b) = (Backend::saying("a").await, Backend::saying("b").await);
    let spare = Backend::saying("spare").await;
    let srv = |priority: u8, weight: u8, backend: &Backend| {
        format!("_http._tcp IN SRV {priority} {weight} {} host\n", backend.address().port())
    };
    let records = format!("host IN A 127.0.0.1\n{}{}{}", srv(10, 3, &a), srv(10, 1, &b), srv(20, 0, &spare));
    let Some(bind) = Bind::start(&records).await else { return };
    let balancer = Balancer::start(&bind.yaml("name: _http._tcp.test.")).await;
    for _ in 0..8 {
        balancer.get("/").await;
    }
    assert_eq!((a.count(), b.count(), spare.count()), (6, 2, 0));
    let port = a.address().port();
    bind.update(&format!("update delete _http._tcp.test. SRV 10 3 {port} host.test.")).await;
    until_backends(&balancer, 2).await;
    let shown = upstream(&balancer).await;
    assert_eq!(shown["backends"][0]["metadata"]["dns_target"], "host.test.");
}

#[tokio::test]
async fn bind_a_name_that_does_not_exist_affects_no_other_upstream() {
    let Some(bind) = Bind::start("web IN A 127.0.0.1").await else { return };
    let a = Backend::saying("a").await;
    let yaml = format!(
        "upstreams:
  good: {{ discovery: {{ dns: {{ name: web.test., port: {port}, servers: [\"127.0.0.1:{dns}\"] }} }} }}
  bad: {{ discovery: {{ dns: {{ name: none.test., port: 80, servers: [\"127.0.0.1:{dns}\"] }}, start_timeout: 500ms }} }}
  refused: {{ discovery: {{ dns: {{ name: web.elsewhere., port: 80, servers: [\"127.0.0.1:{dns}\"] }}, start_timeout: 500ms }} }}
routes:
  - {{ name: b, match: {{ path_prefix: /bad }}, upstream: bad }}
  - {{ name: r, match: {{ path_prefix: /refused }}, upstream: refused }}
  - {{ name: g, upstream: good }}",
        port = a.address().port(),
        dns = bind.port
    );
    let balancer = Balancer::start(&yaml).await;
    assert_eq!(balancer.get("/").await.text(), "a");
    assert_eq!(balancer.get("/bad").await.status(), 503);
    let status = balancer.status().await;
    let error =
        |index: usize| status["upstreams"][index]["discovery"]["error"].as_str().unwrap_or("").to_owned();
    assert!(error(1).contains("NXDOMAIN"), "{}", error(1));
    assert!(error(2).contains("REFUSED"), "{}", error(2));
    // It appears.
    bind.update("update add none.test. 1 A 127.0.0.1").await;
    in_time("the name", async {
        while balancer.status().await["upstreams"][1]["backends"][0].is_null() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn dnsmasq_serves_a_file_that_is_dropped_in_its_folder() {
    let Some(dnsmasq) = installed("dnsmasq", "EVENKEEL_DNSMASQ") else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let hosts = folder.path().join("hosts");
    std::fs::create_dir(&hosts).expect("a folder");
    let (a, b, port) = pair().await;
    std::fs::write(hosts.join("one"), "127.0.0.1 web.test\n").expect("a file");
    let dns = free_port();
    let arguments = [
        "--keep-in-foreground".to_owned(),
        "--no-daemon".to_owned(),
        format!("--port={dns}"),
        "--listen-address=127.0.0.1".to_owned(),
        "--bind-interfaces".to_owned(),
        "--no-resolv".to_owned(),
        "--no-hosts".to_owned(),
        format!("--hostsdir={}", hosts.display()),
        "--conf-file=/dev/null".to_owned(),
        "--user=root".to_owned(),
        "--local-ttl=1".to_owned(),
    ];
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let _daemon = Daemon::start(&dnsmasq, &arguments);
    let yaml = format!(
        "upstreams: {{ web: {{ discovery: {{ dns: {{ name: web.test., port: {port}, servers: [\"127.0.0.1:{dns}\"] }} }} }} }}"
    );
    let balancer = Balancer::start(&yaml).await;
    let load = Load::start(balancer.address(), 1_000);
    eventually(PATIENCE, || a.count() > 50).await;
    let begun = Instant::now();
    replace(&hosts.join("two"), "127.0.0.2 web.test\n");
    eventually(PATIENCE, || b.count() > 0).await;
    println!("dnsmasq: added after {:?}", begun.elapsed());
    load.end().await;
}

/// A Consul agent.
struct Consul {
    daemon: Daemon,
    address: SocketAddr,
    _folder: tempfile::TempDir,
}

// === impl Consul ===

impl Consul {
    /// Starts it; `None` if it is not installed.
    async fn start() -> Option<Self> {
        let program = installed("consul", "EVENKEEL_CONSUL")?;
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("c.json"), "{\"disable_update_check\": true}").expect("a file");
        let port = free_port();
        let arguments = [
            "agent".to_owned(),
            "-dev".to_owned(),
            "-node=n1".to_owned(),
            "-bind=127.0.0.1".to_owned(),
            "-client=127.0.0.1".to_owned(),
            format!("-http-port={port}"),
            "-dns-port=-1".to_owned(),
            "-grpc-port=-1".to_owned(),
            format!("-serf-lan-port={}", free_port()),
            "-serf-wan-port=-1".to_owned(),
            format!("-server-port={}", free_port()),
            format!("-config-dir={}", folder.path().display()),
        ];
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let daemon = Daemon::start(&program, &arguments);
        let consul = Self { daemon, address: SocketAddr::from(([127, 0, 0, 1], port)), _folder: folder };
        in_time("Consul", consul.until_it_leads()).await;
        Some(consul)
    }

    async fn until_it_leads(&self) {
        loop {
            let listens = tokio::net::TcpStream::connect(self.address).await.is_ok();
            if listens && get(self.address, "/v1/status/leader").await.text().contains(':') {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn put(&self, path: &str, body: &str) {
        let length = body.len();
        let head =
            format!("PUT {path} HTTP/1.1\r\nHost: test\r\nContent-Length: {length}\r\nConnection: close");
        assert_eq!(send(self.address, format!("{head}\r\n\r\n{body}")).await.status(), 200);
    }

    /// Registers an instance of the service `web`.
    async fn register(&self, id: &str, backend: &Backend, more: &str) {
        let (ip, port) = (backend.address().ip(), backend.address().port());
        let body = format!(
            "{{\"ID\": \"{id}\", \"Name\": \"web\", \"Address\": \"{ip}\", \"Port\": {port}, \"Tags\": [\"v1\"]{more}}}"
        );
        self.put("/v1/agent/service/register", &body).await;
    }
}

#[tokio::test]
async fn consul_reports_changes_at_once_and_its_checks_count() {
    let Some(consul) = Consul::start().await else { return };
    let (a, b) = (Backend::saying("a").await, Backend::saying("b").await);
    consul.register("a", &a, "").await;
    let yaml = format!(
        "upstreams: {{ web: {{ discovery: {{ consul: {{ service: web, url: \"http://{}\", tags: [v1] }} }} }} }}",
        consul.address
    );
    let balancer = Balancer::start(&yaml).await;
    let load = Load::start(balancer.address(), 1_000);
    eventually(PATIENCE, || a.count() > 50).await;
    let begun = Instant::now();
    consul
        .register("b", &b, ", \"Check\": {\"CheckID\": \"cb\", \"TTL\": \"60s\", \"Status\": \"passing\"}")
        .await;
    eventually(PATIENCE, || b.count() > 0).await;
    println!("Consul: added after {:?}", begun.elapsed());
    assert!(begun.elapsed() < Duration::from_secs(2));
    let begun = Instant::now();
    consul.put("/v1/agent/check/fail/cb", "").await;
    until_backends(&balancer, 1).await;
    println!("Consul: a failed check took its instance out after {:?}", begun.elapsed());
    consul.put("/v1/agent/check/pass/cb", "").await;
    until_backends(&balancer, 2).await;
    consul.put("/v1/agent/service/deregister/a", "").await;
    until_backends(&balancer, 1).await;
    let shown = upstream(&balancer).await["backends"][0].clone();
    assert_eq!(
        (shown["metadata"]["consul_id"].as_str(), shown["name"].as_str()),
        (Some("b"), Some(&*b.url()))
    );
    // The agent is gone: its last set serves.
    consul.daemon.stop().await;
    until_shown(&balancer, |shown| !shown["discovery"]["error"].is_null()).await;
    let before = b.count();
    eventually(PATIENCE + outage(), || b.count() > before + served(500)).await;
    load.end().await;
}
