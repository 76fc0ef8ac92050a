//! The long runs of the workbench: `soak`, `fuzz`, and the benchmark of tail latencies. `cargo xtask soak`, `fuzz` and `bench
//! tail` build this program and become it. It finds, installs and builds through `xtask`, and it is on tokio and hyper.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "a command for people: it prints, and the thread that drives a run waits for the time that the run takes"
)]

use std::process::ExitCode;

use clap::Parser;
use xtask::workspace::Workspace;

mod fuzz;
mod http;
mod soak;

mod tail;

/// What to run.
#[derive(Debug, Parser)]
#[command(disable_help_subcommand = true)]
enum Command {
    /// Runs evenkeel under connection churn, slow readers, aborting clients and failing backends, then checks that nothing
    /// is left behind: connections, attempts, file descriptors, memory, uncounted requests.
    #[command(bin_name = "cargo xtask soak")]
    Soak(soak::Plan),
    /// Tries hostile bytes on heads, chunked (the framing of bodies), and lanes (both lanes against a scripted backend), two
    /// targets at a time; fails at a finding. Needs a nightly toolchain.
    #[command(bin_name = "cargo xtask fuzz")]
    Fuzz(fuzz::Plan),
    /// Measures latencies while one of ten backends is slow, and how soon a change of one shows, beside nginx, HAProxy and
    /// Envoy, under an open loop. A whole run takes about 45 minutes and writes the section about tails of
    /// docs/performance.md, and its charts; every run writes target/bench/tail/.
    #[command(bin_name = "cargo xtask bench tail")]
    Tail(tail::Plan),
}

fn main() -> ExitCode {
    let command = Command::parse();
    let result = Workspace::find().and_then(|workspace| match command {
        Command::Soak(plan) => soak::run(&workspace, &plan),
        Command::Fuzz(plan) => fuzz::run(&workspace, plan),
        Command::Tail(plan) => tail::run(&workspace, plan),
    });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("\nxtask: {failure}");
            failure.code()
        }
    }
}
