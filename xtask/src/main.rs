//! The workbench: `cargo xtask demo | check | test | bench | dist | soak | fuzz | help`.
//!
//! It installs what the other crates need before they can build, so it must never depend on any of them, nor on Pingora.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "a command for people: it prints, reads its environment, and waits for the processes that it starts"
)]

use std::process::ExitCode;

use crate::failure::Failure;
use crate::workspace::Workspace;

mod bench;
mod failure;
mod fuzz;
mod process;
mod shell;
mod soak;
mod steps;
mod tools;
mod verify;
mod workspace;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("\nxtask: {failure}");
            failure.code()
        }
    }
}

fn run(arguments: &[String]) -> Result<(), Failure> {
    let Some((task, rest)) = arguments.split_first() else {
        print!("{HELP}");
        return Err(Failure::usage("no task given"));
    };
    match task.as_str() {
        "demo" => demo(rest),
        "check" => none(rest).and_then(|()| verify::check(&Workspace::find()?)),
        "test" => none(rest).and_then(|()| verify::test(&Workspace::find()?)),
        "bench" => bench::task(rest),
        "dist" => none(rest).and_then(|()| bench::shipped::task()),
        "soak" => soak::run(&Workspace::find()?, &soak::Plan::parse(rest)?),
        "fuzz" => fuzz::run(&Workspace::find()?, &fuzz::Plan::parse(rest)?),
        "help" | "--help" | "-h" => {
            print!("{HELP}");
            Ok(())
        }
        other => Err(Failure::usage(format!("there is no task {other:?}; see `cargo xtask help`"))),
    }
}

/// Builds the command and runs its demonstration; further arguments are the demonstration's.
fn demo(arguments: &[String]) -> Result<(), Failure> {
    let workspace = Workspace::find()?;
    let tools = tools::Tools::new(&workspace);
    tools.cmake()?;
    let build = tools.cargo().args(["build", "--release", "--package", "evenkeel-cli"]);
    println!("Building evenkeel; the first time this takes some minutes …");
    build.run()?;
    tools.command(workspace.binary("release", "evenkeel")).arg("demo").args(arguments).exec()
}

fn none(arguments: &[String]) -> Result<(), Failure> {
    match arguments.first() {
        None => Ok(()),
        Some(first) => Err(Failure::usage(format!("this task takes no argument, but got {first:?}"))),
    }
}

const HELP: &str = "\
cargo xtask TASK

  demo [ARGUMENT…]  installs what building needs (cmake), builds evenkeel, runs `evenkeel demo`
  check             the fast part: formatting, clippy, the tests of core and config
  test              installs what the tests need, then everything: formatting, clippy, docs, licences, all tests, and
                    those of the running thing over Pingora's lane, too
  bench [OPTION…]   measures evenkeel beside bare Pingora, nginx and HAProxy, in one run
      --rounds N        rounds over all cells, interleaved (default 5)
      --seconds S       seconds a cell and round (default 5)
      --quick           2 rounds of 2 s, the release profile; for a look, not for publishing
      --only A,B        only these proxies: bare, nginx, haproxy (as packaged), haproxy28 (by pip), haproxy-splice
                        (as packaged, with splice-response; 64k and large only), evenkeel-pingora (`lanes: pingora`),
                        evenkeel
      --scenario A,B    only these scenarios: small, logged (access log on), post (bodies of 16 KiB), 64k, large
                        (answers of 1 MiB), churn; or none: then only memory is measured
      --binaries FOLDER builds nothing; takes evenkeel, bare-pingora and bench-backend from there
    A whole run with at least 3 rounds writes docs/performance.md and docs/performance.svg; every run writes target/bench/.
  bench tail [OPTION…]
                    measures what users feel while one of ten backends is slow, and how soon a change of one shows, beside
                    nginx, HAProxy and Envoy, under an open loop; about 45 minutes
      --rounds N        rounds over all points, interleaved (default 3)
      --seconds S       seconds a point (default 20), after 3 of warming up; the part `change` takes one and a half of it
      --rates A,B       requests a second (default 400,1000); `change` takes the highest
      --only A,B        only these: direct (no proxy), nginx-least-time, nginx-least-time-again (what is chance),
                        nginx-least-conn, haproxy-leastconn, haproxy-random, envoy-least-request, round-robin,
                        least-connections, power-of-two-choices, peak-ewma, prequal; and the last two with a health
                        check (peak-ewma-checked, prequal-checked) or with hedging (peak-ewma-hedged, prequal-hedged)
      --parts A,B       only these parts: steady, change
      --evenkeel FILE   builds nothing; takes this evenkeel, and leaves out the algorithms that it does not know
      --json FILE       writes the raw results there, too
    A whole run writes the section about tails of docs/performance.md, and its charts; every run writes target/bench/tail/.
  dist              builds evenkeel as it is shipped: first with counters, which it fills under the traffic of `bench`, then
                    guided by them, if llvm-profdata is there (`rustup component add llvm-tools`); about 12 minutes
  soak [OPTION…]    runs evenkeel under churn, slow readers, aborting clients and dying backends, then checks that nothing
                    is left behind: connections, attempts, file descriptors, memory, uncounted requests
      --minutes N       minutes of load (default 10); about one more for what follows
      --profile P       the cargo profile to build and run: release (the default) or dist
      --lanes L         `lanes` in its file: auto or pingora (default: not in it)
      --binaries FOLDER builds nothing; takes evenkeel from there
  fuzz [OPTION…] [TARGET…]
                    tries hostile bytes on heads, chunked (the framing of bodies), and lanes (both lanes against a
                    scripted backend), two targets at a time; fails at a finding. Needs a nightly toolchain
      --minutes N       minutes for each target (default 20)
      --keep            then adds what was found worth trying again to fuzz/corpus, minimised
  help              this page

CARGO_TARGET_DIR is honoured. Nothing is installed that is there already.
";
