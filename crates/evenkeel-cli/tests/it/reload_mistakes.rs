//! A reload of a file with mistakes: nothing changes, and the message is that of `check`.

#![cfg(test)]

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::life::before;
use crate::program::{Program, evenkeel};
use crate::support::{Backend, get};

/// The files that `check` rejects: the cases of `tests/golden/check`, by their names.
fn mistakes() -> Vec<(String, PathBuf)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/check");
    let entries = std::fs::read_dir(&folder).expect("a folder").map(|entry| entry.expect("an entry").path());
    let cases = entries.filter(|file| file.extension().is_some_and(|extension| extension == "yaml"));
    let rejected = cases.filter(|file| {
        let said = std::fs::read_to_string(file.with_extension("txt")).expect("what is said");
        said.ends_with("--- exit code\n1\n")
    });
    let name = |file: &Path| file.file_stem().and_then(|name| name.to_str()).expect("a name").to_owned();
    let mut all: Vec<_> = rejected.map(|file| (name(&file), file)).collect();
    all.sort();
    all
}

/// What runs, without what changes by itself.
async fn running(program: &Program) -> Value {
    let status = get(program.admin(), "/status").await.text();
    let status: Value = serde_json::from_str(&status).expect("JSON");
    let names = |list: &Value, key: &str| -> Vec<Value> {
        list.as_array().expect("a list").iter().map(|one| one[key].clone()).collect()
    };
    let upstreams = status["upstreams"].as_array().expect("a list").iter();
    let backends = upstreams.map(|upstream| names(&upstream["backends"], "name"));
    serde_json::json!([
        names(&status["listeners"], "address"),
        names(&status["routes"], "name"),
        names(&status["upstreams"], "name"),
        backends.collect::<Vec<_>>(),
    ])
}

#[tokio::test]
async fn every_mistake_is_reported_as_by_check_and_changes_nothing() {
    let backend = Backend::saying("still here").await;
    let program = before(&backend, "").await;
    let file = program.file("evenkeel.yaml");
    let (folder, admin) = (file.parent().expect("a folder"), format!("http://{}", program.admin()));
    let (before, mistakes) = (running(&program).await, mistakes());
    assert!(mistakes.len() >= 50, "only {} mistakes", mistakes.len());
    let mut client = crate::support::Client::connect(program.address()).await;
    let (check, reload) = (["check"], ["reload", "--admin", &admin]);
    let (mut different, elsewhere) = (Vec::new(), tempfile::tempdir().expect("a temporary folder"));
    for (number, (name, mistake)) in mistakes.iter().enumerate() {
        std::fs::copy(mistake, &file).expect("it can be written");
        let (checked, reloaded) =
            tokio::join!(evenkeel(folder, &check), evenkeel(elsewhere.path(), &reload),);
        assert_eq!(checked.code, Some(1), "{name}: {}", checked.text());
        assert_eq!((reloaded.code, reloaded.out.as_str()), (Some(1), ""), "{name}: {}", reloaded.text());
        if reloaded.err != checked.err {
            different.push(format!("{name}:\n{}--- check\n{}", reloaded.err, checked.err));
        }
        assert_eq!(client.get("/").await.text(), "still here", "{name}");
        assert_eq!(running(&program).await, before, "{name}");
        let lines = program.said().into_iter().filter(|line| line.contains("configuration rejected"));
        assert_eq!(lines.count(), number + 1, "{name}: one line for each reload");
    }
    assert!(different.is_empty(), "{}", different.join("\n"));
    let status: Value = serde_json::from_str(&get(program.admin(), "/status").await.text()).expect("JSON");
    assert_eq!(
        (&status["reloads"]["applied"], &status["reloads"]["rejected"]),
        (&0.into(), &mistakes.len().into())
    );
}
