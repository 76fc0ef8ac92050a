//! What `evenkeel explain` says, of a file and of a running balancer, and what the access log says of a choice. What users
//! see is in golden files under `tests/golden/explain`.

#![cfg(test)]

use std::path::Path;

use serde_json::Value;

use crate::architecture::source::root;
use crate::cli::golden;
use crate::program::{Program, Said, evenkeel, evenkeel_given};
use crate::support::samples::assert_golden;
use crate::support::{Backend, Balancer, Client, ClosedPort, Reply, get};

/// A bit of everything that needs no name to be looked up.
const FILE: &str = "\
listeners: [{ address: 127.0.0.1:0 }]
trusted_proxies: [10.0.0.0/8]
routes:
  - { name: admin, match: { hosts: [admin.example.com] }, upstream: web }
  - { name: beta, match: { hosts: [api.example.com], headers: { x-beta: \"1\" } }, split: { api: 95, web: 5 } }
  - name: api
    match: { hosts: [api.example.com, \"*.api.example.com\"], path_prefix: /v1, methods: [GET, POST] }
    filters:
      - strip_prefix: /v1
      - request_headers: { set: { x-secret: hidden }, remove: [x-internal] }
      - response_headers: { set: { x-frame-options: DENY } }
    upstream: api
  - { name: bad, match: { path: /bad }, filters: [{ rewrite_path: { from: ^/bad$, to: bad } }], upstream: web }
  - { name: old, match: { path_prefix: /old }, redirect: { to: \"https://{host}/new{query}\", status: 308 } }
  - { name: fixed, match: { query: { fixed: \"*\" } }, respond: { status: 204 } }
upstreams:
  api:
    algorithm: least_connections
    backends: [\"http://127.0.0.1:8081\", { url: \"http://127.0.0.1:8082\", weight: 2 }, { url: \"http://127.0.0.1:8083\", weight: 0 }]
  web: { backends: [\"http://127.0.0.1:8084\"] }
";

/// Runs `explain` in a folder with a file `evenkeel.yaml` of this content.
async fn beside(yaml: &str, arguments: &[&str]) -> Said {
    let folder = tempfile::tempdir().expect("a temporary folder");
    std::fs::write(folder.path().join("evenkeel.yaml"), yaml).expect("a configuration");
    evenkeel(folder.path(), &[&["explain"], arguments].concat()).await
}

#[tokio::test]
async fn a_file_says_where_requests_go() {
    let api = "http://api.example.com/v1/users?page=2";
    for (name, arguments) in [
        ("upstream", ["GET", api, "--from", "10.1.2.3", "-H", "X-Forwarded-For: 192.0.2.7"].as_slice()),
        ("upstream-json", &["GET", api, "--from", "192.0.2.7", "--json"]),
        ("split", &[api, "-H", "x-beta: 1"]),
        ("filter-refuses", &["http://example.org/bad"]),
        ("redirect", &["http://example.org/old?x=1"]),
        ("answer", &["POST", "https://example.org:8443/?fixed", "--from", "2001:db8::7"]),
        ("no-route", &["PUT", "http://x.api.example.com/v1"]),
        ("no-route-json", &["http://example.org/", "--json"]),
        ("bad-url", &["api.example.com"]),
        ("bad-header", &["http://a", "-H", "x-beta"]),
        ("bad-from", &["http://a", "--from", "localhost"]),
        ("token-file-without-admin", &["http://a", "--token-file", "x"]),
        ("token-as-argument", &["http://a", "--admin", "127.0.0.1:1", "--token", "x"]),
        ("file-and-admin", &["http://a", "-c", "x", "--admin", "127.0.0.1:1"]),
        ("bad-admin", &["http://a", "--admin", "https://127.0.0.1:1/explain"]),
        ("nothing", &[]),
    ] {
        assert_golden(&format!("explain/{name}.txt"), &beside(FILE, arguments).await.text());
    }
}

#[tokio::test]
async fn a_running_balancer_says_it_with_what_its_backends_do() {
    let (slow, idle) = (Backend::start(|_| Reply::silence()).await, Backend::saying("idle").await);
    let program = Program::run(&format!(
        "routes: [{{ name: all, upstream: web }}]\nupstreams: {{ web: {{ algorithm: least_connections, backends: \
         [\"{}\", \"{}\"] }} }}",
        slow.url(),
        idle.url()
    ))
    .await;
    // Among equals the turn rotates, and the first one has the first.
    let mut waiting = Client::connect(program.address()).await;
    waiting.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    slow.until_requests(1).await;
    let admin = format!("http://{}", program.admin());
    let folder = tempfile::tempdir().expect("a temporary folder");
    let said = evenkeel(folder.path(), &["explain", "http://a/x", "--admin", &admin]).await;
    // As long as the ports that the system gives, so that the columns stay.
    let text = said.text().replace(&slow.url(), "http://127.0.0.1:11111");
    let text = text.replace(&idle.url(), "http://127.0.0.1:22222");
    assert_golden("explain/running.txt", &text);

    let said = evenkeel(folder.path(), &["explain", "http://a/x", "--admin", &admin, "--json"]).await;
    let json: Value = serde_json::from_str(&said.out).expect("JSON");
    assert_eq!((&json["live"], &json["upstreams"][0]["backends"][0]["in_flight"]), (&true.into(), &1.into()));
    assert_eq!(json["upstreams"][0]["choice"]["name"], idle.url());
    let status: Value = serde_json::from_str(&get(program.admin(), "/status").await.text()).expect("JSON");
    assert_eq!(status["upstreams"][0]["backends"][1]["attempts"], 0, "asking begins no attempt");
    assert_eq!((idle.count(), status["routes"][0]["requests"].as_u64()), (0, Some(0)));
}

#[tokio::test]
async fn the_admin_address_explains_behind_its_token_only() {
    let token = "a-token-of-some-length";
    let program = Program::run(&format!(
        "upstreams: {{ web: {{ backends: [\"http://127.0.0.1:1\"] }} }}\nadmin: {{ address: 127.0.0.1:0, token: {token} }}"
    ))
    .await;
    let (folder, admin) = (tempfile::tempdir().expect("a folder"), program.admin().to_string());
    let ask = ["explain", "http://a/", "--admin", &admin];
    let said = evenkeel(folder.path(), &ask).await;
    let expected = format!("error: {admin}: a token is needed: --token-file FILE or EVENKEEL_ADMIN_TOKEN\n");
    assert_eq!((said.code, said.err), (Some(1), expected));
    std::fs::write(folder.path().join("token"), format!("{token}\n")).expect("a file");
    std::fs::write(folder.path().join("other"), "another-token-of-some-length").expect("a file");
    std::fs::write(folder.path().join("empty"), "\n").expect("a file");
    let variable = |token| [("EVENKEEL_ADMIN_TOKEN", token)];
    let wrong = variable("another-token-of-some-length");
    let by_file = [&ask[..], &["--token-file", "token"]].concat();
    // The option has precedence over the variable.
    for (arguments, variables) in [(&by_file[..], &[][..]), (&ask, &variable(token)), (&by_file, &wrong)] {
        let said = evenkeel_given(folder.path(), arguments, "", variables).await;
        assert_eq!((said.code, said.err.as_str()), (Some(0), ""));
        assert!(said.out.contains("would send / to http://127.0.0.1:1, this time\n"), "{}", said.out);
    }
    let rejected = format!("error: {admin}: the token was rejected\n");
    for (option, variables, error) in [
        (&["--token-file", "other"][..], &variable(token)[..], rejected.as_str()),
        (&[], &wrong, &rejected),
        (
            &["--token-file", "empty"],
            &[],
            "error: empty: expected a token, found none or one with control characters\n",
        ),
        (&["--token-file", "missing"], &[], "error: missing: No such file or directory (os error 2)\n"),
    ] {
        let said = evenkeel_given(folder.path(), &[&ask[..], option].concat(), "", variables).await;
        assert_eq!((said.code, said.err.as_str()), (Some(1), error));
    }
}

#[tokio::test]
async fn who_is_no_balancer_is_told_apart() {
    let (other, closed) = (Backend::saying("hello").await, ClosedPort::new());
    let folder = tempfile::tempdir().expect("a temporary folder");
    for (url, code, error) in [
        (other.url(), 3, "the response is not an explanation that this version understands: "),
        (closed.url(), 3, "Connection refused"),
    ] {
        let said = evenkeel(folder.path(), &["explain", "http://a/", "--admin", &url]).await;
        assert_eq!(said.code, Some(code), "{said:?}");
        assert!(said.err.starts_with(&format!("error: {url}: ")) && said.err.contains(error), "{}", said.err);
    }
}

#[tokio::test]
async fn the_admin_address_says_what_is_wrong_with_a_question() {
    let balancer = Balancer::before("http://127.0.0.1:1").await;
    let answer = get(balancer.admin(), "/explain?url=http%3A%2F%2Fa&from=somewhere").await;
    assert_eq!((answer.status(), answer.text()), (400, "expected an IP address, found `somewhere`\n".into()));
    assert_eq!(get(balancer.admin(), "/explain?url=http://a").await.status(), 200);
    assert!(get(balancer.admin(), "/").await.text().contains("/explain\n"));
}

#[tokio::test]
async fn the_access_log_says_how_a_backend_was_chosen_where_that_is_asked_for() {
    let (good, closed) = (Backend::saying("fine").await, ClosedPort::new());
    let balancer = Balancer::start(&format!(
        "routes:
  - {{ name: quiet, match: {{ path: /quiet }}, upstream: web }}
  - {{ name: told, match: {{ path: /told }}, upstream: web, explain: true }}
  - {{ name: hard, match: {{ path: /hard }}, upstream: hard, explain: true }}
upstreams:
  web: {{ algorithm: least_connections, backends: [\"{good}\", {{ url: \"{closed}\", weight: 0 }}] }}
  hard: {{ algorithm: power_of_two_choices, backends: [\"{good}\", {{ url: \"{closed}\", weight: 60000 }}] }}",
        good = good.url(),
        closed = closed.url()
    ))
    .await;
    for path in ["/quiet", "/told", "/hard"] {
        assert_eq!(balancer.get(path).await.status(), 200);
    }
    assert_eq!(balancer.log_line_of("/quiet").await.get("explain"), None);
    let told = format!("least_connections: 1 of 2, score 0; out: {}", closed.url());
    assert_eq!(balancer.log_line_of("/told").await["explain"], told);
    // The heavy one is drawn first, except once in 60,000 times.
    assert_eq!(
        balancer.log_line_of("/hard").await["explain"],
        "power_of_two_choices: 2 of 2, 1 tried, score 0"
    );
}

#[tokio::test]
async fn what_binds_a_client_to_a_backend_is_told() {
    let (one, other) = (Backend::saying("one").await, Backend::saying("other").await);
    let balancer = Balancer::start(&format!(
        "routes:
  - {{ name: user, match: {{ path: /user }}, upstream: user }}
  - {{ name: kept, upstream: kept, explain: true }}
upstreams:
  user: {{ algorithm: {{ rendezvous: {{ key: header x-user }} }}, backends: [\"{one}\", \"{other}\"] }}
  kept: {{ sticky: {{ cookie: stay }}, backends: [\"{one}\", \"{other}\"] }}",
        one = one.url(),
        other = other.url()
    ))
    .await;
    let admin = balancer.admin().to_string();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let explain = async |path: &str, field: &str| {
        let url = format!("http://a{path}");
        let said = evenkeel(folder.path(), &["explain", &url, "-H", field, "--admin", &admin]).await;
        assert_eq!(said.code, Some(0), "{said:?}");
        said.out
    };
    let said = explain("/user", "x-user: al").await;
    assert!(said.contains("\n  key        header x-user = al, hash "), "{said}");
    assert!(said.contains("would send /user to ") && said.ends_with(", by its key\n"), "{said}");
    let said = explain("/user", "x-other: al").await;
    assert!(said.contains("\n  key        header x-user is absent: the client's address, hash "), "{said}");

    let said = explain("/", "cookie: other=1").await;
    assert!(said.contains("\n  cookie     stay was not sent\n"), "{said}");
    let said = explain("/", "cookie: stay=unknown").await;
    assert!(said.contains("\n  cookie     stay names no usable backend\n"), "{said}");
    let answer = balancer.get("/first").await;
    let backend = if answer.text() == "one" { one.url() } else { other.url() };
    let cookie =
        answer.header("set-cookie").expect("a cookie").split(';').next().expect("its pair").to_owned();
    let said = explain("/", &format!("cookie: {cookie}")).await;
    assert!(said.contains(&format!("\n  cookie     stay names {backend}\n")), "{said}");
    assert!(said.ends_with(&format!("would send / to {backend}, by its cookie\n")), "{said}");
    let request = format!("GET /second HTTP/1.1\r\nHost: a\r\nCookie: {cookie}\r\n\r\n");
    balancer.client().await.ask(request).await;
    assert_eq!(balancer.log_line_of("/first").await["explain"], "round_robin: 2 of 2");
    assert_eq!(balancer.log_line_of("/second").await["explain"], "round_robin: 2 of 2, by cookie");
}

#[tokio::test]
async fn the_page_shows_what_the_program_says() {
    let page = std::fs::read_to_string(root().join("docs/explain.md")).expect("the page is there");
    let block = |language: &str| {
        let (_, rest) = page.split_once(&format!("```{language}\n")).expect("a block");
        rest.split_once("```").expect("its end").0
    };
    let (command, shown) = block("console").split_once('\n').expect("a command and its output");
    let arguments = command.strip_prefix("$ evenkeel explain ").expect("our command").split(' ');
    let said = beside(block("yaml"), &arguments.collect::<Vec<_>>()).await;
    assert_eq!((said.code, said.err.as_str()), (Some(0), ""));
    let page_with_it = page.replace(shown, &said.out);
    golden(Path::new(&root().join("docs/explain.md")), &page_with_it);
}
