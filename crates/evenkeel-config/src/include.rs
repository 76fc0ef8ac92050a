//! Files that a file includes: their top-level keys are put together, before anything knows what the keys mean.
//!
//! This file never knows which keys a configuration has. It reads files, and nothing else from outside.

use std::collections::{HashMap, HashSet};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::yaml::{self, Entry, Kind, Node};
use crate::{Diagnostic, Location};

/// The key whose value names other files.
const INCLUDE: &str = "include";

/// How the name of a top-level key begins that is only there for its YAML anchors.
const EXTENSION: &str = "x-";

/// Most files of one configuration.
const MAX_FILES: usize = 1000;

/// A file with everything that it includes.
#[derive(Debug)]
pub(crate) struct Gathered {
    /// The top-level keys of all files as one tree; `None` if there is no content.
    pub(crate) tree: Option<Node>,
    /// Mistakes that left the rest readable.
    pub(crate) problems: Vec<Diagnostic>,
    /// The files that were read, in the order in which they were read.
    pub(crate) files: Vec<PathBuf>,
}

/// Looks up an environment variable.
type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

struct Gatherer<'a> {
    env: Environment<'a>,
    gathered: Gathered,
    /// The files that were read, without symbolic links: no file is read twice, so files that include each other end.
    seen: HashSet<PathBuf>,
    bytes: usize,
}

/// Reads a file and what it includes.
///
/// # Errors
/// The first thing that makes one of the files unreadable.
pub(crate) fn from_file(path: &Path, env: Environment<'_>) -> Result<Gathered, Diagnostic> {
    let mut gatherer = Gatherer::new(env);
    gatherer.file(path, None)?;
    Ok(gatherer.gathered)
}

/// Reads a text, which cannot include files: it has no folder.
///
/// # Errors
/// The first thing that makes the text unreadable.
pub(crate) fn from_text(text: &str, name: &str, env: Environment<'_>) -> Result<Gathered, Diagnostic> {
    let mut gatherer = Gatherer::new(env);
    gatherer.text(text, name, None)?;
    Ok(gatherer.gathered)
}

// === impl Gatherer ===

impl<'a> Gatherer<'a> {
    fn new(env: Environment<'a>) -> Self {
        let gathered = Gathered { tree: None, problems: Vec::new(), files: Vec::new() };
        Self { env, gathered, seen: HashSet::new(), bytes: 0 }
    }

    /// Reads one file. `named` is where another file includes it.
    fn file(&mut self, path: &Path, named: Option<&Node>) -> Result<(), Diagnostic> {
        let name = path.display().to_string();
        let about = |message: String| match named {
            Some(named) => wrong(named, message),
            None => Diagnostic::new("", message),
        };
        if !self.seen.insert(std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned())) {
            return Err(about(format!("names {name} a second time: include each file once")));
        }
        if self.gathered.files.len() == MAX_FILES {
            return Err(about(format!("includes more than {MAX_FILES} files: expected at most {MAX_FILES}")));
        }
        self.gathered.files.push(path.to_owned());
        let bytes = read(path).map_err(|error| match named {
            // The value that the message shows may be a pattern.
            Some(_) => about(format!("names {name}, which cannot be read: {}", reason(&error))),
            None => about(format!("{name}: cannot be read: {}", reason(&error))),
        })?;
        self.bytes = self.bytes.saturating_add(bytes.len());
        if self.bytes > yaml::MAX_TEXT {
            return Err(yaml::too_large(&name));
        }
        let text = String::from_utf8(bytes).map_err(|error| not_utf8(&name, &error))?;
        let folder = path.parent().unwrap_or(Path::new(""));
        self.text(&text, &name, Some(folder))
    }

    /// Reads one file's text. `folder` is where the names of files begin; a text without one can include nothing.
    fn text(&mut self, text: &str, name: &str, folder: Option<&Path>) -> Result<(), Diagnostic> {
        let file: Arc<str> = name.into();
        let Some((mut tree, duplicates)) = yaml::parse(text, &file)? else { return Ok(()) };
        self.gathered.problems.extend(duplicates);
        let included = match &mut tree.kind {
            Kind::Map(entries) => {
                let all = std::mem::take(entries).into_list();
                let (named, rest): (Vec<Entry>, Vec<Entry>) = all
                    .into_iter()
                    .filter(|entry| !entry.key.starts_with(EXTENSION))
                    .partition(|entry| entry.key == INCLUDE);
                *entries = rest.into();
                named.into_iter().next()
            }
            _ => None,
        };
        self.add(tree);
        match included {
            Some(mut entry) => self.include(&mut entry.value, folder),
            None => Ok(()),
        }
    }

    /// Reads the files that the value of `include` names.
    fn include(&mut self, value: &mut Node, folder: Option<&Path>) -> Result<(), Diagnostic> {
        let found = yaml::expand(value, self.env);
        if let Some((_, diagnostic)) = found.into_iter().next() {
            return Err(Diagnostic { path: INCLUDE.to_owned(), ..diagnostic });
        }
        let one = std::slice::from_ref(&*value);
        let names = match &value.kind {
            Kind::List(items) => items.as_slice(),
            _ => one,
        };
        for name in names {
            let Kind::Scalar { text, .. } = &name.kind else {
                return Err(wrong(name, "expected the name of a file or a pattern, like conf.d/*.yaml"));
            };
            let Some(folder) = folder else {
                let message = "works only in a file: names of included files are relative to its folder";
                return Err(wrong(name, message));
            };
            for path in matching(name, text, folder)? {
                self.file(&path, Some(name))?;
            }
        }
        Ok(())
    }

    /// Puts the keys of another file to those that are there.
    fn add(&mut self, tree: Node) {
        let Some(whole) = &mut self.gathered.tree else {
            self.gathered.tree = Some(tree);
            return;
        };
        merge(whole, tree, "", &mut self.gathered.problems);
    }
}

/// The files that a pattern names, in the order of their names.
fn matching(named: &Node, pattern: &str, folder: &Path) -> Result<Vec<PathBuf>, Diagnostic> {
    if pattern.is_empty() {
        return Err(wrong(named, "is empty: expected the name of a file or a pattern, like conf.d/*.yaml"));
    }
    if !pattern.contains(['*', '?', '[']) {
        return Ok(vec![folder.join(pattern)]);
    }
    // What the folder is called is no pattern.
    let folder = glob::Pattern::escape(&folder.display().to_string());
    let whole = if Path::new(pattern).is_absolute() || folder.is_empty() {
        pattern.to_owned()
    } else {
        format!("{folder}/{pattern}")
    };
    let options = glob::MatchOptions {
        case_sensitive: true,
        require_literal_separator: true,
        // Editors and orchestrators leave hidden files behind.
        require_literal_leading_dot: true,
    };
    let found = glob::glob_with(&whole, options)
        .map_err(|error| wrong(named, format!("is not a pattern for files: {}", error.msg)))?;
    found
        .map(|path| path.map_err(|error| wrong(named, format!("{error}"))))
        .filter(|path| path.as_ref().map_or(true, |path| !path.is_dir()))
        .collect()
}

/// Adds the keys of a map to those of another one. Lists are joined. Maps within are put together at the first level:
/// `upstreams` may be spread over files, one upstream may not.
fn merge(into: &mut Node, from: Node, path: &str, problems: &mut Vec<Diagnostic>) {
    let place = from.place.clone();
    let (Kind::Map(entries), Kind::Map(more)) = (&mut into.kind, from.kind) else {
        let message = "expected a map of keys and values, as every included file is one";
        problems.push(Diagnostic::new(path, message).at(place));
        return;
    };
    let mut all = std::mem::take(entries).into_list();
    let mut known: HashMap<String, usize> =
        all.iter().enumerate().map(|(index, entry)| (entry.key.clone(), index)).collect();
    for entry in more.into_list() {
        let Some(before) = known.get(&entry.key).and_then(|index| all.get_mut(*index)) else {
            known.insert(entry.key.clone(), all.len());
            all.push(entry);
            continue;
        };
        if entry.value.is_empty() {
            continue;
        }
        if before.value.is_empty() {
            before.value = entry.value;
            continue;
        }
        match (&mut before.value.kind, entry.value) {
            (Kind::List(items), Node { kind: Kind::List(others), .. }) => items.extend(others),
            (Kind::Map(_), value @ Node { kind: Kind::Map(_), .. }) if path.is_empty() => {
                merge(&mut before.value, value, &entry.key, problems);
            }
            _ => problems.push(twice(&entry.key, path, before.place.as_ref(), entry.place)),
        }
    }
    *entries = all.into();
}

fn twice(key: &str, path: &str, first: Option<&Location>, second: Option<Location>) -> Diagnostic {
    let root = yaml::Path::default();
    let path = if path.is_empty() { root.key(key) } else { root.key(path).key(key) };
    let first = first.map(|place| format!(": the first is in {}, line {}", place.file, place.line));
    let message = format!("is given twice{}: remove one of them", first.unwrap_or_default());
    Diagnostic::new(path.to_string(), message).at(second)
}

fn wrong(node: &Node, message: impl Into<String>) -> Diagnostic {
    let diagnostic = Diagnostic::new(INCLUDE, message).at(node.place.clone());
    match &node.kind {
        Kind::Scalar { text, .. } => diagnostic.value(text.as_str()),
        _ => diagnostic,
    }
}

/// What a file says, up to a little more than the most that it may: a device has no end.
fn read(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(yaml::MAX_TEXT as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn not_utf8(name: &str, error: &std::string::FromUtf8Error) -> Diagnostic {
    let (before, rest) =
        error.as_bytes().split_at_checked(error.utf8_error().valid_up_to()).unwrap_or_default();
    let line = before.rsplit(|byte| *byte == b'\n').next().map(String::from_utf8_lossy).unwrap_or_default();
    let number = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    let row = before.iter().filter(|byte| **byte == b'\n').count() + 1;
    let place = Location::new(name, number(row), number(line.chars().count() + 1));
    let byte = rest.first().copied().unwrap_or_default();
    let message = format!(
        "has the byte 0x{byte:02X}, which is not UTF-8: save the file as UTF-8, not as Latin-1 or UTF-16"
    );
    Diagnostic::new("", message).at(Some(place))
}

fn reason(error: &std::io::Error) -> String {
    use std::io::ErrorKind;
    match error.kind() {
        ErrorKind::NotFound => "there is no such file".to_owned(),
        ErrorKind::PermissionDenied => "permission denied".to_owned(),
        ErrorKind::IsADirectory => "it is a directory".to_owned(),
        _ => error.to_string(),
    }
}
