//! What `evenkeel check` says of files that people write: one file of `tests/golden/check` for each case, with what is said
//! next to it. To add a case is to add a file.

#![cfg(test)]

use std::path::{Path, PathBuf};

use crate::cli::golden;
use crate::program::evenkeel;

#[tokio::test]
async fn check_says_of_every_mistake_where_it_is_and_what_to_write() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/check");
    let entries = std::fs::read_dir(&folder).expect("a folder");
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "yaml"));
    files.sort();
    assert!(files.len() >= 50, "only {} files", files.len());
    for file in files {
        let name = file.file_name().and_then(|name| name.to_str()).expect("a name").to_owned();
        let said = evenkeel(&folder, &["check", "-c", &name]).await;
        golden(&file.with_extension("txt"), &said.text());
        for line in
            said.err.lines().filter(|line| line.starts_with("error: ") && !line.contains("more mistakes"))
        {
            assert!(line.starts_with(&format!("error: {name}:")), "no place: {line}");
        }
    }
}

#[tokio::test]
async fn check_sees_what_is_outside_of_the_file() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    std::fs::write(folder.path().join("file"), "").expect("a file");
    let beside = async |access_log: &str, backend: &str| {
        let yaml = format!(
            "listeners: [{{ address: 127.0.0.1:0 }}]\naccess_log: {{ to: {access_log} }}\n\
             upstreams: {{ web: {{ backends: [\"{backend}\", {{ url: \"{backend}:81\" }}] }} }}\n"
        );
        std::fs::write(folder.path().join("evenkeel.yaml"), yaml).expect("a configuration");
        evenkeel(folder.path(), &["check"]).await
    };
    for (log, expected) in [
        (
            "missing/access.log",
            "error: evenkeel.yaml:2:19: access_log.to: \"missing/access.log\" cannot be written: there is no directory missing: create it",
        ),
        ("file/access.log", "cannot be written: file is not a directory"),
        ("./.", "cannot be written: it is a directory"),
    ] {
        let said = beside(log, "http://127.0.0.1").await;
        assert!(said.code == Some(1) && said.err.contains(expected), "{log}: {}", said.text());
    }
    let said = beside("./access.log", "http://127.0.0.1").await;
    assert_eq!((said.code, said.err.as_str(), said.out.lines().count()), (Some(0), "", 1));
    assert!(!folder.path().join("access.log").exists(), "nothing is written");
    // It may have an address later: no mistake.
    let said = beside("stdout", "http://nosuchhost.invalid").await;
    let note = "note: evenkeel.yaml:3:32: upstreams.web.backends[0]: \"http://nosuchhost.invalid\" has the name \
                nosuchhost.invalid, which has no address now";
    assert!(said.code == Some(0) && said.out.contains(note), "{}", said.text());
}
