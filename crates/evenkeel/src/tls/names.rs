//! Which certificate is for which name.

use std::collections::HashMap;

/// Things by the names that they are for: exact names, and wildcards, which stand for exactly one label (RFC 6125, 6.4.3).
#[derive(Debug)]
pub(super) struct ByName<T> {
    exact: HashMap<Box<str>, Vec<T>>,
    /// By what follows the `*.`.
    wildcard: HashMap<Box<str>, Vec<T>>,
    /// For other names, and where there is no name.
    fallback: Vec<T>,
}

// === impl ByName ===

impl<T: Clone> ByName<T> {
    /// Sorts things by their names. Of those with one name, the order stays. The first one with its names, and what shares
    /// them, is also for all other names.
    pub(super) fn new<'a>(all: impl IntoIterator<Item = (T, &'a [String])>) -> Self {
        let mut by_name = Self { exact: HashMap::new(), wildcard: HashMap::new(), fallback: Vec::new() };
        let mut first: Option<Option<String>> = None;
        for (thing, names) in all {
            if first.is_none() {
                first = Some(names.first().cloned());
                by_name.fallback.push(thing.clone());
            } else if let Some(Some(first)) = &first
                && names.contains(first)
            {
                by_name.fallback.push(thing.clone());
            }
            for name in names {
                let map = match name.strip_prefix("*.") {
                    Some(parent) => by_name.wildcard.entry(parent.into()).or_default(),
                    None => by_name.exact.entry(name.as_str().into()).or_default(),
                };
                map.push(thing.clone());
            }
        }
        by_name
    }

    /// What is for this name, in lower case; nothing if the name is unknown.
    pub(super) fn of(&self, name: &str) -> &[T] {
        if let Some(found) = self.exact.get(name) {
            return found;
        }
        let parent = name.split_once('.').map(|(_, parent)| parent);
        parent.and_then(|parent| self.wildcard.get(parent)).map_or(&[], Vec::as_slice)
    }

    /// What is for all other names.
    pub(super) fn fallback(&self) -> &[T] {
        &self.fallback
    }
}

#[cfg(test)]
mod tests {
    use super::ByName;

    #[test]
    fn exact_names_come_before_wildcards_and_wildcards_stand_for_one_label() {
        let certificates: [(&str, &[&str]); 5] = [
            ("www", &["www.example.com", "example.com"]),
            ("wild", &["*.example.com"]),
            ("api", &["api.example.com"]),
            ("www-rsa", &["www.example.com"]),
            ("deep", &["*.api.example.com", "*.test"]),
        ];
        let names: Vec<(&str, Vec<String>)> = certificates
            .iter()
            .map(|(one, names)| (*one, names.iter().map(|name| (*name).to_owned()).collect()))
            .collect();
        let by_name = ByName::new(names.iter().map(|(one, names)| (*one, names.as_slice())));
        for (name, expected) in [
            ("www.example.com", &["www", "www-rsa"][..]),
            ("example.com", &["www"]),
            ("api.example.com", &["api"]),
            ("x.example.com", &["wild"]),
            ("x.y.example.com", &[]),
            ("v1.api.example.com", &["deep"]),
            ("a.test", &["deep"]),
            ("test", &[]),
            ("", &[]),
            ("com", &[]),
            ("example.org", &[]),
            ("*.example.com", &["wild"]),
        ] {
            assert_eq!(by_name.of(name), expected, "{name}");
        }
        assert_eq!(by_name.fallback(), ["www", "www-rsa"]);
    }

    #[test]
    fn one_without_names_is_for_all_others() {
        let by_name = ByName::new([("one", &[][..]), ("two", &["b".to_owned()])]);
        assert_eq!(
            (by_name.fallback(), by_name.of("b"), by_name.of("a")),
            (&["one"][..], &["two"][..], &[][..])
        );
    }
}
