//! The result over time, as blocks within 80 columns of a terminal.

use std::fmt::Write;
use std::time::Duration;

use super::contest::Contest;
use super::figures;
use super::source::Scenario;
use super::table::LABELS;

/// Columns of blocks after a label.
const COLUMNS: usize = 59;

const BLOCKS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// From what to what blocks go.
#[derive(Clone, Copy)]
struct Scale {
    least: f64,
    most: f64,
    logarithmic: bool,
}

/// The p99 of each algorithm over time, and the share of the backends with faults.
pub(super) fn draw(scenario: &Scenario, contest: &Contest) -> String {
    let p99s: Vec<_> = contest.runs.iter().map(|run| columns(&run.p99s(), f64::max)).collect();
    let Some(scale) = Scale::of(&p99s, true) else { return "no responses\n".to_owned() };
    let millis = |millis: f64| figures::latency(Duration::from_secs_f64(millis / 1_000.0));
    let (least, most) = (millis(scale.least), millis(scale.most));
    let mut chart = match least == most {
        true => format!("p99 over time: {least} throughout\n"),
        false => format!("p99 over time, from ▁ {least} to █ {most}\n"),
    };
    lines(&mut chart, contest, &p99s, scale);
    let faulty = contest.faulty();
    if faulty.is_empty() {
        return chart;
    }
    let mean = |one: f64, other: f64| f64::midpoint(one, other);
    let shares: Vec<_> = contest.runs.iter().map(|run| columns(&run.shares(&faulty), mean)).collect();
    let Some(scale) = Scale::of(&shares, false) else { return chart };
    let whose = whose(scenario, &faulty);
    let _ = writeln!(chart, "\nshare of {whose} over time, from ▁ 0 to █ {}", figures::percent(scale.most));
    lines(&mut chart, contest, &shares, scale);
    chart
}

/// What the backends with faults are called together.
pub(super) fn whose(scenario: &Scenario, faulty: &[usize]) -> String {
    match faulty {
        [only] => scenario.backends.get(*only).map_or_else(String::new, |(name, _)| name.clone()),
        several => format!("the {} backends with faults", several.len()),
    }
}

fn lines(chart: &mut String, contest: &Contest, values: &[Vec<Option<f64>>], scale: Scale) {
    for (run, values) in contest.runs.iter().zip(values) {
        let blocks: String =
            values.iter().map(|value| value.map_or(' ', |value| scale.block(value))).collect();
        let _ = writeln!(chart, "{:LABELS$} {}", run.name, blocks.trim_end());
    }
    let width = values.iter().map(Vec::len).max().unwrap_or_default();
    let _ = writeln!(chart, "{:LABELS$} {}", "", axis(contest, width));
}

/// The beginning, the end, and a mark wherever a fault begins or ends.
fn axis(contest: &Contest, width: usize) -> String {
    let end = figures::seconds(contest.duration);
    let mut axis: Vec<char> =
        format!("{:<w$}{end}", "0", w = width.saturating_sub(end.len())).chars().collect();
    let turns = contest.turns();
    for turn in &turns {
        let at = (turn.as_secs_f64() / contest.duration.as_secs_f64() * width as f64) as usize;
        let text = figures::seconds(*turn);
        // Written out only where there is room.
        let room = axis.get(at..at + text.len() + 2).is_some_and(|room| room.iter().all(|c| *c == ' '));
        let text = if room { format!("^{text}") } else { "^".to_owned() };
        for (place, c) in axis.iter_mut().skip(at).zip(text.chars()) {
            if *place == ' ' {
                *place = c;
            }
        }
    }
    axis.into_iter().collect()
}

/// A value for each column: where several fall into one, they are joined; where one is for several, it is repeated.
fn columns(values: &[Option<f64>], join: impl Fn(f64, f64) -> f64) -> Vec<Option<f64>> {
    let count = values.len();
    if count == 0 {
        return Vec::new();
    }
    let width = if count < COLUMNS { COLUMNS / count * count } else { COLUMNS };
    let column = |index: usize| {
        let from = index * count / width;
        let to = ((index + 1) * count / width).max(from + 1);
        values.get(from..to)?.iter().flatten().copied().reduce(&join)
    };
    (0..width).map(column).collect()
}

// === impl Scale ===

impl Scale {
    /// A scale that all the values fit on; `None` when there are none.
    fn of(values: &[Vec<Option<f64>>], logarithmic: bool) -> Option<Self> {
        let all = || values.iter().flatten().flatten().copied();
        let (least, most) = (all().reduce(f64::min)?, all().reduce(f64::max)?);
        Some(Self { least: if logarithmic { least } else { 0.0 }, most, logarithmic })
    }

    fn block(self, value: f64) -> char {
        let part = match self.logarithmic {
            // Small times are never zero: no service takes less than a microsecond.
            true => (value / self.least).ln() / (self.most / self.least).ln(),
            false => (value - self.least) / (self.most - self.least),
        };
        let index = if part.is_finite() { (part * 7.0).round() as usize } else { 0 };
        BLOCKS.get(index).copied().unwrap_or('█')
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_values_than_columns_are_joined_and_fewer_are_repeated() {
        let values: Vec<_> = (0..118).map(|n| (n != 3).then_some(f64::from(n))).collect();
        let joined = columns(&values, f64::max);
        assert_eq!((joined.len(), joined[0], joined[1], joined[58]), (59, Some(1.0), Some(2.0), Some(117.0)));
        let repeated = columns(&[Some(1.0), None], f64::max);
        assert_eq!((repeated.len(), repeated[28], repeated[29]), (58, Some(1.0), None));
        let sixty: Vec<_> = (0..60).map(f64::from).map(Some).collect();
        assert_eq!(columns(&sixty, f64::max).last(), Some(&Some(59.0)), "nothing is left out");
        assert_eq!(columns(&[], f64::max), []);
    }

    #[test]
    fn blocks_span_the_scale() {
        let blocks = |logarithmic, values: &[f64]| -> String {
            let scale = Scale::of(&[values.iter().copied().map(Some).collect()], logarithmic).unwrap();
            values.iter().map(|value| scale.block(*value)).collect()
        };
        assert_eq!(blocks(true, &[10.0, 100.0, 1_000.0]), "▁▅█");
        assert_eq!(blocks(false, &[0.0, 0.5, 1.0]), "▁▅█");
        assert_eq!(blocks(true, &[5.0, 5.0]), "▁▁");
        assert!(Scale::of(&[vec![None]], true).is_none());
    }
}
