//! `evenkeel man`: the manual page.

use super::failure::Failure;
use super::print;

/// Prints the page, in roff.
pub(super) fn run(command: clap::Command) -> Result<(), Failure> {
    let mut page = Vec::new();
    let rendered = clap_mangen::Man::new(command).render(&mut page);
    rendered.map_err(|error| Failure::start(format!("the manual page: {error}")))?;
    print(&String::from_utf8_lossy(&page))
}
