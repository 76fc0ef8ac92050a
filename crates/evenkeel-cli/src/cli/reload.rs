//! `evenkeel reload`: tells a running balancer, at its admin address, to read its configuration again.

use hyper::{Method, StatusCode};

use super::admin::{self, Token};
use super::failure::Failure;
use super::file::File;
use super::{block_on, print};

/// The arguments of `reload`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    file: File,
    /// The admin address of the balancer, like http://127.0.0.1:9900 [default: `admin.address` of the configuration]
    #[arg(long, value_name = "ADDRESS", conflicts_with = "path")]
    admin: Option<String>,
    /// Print what would change, and change nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    token: Token,
}

/// Prints what has changed, or why the balancer rejected its configuration.
pub(super) fn run(args: &Args) -> Result<(), Failure> {
    args.token.check(true)?;
    let (address, configured) = args.address()?;
    let target = if args.dry_run { "/reload?dry_run=true" } else { "/reload" };
    let token = args.token.field_or(configured.as_deref())?;
    let response = block_on(admin::send(&address, token, Method::POST, target))?;
    let said = String::from_utf8_lossy(&response.body);
    match response.status {
        StatusCode::OK => print(&said),
        // Each message starts with `error: `, as those of `check` do.
        StatusCode::UNPROCESSABLE_ENTITY => Err(Failure::Refused(said.trim_end().to_owned())),
        _ => Err(response.unexpected(&address)),
    }
}

impl Args {
    /// The admin address, and its token if the configuration has both.
    fn address(&self) -> Result<(String, Option<String>), Failure> {
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
