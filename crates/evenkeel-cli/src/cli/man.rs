//! `evenkeel man`: the manual pages.

use super::failure::Failure;
use super::print;

/// The arguments of `man`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Print the page of this command, like `run` for evenkeel-run(1) [default: the page of evenkeel itself]
    #[arg(value_name = "COMMAND")]
    command: Option<String>,
}

/// Prints a page, in roff.
pub(super) fn run(args: &Args, mut command: clap::Command) -> Result<(), Failure> {
    command.build();
    // It has no page: `evenkeel help run` prints what `evenkeel run --help` does.
    let mut command = command.mut_subcommand("help", |help| help.hide(true));
    if let Some(name) = &args.command {
        let found = command.find_subcommand(name).filter(|found| !found.is_hide_set()).cloned();
        command = found.ok_or_else(|| {
            let names = command.get_subcommands().filter(|known| !known.is_hide_set());
            let names: Vec<_> = names.map(clap::Command::get_name).collect();
            Failure::usage(format!("no page for `{name}`: expected one of {}", names.join(", ")))
        })?;
    }
    let mut page = Vec::new();
    let rendered = clap_mangen::Man::new(command).render(&mut page);
    rendered.map_err(|error| Failure::start(format!("the manual page: {error}")))?;
    print(&String::from_utf8_lossy(&page))
}
