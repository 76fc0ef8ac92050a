//! The command: what a user types, in; a running balancer, an answer, or one clear line about what is wrong, out.

mod cli;

use std::process::ExitCode;

/// Chosen over the system's for its lower cost under many threads; a proxy allocates on every request.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    cli::main()
}
