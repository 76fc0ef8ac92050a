//! What is wrong with a configuration, and where: one [`Diagnostic`] for each mistake, all of them in one [`ConfigError`].
//!
//! This file knows nothing of YAML or of the model; it only formats what it receives.

use std::fmt;
use std::sync::Arc;

/// Why a configuration was refused: one or many diagnostics, in the order of the file.
///
/// `Display` gives one block for each, which is what `check` prints. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    diagnostics: Arc<[Diagnostic]>,
}

/// One mistake.
///
/// ```text
/// error: evenkeel.yaml:7:19: listeners[0].http.idle_timeout: "60" is not a duration: expected a number with a unit, like 500ms, 60s or 5m
///   did you mean "60s"?
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Diagnostic {
    /// Where in the file; `None` when the configuration came from the builder, or when no place would help.
    pub place: Option<Location>,
    /// The path of keys, like `listeners[0].http.idle_timeout`; empty for the file as a whole.
    pub path: String,
    /// The value that was refused, as it was after `${…}` was expanded; `None` when it is a secret or there is none.
    pub value: Option<String>,
    /// What is wrong and what was expected; follows the value: `is not a duration: expected …`.
    pub message: String,
    /// What was probably meant.
    pub suggestion: Option<String>,
}

/// A place in a file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub struct Location {
    /// The file, as the caller named it.
    pub file: Arc<str>,
    /// The line, from 1.
    pub line: u32,
    /// The column in characters, from 1.
    pub column: u32,
}

// === impl ConfigError ===

impl ConfigError {
    /// An error of these diagnostics.
    pub fn new(diagnostics: impl Into<Vec<Diagnostic>>) -> Self {
        Self { diagnostics: diagnostics.into().into() }
    }

    /// What is wrong, one entry for each mistake.
    pub fn diagnostics(&self) -> &[Diagnostic] {
        &self.diagnostics
    }
}

impl From<Diagnostic> for ConfigError {
    fn from(diagnostic: Diagnostic) -> Self {
        Self::new([diagnostic])
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, diagnostic) in self.diagnostics.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            diagnostic.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigError {}

// === impl Diagnostic ===

impl Diagnostic {
    /// A mistake at a path of keys, without a place or a value yet.
    pub fn new(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self { place: None, path: path.into(), value: None, message: message.into(), suggestion: None }
    }

    /// With the place of the mistake.
    #[must_use]
    pub fn at(mut self, place: Option<Location>) -> Self {
        self.place = place;
        self
    }

    /// With the value that was refused; the password of a URL is not kept.
    #[must_use]
    pub fn value(mut self, value: impl Into<String>) -> Self {
        self.value = Some(without_password(value.into()));
        self
    }

    /// With what was probably meant.
    #[must_use]
    pub fn suggestion(mut self, suggestion: Option<impl Into<String>>) -> Self {
        self.suggestion = suggestion.map(Into::into);
        self
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("error: ")?;
        if let Some(place) = &self.place {
            write!(f, "{place}: ")?;
        }
        if !self.path.is_empty() {
            write!(f, "{}: ", Printable(&self.path))?;
        }
        if let Some(value) = &self.value {
            write!(f, "\"{}\" ", Printable(value))?;
        }
        // Some messages have several lines; text from users is on one line in them.
        for (index, line) in self.message.lines().enumerate() {
            write!(f, "{}{}", if index == 0 { "" } else { "\n" }, Printable(line))?;
        }
        if let Some(suggestion) = &self.suggestion {
            write!(f, "\n  did you mean \"{}\"?", Printable(suggestion))?;
        }
        Ok(())
    }
}

// === impl Location ===

impl Location {
    /// A place in a file; line and column from 1.
    pub fn new(file: impl Into<Arc<str>>, line: u32, column: u32) -> Self {
        Self { file: file.into(), line, column }
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file, self.line, self.column)
    }
}

/// A URL like `http://user:password@host` with `***` in place of the password; other text unchanged.
fn without_password(text: String) -> String {
    let start = text.find("://").map_or(0, |at| at + 3);
    let rest = text.get(start..).unwrap_or_default();
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let Some((user_info, _)) = authority.rsplit_once('@') else { return text };
    match user_info.split_once(':') {
        Some((user, password)) if !text.contains(char::is_whitespace) => {
            let from = start + user.len() + 1;
            let (before, after) = (text.get(..from), text.get(from + password.len()..));
            format!("{}***{}", before.unwrap_or_default(), after.unwrap_or_default())
        }
        _ => text,
    }
}

/// Text from a file, made fit for a terminal: control characters escaped, long text cut.
struct Printable<'a>(&'a str);

impl fmt::Display for Printable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const LONGEST: usize = 500;
        for (index, c) in self.0.chars().enumerate() {
            if index == LONGEST {
                return f.write_str("…");
            }
            if c.is_control() { write!(f, "{}", c.escape_default())? } else { fmt::Write::write_char(f, c)? }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{Diagnostic, without_password};

    #[test]
    fn no_message_shows_a_password() {
        for (text, shown) in [
            ("http://me:secret@10.0.0.1:80", "http://me:***@10.0.0.1:80"),
            ("https://me:se@cr:et@host/path", "https://me:***@host/path"),
            ("me:secret@host:80", "me:***@host:80"),
            ("http://me@host", "http://me@host"),
            ("http://host:80/a:b@c", "http://host:80/a:b@c"),
            ("127.0.0.1:80", "127.0.0.1:80"),
            ("user: me@host", "user: me@host"),
        ] {
            assert_eq!(without_password(text.to_owned()), shown);
            let said = Diagnostic::new("upstreams.web.backends[0]", "names a user").value(text).to_string();
            assert!(!said.contains("secret"), "{said}");
        }
    }
}
