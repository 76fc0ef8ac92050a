//! `fuzz`: tries hostile bytes on the targets in `fuzz/`, some at a time, and summarises. Knows nothing of what they do.

use std::path::{Path, PathBuf};

use clap::builder::PossibleValuesParser;
use xtask::failure::Failure;
use xtask::process::Running;
use xtask::shell::Shell;
use xtask::tools::Tools;
use xtask::workspace::Workspace;

/// What there is, and what else the fuzzer is told about each.
const TARGETS: &[(&str, &[&str])] = &[
    ("heads", &[]),
    ("chunked", &[]),
    // Other threads take memory while an input is tried, and keep it: not a leak, but looked into after each.
    ("lanes", &["-detect_leaks=0"]),
];

/// So many run at a time.
const AT_A_TIME: usize = 2;

/// For every target: a summary at the end; an input that hangs, or takes memory without end, is a finding.
const OPTIONS: &[&str] = &["-print_final_stats=1", "-timeout=30", "-rss_limit_mb=4096"];

/// Runs the command that follows the file's name, and writes all that it says into the file.
const INTO: &str = "into=$1; shift; exec \"$@\" >\"$into\" 2>&1";

/// What is fuzzed, and for how long.
#[derive(Debug, PartialEq, Eq, clap::Args)]
pub(crate) struct Plan {
    /// Minutes for each target
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
    minutes: u32,
    /// Then adds the inputs that are worth trying again to fuzz/corpus, minimised
    #[arg(long)]
    keep: bool,
    /// What is fuzzed [default: every target]
    #[arg(value_name = "TARGET", value_parser = PossibleValuesParser::new(TARGETS.iter().map(|(name, _)| *name)))]
    targets: Vec<String>,
}

/// What a target's run came to.
#[derive(Debug, PartialEq, Eq)]
struct Report {
    target: String,
    executions: u64,
    /// Places of the program that were reached.
    coverage: u64,
    finding: Option<String>,
}

/// Where a target's files are.
struct Files {
    /// What is checked in.
    kept: PathBuf,
    /// What earlier runs on this machine found worth trying again.
    grown: PathBuf,
    log: PathBuf,
}

/// Fuzzes; fails when there is a finding.
pub(crate) fn run(workspace: &Workspace, mut plan: Plan) -> Result<(), Failure> {
    if plan.targets.is_empty() {
        plan.targets = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    }
    let tools = Tools::new(workspace);
    tools.cmake()?;
    tools.cargo_fuzz()?;
    let fuzz = |arguments: &[&str]| -> Result<Shell, Failure> {
        let cargo = tools.nightly_cargo()?.env("CARGO_TARGET_DIR", &workspace.target);
        Ok(cargo.arg("fuzz").args(arguments.iter().copied()))
    };
    println!("Building what is fuzzed; the first time this takes some minutes …");
    for target in &plan.targets {
        fuzz(&["build", target])?.run()?;
    }
    let jobs = plan.targets.iter().map(|target| {
        let files = Files::of(workspace, target)?;
        let shell = fuzz(&["run", target])?.arg(&files.grown).arg(&files.kept).arg("--");
        let seconds = format!("-max_total_time={}", plan.minutes * 60);
        Ok((target.clone(), files, shell.arg(seconds).args(OPTIONS.iter().chain(options(target)).copied())))
    });
    let jobs = jobs.collect::<Result<Vec<_>, Failure>>()?;
    println!("Fuzzing for {} minutes each: {} …", plan.minutes, plan.targets.join(", "));
    let reports = side_by_side(&jobs)?;
    for report in &reports {
        println!("{report}");
    }
    let findings = reports.iter().filter(|report| report.finding.is_some()).count();
    if findings > 0 {
        return Err(Failure::new(format!("{findings} of {} targets have a finding", jobs.len())));
    }
    if plan.keep {
        for target in &plan.targets {
            keep(&Files::of(workspace, target)?, fuzz(&["run", target])?)?;
        }
    }
    Ok(())
}

/// Runs them all, some at a time: all take equally long.
fn side_by_side(jobs: &[(String, Files, Shell)]) -> Result<Vec<Report>, Failure> {
    let mut reports = Vec::new();
    for jobs in jobs.chunks(AT_A_TIME) {
        let start = |(target, files, shell): &(String, Files, Shell)| {
            let into = ["-c".into(), INTO.into(), "sh".into(), files.log.clone().into_os_string()];
            Running::start(target, &shell.clone().through("sh", into), None)
        };
        let running = jobs.iter().map(start).collect::<Result<Vec<_>, Failure>>()?;
        for (mut running, (target, files, _)) in running.into_iter().zip(jobs) {
            let fine = running.wait()?;
            let log = &files.log;
            let bytes = std::fs::read(log).map_err(|e| Failure::new(format!("{}: {e}", log.display())))?;
            reports.push(Report::read(target.clone(), fine, &String::from_utf8_lossy(&bytes), log));
        }
    }
    Ok(reports)
}

/// Puts what is checked in and what was found since into the checkout, less what adds nothing.
fn keep(files: &Files, shell: Shell) -> Result<(), Failure> {
    let failure = |e: std::io::Error| Failure::new(format!("{}: {e}", files.kept.display()));
    let merged = files.grown.with_extension("merged");
    if merged.exists() {
        std::fs::remove_dir_all(&merged).map_err(failure)?;
    }
    std::fs::create_dir_all(&merged).map_err(failure)?;
    let shell = shell.args([&merged, &files.kept, &files.grown]).args(["--", "-merge=1", "-detect_leaks=0"]);
    shell.output()?;
    std::fs::remove_dir_all(&files.kept).map_err(failure)?;
    std::fs::create_dir_all(&files.kept).map_err(failure)?;
    let mut count = 0;
    for file in std::fs::read_dir(&merged).map_err(failure)? {
        let file = file.map_err(failure)?;
        // Copied, and not renamed: the target folder may be on another disk.
        std::fs::copy(file.path(), files.kept.join(file.file_name())).map_err(failure)?;
        count += 1;
    }
    println!("{} now has {count} inputs", files.kept.display());
    Ok(())
}

fn options(target: &str) -> &'static [&'static str] {
    TARGETS.iter().find(|(name, _)| *name == target).map_or(&[], |(_, options)| options)
}

// === impl Report ===

impl Report {
    /// From what the fuzzer said.
    fn read(target: String, fine: bool, told: &str, log: &Path) -> Self {
        let last = |name: &str| {
            let (_, rest) = told.rsplit_once(name)?;
            rest.split_whitespace().next()?.parse::<u64>().ok()
        };
        let executions = last("stat::number_of_executed_units:");
        let finding = (!fine || executions.is_none()).then(|| {
            let written = told.rsplit_once("Test unit written to ").and_then(|(_, rest)| rest.lines().next());
            let what = told.lines().skip_while(|line| !line.contains("panicked at")).nth(1).unwrap_or_default();
            let what = what.chars().take(300).collect::<String>();
            match written {
                Some(file) => format!(
                    "{what}\n    input: {file}\n    again: cargo +nightly fuzz run {target} {file}\n    log: {}",
                    log.display()
                ),
                None => format!("the fuzzer itself failed; log: {}", log.display()),
            }
        });
        Self { target, executions: executions.unwrap_or(0), coverage: last(" cov: ").unwrap_or(0), finding }
    }
}

impl std::fmt::Display for Report {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { target, executions, coverage, finding } = self;
        write!(f, "  {target:<8} {executions:>12} executions, {coverage:>6} places reached: ")?;
        match finding {
            None => write!(f, "no finding"),
            Some(finding) => write!(f, "A FINDING: {finding}"),
        }
    }
}

// === impl Files ===

impl Files {
    /// The folders are there afterwards.
    fn of(workspace: &Workspace, target: &str) -> Result<Self, Failure> {
        let folder = workspace.target.join("fuzz");
        let files = Self {
            kept: workspace.root.join("fuzz/corpus").join(target),
            grown: folder.join("corpus").join(target),
            log: folder.join(format!("{target}.log")),
        };
        for folder in [&files.kept, &files.grown] {
            std::fs::create_dir_all(folder)
                .map_err(|e| Failure::new(format!("cannot make {}: {e}", folder.display())))?;
        }
        Ok(files)
    }
}

#[cfg(test)]
mod tests {
    use clap::{Args, Command, FromArgMatches};

    use super::*;

    fn parse(arguments: &str) -> Result<Plan, clap::Error> {
        let command = Plan::augment_args(Command::new("fuzz").no_binary_name(true));
        Plan::from_arg_matches(&command.try_get_matches_from(arguments.split_whitespace())?)
    }

    #[test]
    fn every_target_is_fuzzed_for_twenty_minutes_unless_said_otherwise() {
        let all = parse("").unwrap();
        assert_eq!((all.minutes, all.targets.len(), all.keep), (20, 0, false));
        let one = parse("lanes --minutes 2 --keep").unwrap();
        assert_eq!(one, Plan { minutes: 2, targets: vec!["lanes".to_owned()], keep: true });
    }

    #[test]
    fn what_a_plan_does_not_know_is_rejected() {
        for wrong in ["--minutes", "--minutes 0", "--hours 1", "head"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_targets_are_those_of_the_crate() {
        let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/Cargo.toml");
        let manifest = std::fs::read_to_string(manifest).unwrap();
        let bins = manifest.split("[[bin]]").skip(1);
        let names: Vec<_> = bins.filter_map(|bin| bin.split('"').nth(1)).collect();
        assert_eq!(names, TARGETS.iter().map(|(name, _)| *name).collect::<Vec<_>>());
    }

    #[test]
    fn a_log_is_summed_up() {
        let log = Path::new("/t/heads.log");
        let told = "#2 INITED cov: 12 ft: 30\n#9 DONE   cov: 406 ft: 1435\nDone 9 runs\n\
            stat::number_of_executed_units: 725592\nstat::peak_rss_mb: 495\n";
        let report = Report::read("heads".to_owned(), true, told, log);
        let (executions, coverage) = (725_592, 406);
        assert_eq!(report, Report { target: "heads".to_owned(), executions, coverage, finding: None });

        let told = format!(
            "thread 'x' panicked at a.rs:1:1:\nmore than it was\n{told}Test unit written to /a/crash-1\n"
        );
        let finding = Report::read("heads".to_owned(), false, &told, log).finding.unwrap();
        assert!(
            finding.starts_with("more than it was\n") && finding.contains("fuzz run heads /a/crash-1"),
            "{finding}"
        );
    }

    #[test]
    fn a_fuzzer_that_did_nothing_is_a_finding() {
        let log = Path::new("/t/heads.log");
        assert!(Report::read("heads".to_owned(), true, "", log).finding.is_some());
        assert!(Report::read("heads".to_owned(), false, "error: no such target", log).finding.is_some());
    }
}
