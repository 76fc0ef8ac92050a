//! Files in, models and messages out, held against files. Adding a test is adding a file; `UPDATE_GOLDEN=1` rewrites what
//! is expected.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::fs;
use std::path::{Path, PathBuf};

use evenkeel_config::Config;

/// The environment of every golden file.
fn env(name: &str) -> Option<String> {
    let value = match name {
        "PORT" => "8081",
        "TOKEN" => "0123456789abcdef-secret",
        "EMPTY" => "",
        "STRUCTURE" => "x: y\n- {a: b}",
        _ => return None,
    };
    Some(value.to_owned())
}

fn cases(folder: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(folder);
    let mut files: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "yaml"));
    files.sort();
    files
}

fn load(file: &Path) -> Result<Config, String> {
    let name = file.file_name().unwrap().to_str().unwrap();
    let text = fs::read_to_string(file).unwrap();
    Config::from_yaml(&text, name, &env).map_err(|error| format!("{error}\n"))
}

/// Compares `found` with the file next to `file`, or rewrites that file; returns the difference.
fn compare(file: &Path, extension: &str, found: &str) -> Option<String> {
    let golden = file.with_extension(extension);
    if std::env::vars().any(|(name, _)| name == "UPDATE_GOLDEN") {
        fs::write(&golden, found).unwrap();
        return None;
    }
    let expected = fs::read_to_string(&golden).unwrap_or_default();
    (expected != found).then(|| format!("{}\n--- expected\n{expected}\n--- found\n{found}", golden.display()))
}

#[test]
fn good_files_give_their_models() {
    let files = cases("ok");
    assert!(files.len() >= 5);
    let differing: Vec<String> = files
        .iter()
        .filter_map(|file| match load(file) {
            Ok(config) => compare(file, "model.txt", &format!("{:#?}\n", config.model().unwrap())),
            Err(error) => Some(format!("{}\n{error}", file.display())),
        })
        .collect();
    assert!(differing.is_empty(), "{}", differing.join("\n\n"));
}

#[test]
fn bad_files_give_their_messages() {
    let files = cases("err");
    assert!(files.len() >= 40, "only {} bad configurations", files.len());
    let differing: Vec<String> = files
        .iter()
        .filter_map(|file| match load(file) {
            Ok(_) => Some(format!("{} was accepted", file.display())),
            Err(error) => compare(file, "err", &error),
        })
        .collect();
    assert!(differing.is_empty(), "{}", differing.join("\n\n"));
}

/// What every message must have, whatever the golden files say.
#[test]
fn every_message_names_its_place() {
    for file in cases("err") {
        let name = file.file_name().unwrap().to_str().unwrap().to_owned();
        let Err(error) = Config::from_yaml(&fs::read_to_string(&file).unwrap(), &name, &env) else {
            continue;
        };
        assert!(!error.diagnostics().is_empty());
        for diagnostic in
            error.diagnostics().iter().filter(|diagnostic| !diagnostic.message.contains("more mistakes"))
        {
            let place = diagnostic.place.as_ref().unwrap_or_else(|| panic!("{name}: no place: {diagnostic}"));
            let lines = fs::read_to_string(&file).unwrap().lines().count().max(1);
            assert!((1..=lines + 1).contains(&(place.line as usize)), "{diagnostic}");
            assert!(place.column >= 1, "{diagnostic}");
        }
    }
}
