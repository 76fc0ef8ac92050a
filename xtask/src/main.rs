//! The command: `cargo xtask demo | check | test | bench | dist | soak | fuzz | help`.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command for people: it prints")]

use std::process::ExitCode;

use xtask::failure::Failure;
use xtask::tools::Tools;
use xtask::workspace::Workspace;
use xtask::{bench, verify};

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
        "bench" => match rest.split_first() {
            Some((part, rest)) if part == "tail" => load("tail", rest),
            _ => bench::task(rest),
        },
        "dist" => none(rest).and_then(|()| bench::dist()),
        "soak" | "fuzz" => load(task, rest),
        "help" | "--help" | "-h" => {
            print!("{HELP}");
            Ok(())
        }
        other => Err(Failure::usage(format!("there is no task {other:?}; see `cargo xtask help`"))),
    }
}

/// Builds the crate `load` and becomes one of its commands.
fn load(command: &str, arguments: &[String]) -> Result<(), Failure> {
    let workspace = Workspace::find()?;
    let tools = Tools::new(&workspace);
    tools.cargo().args(["build", "--quiet", "--release", "--package", "load"]).run()?;
    tools.command(workspace.binary("release", "load")).arg(command).args(arguments).exec()
}

/// Builds evenkeel and runs its demo, which gets all further arguments.
fn demo(arguments: &[String]) -> Result<(), Failure> {
    let workspace = Workspace::find()?;
    let tools = Tools::new(&workspace);
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
  test              installs what the tests need, then runs everything: formatting, clippy, docs, licences, all tests, and the
                    integration tests again over Pingora's lane
  bench [OPTION…]   measures evenkeel beside bare Pingora, nginx and HAProxy, in one run
      --rounds N        rounds over all cells, interleaved (default 5)
      --seconds S       seconds a cell and round (default 5)
      --quick           2 rounds of 2 s, the release profile; for a look, not for publishing
      --only A,B        only these proxies: bare, nginx, haproxy (as packaged), haproxy28 (by pip), haproxy-splice
                        (as packaged, with splice-response; 64k and large only), evenkeel-pingora (`lanes: pingora`),
                        evenkeel
      --scenario A,B    only these scenarios: small, logged (access log on), post (bodies of 16 KiB), 64k, large
                        (responses of 1 MiB), churn; or none: then only memory is measured
      --binaries FOLDER builds nothing; takes evenkeel, bare-pingora and bench-backend from there
    A whole run with at least 3 rounds writes docs/performance.md and docs/performance.svg; every run writes target/bench/.
  bench tail [OPTION…]
                    measures latencies while one of ten backends is slow, and how soon a change of one shows, beside nginx,
                    HAProxy and Envoy, under an open loop; about 45 minutes. `cargo xtask bench tail --help` has the options
  dist              builds evenkeel for release: guided by a profile of the traffic of `bench` (profile-guided optimisation), if
                    llvm-profdata is installed (`rustup component add llvm-tools`); about 12 minutes
  soak [OPTION…]    runs evenkeel for ten minutes under connection churn, slow readers, aborting clients and failing backends,
                    then checks that nothing is left behind. `cargo xtask soak --help` has the options
  fuzz [OPTION…] [TARGET…]
                    tries hostile bytes for twenty minutes on each target of fuzz/; needs a nightly toolchain.
                    `cargo xtask fuzz --help` has the options
  help              this page

CARGO_TARGET_DIR is honoured. What is installed already is not installed again.
";
