//! Shortages at the start are one error line and exit code 3, never a panic.

#![cfg(test)]

use std::process::Stdio;

use tokio::process::Command;

use super::program::Program;
use super::support::{Backend, ClosedPort, Reply, Secure, get, in_time, send};

/// Runs the program until it listens or ends, and then until a signal has ended it.
const UNTIL_IT_SERVES: &str = "run 2>said & until grep -q '^listening on ' said || ! kill -0 $!; \
     do sleep 0.05; done; kill $!; wait $!; code=$?; cat said >&2; exit $code";

/// Runs the program under `limits` of the shell. Returns its exit code and its lines on standard error.
async fn run(
    yaml: &str,
    limits: &str,
    variables: &[(&str, &str)],
    arguments: &str,
) -> (Option<i32>, Vec<String>) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    std::fs::write(folder.path().join("evenkeel.yaml"), yaml).expect("a file");
    let exec = if arguments == UNTIL_IT_SERVES { "" } else { "exec" };
    let script = format!("{limits} {exec} \"$0\" {arguments}");
    let mut command = Command::new("sh");
    command.args(["-c", &script, env!("CARGO_BIN_EXE_evenkeel")]).current_dir(folder.path());
    command
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .env_remove("EVENKEEL_LOG")
        .env_remove("SSL_CERT_DIR")
        .envs(variables.iter().copied());
    let output = in_time("the program's end", command.output()).await.expect("the program runs");
    let lines = String::from_utf8_lossy(&output.stderr).lines().map(str::to_owned).collect();
    (output.status.code(), lines)
}

fn yaml(upstream: &str, more: &str) -> String {
    format!("listeners: [{{ address: 127.0.0.1:0 }}]\nupstreams: {{ web: {{ {upstream} }} }}\n{more}\n")
}

#[tokio::test]
async fn too_few_descriptors_are_one_error_line_and_exit_code_3() {
    let text = yaml("backends: [\"http://127.0.0.1:1\"]", "workers: 64\nadmin: { address: 127.0.0.1:0 }");
    // With each limit, another step fails.
    for limit in [12, 20, 60, 75, 90, 120, 200] {
        let (code, lines) = run(&text, &format!("ulimit -n {limit};"), &[], "run").await;
        assert_eq!(code, Some(3), "{limit}: {lines:#?}");
        let errors: Vec<&String> = lines.iter().filter(|line| line.starts_with("error: ")).collect();
        assert_eq!(errors.len(), 1, "{limit}: {lines:#?}");
        assert!(errors[0].contains("Too many open files"), "{limit}: {lines:#?}");
        assert!(!lines.iter().any(|line| line.contains("panic")), "{limit}: {lines:#?}");
    }
}

#[tokio::test]
async fn missing_root_certificates_matter_only_where_they_are_needed() {
    let missing = [("SSL_CERT_FILE", "/no-such.crt")];
    let backend = Backend::saying("ok").await;
    let text = yaml(&format!("backends: [\"{}\"]", backend.url()), "");
    let (code, lines) = run(&text, "", &missing, "check").await;
    assert_eq!(code, Some(0), "{lines:#?}");
    // It starts, and serves until a signal ends it.
    let (code, lines) = run(&text, "", &missing, UNTIL_IT_SERVES).await;
    assert_eq!(code, Some(0), "{lines:#?}");
    assert!(!lines.iter().any(|line| line.contains("panic")), "{lines:#?}");

    let refusing = ClosedPort::new();
    let text = yaml(&format!("backends: [\"https://{}\"]", refusing.address), "");
    let (code, lines) = run(&text, "", &missing, "run").await;
    assert_eq!(code, Some(3), "{lines:#?}");
    let expected = "error: upstream web: cannot read the system's root certificates: ";
    assert!(
        lines.iter().any(|line| line.starts_with(expected) && line.contains("/no-such.crt")),
        "{lines:#?}"
    );
    // An upstream that verifies nothing needs no root certificates.
    let unverified = "tls: { danger_accept_invalid_certificates: true }";
    let text = yaml(&format!("backends: [\"https://{}\"], {unverified}", refusing.address), "");
    let (code, lines) = run(&text, "", &missing, UNTIL_IT_SERVES).await;
    assert_eq!(code, Some(0), "{lines:#?}");
}

#[tokio::test]
async fn a_bundle_that_can_be_read_in_part_is_used_with_a_warning() {
    let secure = Secure::start("api.internal", |_| Reply::ok("ok")).await;
    let good = std::fs::read_to_string(&secure.authority).expect("a file");
    let folder = tempfile::tempdir().expect("a temporary folder");
    let text = yaml(&format!("backends: [\"{}\"], tls: {{ server_name: api.internal }}", secure.url()), "");
    let malformed = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let no_base64 = "-----BEGIN CERTIFICATE-----\n!!!!\n-----END CERTIFICATE-----\n";
    for (bad, told) in [(malformed, true), (no_base64, false)] {
        let bundle = folder.path().join("bundle.pem");
        std::fs::write(&bundle, format!("{bad}{good}")).expect("a file");
        let bundle = bundle.display().to_string();
        let (code, lines) = run(&text, "", &[("SSL_CERT_FILE", &bundle)], UNTIL_IT_SERVES).await;
        assert_eq!(code, Some(0), "{lines:#?}");
        assert!(
            !told || lines.iter().any(|line| line.contains("WARN") && line.contains("using the other 1")),
            "{lines:#?}"
        );
        assert!(!lines.iter().any(|line| line.contains("panic")), "{lines:#?}");
    }
}

#[tokio::test]
async fn a_reload_that_needs_unreadable_root_certificates_changes_nothing() {
    let (backend, refusing) = (Backend::saying("ok").await, ClosedPort::new());
    let text = format!("upstreams: {{ web: {{ backends: [\"{}\"] }} }}", backend.url());
    let missing = [("SSL_CERT_FILE", "/no-such.crt"), ("SSL_CERT_DIR", "/no-such")];
    let program = Program::run_given(&text, &[], &missing).await;
    let file = program.file("evenkeel.yaml");
    let secure = format!("https://{}", refusing.address);
    let before = std::fs::read_to_string(&file).expect("the configuration");
    std::fs::write(&file, before.replace(&backend.url(), &secure)).expect("it can be written");
    let request = "POST /reload HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n";
    let rejected = send(program.admin(), request).await;
    assert_eq!(rejected.status(), 422, "{}", rejected.text());
    let expected = "error: upstream web: cannot read the system's root certificates: ";
    assert!(rejected.text().starts_with(expected), "{}", rejected.text());
    assert_eq!(get(program.address(), "/").await.text(), "ok");
}
