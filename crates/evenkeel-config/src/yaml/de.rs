//! A tree read into types: serde over [`Node`]s, with every mistake that can be found in one run.
//!
//! serde stops at the first mistake. So [`read`] notes it, removes the offending node, and reads again, until nothing is
//! wrong or [`MOST`] mistakes were found. What was removed may have been required: a key that is missing because it was
//! removed is not reported again; its map is removed as well.

use std::slice;

use serde::de::value::StrDeserializer;
use serde::de::{
    DeserializeOwned, DeserializeSeed, Deserializer, EnumAccess, IntoDeserializer, MapAccess, SeqAccess,
    VariantAccess, Visitor,
};
use serde::forward_to_deserialize_any;

use super::{Entry, Hints, Kind, Node, Path, Problem, Segment};
use crate::Diagnostic;

/// Most mistakes that one run reports.
pub(crate) const MOST: usize = 20;

/// Reads a tree into a type. What was wrong is removed from the tree; there is a value only if the rest could be read.
pub(crate) fn read<T: DeserializeOwned>(
    root: &mut Node,
    hints: &Hints,
    problems: &mut Vec<(Path, Diagnostic)>,
) -> Option<T> {
    // Each turn removes a node. Turns that report nothing lead up from a node that was reported.
    while problems.len() < MOST {
        let problem = match from_node::<T>(root) {
            Ok(value) => return Some(value),
            Err(problem) => problem,
        };
        let path = problem.path().clone();
        let follows = problem.missing().is_some_and(|key| {
            root.find(&path.key(key)).is_some_and(|node| matches!(node.kind, Kind::Removed))
        });
        if !follows {
            let problem = problem.with_hints(hints);
            // A key that was misspelt is not missing as well.
            if let (Some(meant), Some(map)) =
                (problem.meant(), path.parent().and_then(|map| root.find_mut(&map)))
            {
                map.excuse(meant);
            }
            problems.push((path.clone(), problem.into_diagnostic()));
        }
        remove(root, &path)?;
    }
    None
}

/// Reads a tree into a type.
///
/// # Errors
/// The first mistake.
pub(crate) fn from_node<T: DeserializeOwned>(node: &Node) -> Result<T, Problem> {
    T::deserialize(Reader { node })
}

/// Removes the node at `path`; `None` if that is the whole tree.
fn remove(root: &mut Node, path: &Path) -> Option<()> {
    path.parent()?;
    let node = root.find_mut(path)?;
    if matches!(node.kind, Kind::Removed) {
        return None;
    }
    node.kind = Kind::Removed;
    Some(())
}

/// Reads one node.
#[derive(Clone, Copy)]
struct Reader<'a> {
    node: &'a Node,
}

struct Items<'a> {
    items: std::iter::Enumerate<slice::Iter<'a, Node>>,
}

struct Entries<'a> {
    entries: slice::Iter<'a, Entry>,
    current: Option<&'a Entry>,
}

/// An enum: `name`, or a map of the one key `name`.
struct Variant<'a> {
    name: &'a str,
    content: Option<&'a Node>,
}

// === impl Reader ===

macro_rules! numbers {
    ($($method:ident $visit:ident $type:ty),*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
            match self.text().and_then(|text| text.parse::<$type>().ok()) {
                Some(number) => visitor.$visit(number),
                None => Err(Problem::expected(self.node, &Expecting(&visitor))),
            }
            .map_err(|problem| problem.within(self.node))
        }
    )*};
}

impl<'de> Deserializer<'de> for Reader<'_> {
    type Error = Problem;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        match &self.node.kind {
            Kind::List(_) => self.deserialize_seq(visitor),
            Kind::Map(_) => self.deserialize_map(visitor),
            Kind::Scalar { text, plain } => {
                let text = text.as_str();
                let value: Result<V::Value, Problem> = if self.node.is_empty() {
                    visitor.visit_unit()
                } else if !plain {
                    visitor.visit_str(text)
                } else if let Some(truth) = truth(text) {
                    visitor.visit_bool(truth)
                } else if let Ok(number) = text.parse::<u64>() {
                    visitor.visit_u64(number)
                } else if let Ok(number) = text.parse::<i64>() {
                    visitor.visit_i64(number)
                } else if let (Ok(number), true) =
                    (text.parse::<f64>(), text.contains(|c: char| c.is_ascii_digit()))
                {
                    visitor.visit_f64(number)
                } else {
                    visitor.visit_str(text)
                };
                value.map_err(|problem| problem.within(self.node))
            }
            Kind::Removed => Err(Problem::expected(self.node, &Expecting(&visitor))),
        }
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        match self.text() {
            Some(text) => visitor.visit_str(text),
            None => Err(Problem::expected(self.node, &Expecting(&visitor))),
        }
        .map_err(|problem| problem.within(self.node))
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        self.deserialize_str(visitor)
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        match self.text().and_then(truth) {
            Some(truth) => visitor.visit_bool(truth),
            None => Err(Problem::expected(self.node, &Expecting(&visitor))),
        }
        .map_err(|problem| problem.within(self.node))
    }

    numbers! {
        deserialize_u8 visit_u64 u64, deserialize_u16 visit_u64 u64, deserialize_u32 visit_u64 u64,
        deserialize_u64 visit_u64 u64, deserialize_i8 visit_i64 i64, deserialize_i16 visit_i64 i64,
        deserialize_i32 visit_i64 i64, deserialize_i64 visit_i64 i64, deserialize_f32 visit_f64 f64,
        deserialize_f64 visit_f64 f64
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        match &self.node.kind {
            Kind::List(items) => visitor.visit_seq(Items { items: items.iter().enumerate() }),
            _ => Err(Problem::expected(self.node, &Expecting(&visitor))),
        }
        .map_err(|problem| problem.within(self.node))
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        match &self.node.kind {
            Kind::Map(entries) => visitor.visit_map(Entries { entries: entries.iter(), current: None }),
            _ => Err(Problem::expected(self.node, &Expecting(&visitor))),
        }
        .map_err(|problem| problem.within(self.node))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Problem> {
        self.deserialize_map(visitor)
    }

    /// A key that is there must have a value: `timeout:` with nothing behind it is a mistake, not "no timeout".
    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        visitor.visit_some(self)
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        match self.node.is_empty() {
            true => visitor.visit_unit(),
            false => Err(Problem::expected(self.node, &"empty")),
        }
        .map_err(|problem| problem.within(self.node))
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Problem> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Problem> {
        match &self.node.kind {
            Kind::Scalar { text, .. } if !self.node.is_empty() => {
                visitor.visit_enum(Variant { name: text, content: None })
            }
            Kind::Map(entries) => match &entries[..] {
                [entry] => visitor
                    .visit_enum(Variant { name: &entry.key, content: Some(&entry.value) })
                    .map_err(|problem| problem.under_if_placed(&entry.key)),
                _ => Err(Problem::expected(self.node, &format_args!("one of {}", variants.join(", ")))),
            },
            _ => Err(Problem::expected(self.node, &format_args!("one of {}", variants.join(", ")))),
        }
        .map_err(|problem| problem.within(self.node))
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        visitor.visit_unit()
    }

    forward_to_deserialize_any! { i128 u128 char bytes byte_buf unit_struct tuple tuple_struct identifier }
}

impl<'a> Reader<'a> {
    fn text(self) -> Option<&'a str> {
        match &self.node.kind {
            Kind::Scalar { text, .. } if !self.node.is_empty() => Some(text),
            _ => None,
        }
    }
}

/// What a visitor says it expects, before it says that it got something else.
struct Expecting<'a, V>(&'a V);

impl<'de, V: Visitor<'de>> std::fmt::Display for Expecting<'_, V> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.expecting(f)
    }
}

fn truth(text: &str) -> Option<bool> {
    match text {
        "true" => Some(true),
        "false" => Some(false),
        _ => None,
    }
}

// === impl Items ===

impl<'de> SeqAccess<'de> for Items<'_> {
    type Error = Problem;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Problem> {
        let Some((index, node)) = self.items.find(|(_, node)| !matches!(node.kind, Kind::Removed)) else {
            return Ok(None);
        };
        let value = seed.deserialize(Reader { node });
        value.map(Some).map_err(|problem| problem.within(node).under(Segment::Index(index)))
    }
}

// === impl Entries ===

impl<'de> MapAccess<'de> for Entries<'_> {
    type Error = Problem;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Problem> {
        self.current = self.entries.find(|entry| !matches!(entry.value.kind, Kind::Removed));
        let Some(entry) = self.current else { return Ok(None) };
        let key: StrDeserializer<'_, Problem> = entry.key.as_str().into_deserializer();
        let value = seed.deserialize(key);
        value.map(Some).map_err(|problem| problem.at_key(&entry.key, entry.place.as_ref()))
    }

    fn next_value_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value, Problem> {
        let entry = self.current.take().ok_or_else(|| Problem::new("has no key"))?;
        let value = seed.deserialize(Reader { node: &entry.value });
        value.map_err(|problem| problem.within(&entry.value).under(Segment::Key(entry.key.clone())))
    }
}

// === impl Variant ===

impl<'de> EnumAccess<'de> for Variant<'_> {
    type Error = Problem;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Self), Problem> {
        let name: StrDeserializer<'_, Problem> = self.name.into_deserializer();
        Ok((seed.deserialize(name)?, self))
    }
}

impl<'de> VariantAccess<'de> for Variant<'_> {
    type Error = Problem;

    fn unit_variant(self) -> Result<(), Problem> {
        match self.content {
            None => Ok(()),
            Some(node) => Err(Problem::new("takes no parameters").within(node)),
        }
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Problem> {
        let node = self.content.ok_or_else(|| Problem::new("needs parameters"))?;
        seed.deserialize(Reader { node }).map_err(|problem| problem.within(node))
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Problem> {
        let node = self.content.ok_or_else(|| Problem::new("needs parameters"))?;
        Reader { node }.deserialize_seq(visitor)
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Problem> {
        let node = self.content.ok_or_else(|| Problem::new("needs parameters"))?;
        Reader { node }.deserialize_map(visitor)
    }
}
