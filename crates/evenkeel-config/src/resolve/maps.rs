//! Maps: which value stands for which.

use std::collections::HashMap;
use std::sync::Arc;

use evenkeel_http::message::{Escape, Map, Phase, Scope};

use super::Context;
use crate::placeholders::template;
use crate::wire::{self, Named};
use crate::yaml::Path;

/// The longest file.
const LONGEST: u64 = 64 << 20;

/// Every map that is right.
pub(super) fn all(maps: &Named<wire::Map>, path: &Path, context: &mut Context<'_>) -> Vec<Arc<Map>> {
    maps.0.iter().filter_map(|(name, map)| one(name, map, &path.key(name), context)).map(Arc::new).collect()
}

fn one(name: &str, wire: &wire::Map, path: &Path, context: &mut Context<'_>) -> Option<Map> {
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    if name.is_empty() || !name.bytes().all(is_name) {
        context.wrong_key(path, "is not the name of a map: expected letters, digits, - and _");
        return None;
    }
    let key = match template(&wire.key, Escape::Text, Phase::Request, Scope::default()) {
        Ok(key) if key.constant().is_some() => {
            let message = "has no placeholder: expected one like {host} or {header.x-user}";
            context.wrong(&path.key("key"), &wire.key, message);
            return None;
        }
        Ok(key) => key,
        Err(fault) => {
            context.wrong(&path.key("key"), &wire.key, fault.message).suggestion = fault.suggestion;
            return None;
        }
    };
    let mut values: HashMap<String, String> = HashMap::new();
    if let Some(file) = &wire.file {
        context.keep_place(&path.key("file"));
        match from_file(file) {
            Ok(found) => values = found,
            Err(message) => {
                context.wrong(&path.key("file"), file, message);
                return None;
            }
        }
    }
    // Those of the configuration count.
    values.extend(wire.values.0.iter().cloned());
    if values.is_empty() && !context.is_damaged(path) {
        context.wrong_key(path, "has no entries: expected values, or a file with entries");
        return None;
    }
    Some(Map::new(name, key, values, &wire.default, wire.ignore_case))
}

/// The entries of a file: a key and its value on each line, with spaces between them. Text after `#` at the start of a line is a
/// comment.
fn from_file(file: &str) -> Result<HashMap<String, String>, String> {
    let metadata = std::fs::metadata(file).map_err(|error| format!("cannot be read: {error}"))?;
    if metadata.len() > LONGEST {
        return Err("is larger than 64 MiB".to_owned());
    }
    let text = std::fs::read_to_string(file).map_err(|error| format!("cannot be read: {error}"))?;
    let mut values = HashMap::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let Some((key, value)) = line.split_once([' ', '\t']) else {
            return Err(format!("has no value in line {}: expected a key and a value", number + 1));
        };
        if values.insert(key.to_owned(), value.trim().to_owned()).is_some() {
            return Err(format!("has {key} twice: again in line {}", number + 1));
        }
    }
    Ok(values)
}

#[cfg(test)]
mod tests {
    use super::from_file;

    #[test]
    fn a_file_has_an_entry_on_each_line() {
        let path = std::env::temp_dir().join(format!("evenkeel-map-{}", std::process::id()));
        let read = |text: &str| {
            std::fs::write(&path, text).unwrap();
            from_file(path.to_str().unwrap())
        };
        let found = read("# hosts\n\na.test  one\n b.test\ttwo words \n").unwrap();
        assert_eq!((found["a.test"].as_str(), found["b.test"].as_str()), ("one", "two words"));
        assert_eq!(read("a\n"), Err("has no value in line 1: expected a key and a value".to_owned()));
        assert_eq!(read("a 1\n\na 2\n"), Err("has a twice: again in line 3".to_owned()));
        std::fs::remove_file(&path).unwrap();
        assert!(from_file("/no/such/file").unwrap_err().starts_with("cannot be read"));
    }
}
