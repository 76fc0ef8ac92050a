//! The result as text: what was simulated, and a line for each algorithm.

use std::fmt::Write;
use std::time::Duration;

use super::super::printable::width;
use super::contest::{Contest, Run};
use super::figures;
use super::source::Scenario;
use super::traffic::Traffic;

/// The names of algorithms, and of whatever else stands before a line.
pub(super) const LABELS: usize = 20;

/// More groups of equal backends are not listed.
const MOST_GROUPS: usize = 20;

/// What was simulated.
pub(super) fn head(scenario: &Scenario, traffic: &Traffic, contest: &Contest) -> String {
    let requests = contest.runs.first().map_or(0, |run| run.report.requests);
    let mut head = format!(
        "{}, {} requests in {}: {}\n",
        backends(scenario),
        figures::count(requests),
        figures::seconds(contest.duration),
        traffic.describe(scenario),
    );
    let groups = groups(scenario);
    let width = width(groups.iter().map(|(label, _)| label.as_str()));
    for (label, description) in groups.iter().take(MOST_GROUPS) {
        let _ = writeln!(head, "  {label:width$}  {description}");
    }
    if groups.len() > MOST_GROUPS {
        let _ = writeln!(head, "  … and {} lines more", groups.len() - MOST_GROUPS);
    }
    head
}

/// How many backends there are.
pub(super) fn backends(scenario: &Scenario) -> String {
    match scenario.backends.len() {
        1 => "1 backend".to_owned(),
        count => format!("{} backends", figures::count(count as u64)),
    }
}

/// A line for each algorithm.
pub(super) fn draw(contest: &Contest, (limited, has_priorities): (bool, bool)) -> String {
    let has_faults = contest.faults().next().is_some();
    let mut table = format!(
        "{:LABELS$} {:>8} {:>8} {:>8} {:>9} {:>7}",
        "algorithm", "p50", "p99", "p99.9", "imbalance", "errors"
    );
    if limited {
        let _ = write!(table, " {:>8}", "rejected");
    }
    if has_priorities {
        let _ = write!(table, " {:>9}", "important");
    }
    if has_faults {
        let _ = write!(table, " {:>8} {:>7}", "recovers", "returns");
    }
    table.push('\n');
    for run in &contest.runs {
        let Run { name, report } = run;
        let time = |time: Duration| {
            if report.requests > report.errors { figures::latency(time) } else { "-".into() }
        };
        let latency = &report.latency;
        let (p50, p99, p999) = (time(latency.p50), time(latency.p99), time(latency.p999));
        let errors = figures::percent(report.errors as f64 / report.requests.max(1) as f64);
        let _ =
            write!(table, "{name:LABELS$} {p50:>8} {p99:>8} {p999:>8} {:>9.2} {errors:>7}", report.imbalance);
        let share = |part: u64, of: u64| figures::percent(part as f64 / of.max(1) as f64);
        if limited {
            let _ = write!(table, " {:>8}", share(report.rejected, report.requests));
        }
        if has_priorities {
            let (requests, rejected) = report.important;
            let _ = write!(table, " {:>9}", share(rejected, requests));
        }
        if has_faults {
            let (recovered, returned) =
                (figures::recovery(run.recovered()), figures::recovery(run.returned()));
            let _ = write!(table, " {recovered:>8} {returned:>7}");
        }
        table.push('\n');
    }
    table.push_str(LEGEND);
    if limited {
        table.push_str(LEGEND_OF_LIMITS);
    }
    if has_priorities {
        table.push_str(LEGEND_OF_PRIORITIES);
    }
    if has_faults {
        table.push_str(LEGEND_OF_FAULTS);
    }
    table
}

const LEGEND: &str = "
imbalance: the most requests that any backend had at once, over the mean of all
";

const LEGEND_OF_LIMITS: &str = "rejected: requests that the limit rejected; they are errors too\n";

const LEGEND_OF_PRIORITIES: &str =
    "important: of the requests with a high priority, those that the limit rejected\n";

const LEGEND_OF_FAULTS: &str = "\
recovers: after a fault starts, until 99 % of requests are about as fast as before
returns: after it ends, until its backend has 80 % of the share that it had
";

/// Runs of equal backends, each with its numbers (and names, where there are any) and its description.
fn groups(scenario: &Scenario) -> Vec<(String, String)> {
    let numbered: Vec<(usize, &str, String)> = (1..)
        .zip(&scenario.backends)
        .map(|(number, (name, backend))| (number, name.as_str(), backend.to_string()))
        .collect();
    let label = |(number, name): (usize, &str)| {
        if name == format!("backend {number}") { number.to_string() } else { format!("{number} {name}") }
    };
    let runs = numbered.chunk_by(|(_, _, one), (_, _, other)| one == other);
    let group = |run: &[(usize, &str, String)]| {
        let ((first, first_name, description), (last, last_name, _)) = (run.first()?, run.last()?);
        let (from, to) = (label((*first, first_name)), label((*last, last_name)));
        Some((if first == last { from } else { format!("{from} – {to}") }, description.clone()))
    };
    runs.filter_map(group).collect()
}
