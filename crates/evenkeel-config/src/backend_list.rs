//! Reads a list of backends that is not part of a configuration: a file or a response that a discovery source reads.
//!
//! This file never knows where the text comes from.

use std::sync::Arc;

use crate::config::in_order;
use crate::resolve::{self, Context};
use crate::wire::{Group, HINTS, Item, OrText};
use crate::yaml::{self, Kind, Node};
use crate::{Backend, ConfigError, Diagnostic, Location, Scheme};

/// Reads a list of backends in YAML or JSON. `source_name` is what messages call it.
///
/// The list has one of two formats. Either each entry is a backend as in `backends` of the configuration: a URL, or a map with
/// `url`, `weight`, `backup`, `priority`, `zone` and `metadata`. Or each entry is a target group of Prometheus (`file_sd`,
/// `http_sd`): a map with `targets`, each `host:port`, and `labels`. There the labels `weight`, `priority` and `zone` have the
/// same meaning, and `__scheme__` is `http`, `https` or `tcp`; `scheme` applies without it. Other labels are metadata.
///
/// A text without content is an empty list. Variables (`${NAME}`) are not replaced.
///
/// # Errors
/// Every mistake that could be found in one run, at most 20. One wrong entry makes the whole list invalid.
///
/// ```
/// let list = r#"[{ "targets": ["10.0.0.1:80", "10.0.0.2:80"], "labels": { "zone": "a" } }]"#;
/// let backends = evenkeel_config::backend_list(list, "web.json", Default::default())?;
/// assert_eq!(backends[1].url.text, "http://10.0.0.2:80");
/// assert_eq!(backends[1].zone.as_deref(), Some("a"));
/// # Ok::<(), evenkeel_config::ConfigError>(())
/// ```
pub fn backend_list(text: &str, source_name: &str, scheme: Scheme) -> Result<Vec<Backend>, ConfigError> {
    let file: Arc<str> = source_name.into();
    let Some((mut tree, mut problems)) = yaml::parse(text, &file)? else { return Ok(Vec::new()) };
    let Kind::List(items) = &tree.kind else {
        let place = tree.place.clone().or_else(|| Some(Location::new(file, 1, 1)));
        let message = "is not a list: expected a list of backends, or of target groups of Prometheus";
        return Err(Diagnostic::new("", message).at(place).into());
    };
    let prometheus = items.first().is_some_and(is_group);
    let mut found = Vec::new();
    let (items, target_groups) = match prometheus {
        true => (None, yaml::read::<Vec<Group>>(&mut tree, &HINTS, &mut found)),
        false => (yaml::read::<Vec<OrText<Item>>>(&mut tree, &HINTS, &mut found), None),
    };
    let mut context = Context::of_file(&tree, found);
    let mut backends = resolve::listed(&items.unwrap_or_default(), &mut context);
    backends.extend(resolve::groups(&target_groups.unwrap_or_default(), scheme, &mut context));
    problems.extend(context.into_problems());
    if problems.is_empty() { Ok(backends) } else { Err(in_order(problems)) }
}

fn is_group(node: &Node) -> bool {
    matches!(&node.kind, Kind::Map(entries) if entries.find("targets").is_some())
}

#[cfg(test)]
mod tests {
    use super::{Scheme, backend_list};

    fn read(text: &str) -> Vec<String> {
        let backends = backend_list(text, "list", Scheme::Http).unwrap();
        let shown = backends.iter().map(|one| {
            let zone = one.zone.as_deref().unwrap_or("-");
            format!("{} {} {} {zone} {:?}", one.url.text, one.weight, one.priority, one.metadata)
        });
        shown.collect()
    }

    fn refused(text: &str) -> String {
        backend_list(text, "list", Scheme::Http).unwrap_err().to_string()
    }

    #[test]
    fn both_formats_in_yaml_and_in_json() {
        let long = "{url: 'https://b', weight: 3, backup: true, zone: z, metadata: {rack: r1}}";
        let expected = ["http://10.0.0.1:80 1 0 - {}", "https://b 3 1 z {\"rack\": \"r1\"}"];
        assert_eq!(read(&format!("- http://10.0.0.1:80\n- {long}\n")), expected);
        let json = r#"["http://10.0.0.1:80", {"url": "https://b", "weight": 3, "priority": 1, "zone": "z", "metadata": {"rack": "r1"}}]"#;
        assert_eq!(read(json), expected);
        let groups = "- targets: ['a:1', 'b:2']\n  labels: {weight: 2, zone: z, job: web}\n- targets: ['c:3']\n  labels: {__scheme__: https}";
        assert_eq!(
            read(groups),
            [
                "http://a:1 2 0 z {\"job\": \"web\"}",
                "http://b:2 2 0 z {\"job\": \"web\"}",
                "https://c:3 1 0 - {}"
            ]
        );
        for empty in ["", "[]", "# nothing\n", "- targets: []"] {
            assert!(read(empty).is_empty(), "{empty}");
        }
        assert!(backend_list("[{targets: ['a:1']}]", "list", Scheme::Https).unwrap()[0].url.tls);
    }

    #[test]
    fn one_wrong_entry_makes_the_whole_list_invalid() {
        for (text, expected) in [
            ("- http://a\n- ftp://b", "list:2:3: [1]: \"ftp://b\" has the scheme ftp"),
            ("- {url: 'http://a', wieght: 2}", "list:1:21: [0].wieght: unknown key"),
            (
                "- targets: ['a:1']\n  labels: {weight: many}",
                "[0].labels.weight: \"many\" is not a number from 0 to 65535",
            ),
            (
                "- targets: ['a:1']\n  labels: {__scheme__: gopher}",
                "is not a scheme: expected http, https or tcp",
            ),
            ("- targets: ['a b:1']", "list:1:13: [0].targets[0]:"),
            ("{a: b}", "is not a list: expected a list of backends"),
            ("<html>oops</html>", "is not a list"),
            ("[1, ", "list:1"),
            ("- targets: ['a:1']\n- http://b", "[1]:"),
        ] {
            let message = refused(text);
            assert!(message.contains(expected), "{text}: {message}");
        }
    }

    #[test]
    fn ten_thousand_backends_are_read() {
        let targets: Vec<String> =
            (0..10_000).map(|n| format!("\"10.0.{}.{}:80\"", n / 250, n % 250)).collect();
        let text = format!("[{{\"targets\": [{}]}}]", targets.join(","));
        assert_eq!(backend_list(&text, "list", Scheme::Http).unwrap().len(), 10_000);
    }
}
