//! `run --watch`: a change of a file is reloaded, however it is made.

#![cfg(test)]

use std::path::Path;

use crate::program::{Program, evenkeel};
use crate::support::{Backend, PATIENCE, Secure, eventually, get};

const APPLIED: &str = "configuration reloaded";
const REJECTED: &str = "configuration rejected";

fn lines(program: &Program, text: &str) -> usize {
    program.said().iter().filter(|line| line.contains(text)).count()
}

async fn until_lines(program: &Program, text: &str, count: usize) {
    eventually(PATIENCE, || lines(program, text) >= count).await;
    assert_eq!(lines(program, text), count, "{:#?}", program.said());
}

async fn watching(yaml: &str) -> Program {
    Program::run_given(yaml, &["--watch"], &[]).await
}

fn web(url: &str) -> String {
    format!("upstreams: {{ web: {{ backends: [\"{url}\"] }} }}\n")
}

#[tokio::test]
async fn a_file_that_is_replaced_or_written_is_reloaded_once() {
    let (old, new) = (Backend::saying("old").await, Backend::saying("new").await);
    let program = watching(&web(&old.url())).await;
    let file = program.file("evenkeel.yaml");
    let text = std::fs::read_to_string(&file).expect("the configuration");
    assert_eq!(get(program.address(), "/").await.text(), "old");

    let beside = program.file(".evenkeel.yaml.new");
    std::fs::write(&beside, text.replace(&old.url(), &new.url())).expect("a file");
    std::fs::rename(&beside, &file).expect("a rename");
    until_lines(&program, APPLIED, 1).await;
    assert_eq!(get(program.address(), "/").await.text(), "new");

    // An invalid file is one line, and the next valid one is put in force.
    std::fs::write(&file, "listeners: []").expect("it can be written");
    until_lines(&program, REJECTED, 1).await;
    std::fs::write(&file, &text).expect("it can be written");
    until_lines(&program, APPLIED, 2).await;
    assert_eq!(get(program.address(), "/").await.text(), "old");
    assert_eq!(lines(&program, REJECTED), 1, "{:#?}", program.said());
}

/// As Kubernetes mounts a ConfigMap: the file is a link through a link to a folder, and that one is switched.
#[tokio::test]
async fn a_link_that_is_switched_is_reloaded() {
    let (old, new) = (Backend::saying("old").await, Backend::saying("new").await);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let at = |name: &str| folder.path().join(name);
    for (name, backend) in [("first", &old), ("second", &new)] {
        std::fs::create_dir(at(name)).expect("a folder");
        std::fs::write(at(name).join("web.yaml"), web(&backend.url())).expect("a file");
    }
    let link = |to: &str| {
        std::os::unix::fs::symlink(to, at("link")).expect("a link");
        std::fs::rename(at("link"), at("data")).expect("a rename");
    };
    link("first");
    std::os::unix::fs::symlink("data/web.yaml", at("web.yaml")).expect("a link");
    let main = "include: web.yaml\nlisteners: [{ address: 127.0.0.1:0 }]\nadmin: { address: 127.0.0.1:0 }\n";
    std::fs::write(at("evenkeel.yaml"), main).expect("a file");
    let program = Program::start(folder, &["run", "--watch"]).await;
    assert_eq!(get(program.address(), "/").await.text(), "old");
    let file = |name: &str| program.file(name);
    std::os::unix::fs::symlink("second", file("link")).expect("a link");
    std::fs::rename(file("link"), file("data")).expect("a rename");
    until_lines(&program, APPLIED, 1).await;
    assert_eq!(get(program.address(), "/").await.text(), "new");
}

#[tokio::test]
async fn a_certificate_authority_is_watched_too() {
    let backend = Secure::start("api.internal", |_| crate::support::Reply::ok("secure")).await;
    let other = Secure::start("api.internal", |_| crate::support::Reply::ok("other")).await;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let ca = folder.path().join("ca.pem");
    std::fs::copy(&other.authority, &ca).expect("a file");
    let yaml = format!(
        "upstreams: {{ web: {{ backends: [\"{}\"], tls: {{ ca: {}, server_name: api.internal }} }} }}\n",
        backend.url(),
        ca.display()
    );
    let program = watching(&yaml).await;
    assert_eq!(get(program.address(), "/").await.status(), 502);
    std::fs::copy(&backend.authority, &ca).expect("a file");
    until_lines(&program, APPLIED, 1).await;
    assert_eq!(get(program.address(), "/").await.status(), 200);
}

#[tokio::test]
async fn without_a_file_there_is_nothing_to_watch() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let said = evenkeel(here, &["run", "--watch", "-c", "-"]).await;
    assert_eq!(said.code, Some(2), "{}", said.text());
    let said =
        evenkeel(here, &["run", "--watch", "--listen", "127.0.0.1:0", "--to", "http://127.0.0.1:1"]).await;
    assert_eq!(said.code, Some(2), "{}", said.text());
}
