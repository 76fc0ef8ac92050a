//! The configuration as users hold it: a model, or what was wrong with it.

use std::collections::HashMap;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use crate::resolve::{self, Context};
use crate::wire::{File, HINTS};
use crate::yaml;
use crate::{ConfigError, Diagnostic, Model, Place};

/// A configuration, from a file or from [`ConfigBuilder`](crate::ConfigBuilder). Cheap to clone.
///
/// It contains its errors, so that [`ConfigBuilder::build`](crate::ConfigBuilder::build) cannot fail.
#[derive(Clone, Debug)]
pub struct Config {
    outcome: Result<Arc<Model>, ConfigError>,
    /// Where the file names what is outside of it, by the path of keys.
    places: Arc<HashMap<String, Place>>,
}

/// The message for an empty file.
const SMALLEST: &str = "is empty: the smallest configuration is\n\n    \
    listeners: [{ address: 127.0.0.1:8080 }]\n    \
    upstreams:\n      \
    web: { backends: [\"http://127.0.0.1:8081\", \"http://127.0.0.1:8082\"] }";

// === impl Config ===

impl Config {
    /// What the configuration means.
    ///
    /// # Errors
    /// What was wrong with it.
    pub fn model(&self) -> Result<&Arc<Model>, &ConfigError> {
        self.outcome.as_ref()
    }

    /// What is wrong with something outside of the file that a value names, such as another file that is not there: a diagnostic
    /// about the value at these keys, with its place if the configuration came from a file. Kept are the places of what can be
    /// looked for: files and backends.
    pub fn diagnostic(&self, keys: &str, message: impl Into<String>) -> Diagnostic {
        Diagnostic::new(keys, message).at(self.places.get(keys).cloned())
    }

    /// Reads YAML. `source_name` is what messages call it, usually the file's path; `env` looks up what `${NAME}` stands
    /// for.
    ///
    /// # Errors
    /// Every mistake that could be found in one run, at most 20.
    pub fn from_yaml(
        text: &str,
        source_name: &str,
        env: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Self, ConfigError> {
        let file: Arc<str> = source_name.into();
        let Some((mut tree, duplicates)) = yaml::parse(text, &file)? else {
            return Err(Diagnostic::new("", SMALLEST).at(Some(Place::new(file, 1, 1))).into());
        };
        let mut found = yaml::expand(&mut tree, env);
        let read = yaml::read::<File>(&mut tree, &HINTS, &mut found);
        let mut context = Context::of_file(&tree, found);
        let model = read.and_then(|file| resolve::resolve(&file, &mut context));
        let mut problems = duplicates;
        let (found, places) = context.into_parts();
        problems.extend(found);
        match model {
            Some(model) if problems.is_empty() => {
                Ok(Self { outcome: Ok(Arc::new(model)), places: Arc::new(places) })
            }
            _ => Err(in_order(problems)),
        }
    }

    /// Reads a YAML file.
    ///
    /// # Errors
    /// Those of [`Config::from_yaml`], or that the file cannot be read.
    pub fn from_file(
        path: impl AsRef<Path>,
        env: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Self, ConfigError> {
        let path = path.as_ref();
        let name = path.display().to_string();
        let bytes = read(path)
            .map_err(|error| Diagnostic::new("", format!("{name}: cannot be read: {}", reason(&error))))?;
        if bytes.len() > yaml::MAX_TEXT {
            return Err(yaml::too_large(&name).into());
        }
        let text = String::from_utf8(bytes).map_err(|error| not_utf8(&name, &error))?;
        Self::from_yaml(&text, &name, env)
    }

    /// A configuration from the builder.
    pub(crate) fn new(outcome: Result<Model, ConfigError>) -> Self {
        Self { outcome: outcome.map(Arc::new), places: Arc::default() }
    }
}

/// A path of keys as messages write it: `upstreams.web.tls.ca`.
pub fn key_path(keys: &[&str]) -> String {
    keys.iter().fold(yaml::Path::default(), |path, key| path.key(key)).to_string()
}

/// Mistakes in the order of the file, bounded.
pub(crate) fn in_order(mut problems: Vec<Diagnostic>) -> ConfigError {
    problems.sort_by_key(|problem| problem.place.as_ref().map(|place| (place.line, place.column)));
    problems.dedup();
    if problems.len() > yaml::MOST {
        let more = problems.len() - yaml::MOST;
        problems.truncate(yaml::MOST);
        problems
            .push(Diagnostic::new("", format!("{more} more mistakes; these are the first {}", yaml::MOST)));
    }
    ConfigError::new(problems)
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
    let place = Place::new(name, number(row), number(line.chars().count() + 1));
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
