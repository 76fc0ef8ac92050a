//! Files that cannot be read, and parameters of filters as an upper crate reads them.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests fail as tests do")]

use std::collections::BTreeMap;
use std::fs;

use evenkeel_config::{Config, FilterSpec, ParamError, Token};
use serde::Deserialize;

fn none(_: &str) -> Option<String> {
    None
}

#[test]
fn files_that_cannot_be_read_are_said_so_in_one_line() {
    let folder = std::env::temp_dir().join(format!("evenkeel-config-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let bad = folder.join("bad.yaml");
    fs::write(&bad, b"listeners:\n  - \xff\n").unwrap();
    let good = folder.join("good.yaml");
    fs::write(&good, "listeners: [{address: '127.0.0.1:1'}]\nroutes: [{name: a, respond: {}}]\n").unwrap();
    let message = |path: &std::path::Path| Config::from_file(path, &none).unwrap_err().to_string();
    let missing = folder.join("missing.yaml");
    assert_eq!(
        message(&missing),
        format!("error: {}: cannot be read: there is no such file", missing.display())
    );
    assert_eq!(message(&folder), format!("error: {}: cannot be read: it is a directory", folder.display()));
    assert_eq!(
        message(&bad),
        format!(
            "error: {}:2:5: has the byte 0xFF, which is not UTF-8: save the file as UTF-8, not as Latin-1 or UTF-16",
            bad.display()
        )
    );
    assert!(Config::from_file(&good, &none).unwrap().model().is_ok());
    fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn the_token_is_not_shown() {
    let text = "
        listeners: [{ address: 127.0.0.1:1 }]
        routes: [{ name: a, respond: {} }]
        admin: { address: 127.0.0.1:2, token: 0123456789abcdef }
    ";
    let config = Config::from_yaml(text, "secret.yaml", &none).unwrap();
    assert_eq!(
        config.model().unwrap().admin.as_ref().unwrap().token,
        Some(Token::Value("0123456789abcdef".to_owned()))
    );
    assert!(!format!("{config:?}").contains("0123456789abcdef"));
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Headers {
    #[serde(default)]
    set: BTreeMap<String, String>,
    #[serde(default)]
    remove: Vec<String>,
    #[serde(default)]
    times: u8,
    #[serde(default)]
    mode: Mode,
}

#[derive(Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "snake_case")]
enum Mode {
    #[default]
    Replace,
    Append,
}

fn step(written: &str) -> FilterSpec {
    let text = format!(
        "listeners: [{{ address: 127.0.0.1:1 }}]\nroutes:\n  - name: a\n    filters:\n      - {written}\n    respond: {{}}\n"
    );
    let config = Config::from_yaml(&text, "f.yaml", &none).unwrap();
    config.model().unwrap().routes[0].filters[0].clone()
}

fn message<T: for<'de> Deserialize<'de> + std::fmt::Debug>(written: &str) -> String {
    let step = step(written);
    step.error(step.params().parse::<T>().unwrap_err()).to_string()
}

#[test]
fn parameters_read_into_types() {
    let step = step("headers: { set: { x-a: 1, x-b: \"two\" }, remove: [x-c], times: 2, mode: append }");
    assert_eq!(step.kind(), "headers");
    let params: Headers = step.params().parse().unwrap();
    assert_eq!(params.set["x-a"], "1");
    assert_eq!(params.set["x-b"], "two");
    assert_eq!(params.remove, ["x-c"]);
    assert_eq!((params.times, params.mode), (2, Mode::Append));
}

#[test]
fn parameters_are_refused_as_well_as_the_rest() {
    for (written, expected) in [
        (
            "headers: { sett: {} }",
            "error: f.yaml:5:20: routes[0].filters[0].headers.sett: unknown key: expected set, remove, times or mode\n  did you \
             mean \"set\"?",
        ),
        (
            "headers: { remove: [a, {}] }",
            "error: f.yaml:5:32: routes[0].filters[0].headers.remove[1]: is a map: expected text",
        ),
        (
            "headers: { times: 300 }",
            "error: f.yaml:5:27: routes[0].filters[0].headers.times: \"300\" is out of range: expected a whole number from 0 to \
             255",
        ),
        (
            "headers: { mode: apend }",
            "error: f.yaml:5:26: routes[0].filters[0].headers.mode: \"apend\" is not known here: expected replace or append\n  \
             did you mean \"append\"?",
        ),
        (
            "headers: x",
            "error: f.yaml:5:18: routes[0].filters[0].headers: \"x\" is not a map of keys and values",
        ),
        (
            "headers:",
            "error: f.yaml:5:16: routes[0].filters[0].headers: has no value: expected a map of keys and values",
        ),
    ] {
        assert_eq!(message::<Headers>(written), expected);
    }
    assert_eq!(
        message::<String>("strip_prefix: [a]"),
        "error: f.yaml:5:23: routes[0].filters[0].strip_prefix: is a list: expected text"
    );
}

#[test]
fn an_owner_of_a_filter_adds_mistakes_of_its_own() {
    let step = step("headers: { set: { x y: 1 }, remove: [a] }");
    let error: ParamError = step.params().error("set.x y", "a header name");
    assert_eq!(
        step.error(error).to_string(),
        "error: f.yaml:5:32: routes[0].filters[0].headers.set.x y: \"1\" is not valid: expected a header name"
    );
    let error = step.params().error("remove[0]", "another").suggestion(Some("b"));
    assert_eq!(
        step.error(error).to_string(),
        "error: f.yaml:5:46: routes[0].filters[0].headers.remove[0]: \"a\" is not valid: expected another\n  did you mean \"b\"?"
    );
    let error = step.params().error("", "something");
    assert_eq!(
        step.error(error).to_string(),
        "error: f.yaml:5:18: routes[0].filters[0].headers: is not valid: expected something"
    );
    assert_eq!(
        step.unknown_kind(&["header", "strip_prefix"]).to_string(),
        "error: f.yaml:5:9: routes[0].filters[0]: \"headers\" is not a filter: expected header or strip_prefix\n  did you mean \
         \"header\"?"
    );
}
