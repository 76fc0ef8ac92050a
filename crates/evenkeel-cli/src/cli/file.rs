//! Which file contains the configuration.

use std::io::Read;
use std::path::{Path, PathBuf};

use evenkeel::config::Config;

use super::environment;
use super::failure::Failure;

/// The option that names the file.
#[derive(Debug, clap::Args)]
pub(super) struct File {
    /// The configuration; `-` reads standard input [default: ./evenkeel.yaml, else /etc/evenkeel/evenkeel.yaml]
    #[arg(short = 'c', long = "config", value_name = "FILE")]
    path: Option<PathBuf>,
}

/// The same, and the file without the option.
#[derive(Debug, clap::Args)]
pub(super) struct FileArgument {
    #[command(flatten)]
    option: File,
    /// The same as -c FILE
    #[arg(value_name = "FILE", conflicts_with = "path")]
    argument: Option<PathBuf>,
}

/// Where a configuration is looked for when none is named, in this order.
const PLACES: [&str; 2] = ["evenkeel.yaml", "/etc/evenkeel/evenkeel.yaml"];

/// What messages call standard input.
const STANDARD_INPUT: &str = "standard input";

/// More on standard input is not a configuration.
const LARGEST: u64 = 64 << 20;

const NONE: &str = "\
no configuration: neither ./evenkeel.yaml nor /etc/evenkeel/evenkeel.yaml exists

Name one with -c FILE, or start with this in evenkeel.yaml:

    listeners: [{ address: 127.0.0.1:8080 }]
    upstreams:
      web: { backends: [\"http://127.0.0.1:8081\", \"http://127.0.0.1:8082\"] }

It also runs without a file:

    evenkeel run --listen 127.0.0.1:8080 --to http://127.0.0.1:8081 --to http://127.0.0.1:8082";

// === impl File ===

impl File {
    /// What the file says.
    pub(super) fn load(&self) -> Result<Config, Failure> {
        load(self.path()?)
    }

    fn path(&self) -> Result<&Path, Failure> {
        if let Some(path) = &self.path {
            return Ok(path);
        }
        let found = PLACES.iter().map(Path::new).find(|path| path.exists());
        found.ok_or_else(|| Failure::refused(NONE))
    }
}

// === impl FileArgument ===

impl FileArgument {
    /// What the file says.
    pub(super) fn load(&self) -> Result<Config, Failure> {
        load(self.path()?)
    }

    /// The file as messages call it.
    pub(super) fn name(&self) -> Result<String, Failure> {
        Ok(name(self.path()?))
    }

    /// The file that a reload reads: the same path, also when another one appears. `None` for standard input, which can be
    /// read once only.
    pub(super) fn again(&self) -> Result<Option<PathBuf>, Failure> {
        let path = self.path()?;
        Ok((path != Path::new("-")).then(|| path.to_owned()))
    }

    /// The file with its folders, for a line that is read elsewhere.
    pub(super) fn full_name(&self) -> Result<String, Failure> {
        let path = self.path()?;
        match path == Path::new("-") {
            true => Ok(name(path)),
            false => Ok(std::path::absolute(path).unwrap_or_else(|_| path.to_owned()).display().to_string()),
        }
    }

    fn path(&self) -> Result<&Path, Failure> {
        self.argument.as_deref().map_or_else(|| self.option.path(), Ok)
    }
}

/// What the configuration at this path says; `-` is standard input.
pub(super) fn load(path: &Path) -> Result<Config, Failure> {
    if path != Path::new("-") {
        return Ok(Config::from_file(path, &environment)?);
    }
    let mut text = String::new();
    let read = std::io::stdin().lock().take(LARGEST + 1).read_to_string(&mut text);
    read.map_err(|error| Failure::refused(format!("{STANDARD_INPUT}: cannot be read: {error}")))?;
    if text.len() as u64 > LARGEST {
        return Err(Failure::refused(format!("{STANDARD_INPUT}: more than {} MiB", LARGEST >> 20)));
    }
    Ok(Config::from_yaml(&text, STANDARD_INPUT, &environment)?)
}

fn name(path: &Path) -> String {
    if path == Path::new("-") { STANDARD_INPUT.to_owned() } else { path.display().to_string() }
}
