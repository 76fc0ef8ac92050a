//! The result of the traffic: the share and mean latency of each backend, from the metrics.

use std::convert::Infallible;
use std::fmt::Write as _;
use std::time::Duration;

use evenkeel::status::State;

use super::super::failure::Failure;
use super::super::print;
use super::backends::Backend;

/// Lines of shares and latencies, each for the time since the last line.
#[derive(Debug)]
pub(super) struct Report {
    rows: Vec<Row>,
}

#[derive(Debug)]
struct Row {
    name: &'static str,
    url: String,
    last: Sample,
}

/// The responses of a backend so far, and the sum of their seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Sample {
    answers: f64,
    seconds: f64,
}

/// How often a line is printed.
const EVERY: Duration = Duration::from_secs(2);

const METRIC: &str = "evenkeel_backend_first_byte_seconds";

impl Report {
    /// A report about these backends.
    pub(super) fn new(backends: &[Backend]) -> Self {
        let row = |backend: &Backend| Row { name: backend.name, url: backend.url(), last: Sample::default() };
        Self { rows: backends.iter().map(row).collect() }
    }

    /// Prints a line every two seconds. It ends only if that is impossible.
    pub(super) async fn print_forever(&mut self, state: &State) -> Failure {
        let never = async {
            loop {
                tokio::time::sleep(EVERY).await;
                print(&self.line(&state.metrics_page()))?;
            }
        };
        let ended: Result<Infallible, Failure> = never.await;
        match ended {
            Ok(never) => match never {},
            Err(failure) => failure,
        }
    }

    fn line(&mut self, page: &str) -> String {
        let news = self.rows.iter_mut().map(|row| {
            let now = Sample::read(page, &row.url);
            let new =
                Sample { answers: now.answers - row.last.answers, seconds: now.seconds - row.last.seconds };
            row.last = now;
            (row.name, new)
        });
        let news: Vec<_> = news.collect();
        let total: f64 = news.iter().map(|(_, new)| new.answers).sum();
        let mut line = String::new();
        for (name, new) in news {
            let share = 100.0 * new.answers / total.max(1.0);
            let mean = 1000.0 * new.seconds / new.answers.max(1.0);
            let _ = write!(line, "  {name} {share:3.0} % {mean:4.0} ms   ");
        }
        format!("{}\n", line.trim_end())
    }
}

impl Sample {
    /// The values of a backend from a metrics page.
    fn read(page: &str, url: &str) -> Self {
        let label = format!("backend=\"{url}\"");
        let value = |suffix: &str| {
            let name = format!("{METRIC}{suffix}{{");
            let line = page.lines().find(|line| line.starts_with(&name) && line.contains(&label));
            line.and_then(|line| line.rsplit(' ').next()?.parse().ok()).unwrap_or_default()
        };
        Self { answers: value("_count"), seconds: value("_sum") }
    }
}

#[cfg(test)]
mod tests {
    use super::{Report, Row, Sample};

    const PAGE: &str = "\
# TYPE evenkeel_backend_first_byte_seconds histogram
evenkeel_backend_first_byte_seconds_bucket{upstream=\"default\",backend=\"http://127.0.0.1:1\",le=\"+Inf\"} 9
evenkeel_backend_first_byte_seconds_sum{upstream=\"default\",backend=\"http://127.0.0.1:1\"} 0.3
evenkeel_backend_first_byte_seconds_count{upstream=\"default\",backend=\"http://127.0.0.1:1\"} 30
evenkeel_backend_first_byte_seconds_sum{upstream=\"default\",backend=\"http://127.0.0.1:2\"} 1.5
evenkeel_backend_first_byte_seconds_count{upstream=\"default\",backend=\"http://127.0.0.1:2\"} 10
";

    #[test]
    fn a_line_tells_of_the_time_since_the_last() {
        let row = |name, url: &str, last| Row { name, url: url.to_owned(), last };
        let last = Sample { answers: 0.0, seconds: 0.0 };
        let mut report =
            Report { rows: vec![row("a", "http://127.0.0.1:1", last), row("b", "http://127.0.0.1:2", last)] };
        assert_eq!(report.line(PAGE), "  a  75 %   10 ms     b  25 %  150 ms\n");
        assert_eq!(report.line(PAGE), "  a   0 %    0 ms     b   0 %    0 ms\n");
    }
}
