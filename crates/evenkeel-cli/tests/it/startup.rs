//! Where the program takes its configuration and the level of its log from.

#![cfg(test)]

use rustix::process::Signal;

use crate::program::{Program, evenkeel, evenkeel_given};

const FILE: &str = "\
listeners: [{ address: 127.0.0.1:0 }]
upstreams: { web: { backends: [\"http://127.0.0.1:8081\", \"http://127.0.0.1:8082\"] } }
";

#[tokio::test]
async fn a_dash_reads_the_configuration_from_standard_input() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for arguments in [["check", "-c", "-"].as_slice(), &["check", "-"]] {
        let said = evenkeel_given(folder.path(), arguments, FILE, &[]).await;
        let beginning = "standard input: ";
        assert!(said.code == Some(0) && said.out.starts_with(beginning), "{said:?}");
        let said = evenkeel_given(folder.path(), arguments, "listners: []\n", &[]).await;
        assert!(said.code == Some(1) && said.err.contains("standard input:1:1"), "{said:?}");
    }
    let explain = ["explain", "-c", "-", "http://a/"];
    let said = evenkeel_given(folder.path(), &explain, FILE, &[]).await;
    assert!(said.code == Some(0) && said.out.contains("http://127.0.0.1:8081"), "{said:?}");
    let simulate = ["simulate", "-c", "-", "--duration", "1s", "--algorithm", "random"];
    let said = evenkeel_given(folder.path(), &simulate, FILE, &[]).await;
    assert!(said.code == Some(0) && said.out.starts_with("2 backends"), "{said:?}");
    // It gets as far as the address that it cannot have.
    let bad = FILE.replace("127.0.0.1:0", "192.0.2.1:1");
    for arguments in [["run", "-c", "-"].as_slice(), &["run", "-"]] {
        let said = evenkeel_given(folder.path(), arguments, &bad, &[]).await;
        assert!(said.code == Some(3) && said.err.contains("192.0.2.1:1"), "{said:?}");
    }
}

#[tokio::test]
async fn a_file_needs_no_option() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("other.yaml");
    std::fs::write(&file, format!("{FILE}admin: {{ address: 127.0.0.1:0 }}\n")).expect("a file");
    let checked = evenkeel(folder.path(), &["check", "other.yaml"]).await;
    assert!(checked.code == Some(0) && checked.out.starts_with("other.yaml: "), "{checked:?}");
    let mut program = Program::start(folder, &["run", "other.yaml"]).await;
    let line = program.said().swap_remove(0);
    assert!(line.contains(&format!(", configuration: {}, ", file.display())), "{line}");
    program.signal(Signal::TERM);
    program.ended_well().await;
}

#[tokio::test]
async fn the_first_that_sets_the_log_level_decides() {
    const EVENKEEL: &str = "EVENKEEL_LOG";
    const RUST: &str = "RUST_LOG";
    // Draining is logged at `info`.
    for (options, variables, logs) in [
        ([].as_slice(), [].as_slice(), true),
        (&[], &[(RUST, "warn")], false),
        (&[], &[(RUST, "evenkeel=error")], false),
        (&[], &[(RUST, "debug")], true),
        (&[], &[(RUST, "")], true),
        (&[], &[(EVENKEEL, "info"), (RUST, "error")], true),
        (&[], &[(EVENKEEL, "error"), (RUST, "info")], false),
        (&[], &[(EVENKEEL, ""), (RUST, "error")], false),
        (&["--log-level", "info"], &[(EVENKEEL, "error"), (RUST, "error")], true),
        (&["--log-level", "error"], &[(EVENKEEL, "info"), (RUST, "info")], false),
    ] {
        let mut program = Program::run_given(FILE, options, variables).await;
        program.signal(Signal::TERM);
        program.ended_well().await;
        let said = program.said();
        let found = said.iter().any(|line| line.contains("draining"));
        assert_eq!(found, logs, "{options:?} {variables:?}: {said:#?}");
        assert!(!said.iter().any(|line| line.contains(" pingora")), "{variables:?}: {said:#?}");
    }
}

#[tokio::test]
async fn a_missing_file_of_authorities_has_its_place_in_the_message() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let text = "listeners: [{ address: 127.0.0.1:0 }]\n\
                upstreams: { web: { tls: { ca: not-there.pem }, backends: [\"https://127.0.0.1:1\"] } }\n";
    std::fs::write(folder.path().join("evenkeel.yaml"), text).expect("a file");
    let checked = evenkeel(folder.path(), &["check"]).await;
    assert!(checked.err.starts_with("error: evenkeel.yaml:2:32: upstreams.web.tls.ca: "), "{checked:?}");
    let said = evenkeel(folder.path(), &["run"]).await;
    assert_eq!((said.code, said.err), (Some(1), checked.err));
}
