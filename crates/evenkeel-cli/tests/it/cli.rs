//! What the command says, and how it exits. What users see is in golden files under `tests/golden`.

#![cfg(test)]

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::program::{Program, Said, evenkeel};
use crate::support::{PATIENCE, eventually};

/// A failed start is reported within this time.
const SOON: Duration = Duration::from_secs(2);

/// A configuration in which nothing is missing.
const FINE: &str = "\
listeners: [{ address: 127.0.0.1:0 }, { address: \"unix:/run/evenkeel/web.sock\" }]
routes:
  - { name: api, match: { path_prefix: /v1/ }, filters: [{ strip_prefix: /v1 }], upstream: api }
  - { name: old, match: { path: /old }, redirect: { to: /new } }
  - { name: rest, upstream: web }
upstreams:
  api: { backends: [\"http://127.0.0.1:${PORT}\", \"http://127.0.0.1:8082\"] }
  web: { algorithm: least_connections, backends: [\"http://127.0.0.1:8083\"] }
";

/// Bad filters, one of them unknown; each is reported with its place.
const BAD_FILTERS: &str = "\
listeners: [{ address: 127.0.0.1:0 }]
routes:
  - name: api
    filters:
      - strip_prefx: /v1
      - request_headers: { sett: { x-a: \"1\" } }
      - strip_prefix: v1
    upstream: web
upstreams:
  web: { backends: [\"http://127.0.0.1:8081\"] }
";

/// Files that are not there, or not what they should be.
const BAD_AUTHORITIES: &str = "\
listeners: [{ address: 127.0.0.1:0 }]
routes:
  - { name: a, match: { path_prefix: /a }, upstream: a }
  - { name: b, upstream: b }
upstreams:
  a: { backends: [\"https://127.0.0.1:8443\"], tls: { ca: not-there.pem } }
  b: { backends: [\"https://127.0.0.1:8444\"], tls: { ca: evenkeel.yaml } }
";

/// Valid, and for the lean lane only: with `lanes: pingora` it has no effect.
const ASLEEP: &str = "\
listeners: [{ address: 127.0.0.1:0 }]
lanes: pingora
routes:
  - { name: one, match: { path: /one }, upstream: plain }
  - { name: rest, retry: { on: [timeout], per_try_timeout: 1s, max_body: 1MiB }, upstream: web }
upstreams:
  web: { hedge: {}, pool: { max_idle: 8 }, retry: { per_try_timeout: 2s }, backends: [\"http://127.0.0.1:1\"] }
  plain: { backends: [\"http://127.0.0.1:1\"] }
";

const BAD_FILE: &str = "\
listeners: [{ adress: 127.0.0.1:8080 }]
shutdown: { drain_timeout: 30 }
upstreams:
  web: { algorithm: round_robbin, backends: [\"127.0.0.1:8081\"] }
";

/// Holds `found` against a golden file, or rewrites that.
pub(crate) fn golden(file: &Path, found: &str) {
    if std::env::vars().any(|(name, _)| name == "UPDATE_GOLDEN") {
        std::fs::create_dir_all(file.parent().expect("a folder")).expect("a folder can be made");
        std::fs::write(file, found).expect("a golden file can be written");
        return;
    }
    let expected = std::fs::read_to_string(file).unwrap_or_default();
    assert!(
        expected == found,
        "{} (UPDATE_GOLDEN=1 rewrites it)\n--- expected\n{expected}\n--- found\n{found}",
        file.display()
    );
}

fn golden_file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

/// Runs the program in a folder with a file `evenkeel.yaml` of this content; without a file if it is empty.
async fn beside(yaml: &str, arguments: &[&str]) -> Said {
    let folder = tempfile::tempdir().expect("a temporary folder");
    if !yaml.is_empty() {
        std::fs::write(folder.path().join("evenkeel.yaml"), yaml).expect("a configuration");
    }
    evenkeel(folder.path(), arguments).await
}

#[tokio::test]
async fn help_is_what_it_was() {
    for command in [
        "",
        "run",
        "check",
        "reload",
        "status",
        "drain",
        "weight",
        "add",
        "explain",
        "demo",
        "schema",
        "completions",
        "man",
    ] {
        let arguments = [command, "--help"];
        let said = beside("", if command.is_empty() { &arguments[1..] } else { &arguments }).await;
        assert_eq!((said.code, said.err.as_str()), (Some(0), ""));
        let name = if command.is_empty() { "evenkeel" } else { command };
        golden(&golden_file(&format!("help/{name}.txt")), &said.out);
    }
}

#[tokio::test]
async fn what_is_wrong_is_told() {
    let listen = ["run", "--listen", "127.0.0.1:0"];
    for (name, yaml, arguments) in [
        ("run-no-file", "", ["run"].as_slice()),
        ("check-no-file", "", &["check"]),
        ("run-file-missing", FINE, &["run", "-c", "missing.yaml"]),
        ("run-bad-file", BAD_FILE, &["run"]),
        ("run-bad-filters", BAD_FILTERS, &["run"]),
        ("run-bad-authorities", BAD_AUTHORITIES, &["run"]),
        ("run-bad-options", "", &["run", "--listen", "127.0.0.1", "--to", "127.0.0.1:80"]),
        (
            "run-bad-algorithm",
            "",
            &[&listen[..], &["--to", "http://127.0.0.1:1", "--algorithm", "fast"]].concat(),
        ),
        ("run-file-and-options", FINE, &[&listen[..], &["--to", "http://127.0.0.1:1", "-c", "x"]].concat()),
        ("run-listen-without-to", FINE, &listen),
        ("run-log-without-folder", &format!("{FINE}access_log: {{ to: no-folder/access.log }}\n"), &["run"]),
        ("check-bad-file", BAD_FILE, &["check"]),
        ("check-bad-filters", BAD_FILTERS, &["check"]),
        ("check-bad-authorities", BAD_AUTHORITIES, &["check"]),
        ("check-fine", FINE, &["check"]),
        ("check-asleep", ASLEEP, &["check"]),
        ("check-fine-by-name", FINE, &["check", "-c", "./evenkeel.yaml"]),
        ("check-fine-by-argument", FINE, &["check", "./evenkeel.yaml"]),
        ("check-two-files", FINE, &["check", "-c", "a.yaml", "b.yaml"]),
        ("run-argument-and-options", FINE, &[&listen[..], &["--to", "http://127.0.0.1:1", "x"]].concat()),
        ("no-command", FINE, &[]),
    ] {
        let said = beside(yaml, arguments).await;
        assert!(said.lasted < SOON, "{name}: {said:?}");
        golden(&golden_file(&format!("said/{name}.txt")), &said.text());
    }
}

#[tokio::test]
async fn an_address_in_use_is_told_at_once() {
    let holder = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let taken = holder.local_addr().expect("its address").to_string();
    for (listen, admin, error) in [
        (&*taken, "127.0.0.1:0", format!("error: address {taken} in use\n")),
        ("127.0.0.1:0", &*taken, format!("error: admin address {taken} in use\n")),
    ] {
        let arguments = ["run", "--listen", listen, "--to", "http://127.0.0.1:1", "--admin", admin];
        let said = beside("", &arguments).await;
        assert_eq!((said.code, said.err), (Some(3), error));
        assert!(said.lasted < SOON, "{:?}", said.lasted);
    }
}

#[tokio::test]
async fn a_second_balancer_does_not_share_the_first_ones_address() {
    let first = Program::run("upstreams: { web: { backends: [\"http://127.0.0.1:1\"] } }").await;
    let (listen, admin) = (first.address().to_string(), first.admin().to_string());
    let run = ["run", "--to", "http://127.0.0.1:1", "--listen"];
    let said = beside("", &[&run[..], &[&listen]].concat()).await;
    assert_eq!((said.code, said.err), (Some(3), format!("error: address {listen} in use\n")));
    let said = beside("", &[&run[..], &["127.0.0.1:0", "--admin", &admin]].concat()).await;
    assert_eq!((said.code, said.err), (Some(3), format!("error: admin address {admin} in use\n")));
}

#[tokio::test]
async fn what_sleeps_is_said_at_the_start_as_well() {
    let program = Program::run(&format!("{ASLEEP}admin: {{ address: 127.0.0.1:0 }}\n")).await;
    let warnings = || program.said().into_iter().filter(|line| line.contains("WARN")).collect::<Vec<_>>();
    // They come by another pipe than the addresses.
    eventually(PATIENCE, || warnings().len() == 6).await;
    let warnings = warnings();
    assert!(warnings[0].ends_with("upstreams.web.hedge has no effect with lanes: pingora"), "{warnings:#?}");
}

#[tokio::test]
async fn shells_and_man_get_their_files() {
    for shell in ["bash", "zsh", "fish"] {
        let said = beside("", &["completions", shell]).await;
        assert_eq!((said.code, said.err.as_str()), (Some(0), ""));
        assert!(said.out.contains("algorithm") && said.out.contains("evenkeel"), "{shell}:\n{}", said.out);
    }
    let said = beside("", &["man"]).await;
    assert!(said.code == Some(0) && said.out.contains(".TH evenkeel 1"), "{said:?}");
    let pages: Vec<_> =
        said.out.split("evenkeel\\-").skip(1).filter_map(|text| text.split_once("(1)")).collect();
    assert!(pages.len() > 6 && pages.iter().any(|(name, _)| *name == "run"), "{pages:?}");
    for (name, _) in pages {
        let said = beside("", &["man", name]).await;
        assert_eq!((said.code, said.err.as_str()), (Some(0), ""), "{name}");
        assert!(said.out.contains(&format!(".TH evenkeel-{name} 1")), "{name}:\n{}", said.out);
    }
    for name in ["rum", "help"] {
        let said = beside("", &["man", name]).await;
        let expected = format!("error: no page for `{name}`: expected one of run, check, ");
        assert!(said.code == Some(2) && said.err.starts_with(&expected), "{said:?}");
    }
}

#[tokio::test]
async fn the_schema_is_json_and_knows_the_filters() {
    let said = beside("", &["schema"]).await;
    let schema: serde_json::Value = serde_json::from_str(&said.out).expect("JSON");
    assert_eq!(schema["title"], "evenkeel configuration");
    assert!(said.out.contains("\"strip_prefix\""));
}

#[tokio::test]
async fn the_demo_shows_itself_and_ends() {
    let arguments = ["demo", "--seconds", "3", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"];
    let said = beside("", &arguments).await;
    assert_eq!((said.code, said.err.as_str()), (Some(0), ""), "{}", said.out);
    let line = |word: &str| said.out.lines().any(|line| line.trim_start().starts_with(word));
    assert!(line("http://127.0.0.1:") && line("curl -i http://127.0.0.1:"), "{}", said.out);
    assert!(line("alpha "), "no shares:\n{}", said.out);
    let requests = said.out.lines().last().expect("the count");
    let (count, rest) = requests.split_once(' ').expect("a count");
    assert_eq!(rest, "requests, 0 failed", "{}", said.out);
    assert!((30..=70).contains(&count.parse::<u32>().expect("a number")), "{requests}");
}

#[tokio::test]
async fn the_demo_does_without_its_ports() {
    // If this fails, another process holds them, which is equally good.
    let held = ["127.0.0.1:8080", "127.0.0.1:9900"].map(std::net::TcpListener::bind);
    let said = beside("", &["demo", "--seconds", "1"]).await;
    assert_eq!((said.code, said.err.as_str()), (Some(0), ""), "{}", said.out);
    assert!(said.out.contains("(127.0.0.1:8080 is taken)"), "{}", said.out);
    assert!(said.out.contains("(127.0.0.1:9900 is taken)"), "{}", said.out);
    drop(held);
}
