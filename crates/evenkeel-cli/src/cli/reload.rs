//! `evenkeel reload`: tells a running balancer, at its admin address, to read its configuration again.

use hyper::{Method, StatusCode};

use super::admin::{self, Target};
use super::failure::Failure;
use super::{block_on, print};

/// The arguments of `reload`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    target: Target,
    /// Print what would change, and change nothing
    #[arg(long)]
    dry_run: bool,
}

/// Prints what has changed, or why the balancer rejected its configuration.
pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let balancer = args.target.balancer()?;
    let target = if args.dry_run { "/reload?dry_run=true" } else { "/reload" };
    let response = block_on(admin::send(&balancer.address, balancer.token, Method::POST, target))?;
    let said = String::from_utf8_lossy(&response.body);
    match response.status {
        StatusCode::OK => print(&said),
        // Each message starts with `error: `, as those of `check` do.
        StatusCode::UNPROCESSABLE_ENTITY => Err(Failure::Refused(said.trim_end().to_owned())),
        _ => Err(response.unexpected(&balancer.address)),
    }
}
