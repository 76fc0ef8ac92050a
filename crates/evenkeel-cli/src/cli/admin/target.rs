//! Which balancer a command is sent to: its admin address and token.

use evenkeel::config::Token;
use hyper::header::HeaderValue;

use super::super::failure::Failure;
use super::super::file::File;
use super::token;

/// The options that name a running balancer.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Target {
    #[command(flatten)]
    file: File,
    /// The admin address of the balancer, like http://127.0.0.1:9900 [default: `admin.address` of the configuration]
    #[arg(long, value_name = "ADDRESS", conflicts_with = "path")]
    admin: Option<String>,
    #[command(flatten)]
    token: token::Token,
}

/// A balancer that requests are sent to.
#[derive(Debug)]
pub(in crate::cli) struct Balancer {
    /// Its admin address.
    pub(in crate::cli) address: String,
    /// The field that carries its token, if there is one.
    pub(in crate::cli) token: Option<HeaderValue>,
}

// === impl Target ===

impl Target {
    /// The balancer that is meant: by `--admin`, or by the configuration, which then has its token, too.
    pub(in crate::cli) fn balancer(&self) -> Result<Balancer, Failure> {
        self.token.check(true)?;
        let (address, configured) = self.address()?;
        Ok(Balancer { address, token: self.token.field_or(configured.as_ref())? })
    }

    fn address(&self) -> Result<(String, Option<Token>), Failure> {
        if let Some(address) = &self.admin {
            return Ok((address.clone(), None));
        }
        let config = self.file.load()?;
        let admin = config.model().map_err(Clone::clone)?.admin.as_ref();
        let admin = admin.filter(|admin| admin.address.port() != 0);
        admin.map(|admin| (format!("http://{}", admin.address), admin.token.clone())).ok_or_else(|| {
            Failure::refused(
                "the configuration has no admin.address with a port: name it with --admin ADDRESS",
            )
        })
    }
}
