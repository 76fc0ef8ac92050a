//! The charts about tails: bars of p99 and p99.9, and lines over time.

use std::ops::Range;

use plotters::coord::ranged1d::{KeyPointHint, NoDefaultFormatting, ValueFormatter};
use plotters::prelude::*;
use xtask::chart::{self, Align, Bar, Canvas, Group};
use xtask::failure::Failure;

use super::contestant::Contestant;
use super::results::{Results, Window};

/// The files of the charts.
pub(crate) const STEADY: &str = "performance-tails.svg";
pub(crate) const CHANGES: &str = "performance-changes.svg";

/// Each contestant has two panels beside each other, under its name. Where the first begin;
/// the height of a row, and of a panel; the places and the width of the panels.
const TOP: i32 = chart::HEAD + 26;
const ROW: i32 = 112;
const PANEL: u32 = 84;
const PANELS: [i32; 2] = [0, 384];
const PANEL_WIDTH: u32 = 372;

/// What the lines of p99 are between, in milliseconds, on a logarithmic scale.
const P99_MS: Range<f64> = 8.0..200.0;

/// What is outside its range is drawn at its edge.
struct Axis {
    range: Range<f64>,
    ticks: Vec<f64>,
    unit: &'static str,
    is_logarithmic: bool,
}

/// Draws a group of bars for each rate: p99, and behind it p99.9.
pub(crate) fn steady(results: &Results) -> Result<String, Failure> {
    let group = |rate: &u32| {
        let bar = |c: &Contestant| {
            let [p99, p999] =
                [results.of(*c, *rate, |f| f.p99_ms)?.median, results.of(*c, *rate, |f| f.p999_ms)?.median];
            let (label, text) = (c.title().into(), format!("{p99:.1} / {p999:.1} ms"));
            Some(Bar { label, value: p99, behind: p999, text, is_ours: c.algorithm().is_some() })
        };
        Group {
            title: format!("{rate} requests/s"),
            bars: results.contestants.iter().filter_map(bar).collect(),
        }
    };
    let groups: Vec<Group> = results.rates.iter().map(group).collect();
    chart::bars("One slow backend of ten: p99, and p99.9 (pale): shorter is better", &groups)
}

/// Draws for each contestant the shares of the two backends that change, and its p99, over time. Empty without changes.
pub(crate) fn changes(results: &Results) -> Result<String, Failure> {
    let Some(moments) = results.moments().map(|m| m.map(|m| m.as_secs_f64())) else {
        return Ok(String::new());
    };
    let courses = results.contestants.iter().map(|c| (*c, results.windows(*c)));
    let courses: Vec<(Contestant, Vec<Window>)> =
        courses.filter(|(_, windows)| !windows.is_empty()).collect();
    let shares = courses.iter().flat_map(|(_, windows)| windows).flat_map(|w| w.shares);
    // In steps of 10 %, so that the number at the top of the axis is round.
    let most = (shares.fold(0.1, f64::max) * 10.0).ceil() * 10.0;
    let rows = i32::try_from(courses.len()).unwrap_or_default();
    let time = || Axis { range: 0.0..moments[2], ticks: moments.into(), unit: " s", is_logarithmic: false };
    chart::draw("A slow backend becomes fast, then a fast one slow", TOP + rows * ROW, |canvas| {
        legend(canvas, chart::HEAD)?;
        for (top, (contestant, windows)) in (TOP..).step_by(ROW as usize).zip(&courses) {
            chart::text(canvas, contestant.title(), (0, top + 8), 14, Align::Title)?;
            let [left, right] = PANELS.map(|x| canvas.clone().shrink((x, top + 18), (PANEL_WIDTH, PANEL)));
            let points = |value: &dyn Fn(&Window) -> f64| -> Vec<(f64, f64)> {
                windows.iter().map(|w| (w.at.as_secs_f64(), value(w))).collect()
            };
            let faster = points(&|w| w.shares[0] * 100.0);
            let slower = points(&|w| w.shares[1] * 100.0);
            let share = Axis { range: 0.0..most, ticks: vec![0.0, most], unit: " %", is_logarithmic: false };
            panel(&left, [time(), share], &[(chart::GREEN, faster), (chart::RED, slower)])?;
            let p99 = Axis { range: P99_MS, ticks: vec![10.0, 100.0], unit: "", is_logarithmic: true };
            panel(&right, [time(), p99], &[(chart::OURS, points(&|w| w.p99_ms))])?;
        }
        Ok(())
    })
}

fn legend(canvas: &Canvas<'_>, y: i32) -> Result<(), Failure> {
    let entries = [
        (40, chart::GREEN, "share of the one that becomes fast"),
        (265, chart::RED, "that becomes slow"),
        (424, chart::OURS, "p99, ms, on a logarithmic scale"),
    ];
    for (x, colour, text) in entries {
        let line = PathElement::new([(x, y + 6), (x + 18, y + 6)], colour.stroke_width(2));
        canvas.draw(&line).map_err(chart::failure)?;
        chart::text(canvas, text, (x + 24, y + 6), 11, Align::Left)?;
    }
    Ok(())
}

/// Draws lines, with a mark at each tick of `x`.
fn panel(
    canvas: &Canvas<'_>,
    [x, y]: [Axis; 2],
    lines: &[(RGBColor, Vec<(f64, f64)>)],
) -> Result<(), Failure> {
    let mut builder = ChartBuilder::on(canvas);
    let builder = builder.set_label_area_size(LabelAreaPosition::Bottom, 18);
    let builder = builder.set_label_area_size(LabelAreaPosition::Left, 40).margin_right(12);
    let mut axes = builder.build_cartesian_2d(x, y).map_err(chart::failure)?;
    let font = (chart::FONT, 11.0 * chart::POINT).into_font().color(&chart::INK);
    let mut mesh = axes.configure_mesh();
    let mesh = mesh.disable_y_mesh().axis_style(chart::FRAME).bold_line_style(chart::FRAME);
    mesh.label_style(font).draw().map_err(chart::failure)?;
    for (colour, points) in lines {
        let line = LineSeries::new(points.iter().copied(), colour.stroke_width(2));
        axes.draw_series(line).map_err(chart::failure)?;
    }
    Ok(())
}

// === impl Axis ===

impl Ranged for Axis {
    type FormatOption = NoDefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, (from, to): (i32, i32)) -> i32 {
        let Range { start, end } = self.range;
        let scale = |value: f64| if self.is_logarithmic { value.ln() } else { value };
        let part = (scale(value.clamp(start, end)) - scale(start)) / (scale(end) - scale(start));
        from + (f64::from(to - from) * part).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, _: Hint) -> Vec<f64> {
        self.ticks.clone()
    }

    fn range(&self) -> Range<f64> {
        self.range.clone()
    }
}

impl ValueFormatter<f64> for Axis {
    fn format_ext(&self, value: &f64) -> String {
        format!("{value}{}", self.unit)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::tail::results::Course;
    use crate::tail::sample::{Sample, Samples};

    #[test]
    fn each_contestant_has_three_lines() {
        let sample =
            |ms: i64| Sample { at: ms * 1000, late: 0, took: 1_000_000, backend: 1, disturbed: false };
        let course = Course {
            samples: Samples::new((0..6000).map(sample).collect()),
            moments: [2, 4, 6].map(Duration::from_secs),
            changing: [1, 2],
            fair: 0.1,
        };
        let mut results = Results::new(Contestant::ALL.to_vec(), vec![1000]);
        assert_eq!(changes(&results).unwrap(), "");
        results.course(Contestant::Prequal, course.clone());
        results.course(Contestant::PeakEwma, course);
        let svg = changes(&results).unwrap();
        let lines = |colour: &str| {
            svg.matches(&format!("<polyline fill=\"none\" opacity=\"1\" stroke=\"{colour}\"")).count()
        };
        // Beside the lines there is a path in the legend.
        assert_eq!(["#1A7F37", "#CF222E", "#0969DA"].map(lines), [3; 3], "{svg}");
        assert_eq!(svg.matches("evenkeel pr").count() + svg.matches("evenkeel pe").count(), 2, "{svg}");
    }
}
