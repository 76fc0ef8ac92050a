//! A configuration in several files.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::fs;
use std::path::PathBuf;

use evenkeel_config::Config;

/// A folder with files, removed at the end of the test.
struct Folder(PathBuf);

const MAIN: &str = "listeners: [{ address: 127.0.0.1:1 }]\ninclude: [\"conf.d/*.yaml\"]\n";

impl Folder {
    fn new(name: &str, files: &[(&str, &str)]) -> Self {
        let folder = std::env::temp_dir().join(format!("evenkeel-{name}-{}", std::process::id()));
        fs::create_dir_all(folder.join("conf.d")).unwrap();
        for (file, text) in files {
            fs::write(folder.join(file), text).unwrap();
        }
        Self(folder)
    }

    fn load(&self) -> Result<Config, String> {
        let env = |name: &str| (name == "DIR").then(|| "conf.d".to_owned());
        let shown = format!("{}/", self.0.display());
        Config::from_file(self.0.join("main.yaml"), &env)
            .map_err(|error| error.to_string().replace(&shown, ""))
    }

    fn routes(&self) -> Vec<String> {
        let config = self.load().unwrap();
        config.model().unwrap().routes.iter().map(|route| route.name.clone()).collect()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn routes_and_upstreams_can_be_spread_over_files() {
    let folder = Folder::new(
        "spread",
        &[
            (
                "main.yaml",
                "x-timeouts: &slow { first_byte: 90s }\nlisteners: [{ address: 127.0.0.1:1 }]\ninclude: [\"${DIR}/*.yaml\"]\n\
                 routes: [{ name: first, match: { path: /1 }, respond: {} }]\n\
                 upstreams: { a: { backends: ['http://127.0.0.1:2'], timeouts: *slow } }\n",
            ),
            ("conf.d/20.yaml", "routes: [{ name: third, upstream: b }]\n"),
            (
                "conf.d/10.yaml",
                "include: more\nroutes: [{ name: second, match: { path: /2 }, upstream: a }]\n",
            ),
            ("conf.d/more", "upstreams: { b: { backends: ['http://127.0.0.1:3'] } }\n"),
            ("conf.d/.hidden.yaml", "not: read\n"),
            ("conf.d/empty.yaml", "# nothing yet\n"),
        ],
    );
    assert_eq!(folder.routes(), ["first", "second", "third"]);
    let config = folder.load().unwrap();
    let names: Vec<&str> =
        config.files().iter().map(|file| file.file_name().unwrap().to_str().unwrap()).collect();
    assert_eq!(names, ["main.yaml", "10.yaml", "more", "20.yaml", "empty.yaml"]);
}

#[test]
fn a_pattern_can_match_no_file() {
    let folder =
        Folder::new("none", &[("main.yaml", &format!("{MAIN}routes: [{{ name: only, respond: {{}} }}]\n"))]);
    assert_eq!(folder.routes(), ["only"]);
}

#[test]
fn mistakes_name_the_file_that_they_are_in() {
    let folder = Folder::new(
        "mistakes",
        &[
            ("main.yaml", &format!("{MAIN}upstreams: {{ a: {{ backends: ['http://127.0.0.1:2'] }} }}\n")),
            ("conf.d/1.yaml", "upstreams:\n  a: { backends: ['http://127.0.0.1:3'] }\n"),
            ("conf.d/2.yaml", "routes:\n  - { name: r, upstreem: a }\n"),
            ("conf.d/3.yaml", "workers: 2\n"),
            ("conf.d/4.yaml", "workers: 3\n"),
        ],
    );
    let expected = "\
error: conf.d/1.yaml:2:3: upstreams.a: is given twice: the first is in main.yaml, line 3: remove one of them
error: conf.d/2.yaml:2:16: routes[0].upstreem: unknown key: expected name, match, filters, upstream, split, redirect, respond, timeout, timeouts, max_body_size, retry or explain
  did you mean \"upstream\"?
error: conf.d/4.yaml:1:1: workers: is given twice: the first is in conf.d/3.yaml, line 1: remove one of them";
    assert_eq!(folder.load().unwrap_err(), expected);
}

#[test]
fn what_cannot_be_included_is_said_where_it_is_named() {
    let cases = [
        (
            "gone.yaml",
            "error: main.yaml:1:10: include: \"gone.yaml\" names gone.yaml, which cannot be read: there is no such file",
        ),
        (
            "main.yaml",
            "error: main.yaml:1:10: include: \"main.yaml\" names main.yaml a second time: include each file once",
        ),
        (
            "conf.d",
            "error: main.yaml:1:10: include: \"conf.d\" names conf.d, which cannot be read: it is a directory",
        ),
        (
            "\"[a\"",
            "error: main.yaml:1:10: include: \"[a\" is not a pattern for files: invalid range pattern",
        ),
        (
            "{ a: b }",
            "error: main.yaml:1:10: include: expected the name of a file or a pattern, like conf.d/*.yaml",
        ),
    ];
    for (value, expected) in cases {
        let folder = Folder::new("cannot", &[("main.yaml", &format!("include: {value}\n"))]);
        assert_eq!(folder.load().unwrap_err(), expected);
    }
    let error = Config::from_yaml("include: a.yaml\n", "standard input", &|_| None).unwrap_err();
    let expected = "error: standard input:1:10: include: \"a.yaml\" works only in a file: names of included files \
                    are relative to its folder";
    assert_eq!(error.to_string(), expected);
}

#[test]
fn files_that_include_each_other_end() {
    let folder = Folder::new(
        "cycle",
        &[
            ("main.yaml", MAIN),
            ("conf.d/a.yaml", "include: ../main.yaml\n"),
            ("conf.d/b.yaml", "workers: 1\n"),
        ],
    );
    let error = folder.load().unwrap_err();
    assert!(error.contains("conf.d/a.yaml:1:10: include:"), "{error}");
    assert!(error.ends_with("a second time: include each file once"), "{error}");
}
