//! The tree of a file: scalars as they were written, lists and maps in order, each with its place.

use std::fmt;

use super::Entries;
use crate::Location;

/// A value and its place.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    /// Where it begins; `None` if it did not come from a file.
    pub(crate) place: Option<Location>,
    /// What it is.
    pub(crate) kind: Kind,
}

/// What a [`Node`] is.
#[derive(Clone, Debug)]
pub(crate) enum Kind {
    /// Text. Its type is whatever the reader expects there.
    Scalar {
        /// The text, without quotes.
        text: String,
        /// Whether it was written without quotes, so that it may be a number, a truth value or nothing.
        plain: bool,
    },
    /// A list.
    List(Vec<Node>),
    /// A map, in the order of the file, no key twice.
    Map(Entries),
    /// A mistake was here. It was reported; readers must skip it.
    Removed,
}

/// A key of a map, and its value.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    /// The key.
    pub(crate) key: String,
    /// Where the key stands.
    pub(crate) place: Option<Location>,
    /// Its value.
    pub(crate) value: Node,
}

/// The way from the root of a tree to a node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Path(Vec<Segment>);

/// One step of a [`Path`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Segment {
    /// Into a map.
    Key(String),
    /// Into a list. What was removed still counts, so that the number is the one a reader of the file would give.
    Index(usize),
}

// === impl Node ===

impl Node {
    /// Whether another node has the same value, wherever the two are written.
    pub(crate) fn means(&self, other: &Self) -> bool {
        match (&self.kind, &other.kind) {
            (Kind::Scalar { text, plain }, Kind::Scalar { text: other, plain: as_plain }) => {
                text == other && plain == as_plain
            }
            (Kind::List(items), Kind::List(others)) => {
                items.len() == others.len() && items.iter().zip(others).all(|(one, other)| one.means(other))
            }
            (Kind::Map(entries), Kind::Map(others)) => {
                let same =
                    |(one, other): (&Entry, &Entry)| one.key == other.key && one.value.means(&other.value);
                entries.len() == others.len() && entries.iter().zip(others.iter()).all(same)
            }
            (Kind::Removed, Kind::Removed) => true,
            _ => false,
        }
    }

    /// Whether nothing is written here, as after `key:`.
    pub(crate) fn is_empty(&self) -> bool {
        matches!(&self.kind, Kind::Scalar { text, plain: true } if matches!(text.as_str(), "" | "~" | "null"))
    }

    /// The node at the end of a path.
    pub(crate) fn find(&self, path: &Path) -> Option<&Node> {
        path.0.iter().try_fold(self, |node, segment| match (&node.kind, segment) {
            (Kind::Map(entries), Segment::Key(key)) => Some(&entries.find(key)?.value),
            (Kind::List(items), Segment::Index(index)) => items.get(*index),
            _ => None,
        })
    }

    /// The same, to change it.
    pub(crate) fn find_mut(&mut self, path: &Path) -> Option<&mut Node> {
        path.0.iter().try_fold(self, |node, segment| match (&mut node.kind, segment) {
            (Kind::Map(entries), Segment::Key(key)) => Some(&mut entries.find_mut(key)?.value),
            (Kind::List(items), Segment::Index(index)) => items.get_mut(*index),
            _ => None,
        })
    }

    /// Whether a path leads to what was removed, or through it.
    pub(crate) fn is_removed(&self, path: &Path) -> bool {
        matches!(self.kind, Kind::Removed)
            || path.parent().is_some_and(|parent| {
                self.is_removed(&parent)
                    || self.find(path).is_some_and(|node| matches!(node.kind, Kind::Removed))
            })
    }

    /// The place of the key that leads to a path, else of its value, else of the nearest thing above it.
    pub(crate) fn place_of(&self, path: &Path) -> Option<&Location> {
        let Some((last, parent)) = path.0.split_last() else { return self.place.as_ref() };
        let parent = Path(parent.to_vec());
        match (self.find(&parent).map(|node| &node.kind), last) {
            (Some(Kind::Map(entries)), Segment::Key(key)) => {
                entries.find(key).and_then(|entry| entry.place.as_ref())
            }
            _ => self.find(path).and_then(|node| node.place.as_ref()),
        }
        .or_else(|| self.place_of(&parent))
    }

    /// Lets a key of a map count as there and wrong, so that it is not reported as missing.
    pub(super) fn excuse(&mut self, key: &str) {
        if let Kind::Map(entries) = &mut self.kind {
            entries.excuse(key);
        }
    }

    /// The tree of a JSON value, which has no places.
    pub(crate) fn from_json(value: serde_json::Value) -> Self {
        use serde_json::Value;
        let scalar = |text: String, plain| Kind::Scalar { text, plain };
        let kind = match value {
            Value::Null => scalar(String::new(), true),
            Value::Bool(truth) => scalar(truth.to_string(), true),
            Value::Number(number) => scalar(number.to_string(), true),
            Value::String(text) => scalar(text, false),
            Value::Array(items) => Kind::List(items.into_iter().map(Self::from_json).collect()),
            Value::Object(map) => {
                let entry = |(key, value)| Entry { key, place: None, value: Self::from_json(value) };
                Kind::Map(map.into_iter().map(entry).collect())
            }
        };
        Self { place: None, kind }
    }

    /// The value as JSON, for humans: every scalar is text.
    pub(crate) fn to_json(&self) -> serde_json::Value {
        use serde_json::Value;
        match &self.kind {
            Kind::Scalar { text, .. } => Value::String(text.clone()),
            Kind::List(items) => Value::Array(items.iter().map(Self::to_json).collect()),
            Kind::Map(entries) => Value::Object(
                entries.iter().map(|entry| (entry.key.clone(), entry.value.to_json())).collect(),
            ),
            Kind::Removed => Value::Null,
        }
    }
}

// === impl Path ===

impl Path {
    /// This path and a key more.
    pub(crate) fn key(&self, key: &str) -> Self {
        self.then(Segment::Key(key.to_owned()))
    }

    /// This path and an index more.
    pub(crate) fn index(&self, index: usize) -> Self {
        self.then(Segment::Index(index))
    }

    /// The path to what holds the end of this one; `None` at the root.
    pub(crate) fn parent(&self) -> Option<Self> {
        self.0.split_last().map(|(_, parent)| Self(parent.to_vec()))
    }

    /// Whether this path leads to `other` or through it.
    pub(crate) fn starts_with(&self, other: &Self) -> bool {
        self.0.starts_with(&other.0)
    }

    /// The keys on the way.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|segment| match segment {
            Segment::Key(key) => Some(key.as_str()),
            Segment::Index(_) => None,
        })
    }

    /// How many steps there are.
    pub(crate) fn depth(&self) -> usize {
        self.0.len()
    }

    /// This path, then that one.
    pub(crate) fn join(&self, other: &Self) -> Self {
        Self(self.0.iter().chain(&other.0).cloned().collect())
    }

    /// Puts a step before all others.
    pub(crate) fn prepend(&mut self, segment: Segment) {
        self.0.insert(0, segment);
    }

    /// Reads what [`Display`](fmt::Display) writes, for keys that need no quotes.
    pub(crate) fn parse(text: &str) -> Self {
        let mut path = Self::default();
        for word in text.split('.').filter(|word| !word.is_empty()) {
            let (key, indices) = word.split_once('[').unwrap_or((word, ""));
            if !key.is_empty() {
                path = path.key(key);
            }
            for index in indices.split(['[', ']']).filter_map(|index| index.parse().ok()) {
                path = path.index(index);
            }
        }
        path
    }

    fn then(&self, segment: Segment) -> Self {
        Self(self.0.iter().cloned().chain([segment]).collect())
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let simple = |key: &str| {
            !key.is_empty() && key.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'))
        };
        for (index, segment) in self.0.iter().enumerate() {
            let dot = if index == 0 { "" } else { "." };
            match segment {
                Segment::Key(key) if simple(key) => write!(f, "{dot}{key}")?,
                Segment::Key(key) => write!(f, "{dot}\"{key}\"")?,
                Segment::Index(index) => write!(f, "[{index}]")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::Path;

    #[test]
    fn a_path_is_written_as_keys_and_indices() {
        let path = Path::default().key("routes").index(3).key("match").key("a.b");
        assert_eq!(path.to_string(), "routes[3].match.\"a.b\"");
        assert_eq!(Path::parse("a.b[1][2].c"), Path::default().key("a").key("b").index(1).index(2).key("c"));
        assert_eq!(Path::parse(""), Path::default());
    }
}
