//! `check`, the fast part, and `test`, everything. What they run is what continuous integration runs.

use std::path::PathBuf;

use crate::failure::Failure;
use crate::steps::Steps;
use crate::tools::Tools;
use crate::workspace::Workspace;

/// Tells the tests of the running thing which lane serves; the lean one unless it is set.
const LANES: &str = "EVENKEEL_TEST_LANES";

/// Lets listeners that a test does not describe speak TLS, and clients with them.
const TLS: &str = "EVENKEEL_TEST_TLS";

/// Tests of the running thing that also run over TLS: what clients see, whatever carries it. The others look at bytes of a
/// connection, at whole records, or at listeners of their own.
const OVER_TLS: &[&str] =
    &["access", "balancing", "health", "outliers", "rate_limit", "retries", "retry_policy", "routes", "sets"];

/// Tests of the running thing that no lane serves, or that set the lanes themselves.
const LANES_DO_NOT_MATTER: &[&str] = &["aging", "architecture", "cli", "docs", "size", "memory"];

/// Formatting, clippy, and the tests of the crates that need no Pingora.
pub fn check(workspace: &Workspace) -> Result<(), Failure> {
    summed_up(|steps| {
        let tools = Tools::new(workspace);
        steps.run("cmake", || tools.cmake())?;
        lint(steps, &tools)?;
        steps.run("tests of core and config", || {
            tools
                .cargo()
                .args([
                    "test",
                    "--package",
                    "evenkeel-core",
                    "--package",
                    "evenkeel-sim",
                    "--package",
                    "evenkeel-http",
                    "--package",
                    "evenkeel-config",
                ])
                .run()
        })
    })
}

/// Everything that must hold before a change goes in.
pub fn test(workspace: &Workspace) -> Result<(), Failure> {
    summed_up(|steps| {
        let tools = Tools::new(workspace);
        steps.run("cmake", || tools.cmake())?;
        let promtool = optional(steps, "promtool", || tools.promtool());
        let deny = optional(steps, "cargo-deny", || tools.cargo_deny());
        let grpc = optional(steps, "grpcio", || tools.grpc_health());
        let named = optional(steps, "named", || tools.packaged("named", "bind9"));
        let nsupdate = optional(steps, "nsupdate", || tools.packaged("nsupdate", "bind9-dnsutils"));
        let dnsmasq = optional(steps, "dnsmasq", || tools.packaged("dnsmasq", "dnsmasq-base"));

        lint(steps, &tools)?;
        steps.run("documentation", || {
            let doc = tools.cargo().env("RUSTDOCFLAGS", "-D warnings");
            doc.args(["doc", "--no-deps", "--workspace"]).run()
        })?;
        if deny.is_some() {
            steps.run("licences and sources", || {
                tools.cargo().args(["deny", "check", "bans", "licenses", "sources"]).run()
            })?;
        }
        let parts = [
            ("EVENKEEL_PROMTOOL", promtool),
            ("EVENKEEL_GRPC_HEALTH", grpc),
            ("EVENKEEL_NAMED", named),
            ("EVENKEEL_NSUPDATE", nsupdate),
            ("EVENKEEL_DNSMASQ", dnsmasq),
        ];
        tests(steps, &tools, &parts)
    })
}

fn summed_up(task: impl FnOnce(&mut Steps) -> Result<(), Failure>) -> Result<(), Failure> {
    let mut steps = Steps::default();
    let result = task(&mut steps);
    println!("{}", steps.summary());
    result
}

fn lint(steps: &mut Steps, tools: &Tools<'_>) -> Result<(), Failure> {
    steps.run("formatting", || tools.cargo().args(["fmt", "--all", "--check"]).run())?;
    steps.run("clippy", || {
        tools.cargo().args(["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]).run()
    })
}

/// `parts` are where the tests find real components; a test of one that is not there leaves itself out, and says so.
fn tests(
    steps: &mut Steps,
    tools: &Tools<'_>,
    parts: &[(&'static str, Option<PathBuf>)],
) -> Result<(), Failure> {
    let cargo = || {
        let found = parts.iter().filter_map(|(name, part)| Some((*name, part.as_ref()?)));
        found.fold(tools.cargo(), |cargo, (name, part)| cargo.env(name, part))
    };
    let lean = || cargo().without(LANES);
    let pingora = || cargo().env(LANES, "pingora");
    let over_tls = || cargo().without(LANES).env(TLS, "1");
    let (all, again) = ("tests, over the lean lane", "tests of the running thing, over Pingora's lane");
    let third = "tests of what clients see, over TLS";
    if tools.find("cargo-nextest").is_some() {
        steps.run(all, || lean().args(["nextest", "run", "--workspace"]).run())?;
        steps.run(again, || {
            pingora().args(["nextest", "run", "--workspace", "-E"]).arg(lanes_matter()).run()
        })?;
        steps.run(third, || {
            over_tls().args(["nextest", "run", "--workspace", "-E"]).arg(visible_over_tls()).run()
        })?;
        // nextest leaves the examples in the documentation out.
        steps.run("tests in the documentation", || lean().args(["test", "--workspace", "--doc"]).run())
    } else {
        steps.run(all, || lean().args(["test", "--workspace"]).run())?;
        steps.run(again, || {
            let skip =
                LANES_DO_NOT_MATTER.iter().flat_map(|module| ["--skip".to_owned(), format!("{module}::")]);
            pingora().args(["test", "--workspace", "--test", "it", "--"]).args(skip).run()
        })?;
        steps.run(third, || {
            let only = OVER_TLS.iter().map(|module| format!("{module}::"));
            over_tls().args(["test", "--workspace", "--test", "it", "--"]).args(only).run()
        })
    }
}

/// The tests of the running thing that also run over TLS, as nextest wants to be told.
fn visible_over_tls() -> String {
    format!("binary_id(evenkeel-cli::it) and test(/^({})::/)", OVER_TLS.join("|"))
}

/// The tests of the running thing that are not the same over both lanes anyway, as nextest wants to be told.
fn lanes_matter() -> String {
    format!("binary_id(evenkeel-cli::it) and not test(/^({})::/)", LANES_DO_NOT_MATTER.join("|"))
}

/// A tool without which the rest is still worth running: a machine without a network may lack it.
fn optional(
    steps: &mut Steps,
    name: &str,
    find: impl FnOnce() -> Result<PathBuf, Failure>,
) -> Option<PathBuf> {
    match find() {
        Ok(found) => Some(found),
        Err(failure) => {
            steps.skip(name, format!("what needs it is left out: {failure}"));
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_run_leaves_out_what_is_the_same() {
        let filter =
            "binary_id(evenkeel-cli::it) and not test(/^(aging|architecture|cli|docs|size|memory)::/)";
        assert_eq!(lanes_matter(), filter);
    }

    #[test]
    fn what_is_left_out_is_there() {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/evenkeel-cli/tests/it");
        for module in LANES_DO_NOT_MATTER.iter().chain(OVER_TLS) {
            assert!(root.join(format!("{module}.rs")).exists(), "{module}");
        }
    }
}
