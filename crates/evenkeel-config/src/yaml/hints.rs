//! What else messages say about keys and values of the wrong shape: what to write instead.
//!
//! This file knows no keys: the caller gives them.

use super::Path;

/// What this room cannot know about the keys of a file, for better messages. A key may be written with the key above it:
/// `match.client`.
#[derive(Debug)]
pub(crate) struct Hints {
    /// Keys that a later version will understand.
    pub(crate) later: &'static [&'static str],
    /// Keys that are none, and what to write instead of them.
    pub(crate) instead: &'static [(&'static str, &'static str)],
    /// What is expected under keys that must be there.
    pub(crate) required: &'static [(&'static str, &'static str)],
    /// What to write under a key that has text, a number or nothing where a map or a list must be. `VALUE` stands for what
    /// was written.
    pub(crate) shapes: &'static [(&'static str, &'static str)],
}

/// What stands where something else must.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// Nothing, as after `key:`.
    Nothing,
    /// Text, a number or a truth value.
    Scalar(String),
    /// A list.
    List,
    /// A map.
    Map,
}

// === impl Hints ===

impl Hints {
    /// Whether a later version will understand this key.
    pub(super) fn is_later(&self, path: &Path) -> bool {
        names(path).iter().any(|name| self.later.contains(&name.as_str()))
    }

    /// What is said of this key, which is none.
    pub(super) fn instead(&self, path: &Path) -> Option<&'static str> {
        if names(path).last().is_some_and(|name| name.starts_with("x-")) && path.depth() > 1 {
            return Some(
                "unknown key: keys that begin with x- are for anchors, and belong at the top level of the file",
            );
        }
        look_up(self.instead, path)
    }

    /// What to write under this key, where something of another shape is written.
    pub(super) fn shape(&self, path: &Path, found: &Found, expected: &str) -> Option<String> {
        let a_list = expected.starts_with("a list");
        let key = names(path).into_iter().next_back().unwrap_or_default();
        // A text that is long or has several lines is not repeated.
        if matches!(found, Found::Scalar(text) if text.len() > 80 || text.contains(char::is_control)) {
            return None;
        }
        match found {
            Found::Scalar(text) if a_list => Some(format!("write [\"{text}\"]")),
            Found::Scalar(text) => spaced(text)
                .map(|spaced| format!("a space is missing after the colon: write {spaced}"))
                .or_else(|| Some(format!("write {key}: {}", filled(look_up(self.shapes, path)?, text)))),
            Found::Nothing => Some(format!("write {key}: {}", filled(look_up(self.shapes, path)?, ""))),
            Found::Map if a_list => Some(format!("write - before its first key, or {key}: [{{ … }}]")),
            Found::List if expected.starts_with("a map") => {
                Some(format!("write {key}: {}", filled(look_up(self.shapes, path)?, "")))
            }
            Found::List | Found::Map => None,
        }
    }
}

/// A pattern with `VALUE` filled in; where there is none, an example of one.
fn filled(pattern: &str, value: &str) -> String {
    match value {
        "" | "true" | "yes" | "on" => pattern.replace("VALUE", "…"),
        value => pattern.replace("VALUE", value),
    }
}

/// `key: value` for `key:value`.
fn spaced(text: &str) -> Option<String> {
    let (key, value) = text.split_once(':')?;
    let is_key = key.starts_with(|c: char| c.is_ascii_lowercase())
        && key.chars().all(|c| c.is_ascii_lowercase() || c == '_')
        && !value.starts_with(['/', ' '])
        && !value.is_empty()
        // A host and its port are no key and value.
        && value.parse::<u16>().is_err();
    is_key.then(|| format!("{key}: {value}"))
}

fn look_up(table: &'static [(&'static str, &'static str)], path: &Path) -> Option<&'static str> {
    let names = names(path);
    names.iter().find_map(|name| table.iter().find(|(key, _)| key == name)).map(|(_, text)| *text)
}

/// What a key may be called in the hints: with the key above it, and alone.
fn names(path: &Path) -> Vec<String> {
    let keys: Vec<&str> = path.keys().collect();
    match keys.as_slice() {
        [.., above, key] => vec![format!("{above}.{key}"), (*key).to_owned()],
        [key] => vec![(*key).to_owned()],
        [] => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::spaced;

    #[test]
    fn a_missing_space_is_seen() {
        assert_eq!(spaced("address:127.0.0.1:8080").as_deref(), Some("address: 127.0.0.1:8080"));
        for text in ["localhost:8080", "http://a", "10.0.0.1:80", "text", "unix:/run/a"] {
            assert_eq!(spaced(text), None, "{text}");
        }
    }
}
