//! The command line: what a user types, what the process prints and how it exits; one file per command.
//!
//! The only place that prints, reads the environment, or ends the process. It never knows Pingora.

mod admin;
mod backend;
mod check;
mod completions;
mod demo;
mod explain;
mod failure;
mod file;
mod logging;
mod man;
mod outside;
mod printable;
mod reload;
mod run;
mod schema;
mod simulate;
mod sockets;
mod status;
mod watch;

use std::io::{self, Write};
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

use self::failure::Failure;
use self::printable::{printable, printable_json};

/// A load balancer for HTTP, built on Cloudflare's Pingora
#[derive(Debug, Parser)]
#[command(name = "evenkeel", version, max_term_width = 100, after_help = EXIT_CODES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the balancer
    Run(run::Args),
    /// Check a configuration and print what is wrong with it
    Check(check::Args),
    /// Show the state of a running balancer: its listeners, routes, upstreams and backends
    Status(status::Args),
    /// Tell a running balancer to read its configuration again
    Reload(reload::Args),
    /// Drain a backend of a running balancer: no new requests, and those in flight complete
    Drain(backend::Args),
    /// End the drain of a backend
    Undrain(backend::Args),
    /// Change the weight of a backend of a running balancer
    Weight(backend::WeightArgs),
    /// Add a backend to an upstream of a running balancer
    Add(backend::AddArgs),
    /// Remove a backend from an upstream of a running balancer
    Remove(backend::Args),
    /// Show where a request would go, and why
    Explain(explain::Args),
    /// Run a demo: sample backends, a balancer, light traffic
    Demo(demo::Args),
    /// Compare the algorithms on simulated backends
    Simulate(simulate::Args),
    /// Print the JSON Schema of the configuration, for editors
    Schema(schema::Args),
    /// Print completions for a shell
    Completions(completions::Args),
    /// Print a manual page
    Man(man::Args),
}

const EXIT_CODES: &str = "Exit codes: 0 fine, 1 rejected (bad configuration), 2 bad usage, 3 could not start";

/// The command, from its arguments to its exit code.
pub(crate) fn main() -> ExitCode {
    let cli = match arguments() {
        Ok(cli) => cli,
        Err(code) => return code,
    };
    let outcome = match cli.command {
        Command::Run(args) => run::run(args),
        Command::Check(args) => check::run(&args),
        Command::Status(args) => status::run(&args),
        Command::Reload(args) => reload::run(&args),
        Command::Drain(args) => backend::drain(&args),
        Command::Undrain(args) => backend::undrain(&args),
        Command::Weight(args) => backend::weight(&args),
        Command::Add(args) => backend::add(&args),
        Command::Remove(args) => backend::remove(&args),
        Command::Explain(args) => explain::run(&args),
        Command::Demo(args) => demo::run(args),
        Command::Simulate(args) => simulate::run(&args),
        Command::Schema(args) => schema::run(&args),
        Command::Completions(args) => completions::run(&args, Cli::command()),
        Command::Man(args) => man::run(&args, Cli::command()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            tell(&failure.to_string());
            failure.code()
        }
    }
}

/// The arguments, or the exit code where there is nothing to do: 2 on bad usage, 0 after `--help`.
fn arguments() -> Result<Cli, ExitCode> {
    let bad = match Cli::try_parse() {
        Ok(cli) => return Ok(cli),
        Err(bad) => bad,
    };
    let text = bad.render().to_string();
    if bad.use_stderr() && printable(&text) != text {
        // An argument that a script took from elsewhere.
        tell(text.trim_end());
    } else {
        // A stream that cannot be written is ignored.
        let _ = bad.print();
    }
    Err(if bad.use_stderr() { ExitCode::from(2) } else { ExitCode::SUCCESS })
}

/// Writes text to standard output, safe for a terminal. Its reader may stop reading.
fn print(text: &str) -> Result<(), Failure> {
    write_out(&printable(text))
}

/// Writes JSON to standard output, safe for a terminal.
fn print_json(text: &str) -> Result<(), Failure> {
    write_out(&printable_json(text))
}

fn write_out(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::start(format!("standard output: {error}")))
        }
        _ => Ok(()),
    }
}

/// Writes a message to standard error, safe for a terminal. A standard error that cannot be written is ignored.
fn tell(message: &str) {
    let _ = writeln!(io::stderr().lock(), "{}", printable(message));
}

/// The value of an environment variable.
#[expect(clippy::disallowed_methods, reason = "the one place that reads the environment")]
fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// Runs a future to its end, on the runtime of the control side. Connections have their own threads.
fn block_on<T>(future: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::start(format!("cannot start a runtime: {error}")))?;
    let outcome = runtime.block_on(future);
    // A name that is still being resolved must not delay the exit.
    runtime.shutdown_background();
    outcome
}
