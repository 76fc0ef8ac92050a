//! The charts about tails, drawn by hand as SVG: bars of p99 and p99.9, and lines over time. Readable on light and on dark
//! pages.

use std::fmt::Write;

use super::contestant::Contestant;
use super::results::{Results, Window};
use crate::bench::chart::{BAR, GAP, GROUP_TITLE, HEAD, STYLE, WIDTH};

/// What the charts are called.
pub(crate) const STEADY: &str = "performance-tails.svg";
pub(crate) const CHANGES: &str = "performance-changes.svg";

/// Room for the names, left of the bars.
const LABELS: f64 = 236.0;

/// Room for the values, right of them.
const VALUES: f64 = 130.0;

/// A contestant's two panels in the chart over time: their heights, with what is between, their places, their width.
const ROW: f64 = 110.0;
const PANEL: f64 = 62.0;
const PANELS: [f64; 2] = [40.0, 420.0];
const PANEL_WIDTH: f64 = 320.0;

/// What the lines of p99 are between, in milliseconds, on a scale of powers.
const P99_MS: [f64; 2] = [8.0, 200.0];

/// Draws a group of bars for each rate: p99, and behind it p99.9.
pub(crate) fn steady(results: &Results) -> String {
    let (mut body, mut y) = (String::new(), HEAD);
    for rate in &results.rates {
        let bar = |c: &Contestant| {
            let p99 = results.of(*c, *rate, |f| f.p99_ms)?.median;
            Some((*c, p99, results.of(*c, *rate, |f| f.p999_ms)?.median))
        };
        let bars: Vec<_> = results.contestants.iter().filter_map(bar).collect();
        let most = bars.iter().map(|(.., p999)| *p999).fold(f64::MIN_POSITIVE, f64::max);
        let title = y + 20.0;
        let _ = writeln!(body, "  <text class=\"group\" x=\"0\" y=\"{title:.0}\">{rate} requests/s</text>");
        y += GROUP_TITLE;
        for (contestant, p99, p999) in bars {
            let [near, far] = [p99, p999].map(|ms| ms / most * (WIDTH - LABELS - VALUES));
            let class = if contestant.algorithm().is_some() { "ours" } else { "theirs" };
            let (end, text_y) = (LABELS - 8.0, y + BAR / 2.0 + 5.0);
            let _ = writeln!(
                body,
                "  <text class=\"label\" x=\"{end:.0}\" y=\"{text_y:.0}\">{}</text>\n  \
                 <rect class=\"{class} far\" x=\"{LABELS}\" y=\"{y:.0}\" width=\"{far:.1}\" height=\"{BAR}\" rx=\"3\"/>\n  \
                 <rect class=\"{class}\" x=\"{LABELS}\" y=\"{y:.0}\" width=\"{near:.1}\" height=\"{BAR}\" rx=\"3\"/>\n  \
                 <text x=\"{:.1}\" y=\"{text_y:.0}\">{p99:.1} / {p999:.1} ms</text>",
                contestant.title(),
                LABELS + far + 8.0,
            );
            y += BAR + GAP;
        }
        y += GAP;
    }
    svg(y, "One slow backend of ten: p99, and p99.9 (pale): shorter is better", &body)
}

/// Draws for each contestant the shares of the two backends that change, and its p99, over time.
pub(crate) fn changes(results: &Results) -> String {
    let Some(moments) = results.moments().map(|m| m.map(|m| m.as_secs_f64())) else { return String::new() };
    let courses: Vec<(Contestant, Vec<Window>)> =
        results.contestants.iter().map(|c| (*c, results.windows(*c))).collect();
    let courses: Vec<_> = courses.into_iter().filter(|(_, windows)| !windows.is_empty()).collect();
    let shares = courses.iter().flat_map(|(_, windows)| windows).flat_map(|w| w.shares);
    // In steps of a tenth, so that the line at its top has a round name.
    let most = (shares.fold(0.1, f64::max) * 10.0).ceil() / 10.0;
    let mut body = legend(HEAD + 6.0);
    let mut y = HEAD + 46.0;
    for (contestant, windows) in &courses {
        let title = y - 10.0;
        let _ =
            writeln!(body, "  <text class=\"group\" x=\"0\" y=\"{title:.0}\">{}</text>", contestant.title());
        let share = Scale { left: PANELS[0], top: y, seconds: moments[2], range: [0.0, most], powers: false };
        let p99 = Scale { left: PANELS[1], top: y, seconds: moments[2], range: P99_MS, powers: true };
        body += &share.frame(&[(0.0, "0".into()), (most, format!("{:.0} %", most * 100.0))], &moments);
        body += &p99.frame(&[(10.0, "10".into()), (100.0, "100".into())], &moments);
        for (index, class) in ["faster", "slower"].into_iter().enumerate() {
            let of = |w: &Window| (w.at.as_secs_f64(), w.shares.get(index).copied().unwrap_or_default());
            body += &share.line(class, windows.iter().map(of));
        }
        body += &p99.line("p99", windows.iter().map(|w| (w.at.as_secs_f64(), w.p99_ms)));
        y += ROW;
    }
    svg(y, "A slow backend becomes fast, then a fast one slow", &body)
}

/// Where values are in a panel.
struct Scale {
    left: f64,
    top: f64,
    /// What its width stands for.
    seconds: f64,
    range: [f64; 2],
    /// Whether the same distance is the same ratio.
    powers: bool,
}

fn legend(y: f64) -> String {
    let [left, right] = PANELS;
    let entry = |x: f64, class: &str, text: &str| {
        let (end, text_x, text_y) = (x + 18.0, x + 24.0, y + 4.0);
        format!(
            "  <path class=\"{class}\" d=\"M{x} {y}H{end}\"/>\n  <text class=\"tick\" x=\"{text_x}\" y=\"{text_y}\">{text}</text>\n"
        )
    };
    entry(left, "faster", "share of the one that becomes fast")
        + &entry(left + 225.0, "slower", "that becomes slow")
        + &entry(right, "p99", "p99, ms, on a scale of powers")
}

fn svg(height: f64, title: &str, body: &str) -> String {
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height:.0}\" role=\"img\" \
         aria-label=\"{title}\">\n{STYLE}{LINES}  <text class=\"title\" x=\"0\" y=\"22\">{title}</text>\n{body}</svg>\n"
    )
}

/// Beside the style of all charts.
const LINES: &str = "  <style>
    .far { opacity: 0.4; }
    .tick { font-size: 11px; }
    .end { text-anchor: end; }
    .middle { text-anchor: middle; }
    .frame { fill: none; stroke: #d0d7de; }
    .moment { stroke: #8c959f; stroke-dasharray: 3 3; }
    .faster, .slower, .p99 { fill: none; stroke-width: 1.5; }
    .faster { stroke: #1a7f37; }
    .slower { stroke: #cf222e; }
    .p99 { stroke: #0969da; }
    @media (prefers-color-scheme: dark) {
      .frame { stroke: #30363d; }
      .faster { stroke: #3fb950; }
      .slower { stroke: #f85149; }
      .p99 { stroke: #58a6ff; }
    }
  </style>
";

// === impl Scale ===

impl Scale {
    fn x(&self, seconds: f64) -> f64 {
        self.left + seconds / self.seconds * PANEL_WIDTH
    }

    /// What is outside the range is drawn at its edge.
    fn y(&self, value: f64) -> f64 {
        let [low, high] = self.range;
        let value = value.clamp(low, high);
        let part =
            if self.powers { (value / low).ln() / (high / low).ln() } else { (value - low) / (high - low) };
        self.top + PANEL * (1.0 - part)
    }

    fn frame(&self, ticks: &[(f64, String)], moments: &[f64; 3]) -> String {
        let Self { left, top, .. } = self;
        let bottom = top + PANEL;
        let mut text = format!(
            "  <rect class=\"frame\" x=\"{left:.0}\" y=\"{top:.0}\" width=\"{PANEL_WIDTH}\" height=\"{PANEL}\"/>\n"
        );
        for (value, name) in ticks {
            let (x, y) = (left - 4.0, self.y(*value) + 4.0);
            let _ = writeln!(text, "  <text class=\"tick end\" x=\"{x:.0}\" y=\"{y:.0}\">{name}</text>");
        }
        for seconds in moments {
            let (x, below) = (self.x(*seconds), bottom + 13.0);
            let _ = writeln!(
                text,
                "  <path class=\"moment\" d=\"M{x:.1} {top:.0}V{bottom:.0}\"/>\n  \
                 <text class=\"tick middle\" x=\"{x:.1}\" y=\"{below:.0}\">{seconds} s</text>"
            );
        }
        text
    }

    fn line(&self, class: &str, points: impl Iterator<Item = (f64, f64)>) -> String {
        let points: Vec<String> =
            points.map(|(at, value)| format!("{:.1},{:.1}", self.x(at), self.y(value))).collect();
        format!("  <polyline class=\"{class}\" points=\"{}\"/>\n", points.join(" "))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::bench::tail::results::{Course, Figures};
    use crate::bench::tail::sample::{Sample, Samples};

    #[test]
    fn the_longest_bar_fills_the_chart() {
        let mut results = Results::new(Contestant::ALL.to_vec(), vec![400]);
        for (contestant, ms) in [(Contestant::RoundRobin, 100.0), (Contestant::PeakEwma, 25.0)] {
            let figures = Figures {
                requests: 1,
                failed: 0,
                p50_ms: ms,
                p99_ms: ms / 2.0,
                p999_ms: ms,
                max_ms: ms,
                slow_share: 0.0,
                late_p999_ms: 0.0,
                disturbed: 0.0,
            };
            results.point(contestant, 400, figures);
        }
        let svg = steady(&results);
        assert!(svg.contains("class=\"ours far\" x=\"236\" y=\"78\" width=\"394.0\""), "{svg}");
        assert!(svg.contains("class=\"ours\" x=\"236\" y=\"78\" width=\"197.0\""), "{svg}");
        assert!(svg.contains("class=\"ours far\" x=\"236\" y=\"104\" width=\"98.5\""), "{svg}");
        assert_eq!(svg.matches("<text").count(), svg.matches("</text>").count());
    }

    #[test]
    fn lines_keep_to_their_panel() {
        let sample =
            |ms: i64| Sample { at: ms * 1000, late: 0, took: 1_000_000, backend: 1, disturbed: false };
        let course = Course {
            samples: Samples::new((0..6000).map(sample).collect()),
            moments: [2, 4, 6].map(Duration::from_secs),
            changing: [1, 2],
            fair: 0.1,
        };
        let mut results = Results::new(Contestant::ALL.to_vec(), vec![1000]);
        assert_eq!(changes(&results), "");
        results.course(Contestant::Prequal, course);
        let svg = changes(&results);
        // All to the first backend, and a second for each: the upper edge of both panels.
        assert!(svg.contains("<polyline class=\"faster\" points=\"66.7,90.0 "), "{svg}");
        assert!(svg.contains("<polyline class=\"slower\" points=\"66.7,152.0 "), "{svg}");
        assert!(svg.contains("<polyline class=\"p99\" points=\"446.7,90.0 "), "{svg}");
    }
}
