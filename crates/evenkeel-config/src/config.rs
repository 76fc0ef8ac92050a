//! The configuration as users hold it: a model, or what was wrong with it.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::include::{self, Gathered};
use crate::resolve::{self, Context};
use crate::wire::{File, HINTS};
use crate::yaml;
use crate::{ConfigError, Diagnostic, Location, Model};

/// A configuration, from a file or from [`ConfigBuilder`](crate::ConfigBuilder). Cheap to clone.
///
/// It contains its errors, so that [`ConfigBuilder::build`](crate::ConfigBuilder::build) cannot fail.
#[derive(Clone, Debug)]
pub struct Config {
    outcome: Result<Arc<Model>, ConfigError>,
    /// Where the file names what is outside of it, by the path of keys.
    places: Arc<HashMap<String, Location>>,
    /// The files that it was read from.
    files: Arc<[PathBuf]>,
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
        Self::from_gathered(include::from_text(text, source_name, env)?, source_name, env)
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
        Self::from_gathered(include::from_file(path, env)?, &path.display().to_string(), env)
    }

    /// The files that the configuration was read from: the file itself first, then those that it includes. Empty for a text
    /// and for the builder.
    pub fn files(&self) -> &[PathBuf] {
        &self.files
    }

    fn from_gathered(
        gathered: Gathered,
        name: &str,
        env: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Self, ConfigError> {
        let Gathered { tree, mut problems, files } = gathered;
        let Some(mut tree) = tree else {
            return Err(Diagnostic::new("", SMALLEST).at(Some(Location::new(name, 1, 1))).into());
        };
        let mut found = yaml::expand(&mut tree, env);
        let read = yaml::read::<File>(&mut tree, &HINTS, &mut found);
        let mut context = Context::of_file(&tree, found);
        let model = read.and_then(|file| resolve::resolve(&file, &mut context));
        let (found, places) = context.into_parts();
        problems.extend(found);
        match model {
            Some(model) if problems.is_empty() => {
                Ok(Self { outcome: Ok(Arc::new(model)), places: Arc::new(places), files: files.into() })
            }
            _ => Err(in_order(problems)),
        }
    }

    /// A configuration from the builder.
    pub(crate) fn new(outcome: Result<Model, ConfigError>) -> Self {
        Self { outcome: outcome.map(Arc::new), places: Arc::default(), files: Arc::default() }
    }
}

/// A path of keys as messages write it: `upstreams.web.tls.ca`.
pub fn key_path(keys: &[&str]) -> String {
    keys.iter().fold(yaml::Path::default(), |path, key| path.key(key)).to_string()
}

/// Mistakes in the order of the file, bounded.
pub(crate) fn in_order(mut problems: Vec<Diagnostic>) -> ConfigError {
    problems.sort_by(|one, other| one.place.cmp(&other.place));
    problems.dedup();
    if problems.len() > yaml::MOST {
        let more = problems.len() - yaml::MOST;
        problems.truncate(yaml::MOST);
        problems
            .push(Diagnostic::new("", format!("{more} more mistakes; these are the first {}", yaml::MOST)));
    }
    ConfigError::new(problems)
}
