//! Which file contains the configuration.

use std::path::{Path, PathBuf};

use evenkeel::config::Config;

use super::environment;
use super::failure::Failure;

/// The option that names the file.
#[derive(Debug, clap::Args)]
pub(super) struct File {
    /// The configuration [default: ./evenkeel.yaml, else /etc/evenkeel/evenkeel.yaml]
    #[arg(short = 'c', long = "config", value_name = "FILE")]
    path: Option<PathBuf>,
}

/// Where to look for a configuration if none is named, in this order.
const PLACES: [&str; 2] = ["evenkeel.yaml", "/etc/evenkeel/evenkeel.yaml"];

const NONE: &str = "\
no configuration: neither ./evenkeel.yaml nor /etc/evenkeel/evenkeel.yaml is there

Name one with -c FILE, or begin with this in evenkeel.yaml:

    listeners: [{ address: 127.0.0.1:8080 }]
    upstreams:
      web: { backends: [\"http://127.0.0.1:8081\", \"http://127.0.0.1:8082\"] }

It also runs without a file:

    evenkeel run --listen 127.0.0.1:8080 --to http://127.0.0.1:8081 --to http://127.0.0.1:8082";

impl File {
    /// The file.
    pub(super) fn path(&self) -> Result<&Path, Failure> {
        if let Some(path) = &self.path {
            return Ok(path);
        }
        let found = PLACES.iter().map(Path::new).find(|path| path.exists());
        found.ok_or_else(|| Failure::refused(NONE))
    }

    /// The content of the file.
    pub(super) fn load(&self) -> Result<Config, Failure> {
        Ok(Config::from_file(self.path()?, &environment)?)
    }
}
