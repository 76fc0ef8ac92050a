//! A balancer with backends that do what the path of a request says.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;

use super::auth::NO_KEYS;
use super::row::Seen;
use crate::support::tokens::ISSUER;
use crate::support::{
    Authority, Backend, Balancer, BlackHole, Client, Message, PATIENCE, Reply, Secure, get, send,
};

/// A balancer with one route to one upstream, `web`, of one backend, `one`.
///
/// A configuration can name what there is: `ONE-URL`, `TWO-URL`, `THREE-URL`, `TWO-PORT`, `SECURE-URL` with its
/// `AUTHORITY-FILE`, `CERT-ONE` (for `one.test`) and `CERT-TWO` (for `two.test`) with `KEY-ONE`, `KEY-OTHER`, `CA-FILE`,
/// `CRL-OF-ONE` and `OCSP-FILE`; `HOLE-URL` (nothing connects), `TAP-URL` (it only listens), `ONE-TCP`, `TWO-TCP` and
/// `TAP-TCP` (the same for TCP), and `OWN-FOLDER`, in which `more.yaml` says
/// `forwarding: { via: included }`, and `near` and `far` name the network of clients and another one. `users` has ann and
/// `others` has bob, each with the password "secret".
/// `jwks` has the keys of the issuer of tests, and `no-jwks` those of another one.
pub(super) struct World {
    pub(super) balancer: Balancer,
    pub(super) one: Backend,
    pub(super) two: Backend,
    pub(super) three: Backend,
    /// What `/health` of every backend says.
    pub(super) healthy: Arc<AtomicBool>,
    pub(super) folder: tempfile::TempDir,
    config: Mutex<Value>,
    names: Vec<(&'static str, String)>,
    /// What has come to `TAP-URL`.
    pub(super) tapped: Arc<Mutex<Vec<u8>>>,
    _secure: Option<Secure>,
    _hole: Option<BlackHole>,
    _tap: tokio::task::AbortHandle,
}

/// What a backend does with a request: what the path says.
///
/// `/status/503`, `/wait/300` (milliseconds), `/size/1000`, `/framed` (with `X-Frame-Options`), `/jwks`, `/text`, `/cookie`, `/moved`, `/silence`, `/hang-up`, `/half`, `/upgrade`, `/health`, `/load`
/// and `/calm` (reports for `prequal`), `/uneven` (the first one takes longer), `/fail-or-hang` (the first one fails, the
/// others are silent); `/only/one/…` is for that backend alone. Else it responds with its name.
fn reply(name: &'static str, target: &str, healthy: &AtomicBool) -> Reply {
    if let Some(rest) = target.strip_prefix("/only/") {
        let at = rest.find('/').unwrap_or(rest.len());
        let (whose, rest) = rest.split_at(at);
        return if whose == name { reply(name, rest, healthy) } else { Reply::ok(name) };
    }
    let mut parts = target.trim_start_matches('/').split('/');
    let kind = parts.next().unwrap_or_default();
    let number: u64 = parts.next().and_then(|number| number.parse().ok()).unwrap_or_default();
    match kind {
        "status" => Reply::status(u16::try_from(number).expect("a status"), name),
        "wait" => {
            let ok = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{name}", name.len());
            Reply::new().read_body().wait(Duration::from_millis(number)).send(ok)
        }
        "size" => Reply::bytes(format!("HTTP/1.1 200 OK\r\nContent-Length: {number}\r\n\r\n")).fill(number),
        "framed" => Reply::bytes("HTTP/1.1 200 OK\r\nX-Frame-Options: DENY\r\nContent-Length: 0\r\n\r\n"),
        "jwks" => Reply::ok(&ISSUER.keys()),
        "cookie" => {
            Reply::bytes("HTTP/1.1 200 OK\r\nSet-Cookie: a=1; Secure; HttpOnly\r\nContent-Length: 0\r\n\r\n")
        }
        "moved" => {
            Reply::bytes("HTTP/1.1 302 Found\r\nLocation: http://inner/x\r\nContent-Length: 0\r\n\r\n")
        }
        "text" => {
            let body = "a line of text\n".repeat(300);
            let length = body.len();
            Reply::bytes(format!(
                "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {length}\r\n\r\n{body}"
            ))
        }
        "silence" => Reply::silence(),
        "fail-or-hang" if name == "one" => Reply::status(503, name),
        "fail-or-hang" => Reply::silence(),
        "hang-up" => Reply::hang_up(),
        "half" => Reply::bytes("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf").hang(),
        "upgrade" => {
            let head = "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n";
            Reply::bytes(head).echo()
        }
        "health" if !healthy.load(SeqCst) => Reply::status(500, "unhealthy"),
        "load" if name == "one" => Reply::ok("TEXT rif=100,latency_ms=1"),
        "load" => Reply::ok("TEXT rif=5,latency_ms=500"),
        "calm" if name == "one" => Reply::ok("TEXT rif=0,latency_ms=1"),
        "calm" => Reply::ok("TEXT rif=0,latency_ms=500"),
        "uneven" => reply(name, if name == "one" { "/wait/20" } else { "/wait/5" }, healthy),
        _ => {
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nx-name: {name}\r\n", name.len());
            Reply::bytes(format!("{head}\r\n{name}"))
        }
    }
}

/// Sets a key as the schema names it: `[]` is the first of a list, and `*` is `web`. `Null` removes it.
pub(super) fn set(config: &mut Value, key: &str, value: Value) {
    let mut steps: Vec<String> = Vec::new();
    for step in key.split('.') {
        let (name, is_list) = step.strip_suffix("[]").map_or((step, false), |name| (name, true));
        steps.push(if name == "*" { "web".to_owned() } else { name.to_owned() });
        if is_list {
            steps.push("[]".to_owned());
        }
    }
    let last = steps.pop().expect("a key");
    let mut at = config;
    for step in steps {
        if value.is_null() && (step == "[]" && at[0].is_null() || step != "[]" && at[step.as_str()].is_null())
        {
            return;
        }
        if step == "[]" {
            if !at.is_array() {
                *at = json!([{}]);
            }
            at = &mut at[0];
        } else {
            at = &mut at[step.as_str()];
        }
    }
    match at.as_object_mut() {
        Some(map) if value.is_null() => drop(map.remove(&last)),
        _ => at[last.as_str()] = value,
    }
}

/// Certificates of one authority, which is in `authority.pem`.
fn certificates(folder: &Path) -> [(&'static str, String); 7] {
    let authority = Authority::new(folder);
    std::fs::write(folder.join("authority.pem"), authority.pem()).expect("a file");
    let one = authority.pair("one", &["one.test"]);
    let two = authority.pair_like(&one, "two", &["two.test"]);
    let other = authority.pair("other", &["other.test"]);
    std::fs::write(folder.join("crl.pem"), authority.revoking(&one)).expect("a file");
    let (ca, crl) = (folder.join("authority.pem"), folder.join("crl.pem"));
    let ocsp = folder.join("ocsp.der");
    std::fs::write(&ocsp, [0x30, 3, 0x0a, 1, 0]).expect("a file");
    [
        ("OCSP-FILE", ocsp),
        ("CRL-OF-ONE", crl),
        ("CA-FILE", ca),
        ("CERT-ONE", one.cert),
        ("CERT-TWO", two.cert),
        ("KEY-ONE", one.key),
        ("KEY-OTHER", other.key),
    ]
    .map(|(name, path)| (name, path.display().to_string()))
}

/// The folder that a configuration can name.
fn own_folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let files = [
        ("more.yaml", "forwarding: { via: included }"),
        ("near", "127.0.0.0/8"),
        ("map-one", "/A one"),
        ("map-two", "/A two"),
        ("far", "10.0.0.0/8"),
        ("users", concat!("ann:", "$5$rounds=1000$evenkeel$g2ovHQpqC3JxjW7IjvE./Uc0h4XwuBjTwFOH4GsPVc3")),
        ("others", concat!("bob:", "$5$rounds=1000$evenkeel$g2ovHQpqC3JxjW7IjvE./Uc0h4XwuBjTwFOH4GsPVc3")),
    ];
    for (file, text) in files {
        std::fs::write(folder.path().join(file), text).expect("a file");
    }
    std::fs::write(folder.path().join("jwks"), ISSUER.keys()).expect("a file");
    std::fs::write(folder.path().join("no-jwks"), NO_KEYS).expect("a file");
    folder
}

/// What the configuration calls these backends.
fn names_of([one, two, three]: [&Backend; 3]) -> Vec<(&'static str, String)> {
    vec![
        ("ONE-URL", one.url()),
        ("TWO-URL", two.url()),
        ("THREE-URL", three.url()),
        ("ONE-TCP", format!("tcp://{}", one.address())),
        ("TWO-TCP", format!("tcp://{}", two.address())),
        ("TWO-PORT", two.address().port().to_string()),
    ]
}

// === impl World ===

impl World {
    /// Starts it, with these keys besides.
    pub(super) async fn start(keys: Vec<(&'static str, Value)>) -> Self {
        let mut config = json!({
            "workers": 1,
            "listeners": [{ "address": "127.0.0.1:0" }],
            "routes": [{ "name": "all", "upstream": "web" }],
            "upstreams": { "web": { "backends": [{ "url": "ONE-URL" }] } },
        });
        for (key, value) in keys {
            set(&mut config, key, value);
        }
        let healthy = Arc::new(AtomicBool::new(true));
        let backend = |name: &'static str| {
            let healthy = healthy.clone();
            Backend::start(move |seen| reply(name, seen.target(), &healthy))
        };
        let (one, two, three) = (backend("one").await, backend("two").await, backend("three").await);
        let text = config.to_string();
        let (mut secure, mut hole) = (None, None);
        let folder = own_folder();
        let mut names = names_of([&one, &two, &three]);
        names.push(("OWN-FOLDER", folder.path().display().to_string()));
        if text.contains("SECURE-URL") {
            let started = Secure::start("api.internal", |_| Reply::ok("secure")).await;
            names.push(("SECURE-URL", started.url()));
            names.push(("AUTHORITY-FILE", started.authority.display().to_string()));
            secure = Some(started);
        }
        if text.contains("CERT-ONE") {
            names.extend(certificates(folder.path()));
        }
        if text.contains("HOLE-URL") {
            let made = BlackHole::new().await;
            names.push(("HOLE-URL", made.url()));
            hole = Some(made);
        }
        let tapped: Arc<Mutex<Vec<u8>>> = Arc::default();
        let (tap, address) = listen_in(tapped.clone()).await;
        names.push(("TAP-URL", format!("http://{address}")));
        names.push(("TAP-TCP", format!("tcp://{address}")));
        let balancer = Balancer::start(&yaml(&config, &names)).await;
        let config = Mutex::new(config);
        Self {
            balancer,
            one,
            two,
            three,
            healthy,
            folder,
            config,
            names,
            tapped,
            _secure: secure,
            _hole: hole,
            _tap: tap,
        }
    }

    /// Reloads with this key changed. Gives the changes as text.
    pub(super) async fn change(&self, key: &str, to: Value) -> Result<Vec<String>, String> {
        let mut next = self.config.lock().expect("no panic").clone();
        set(&mut next, key, to);
        let file = self.folder.path().join("evenkeel.yaml");
        let changes = self.balancer.reload_file(&file, &yaml(&next, &self.names)).await?;
        *self.config.lock().expect("no panic") = next;
        Ok(changes)
    }

    /// Whether the configuration has this key now.
    pub(super) fn is_set(&self, key: &str) -> bool {
        let mut without = self.config.lock().expect("no panic").clone();
        set(&mut without, key, Value::Null);
        *self.config.lock().expect("no panic") != without
    }

    /// What a GET of this path gets, on a connection of its own.
    pub(super) async fn get(&self, path: &str) -> Message {
        self.balancer.get(path).await
    }

    /// What this request gets, on a connection of its own.
    pub(super) async fn send(&self, request: &str) -> Message {
        send(self.balancer.address(), request).await
    }

    /// The last request that the first backend got.
    pub(super) fn seen(&self) -> Message {
        self.one.last_request()
    }

    /// How many requests all backends got.
    pub(super) fn count(&self) -> usize {
        self.one.count() + self.two.count() + self.three.count()
    }

    /// Which backends responded to so many requests: `one` or `one two`.
    pub(super) async fn names(&self, path: &str, count: usize) -> String {
        let (mut client, mut names) = (self.balancer.client().await, std::collections::BTreeSet::new());
        for _ in 0..count {
            names.insert(client.get(path).await.text());
        }
        names.into_iter().collect::<Vec<_>>().join(" ")
    }

    /// A client whose request has reached a backend and gets no response for a while.
    pub(super) async fn held(&self, path: &str) -> Client {
        // What an earlier look has left must be over.
        while self.in_flight().await > 0 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        let (mut client, before) = (self.balancer.client().await, self.count());
        client.send(format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n")).await;
        crate::support::eventually(PATIENCE, || self.count() > before).await;
        client
    }

    async fn in_flight(&self) -> u64 {
        let upstream = self.upstream().await;
        let backends = upstream["backends"].as_array().expect("backends").iter();
        backends.map(|backend| backend["in_flight"].as_u64().expect("a number")).sum()
    }

    /// The upstream in `/status`.
    pub(super) async fn upstream(&self) -> Value {
        self.balancer.status().await["upstreams"][0].clone()
    }

    /// The first upstream once it is so.
    pub(super) async fn until(&self, is_so: impl Fn(&Value) -> bool) -> Value {
        let limit = std::time::Instant::now() + PATIENCE;
        loop {
            let upstream = self.upstream().await;
            if is_so(&upstream) {
                return upstream;
            }
            assert!(std::time::Instant::now() < limit, "it never came to that: {upstream:#}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// What `/explain` says of a GET of this path.
    pub(super) async fn explained(&self, path: &str) -> Value {
        let target = format!("/explain?method=GET&url=http://test{path}");
        serde_json::from_str(&get(self.balancer.admin(), &target).await.text()).expect("JSON")
    }

    /// The record of a GET of this path, which is sent for it.
    pub(super) async fn record(&self, path: &str) -> Value {
        let before = self.balancer.records().len();
        self.get(path).await;
        self.balancer.log_lines(before + 1).await.pop().expect("a record")
    }
}

/// A port that keeps what comes and says nothing.
async fn listen_in(tapped: Arc<Mutex<Vec<u8>>>) -> (tokio::task::AbortHandle, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("its address");
    let task = tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let (mut piece, tapped) = (vec![0; 4096], tapped.clone());
            tokio::spawn(async move {
                while let Ok(count @ 1..) = stream.read(&mut piece).await {
                    tapped.lock().expect("no panic").extend_from_slice(&piece[..count]);
                }
            });
        }
    });
    (task.abort_handle(), address)
}

fn yaml(config: &Value, names: &[(&'static str, String)]) -> String {
    let map = config.as_object().expect("a map");
    let lines = map.iter().map(|(key, value)| format!("{key}: {value}\n"));
    names.iter().fold(lines.collect(), |text: String, (name, is)| text.replace(name, is))
}

/// Looks at the status of the response to a GET of this path.
pub(super) fn status(path: &'static str) -> impl for<'a> Fn(&'a World) -> Seen<'a> + Send + Sync {
    move |world| Box::pin(async move { world.get(path).await.status().to_string() })
}

/// Looks at the status of the response to this request.
pub(super) fn status_of(request: impl Into<String>) -> impl for<'a> Fn(&'a World) -> Seen<'a> + Send + Sync {
    let request: Arc<str> = request.into().into();
    move |world| {
        let request = request.clone();
        Box::pin(async move { world.send(&request).await.status().to_string() })
    }
}

/// Looks at which backends respond to a dozen requests.
pub(super) fn names(path: &'static str) -> impl for<'a> Fn(&'a World) -> Seen<'a> + Send + Sync {
    move |world| Box::pin(world.names(path, 12))
}

/// Looks at a field of the request that a backend gets.
pub(super) fn sent(field: &'static str) -> impl for<'a> Fn(&'a World) -> Seen<'a> + Send + Sync {
    move |world| {
        Box::pin(async move {
            world.send("GET / HTTP/1.1\r\nHost: test\r\nx-sent: yes\r\n\r\n").await;
            world.seen().all(field).join(" ")
        })
    }
}

/// Looks at a field of the response.
pub(super) fn received(
    path: &'static str,
    field: &'static str,
) -> impl for<'a> Fn(&'a World) -> Seen<'a> + Send + Sync {
    move |world| {
        Box::pin(async move {
            let response = world.get(path).await;
            let values = response.all(field);
            if values.is_empty() { "none".to_owned() } else { values.join(" ") }
        })
    }
}
