//! `evenkeel completions`: what a shell needs to complete our arguments.

use clap_complete::Shell;

use super::failure::Failure;
use super::print;

/// The arguments of `completions`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The shell
    shell: Shell,
}

/// Prints the shell's script.
pub(super) fn run(args: &Args, mut command: clap::Command) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut command, "evenkeel", &mut script);
    print(&String::from_utf8_lossy(&script))
}
