//! Where mistakes are noted while a configuration is resolved.

use std::collections::HashMap;

use crate::yaml::{Kind, Node, Path};
use crate::{Diagnostic, Location};

/// The mistakes so far, and the tree to find their places in.
#[derive(Debug)]
pub(crate) struct Context<'a> {
    /// The file; `None` for the builder.
    tree: Option<&'a Node>,
    /// What was removed from the tree because it was wrong: what depends on it is not judged.
    damaged: Vec<Path>,
    problems: Vec<Diagnostic>,
    /// The places of values that name something outside of the file.
    places: HashMap<String, Location>,
}

// === impl Context ===

impl<'a> Context<'a> {
    /// A context for the builder, which has no places.
    pub(crate) fn new() -> Self {
        Self { tree: None, damaged: Vec::new(), problems: Vec::new(), places: HashMap::new() }
    }

    /// A context for a file, with the mistakes that reading it found.
    pub(crate) fn of_file(tree: &'a Node, found: Vec<(Path, Diagnostic)>) -> Self {
        let (damaged, problems) = found.into_iter().unzip();
        Self { tree: Some(tree), damaged, problems, places: HashMap::new() }
    }

    /// Notes a mistake about the value at a path.
    pub(crate) fn wrong(&mut self, path: &Path, value: &str, message: impl Into<String>) -> &mut Diagnostic {
        let place = self.tree.and_then(|tree| tree.find(path)).and_then(|node| node.place.clone());
        let place = place.or_else(|| self.place(path));
        self.note(Diagnostic::new(path.to_string(), message).value(value).at(place))
    }

    /// Keeps the place of a value that names something outside of the file.
    pub(crate) fn keep_place(&mut self, path: &Path) {
        let place = self.tree.and_then(|tree| tree.find(path)).and_then(|node| node.place.clone());
        if let Some(place) = place {
            self.places.insert(path.to_string(), place);
        }
    }

    /// Notes a mistake about a key.
    pub(crate) fn wrong_key(&mut self, path: &Path, message: impl Into<String>) -> &mut Diagnostic {
        let place = self.place(path);
        self.note(Diagnostic::new(path.to_string(), message).at(place))
    }

    /// Notes that something is missing, unless it is missing because it was wrong.
    pub(crate) fn absent(&mut self, path: &Path, message: impl Into<String>) {
        if !self.is_damaged(path) && !self.was_removed(path) {
            self.wrong_key(path, message);
        }
    }

    /// Whether something at or below a path was wrong and was removed.
    pub(crate) fn is_damaged(&self, path: &Path) -> bool {
        self.damaged.iter().any(|damaged| damaged.starts_with(path))
    }

    /// Whether the node at a path, or one above it, was wrong and was removed.
    pub(crate) fn was_removed(&self, path: &Path) -> bool {
        self.tree.is_some_and(|tree| tree.is_removed(path))
    }

    /// Whether nothing is wrong so far.
    pub(crate) fn is_clean(&self) -> bool {
        self.problems.is_empty()
    }

    /// What is wrong.
    pub(crate) fn into_problems(self) -> Vec<Diagnostic> {
        self.problems
    }

    /// What is wrong, and the places that were kept.
    pub(crate) fn into_parts(self) -> (Vec<Diagnostic>, HashMap<String, Location>) {
        (self.problems, self.places)
    }

    /// The paths of a list's entries. In the file, entries that were removed still count.
    pub(crate) fn entries(&self, list: &Path, count: usize) -> Vec<Path> {
        match self.tree.and_then(|tree| tree.find(list)).map(|node| &node.kind) {
            Some(Kind::List(items)) => items
                .iter()
                .enumerate()
                .filter(|(_, item)| !matches!(item.kind, Kind::Removed))
                .map(|(index, _)| list.index(index))
                .collect(),
            _ => (0..count).map(|index| list.index(index)).collect(),
        }
    }

    /// The node at a path of the file.
    pub(crate) fn node(&self, path: &Path) -> Option<&'a Node> {
        self.tree.and_then(|tree| tree.find(path))
    }

    /// The line of the file where something stands, as an aside in a message: ` (line 12)`, with the name of a file that is
    /// included.
    pub(crate) fn line(&self, path: &Path) -> String {
        let Some(place) = self.place(path) else { return String::new() };
        match self.tree.and_then(|tree| tree.place.as_ref()) {
            Some(first) if first.file == place.file => format!(" (line {})", place.line),
            // Several files make this configuration.
            _ => format!(" ({}, line {})", place.file, place.line),
        }
    }

    fn place(&self, path: &Path) -> Option<Location> {
        self.tree.and_then(|tree| tree.place_of(path)).cloned()
    }

    fn note(&mut self, diagnostic: Diagnostic) -> &mut Diagnostic {
        self.problems.push_mut(diagnostic)
    }
}
