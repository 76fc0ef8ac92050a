//! `evenkeel schema`: what a configuration can contain, for editors and for readers.

use evenkeel::config::schema::{json_schema, reference};
use evenkeel::filter::Registry;

use super::failure::Failure;
use super::{print, print_json};

/// The arguments of `schema`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Print the reference in Markdown instead
    #[arg(long)]
    reference: bool,
}

/// Prints the schema or the reference.
pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let filters = Registry::builtin().schemas();
    if args.reference {
        print(&reference(&filters))
    } else {
        print_json(&format!("{:#}\n", json_schema(&filters)))
    }
}
