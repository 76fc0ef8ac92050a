//! The result over time, drawn by hand as SVG, readable on light and on dark pages.

use std::fmt::Write;
use std::ops::Range;
use std::time::Duration;

use super::contest::Contest;
use super::source::Scenario;
use super::{figures, table, text_chart};

const WIDTH: f64 = 760.0;
/// Left of the lines, for the figures of an axis.
const MARGIN: f64 = 64.0;
const HEAD: f64 = 40.0;
const LEGEND_ROW: f64 = 22.0;
const LEGEND_COLUMN: f64 = 250.0;
const PANEL_TITLE: f64 = 34.0;
const PANEL: f64 = 190.0;
const FOOT: f64 = 24.0;
/// What a time below the axis takes.
const TIME: f64 = 60.0;

/// A chart of lines on one time axis.
struct Panel<'a> {
    title: String,
    lines: Vec<Vec<Option<f64>>>,
    /// The figures that the axis names, from the lowest to the highest, which bound it.
    ticks: Vec<f64>,
    logarithmic: bool,
    label: fn(f64) -> String,
    contest: &'a Contest,
}

/// Draws the p99 of each algorithm over time, and the share of the backends with faults.
pub(super) fn draw(scenario: &Scenario, contest: &Contest) -> String {
    let p99s: Vec<_> = contest.runs.iter().map(super::contest::Run::p99s).collect();
    let mut panels = vec![Panel {
        title: "p99 over time: lower is better".to_owned(),
        ticks: decades(&p99s),
        lines: p99s,
        logarithmic: true,
        label: time_tick,
        contest,
    }];
    let faulty = contest.faulty();
    if !faulty.is_empty() {
        let shares: Vec<_> = contest.runs.iter().map(|run| run.shares(&faulty)).collect();
        panels.push(Panel {
            title: format!("Share of {}", text_chart::whose(scenario, &faulty)),
            ticks: quarters(&shares),
            lines: shares,
            logarithmic: false,
            label: |share| format!("{}%", (share * 1_000.0).round() / 10.0),
            contest,
        });
    }
    let (mut body, mut y) = (String::new(), HEAD);
    legend(&mut body, contest, &mut y);
    for panel in &panels {
        panel.draw(&mut body, y);
        y += PANEL_TITLE + PANEL + FOOT;
    }
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {y:.0}\" role=\"img\" \
         aria-label=\"Simulated p99 over time, by algorithm\">\n{}  \
         <text class=\"title\" x=\"0\" y=\"22\">{} simulated over {}, by algorithm and its p99</text>\n{body}</svg>\n",
        style(),
        table::backends(scenario),
        figures::seconds(contest.duration),
    )
}

fn legend(body: &mut String, contest: &Contest, y: &mut f64) {
    let columns = (WIDTH / LEGEND_COLUMN) as usize;
    for (index, run) in contest.runs.iter().enumerate() {
        let x = (index % columns) as f64 * LEGEND_COLUMN;
        let middle = *y + (index / columns) as f64 * LEGEND_ROW + 10.0;
        let _ = writeln!(
            body,
            "  <path class=\"s{index}\" d=\"M{x:.0} {middle:.0}h20\"/>\n  <text x=\"{:.0}\" y=\"{:.0}\">{}, {}</text>",
            x + 26.0,
            middle + 5.0,
            run.name,
            figures::latency(run.report.latency.p99),
        );
    }
    *y += contest.runs.len().div_ceil(columns) as f64 * LEGEND_ROW;
}

// === impl Panel ===

impl Panel<'_> {
    fn draw(&self, body: &mut String, y: f64) {
        let _ = writeln!(
            body,
            "  <text class=\"group\" x=\"0\" y=\"{:.0}\">{}</text>",
            y + 22.0,
            escaped(&self.title)
        );
        let area = y + PANEL_TITLE..y + PANEL_TITLE + PANEL;
        for report in self.contest.faults() {
            let span = report.fault.span();
            let (from, to) = (self.x(span.start), self.x(span.end.min(self.contest.duration)));
            let _ = writeln!(
                body,
                "  <rect class=\"fault\" x=\"{from:.1}\" y=\"{:.0}\" width=\"{:.1}\" height=\"{PANEL}\"><title>{}</title></rect>",
                area.start,
                to - from,
                figures::fault(&report.fault),
            );
        }
        for &tick in &self.ticks {
            let height = self.y(tick, &area);
            let _ = writeln!(
                body,
                "  <path class=\"grid\" d=\"M{MARGIN} {height:.1}H{WIDTH}\"/>\n  \
                 <text class=\"label\" x=\"{:.0}\" y=\"{:.1}\">{}</text>",
                MARGIN - 8.0,
                height + 5.0,
                (self.label)(tick),
            );
        }
        for (index, line) in self.lines.iter().enumerate() {
            let _ = writeln!(body, "  <path class=\"s{index}\" d=\"{}\"/>", self.path(line, &area));
        }
        self.times(body, area.end + 18.0);
    }

    /// When what begins and ends, as far as there is room.
    fn times(&self, body: &mut String, y: f64) {
        let end = self.contest.duration;
        let _ = writeln!(body, "  <text x=\"{MARGIN}\" y=\"{y:.0}\">0</text>");
        let mut free = MARGIN + TIME;
        for time in self.contest.turns() {
            let x = self.x(time);
            if x < free || x > WIDTH - TIME {
                continue;
            }
            let text = figures::seconds(time);
            let _ = writeln!(body, "  <text class=\"middle\" x=\"{x:.1}\" y=\"{y:.0}\">{text}</text>");
            free = x + TIME;
        }
        let text = figures::seconds(end);
        let _ = writeln!(body, "  <text class=\"label\" x=\"{WIDTH}\" y=\"{y:.0}\">{text}</text>");
    }

    /// A line through the middles of its windows, broken where there is nothing to tell.
    fn path(&self, line: &[Option<f64>], area: &Range<f64>) -> String {
        let (mut path, mut pen) = (String::new(), 'M');
        let width = (WIDTH - MARGIN) / line.len().max(1) as f64;
        for (index, value) in line.iter().enumerate() {
            let Some(value) = value else {
                pen = 'M';
                continue;
            };
            let x = MARGIN + (index as f64 + 0.5) * width;
            let _ = write!(path, "{pen}{x:.1} {:.1}", self.y(*value, area));
            pen = 'L';
        }
        path
    }

    fn x(&self, time: Duration) -> f64 {
        MARGIN + time.as_secs_f64() / self.contest.duration.as_secs_f64() * (WIDTH - MARGIN)
    }

    fn y(&self, value: f64, area: &Range<f64>) -> f64 {
        let (Some(&least), Some(&most)) = (self.ticks.first(), self.ticks.last()) else { return area.end };
        let part = match self.logarithmic {
            true => (value / least).ln() / (most / least).ln(),
            false => (value - least) / (most - least),
        };
        area.end - part.clamp(0.0, 1.0) * (area.end - area.start)
    }
}

/// 1, 2 and 5 of each power of ten that the values need.
fn decades(lines: &[Vec<Option<f64>>]) -> Vec<f64> {
    let all = || lines.iter().flatten().flatten().copied();
    let (least, most) = (all().fold(f64::INFINITY, f64::min), all().fold(0.0, f64::max));
    if least > most {
        return vec![1.0, 10.0];
    }
    let steps: Vec<f64> =
        (-4..9).flat_map(|power| [1.0, 2.0, 5.0].map(|step| step * 10_f64.powi(power))).collect();
    let below = steps.iter().rposition(|step| *step <= least * 1.000_1).unwrap_or_default();
    let above = steps.iter().position(|step| *step >= most * 0.999_9).unwrap_or(steps.len() - 1);
    steps.get(below..=above.max(below + 1)).map(<[f64]>::to_vec).unwrap_or_default()
}

/// Nought, and quarters of a round share above all.
fn quarters(lines: &[Vec<Option<f64>>]) -> Vec<f64> {
    let most = lines.iter().flatten().flatten().copied().fold(0.0, f64::max);
    let steps = [0.02, 0.04, 0.08, 0.12, 0.2, 0.4, 0.6, 0.8];
    let top = steps.into_iter().find(|step| *step >= most).unwrap_or(1.0);
    (0..=4).map(|quarter| top * f64::from(quarter) / 4.0).collect()
}

/// A round time, which is given in milliseconds.
fn time_tick(millis: f64) -> String {
    let round = |number: f64| (number * 10.0).round() / 10.0;
    match millis {
        millis if millis < 0.99 => format!("{} µs", round(millis * 1_000.0)),
        millis if millis < 990.0 => format!("{} ms", round(millis)),
        millis => format!("{} s", round(millis / 1_000.0)),
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// A colour for each algorithm on a light page, and the same on a dark one. Every other line is dashed, for readers who
/// distinguish colours less easily.
const COLOURS: [(&str, &str); 10] = [
    ("#0969da", "#58a6ff"),
    ("#cf222e", "#ff7b72"),
    ("#1a7f37", "#3fb950"),
    ("#8250df", "#bc8cff"),
    ("#bc4c00", "#f0883e"),
    ("#0a7d91", "#39c5cf"),
    ("#bf3989", "#f778ba"),
    ("#6e7781", "#8b949e"),
    ("#9a6700", "#d29922"),
    ("#24292f", "#e6edf3"),
];

fn style() -> String {
    let colours = |dark: bool, indent: &str| {
        let colour = |(index, (on_light, on_dark)): (usize, (&str, &str))| {
            format!("{indent}.s{index} {{ stroke: {}; }}\n", if dark { on_dark } else { on_light })
        };
        COLOURS.into_iter().enumerate().map(colour).collect::<String>()
    };
    format!(
        "  <style>
    text {{ font: 14px system-ui, sans-serif; fill: #1f2328; }}
    path {{ fill: none; stroke-width: 1.5; stroke-linejoin: round; }}
    .title {{ font-size: 17px; font-weight: 600; }}
    .group {{ font-weight: 600; }}
    .label {{ text-anchor: end; }}
    .middle {{ text-anchor: middle; }}
    .grid {{ stroke: #d0d7de; stroke-width: 1; }}
    .fault {{ fill: #8c959f; opacity: 0.15; }}
    .s1, .s3, .s5, .s7, .s9 {{ stroke-dasharray: 6 3; }}
{}    @media (prefers-color-scheme: dark) {{
      text {{ fill: #e6edf3; }}
      .grid {{ stroke: #30363d; }}
{}    }}
  </style>
",
        colours(false, "    "),
        colours(true, "      "),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(values: &[f64]) -> Vec<Vec<Option<f64>>> {
        vec![values.iter().copied().map(Some).collect()]
    }

    #[test]
    fn an_axis_holds_all_values_and_little_more() {
        assert_eq!(decades(&line(&[10.0, 100.0])), [10.0, 20.0, 50.0, 100.0]);
        assert_eq!(decades(&line(&[11.0, 12.0])), [10.0, 20.0]);
        assert_eq!(decades(&line(&[10.0])), [10.0, 20.0]);
        assert_eq!(decades(&[vec![None]]), [1.0, 10.0]);
        assert_eq!(quarters(&line(&[0.11])), [0.0, 0.03, 0.06, 0.09, 0.12]);
        assert_eq!(quarters(&line(&[0.9])).last(), Some(&1.0));
        assert_eq!([0.5, 20.0, 5_000.0].map(time_tick), ["500 µs", "20 ms", "5 s"]);
    }
}
