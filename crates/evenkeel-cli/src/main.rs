//! The command: reads what a user types; runs a balancer, prints a result, or prints one clear line about what is
//! wrong.

mod cli;

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: evenkeel_allocator::Allocator = evenkeel_allocator::Allocator;

fn main() -> ExitCode {
    cli::main()
}
