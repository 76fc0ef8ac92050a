//! The command: what a user types, in; a running balancer, an answer, or one clear line about what is wrong, out.

mod cli;

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: evenkeel_allocator::Allocator = evenkeel_allocator::Allocator;

fn main() -> ExitCode {
    cli::main()
}
