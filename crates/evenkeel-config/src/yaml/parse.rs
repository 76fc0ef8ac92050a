//! YAML text to a tree, within bounds: one document, no tags, aliases that cannot explode.
//!
//! The scanner is `saphyr-parser`'s; building the tree is ours, because that is where duplicate keys, depth and size are
//! seen, and where places are kept.

use std::collections::HashMap;
use std::sync::Arc;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, StrInput};

use super::{Entry, Kind, Node, Path, syntax};
use crate::{Diagnostic, Location};

/// Longest text, in bytes: about 50,000 routes.
pub(crate) const MAX_TEXT: usize = 8 << 20;
/// Most bytes that the values of a text may hold. The longest text of ordinary routes needs about a third.
const MAX_TREE: usize = 256 << 20;
/// Most bytes that aliases may add to them: a short text can stand for any number of values.
const MAX_ALIASES: usize = 64 << 20;
/// Deepest nesting; a configuration needs about ten.
const MAX_DEPTH: usize = 40;
/// What a node counts for in addition to its text.
const NODE: usize = size_of::<Entry>();

/// Reads a document. Mistakes that leave the rest readable (a duplicate key) are returned with the tree; `Ok(None)` is
/// a text without content.
///
/// # Errors
/// The first thing that makes the text unreadable.
pub(crate) fn parse(text: &str, file: &Arc<str>) -> Result<Option<(Node, Vec<Diagnostic>)>, Diagnostic> {
    if text.len() > MAX_TEXT {
        return Err(too_large(file));
    }
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut reader = Reader {
        text,
        events: Parser::new_from_str(text),
        file,
        anchors: HashMap::new(),
        held: 0,
        aliased: 0,
        duplicates: Vec::new(),
    };
    let node = reader.document()?;
    Ok(node.map(|node| (node, reader.duplicates)))
}

/// What is said of a text that is longer than that.
pub(crate) fn too_large(file: &str) -> Diagnostic {
    let most = MAX_TEXT >> 20;
    Diagnostic::new("", format!("{file}: is too large: expected at most {most} MiB"))
}

struct Reader<'text, 'file> {
    text: &'text str,
    events: Parser<'text, StrInput<'text>>,
    file: &'file Arc<str>,
    anchors: HashMap<usize, Node>,
    held: usize,
    aliased: usize,
    duplicates: Vec<Diagnostic>,
}

// === impl Reader ===

impl<'text> Reader<'text, '_> {
    fn document(&mut self) -> Result<Option<Node>, Diagnostic> {
        loop {
            match self.event()? {
                (Event::StreamStart | Event::DocumentStart(_), _) => {}
                (Event::StreamEnd | Event::DocumentEnd, _) => return Ok(None),
                (event, marker) => {
                    let node = self.node(event, marker, &Path::default())?;
                    self.end()?;
                    return Ok(if node.is_empty() { None } else { Some(node) });
                }
            }
        }
    }

    fn end(&mut self) -> Result<(), Diagnostic> {
        loop {
            match self.event()? {
                (Event::StreamEnd, _) => return Ok(()),
                (Event::DocumentEnd, _) => {}
                (_, marker) => {
                    return Err(self.wrong(
                        marker,
                        "a second document begins here: expected only one: remove the line ---",
                    ));
                }
            }
        }
    }

    fn node(&mut self, event: Event<'text>, marker: Marker, path: &Path) -> Result<Node, Diagnostic> {
        self.hold(NODE, marker)?;
        if path.depth() > MAX_DEPTH {
            return Err(
                self.wrong(marker, format!("is nested too deeply: expected at most {MAX_DEPTH} levels"))
            );
        }
        let (kind, anchor) = match event {
            Event::Scalar(_, _, _, Some(_))
            | Event::SequenceStart(_, Some(_))
            | Event::MappingStart(_, Some(_)) => {
                return Err(self.wrong(marker, "has a tag (\"!…\"): expected a value without one"));
            }
            Event::Alias(anchor) => return self.alias(anchor, marker, path),
            Event::Scalar(text, style, anchor, None) => {
                self.hold(text.len(), marker)?;
                (Kind::Scalar { text: text.into_owned(), plain: style == ScalarStyle::Plain }, anchor)
            }
            Event::SequenceStart(anchor, None) => (Kind::List(self.list(path)?), anchor),
            Event::MappingStart(anchor, None) => (Kind::Map(self.map(path)?.into()), anchor),
            _ => return Err(self.wrong(marker, "is not valid YAML: expected a value")),
        };
        let node = Node { place: Some(self.place(marker)), kind };
        if anchor != 0 {
            self.hold_alias(weight(&node), marker)?;
            self.anchors.insert(anchor, node.clone());
        }
        Ok(node)
    }

    fn list(&mut self, path: &Path) -> Result<Vec<Node>, Diagnostic> {
        let mut items = Vec::new();
        loop {
            match self.event()? {
                (Event::SequenceEnd, _) => return Ok(items),
                (event, marker) => items.push(self.node(event, marker, &path.index(items.len()))?),
            }
        }
    }

    fn map(&mut self, path: &Path) -> Result<Vec<Entry>, Diagnostic> {
        let mut entries: Vec<Entry> = Vec::new();
        let mut seen: HashMap<String, u32> = HashMap::new();
        loop {
            let (key, marker) = match self.event()? {
                (Event::MappingEnd, _) => return Ok(entries),
                (Event::Scalar(key, _, _, None), marker) => (key.into_owned(), marker),
                (_, marker) => {
                    let line = self.text.lines().nth(marker.line().saturating_sub(1)).unwrap_or_default();
                    let message = match line.contains("{{") {
                        true => syntax::TEMPLATE,
                        false => "is not a key: expected text, in quotes if it has brackets or braces",
                    };
                    return Err(self.wrong(marker, message));
                }
            };
            let place = self.place(marker);
            let (event, marker) = self.event()?;
            let path = path.key(&key);
            let value = self.node(event, marker, &path)?;
            if let Some(line) = seen.get(&key) {
                let message =
                    format!("is given twice: the first is on line {line}: remove or rename one of them");
                self.duplicates.push(Diagnostic::new(path.to_string(), message).at(Some(place)));
            } else {
                seen.insert(key.clone(), place.line);
                entries.push(Entry { key, place: Some(place), value });
            }
        }
    }

    fn alias(&mut self, anchor: usize, marker: Marker, path: &Path) -> Result<Node, Diagnostic> {
        let Some(node) = self.anchors.get(&anchor) else {
            return Err(self.wrong(marker, "refers to an anchor that is not complete yet"));
        };
        let (weight, depth) = (weight(node), depth(node));
        self.hold_alias(weight, marker)?;
        if path.depth() + depth > MAX_DEPTH {
            return Err(
                self.wrong(marker, format!("is nested too deeply: expected at most {MAX_DEPTH} levels"))
            );
        }
        self.anchors
            .get(&anchor)
            .cloned()
            .ok_or_else(|| self.wrong(marker, "refers to an anchor that does not exist"))
    }

    fn event(&mut self) -> Result<(Event<'text>, Marker), Diagnostic> {
        match self.events.next_event() {
            Some(Ok((event, span))) => Ok((event, span.start)),
            Some(Err(error)) => {
                let mut place = self.place(*error.marker());
                let at = (place.line as usize, place.column as usize);
                let explained = syntax::explain(self.text, at, error.info());
                if let Some((line, column)) = explained.place {
                    place = Location::new(Arc::clone(self.file), number(line), number(column));
                }
                Err(Diagnostic::new("", explained.message).at(Some(place)))
            }
            None => Err(Diagnostic::new("", format!("{}: ends too early", self.file))),
        }
    }

    fn hold(&mut self, bytes: usize, marker: Marker) -> Result<(), Diagnostic> {
        self.held = self.held.saturating_add(bytes);
        if self.held > MAX_TREE {
            return Err(self.wrong(marker, "is one value too many: the file is too large"));
        }
        Ok(())
    }

    fn hold_alias(&mut self, bytes: usize, marker: Marker) -> Result<(), Diagnostic> {
        self.aliased = self.aliased.saturating_add(bytes);
        if self.aliased > MAX_ALIASES {
            return Err(self.wrong(marker, "makes the file too large once its aliases are expanded"));
        }
        Ok(())
    }

    fn place(&self, marker: Marker) -> Location {
        Location::new(Arc::clone(self.file), number(marker.line().max(1)), number(marker.col() + 1))
    }

    fn wrong(&self, marker: Marker, message: impl Into<String>) -> Diagnostic {
        Diagnostic::new("", message).at(Some(self.place(marker)))
    }
}

/// The text is short enough for lines and columns alike.
fn number(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

fn weight(node: &Node) -> usize {
    NODE + match &node.kind {
        Kind::Scalar { text, .. } => text.len(),
        Kind::List(items) => items.iter().map(weight).sum(),
        Kind::Map(entries) => entries.iter().map(|entry| entry.key.len() + weight(&entry.value)).sum(),
        Kind::Removed => 0,
    }
}

fn depth(node: &Node) -> usize {
    1 + match &node.kind {
        Kind::Scalar { .. } | Kind::Removed => 0,
        Kind::List(items) => items.iter().map(depth).max().unwrap_or(0),
        Kind::Map(entries) => entries.iter().map(|entry| depth(&entry.value)).max().unwrap_or(0),
    }
}
