//! Environment variables in scalar values: `${NAME}`, `${NAME:-default}`; `$${` stands for `${` itself.
//!
//! This happens after the YAML was parsed, so that no variable's value can add a key or an entry. This file reads no
//! environment of its own.

use super::{Kind, Node, Path};
use crate::Diagnostic;

/// Puts variables into every scalar value below `node`. What cannot be expanded is reported and removed.
pub(crate) fn expand(node: &mut Node, env: &dyn Fn(&str) -> Option<String>) -> Vec<(Path, Diagnostic)> {
    let mut problems = Vec::new();
    walk(node, &Path::default(), env, &mut problems);
    problems
}

fn walk(
    node: &mut Node,
    path: &Path,
    env: &dyn Fn(&str) -> Option<String>,
    problems: &mut Vec<(Path, Diagnostic)>,
) {
    match &mut node.kind {
        Kind::Map(entries) => {
            for entry in entries.iter_mut() {
                walk(&mut entry.value, &path.key(&entry.key), env, problems);
            }
        }
        Kind::List(items) => {
            for (index, item) in items.iter_mut().enumerate() {
                walk(item, &path.index(index), env, problems);
            }
        }
        Kind::Scalar { text, plain } if text.contains("${") => match expanded(text, env) {
            Ok(whole) => {
                *text = whole;
                // An empty variable is an empty text, not "no value".
                *plain = false;
            }
            Err(message) => {
                let diagnostic =
                    Diagnostic::new(path.to_string(), message).value(&**text).at(node.place.clone());
                problems.push((path.clone(), diagnostic));
                node.kind = Kind::Removed;
            }
        },
        Kind::Scalar { .. } | Kind::Removed => {}
    }
}

fn expanded(text: &str, env: &dyn Fn(&str) -> Option<String>) -> Result<String, String> {
    let mut whole = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        if let Some(before) = before.strip_suffix('$') {
            whole.push_str(before);
            whole.push_str("${");
            rest = after;
            continue;
        }
        whole.push_str(before);
        let Some((inside, after)) = after.split_once('}') else {
            let name: String = after.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
            let name = if name.is_empty() { "NAME" } else { &name };
            return Err(format!("has a \"${{\" without its \"}}\": expected ${{{name}}}"));
        };
        whole.push_str(&value_of(inside, env)?);
        rest = after;
    }
    whole.push_str(rest);
    Ok(whole)
}

fn value_of(inside: &str, env: &dyn Fn(&str) -> Option<String>) -> Result<String, String> {
    let (name, default) = match inside.split_once(":-") {
        Some((name, default)) => (name, Some(default)),
        None => (inside, None),
    };
    let mut chars = name.chars();
    let begins_well = chars.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_');
    if !begins_well || !chars.all(|c| c.is_ascii_alphanumeric() || c == '_') {
        return Err(format!(
            "has no valid variable name in ${{{inside}}}: expected ${{NAME}} or ${{NAME:-default}}, or $${{ for the text itself"
        ));
    }
    match (env(name), default) {
        // As in a shell, `:-` also stands in for an empty variable.
        (Some(value), Some(default)) if value.is_empty() => Ok(default.to_owned()),
        (Some(value), _) => Ok(value),
        (None, Some(default)) => Ok(default.to_owned()),
        (None, None) => Err(format!(
            "needs the environment variable {name}, which is not set: set it, or give a default as in ${{{name}:-default}}"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::expanded;

    #[test]
    fn variables_defaults_and_escapes() {
        let env = |name: &str| match name {
            "HOST" => Some("web".to_owned()),
            "EMPTY" => Some(String::new()),
            _ => None,
        };
        for (text, expected) in [
            ("http://${HOST}:${PORT:-80}", "http://web:80"),
            ("${EMPTY}", ""),
            ("${EMPTY:-x}", "x"),
            ("${NONE:-}", ""),
            ("$${HOST} ${HOST}", "${HOST} web"),
            ("$HOST $", "$HOST $"),
            ("${NONE:-a:-b}", "a:-b"),
        ] {
            assert_eq!(expanded(text, &env).as_deref(), Ok(expected), "{text}");
        }
        for text in ["${NONE}", "${", "${1}", "${}", "${A B}", "${HOST"] {
            assert!(expanded(text, &env).is_err(), "{text}");
        }
    }
}
