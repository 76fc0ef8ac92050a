//! The budgets of the house that clippy does not hold: lines of code in a file, fields in a struct. (Lines in a function
//! and parameters are in `clippy.toml`.)

#![cfg(test)]

use std::path::Path;

use crate::architecture::source::{self, Source};

/// Lines of code in a file: not blank, not comments, not tests.
const FILE: usize = 400;

/// Named fields in a struct.
const STRUCT: usize = 12;

/// What may be larger, and why. A name is a file, or a file and a struct: `path/to/file.rs::Struct`.
const EXCEPTIONS: &[(&str, &str)] = &[
    (
        "crates/evenkeel-config/src/wire/upstream.rs::Upstream",
        "the keys of an upstream as users write them, side by side: serde cannot refuse unknown keys of a flattened part",
    ),
    (
        "crates/evenkeel-config/src/wire/route.rs::Match",
        "the conditions of a route as users write them, side by side, for the same reason",
    ),
    (
        "crates/evenkeel-config/src/wire/listener.rs::Http",
        "the keys of HTTP on a listener as users write them, side by side, for the same reason",
    ),
    (
        "crates/evenkeel-config/src/model.rs::HttpLimits",
        "one field for each key of HTTP on a listener: a reload compares them one by one",
    ),
    (
        "crates/evenkeel-config/src/wire/mod.rs::File",
        "the top-level keys as users write them, side by side, for the same reason",
    ),
    (
        "crates/evenkeel-config/src/model.rs::Model",
        "one field for each top-level key: a reload compares them one by one",
    ),
    (
        "crates/evenkeel-config/src/model.rs::Upstream",
        "one field for each group of keys; HTTP/2 made it 13, and its keys belong to no other group",
    ),
];

#[test]
fn files_and_structs_keep_to_their_budgets() {
    let over: Vec<String> = all().iter().flat_map(over_budget).collect();
    let unexcused: Vec<&String> =
        over.iter().filter(|o| !EXCEPTIONS.iter().any(|(name, _)| is_named(o, name))).collect();
    assert!(unexcused.is_empty(), "over budget: split them, or excuse them with a reason: {unexcused:#?}");
}

#[test]
fn no_exception_is_stale() {
    let over: Vec<String> = all().iter().flat_map(over_budget).collect();
    for (name, reason) in EXCEPTIONS {
        assert!(
            over.iter().any(|o| is_named(o, name)),
            "{name} is no longer over budget: take it off the list"
        );
        assert!(reason.len() > 10, "{name} has no reason");
    }
}

/// What is too large in a file, each as its name and its size.
fn over_budget(source: &Source) -> Vec<String> {
    let path = source.path.display();
    let lines = source.code_lines();
    let file = (lines > FILE).then(|| format!("{path}: {lines} lines of code"));
    let structs = source.structs().into_iter().filter(|s| s.fields > STRUCT);
    let structs = structs.map(|s| format!("{path}::{}: {} fields", s.name, s.fields));
    file.into_iter().chain(structs).collect()
}

fn is_named(over: &str, name: &str) -> bool {
    over.strip_prefix(name).is_some_and(|rest| rest.starts_with(": "))
}

fn all() -> Vec<Source> {
    let crates = std::fs::read_dir(source::root().join("crates")).expect("the crates are there");
    let folders =
        crates.map(|entry| Path::new("crates").join(entry.expect("a folder can be read").file_name()));
    let folders = folders.flat_map(|krate| [krate.join("src"), krate.join("examples")]);
    let folders =
        folders.chain(["xtask/src", "bench/src", "load/src"].map(|folder| Path::new(folder).to_owned()));
    let sources: Vec<Source> = folders.flat_map(|folder| source::under(&folder)).collect();
    assert!(sources.len() > 20, "only {} files found: the scan itself is broken", sources.len());
    sources
}

mod samples {
    use super::*;

    fn over(text: &str) -> Vec<String> {
        over_budget(&Source::new("src/a.rs".into(), text))
    }

    #[test]
    fn a_file_of_401_lines_is_over() {
        assert_eq!(over(&"fn f() {}\n".repeat(400)), [""; 0]);
        assert_eq!(over(&"fn f() {}\n".repeat(401)), ["src/a.rs: 401 lines of code"]);
        assert_eq!(over(&"// a comment\n\n".repeat(500)), [""; 0]);
    }

    #[test]
    fn a_struct_of_13_fields_is_over() {
        let fields = |n: usize| (0..n).map(|i| format!("f{i}: u8,")).collect::<String>();
        assert_eq!(over(&format!("struct A {{ {} }}", fields(12))), [""; 0]);
        assert_eq!(over(&format!("struct A {{ {} }}", fields(13))), ["src/a.rs::A: 13 fields"]);
    }

    #[test]
    fn a_name_excuses_only_itself() {
        assert!(is_named("src/a.rs::A: 13 fields", "src/a.rs::A"));
        assert!(!is_named("src/a.rs::A: 13 fields", "src/a.rs"));
        assert!(!is_named("src/a.rs::AB: 13 fields", "src/a.rs::A"));
    }
}
