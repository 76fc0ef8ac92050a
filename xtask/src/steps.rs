//! A task as a list of timed steps: it stops at the first that fails, and ends with a summary either way.

use std::fmt::Write;
use std::time::{Duration, Instant};

use crate::failure::Failure;

/// The steps done so far.
#[derive(Debug, Default)]
pub(crate) struct Steps {
    done: Vec<Step>,
}

#[derive(Debug)]
struct Step {
    name: String,
    took: Duration,
    end: End,
}

#[derive(Debug)]
enum End {
    Done,
    Failed,
    Skipped(String),
}

// === impl Steps ===

impl Steps {
    /// Runs a step; its failure is the task's, and names the step.
    pub(crate) fn run<T>(
        &mut self,
        name: &str,
        step: impl FnOnce() -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        println!("\n── {name}");
        let start = Instant::now();
        let result = step();
        let end = if result.is_ok() { End::Done } else { End::Failed };
        self.done.push(Step { name: name.into(), took: start.elapsed(), end });
        result.map_err(|failure| Failure::new(format!("step \"{name}\": {failure}")))
    }

    /// Notes a step that this machine cannot do.
    pub(crate) fn skip(&mut self, name: &str, reason: impl Into<String>) {
        let reason = reason.into();
        println!("\n── {name}: skipped: {reason}");
        self.done.push(Step { name: name.into(), took: Duration::ZERO, end: End::Skipped(reason) });
    }

    /// What happened, a line a step.
    pub(crate) fn summary(&self) -> String {
        let width = self.done.iter().map(|s| s.name.chars().count()).max().unwrap_or(0);
        let mut text = String::from("\nSummary\n");
        for step in &self.done {
            let took = step.took.as_secs_f64();
            let end = match &step.end {
                End::Done => "done".to_owned(),
                End::Failed => "FAILED".to_owned(),
                End::Skipped(reason) => format!("skipped: {reason}"),
            };
            // Writing to a String cannot fail.
            let _ = writeln!(text, "  {:<width$}  {took:>7.1} s  {end}", step.name);
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_step_is_named_and_summed_up() {
        let mut steps = Steps::default();
        assert!(steps.run("one", || Ok(())).is_ok());
        steps.skip("two", "no network");
        let failure = steps.run("three", || Err::<(), _>(Failure::new("broken"))).unwrap_err();
        assert_eq!(failure.to_string(), "step \"three\": broken");
        let summary = steps.summary();
        let lines: Vec<&str> = summary.trim().lines().collect();
        assert_eq!(lines.len(), 4);
        assert!(lines[1].ends_with("done") && lines[3].ends_with("FAILED"));
        assert!(lines[2].ends_with("skipped: no network"));
    }
}
