//! The token of an admin address: from a file or the environment, never from an argument, which `ps` shows to every user.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use hyper::header::HeaderValue;

use super::super::environment;
use super::super::failure::Failure;

/// The options that lead to a token.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Token {
    /// Read the admin address's token from this file [default: the environment variable EVENKEEL_ADMIN_TOKEN]
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Rejected, with a hint.
    #[arg(long, value_name = "TOKEN", hide = true)]
    token: Option<String>,
}

const VARIABLE: &str = "EVENKEEL_ADMIN_TOKEN";

/// A longer file holds something else.
const LONGEST: u64 = 16 << 10;

// === impl Token ===

impl Token {
    /// Rejects a token that is an argument, and a file that has no use: `used` says whether there is an admin address.
    pub(in crate::cli) fn check(&self, used: bool) -> Result<(), Failure> {
        match self.token {
            None if self.token_file.is_some() && !used => {
                Err(Failure::usage("--token-file has no effect without --admin ADDRESS"))
            }
            Some(_) => Err(Failure::usage(
                "--token is not supported: every user of this machine can see it in the process list\n\n\
                 Use --token-file FILE, or set EVENKEEL_ADMIN_TOKEN",
            )),
            None => Ok(()),
        }
    }

    /// The field that carries the token, if there is one.
    pub(in crate::cli) fn field(&self) -> Result<Option<HeaderValue>, Failure> {
        self.field_or(None)
    }

    /// The same; the token of the configuration is used if no other is given.
    pub(in crate::cli) fn field_or(
        &self,
        configured: Option<&evenkeel::config::Token>,
    ) -> Result<Option<HeaderValue>, Failure> {
        let given = environment(VARIABLE).filter(|text| !text.is_empty());
        let (place, text) = match (&self.token_file, given) {
            (Some(file), _) => (file.display().to_string(), Some(read(file)?)),
            (None, Some(text)) => (VARIABLE.to_owned(), Some(text)),
            (None, None) => {
                let read = configured.map(evenkeel::config::Token::read).transpose();
                let read = read.map_err(|error| Failure::refused(format!("admin.token_file: {error}")))?;
                ("the token of the configuration".to_owned(), read)
            }
        };
        let Some(text) = text else { return Ok(None) };
        let token = text.trim();
        let field = HeaderValue::from_str(&format!("Bearer {token}"));
        match field {
            Ok(mut field) if !token.is_empty() => {
                field.set_sensitive(true);
                Ok(Some(field))
            }
            _ => Err(Failure::refused(format!(
                "{place}: expected a token, found none or one with control characters"
            ))),
        }
    }
}

fn read(file: &Path) -> Result<String, Failure> {
    let mut text = String::new();
    let read = File::open(file).and_then(|file| file.take(LONGEST).read_to_string(&mut text));
    read.map_err(|error| Failure::refused(format!("{}: {error}", file.display())))?;
    Ok(text)
}
