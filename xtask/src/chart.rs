//! Charts as SVG, readable on light and on dark pages. Knows nothing of what was measured.

use std::fmt::{Display, Write};

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::failure::Failure;

/// The width of every chart.
pub const WIDTH: u32 = 760;

/// Text.
pub const INK: RGBColor = RGBColor(0x1f, 0x23, 0x28);
/// What belongs to evenkeel.
pub const OURS: RGBColor = RGBColor(0x09, 0x69, 0xda);
/// What belongs to others.
pub const THEIRS: RGBColor = RGBColor(0x8c, 0x95, 0x9f);
/// Axes.
pub const FRAME: RGBColor = RGBColor(0xd0, 0xd7, 0xde);
/// The first of two lines in one panel.
pub const GREEN: RGBColor = RGBColor(0x1a, 0x7f, 0x37);
/// The second.
pub const RED: RGBColor = RGBColor(0xcf, 0x22, 0x2e);

/// Each colour, and the one that replaces it on a dark page.
const DARK: [(RGBColor, &str); 6] = [
    (INK, "#e6edf3"),
    (OURS, "#58a6ff"),
    (THEIRS, "#6e7681"),
    (FRAME, "#30363d"),
    (GREEN, "#3fb950"),
    (RED, "#f85149"),
];

/// Where a chart's title ends.
pub const HEAD: i32 = 44;

/// Room for the names left of the bars, and for the values right of them.
const LABELS: i32 = 236;
const VALUES: i32 = 130;

/// The height of a bar, the gap below it, and the height of a group's title.
const BAR: i32 = 20;
const GAP: i32 = 6;
const GROUP_TITLE: i32 = 34;

/// Bars on a scale of their own.
#[derive(Debug)]
pub struct Group {
    /// Stands above them.
    pub title: String,
    /// From the top.
    pub bars: Vec<Bar>,
}

/// A bar.
#[derive(Debug)]
pub struct Bar {
    /// Stands left of it.
    pub label: String,
    /// Its length.
    pub value: f64,
    /// The length of a paler bar behind it; none unless it is longer.
    pub behind: f64,
    /// Stands right of it.
    pub text: String,
    /// Whether it belongs to evenkeel.
    pub is_ours: bool,
}

/// What a chart is drawn on.
pub type Canvas<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;

/// Draws horizontal bars.
pub fn bars(title: &str, groups: &[Group]) -> Result<String, Failure> {
    let rows = |group: &Group| i32::try_from(group.bars.len()).unwrap_or(i32::MAX / 64);
    let height = HEAD + groups.iter().map(|g| GROUP_TITLE + rows(g) * (BAR + GAP) + GAP).sum::<i32>();
    draw(title, height, |canvas| {
        let mut y = HEAD;
        for group in groups {
            text(canvas, &group.title, (0, y + 14), 14, Align::Title)?;
            y += GROUP_TITLE;
            let most = group.bars.iter().map(|b| b.value.max(b.behind)).fold(f64::MIN_POSITIVE, f64::max);
            let room = f64::from(i32::try_from(WIDTH).unwrap_or_default() - LABELS - VALUES);
            for bar in &group.bars {
                let colour = if bar.is_ours { OURS } else { THEIRS };
                let [near, far] =
                    [bar.value, bar.value.max(bar.behind)].map(|v| (v / most * room).round() as i32);
                for (length, opacity) in [(far, 0.4), (near, 1.0)] {
                    let corners = [(LABELS, y), (LABELS + length, y + BAR)];
                    canvas.draw(&Rectangle::new(corners, colour.mix(opacity).filled())).map_err(failure)?;
                }
                text(canvas, &bar.label, (LABELS - 8, y + BAR / 2), 14, Align::Right)?;
                text(canvas, &bar.text, (LABELS + far + 8, y + BAR / 2), 14, Align::Left)?;
                y += BAR + GAP;
            }
            y += GAP;
        }
        Ok(())
    })
}

/// Draws a chart of this height under a title.
pub fn draw(
    title: &str,
    height: i32,
    body: impl FnOnce(&Canvas<'_>) -> Result<(), Failure>,
) -> Result<String, Failure> {
    let mut svg = String::new();
    let height = u32::try_from(height).map_err(failure)?;
    let canvas = SVGBackend::with_string(&mut svg, (WIDTH, height)).into_drawing_area();
    text(&canvas, title, (0, 16), 17, Align::Title)?;
    body(&canvas)?;
    canvas.present().map_err(failure)?;
    drop(canvas);
    Ok(themed(title, &svg))
}

/// How a text stands to its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Align {
    /// To the right of it.
    Left,
    /// To the left of it.
    Right,
    /// To the right of it, bold.
    Title,
}

/// Writes a text; its middle is at the height of `at`.
pub fn text(canvas: &Canvas<'_>, text: &str, at: (i32, i32), size: u32, align: Align) -> Result<(), Failure> {
    let weight = if align == Align::Title { FontStyle::Bold } else { FontStyle::Normal };
    let side = if align == Align::Right { HPos::Right } else { HPos::Left };
    let style = TextStyle::from(FontDesc::new(FontFamily::Name(FONT), f64::from(size) * POINT, weight));
    let style = style.color(&INK).pos(Pos::new(side, VPos::Center));
    canvas.draw(&Text::new(text.to_owned(), at, style)).map_err(failure)
}

/// plotters writes sizes into SVG divided by this.
pub const POINT: f64 = 1.24;

/// The font of every text.
pub const FONT: &str = "system-ui, sans-serif";

/// Why a chart could not be drawn.
pub fn failure(error: impl Display) -> Failure {
    Failure::new(format!("cannot draw a chart: {error}"))
}

/// As wide as the page allows, with a name for readers who do not see it, and with colours for dark pages.
fn themed(title: &str, svg: &str) -> String {
    let mut style = String::from("<style>@media (prefers-color-scheme: dark) {\n");
    for (RGBColor(r, g, b), dark) in DARK {
        for attribute in ["fill", "stroke"] {
            // Writing to a String cannot fail.
            let _ = writeln!(style, "  [{attribute}=\"#{r:02X}{g:02X}{b:02X}\"] {{ {attribute}: {dark}; }}");
        }
    }
    style += "}</style>";
    let (head, body) = svg.split_once('>').unwrap_or(("<svg", ""));
    let view = head.split_once("viewBox=").map_or("", |(_, view)| view);
    format!("<svg role=\"img\" aria-label=\"{title}\" viewBox={view}>\n{style}{body}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_bar_fills_the_chart_and_half_of_it_is_half_as_long() {
        let bar =
            |value, behind, is_ours| Bar { label: "a".into(), value, behind, text: "v".into(), is_ours };
        let group = Group { title: "g".into(), bars: vec![bar(20.0, 40.0, false), bar(20.0, 0.0, true)] };
        let svg = bars("t", &[group]).unwrap();
        for rectangle in [
            "x=\"236\" y=\"78\" width=\"394\" height=\"20\" opacity=\"0.4\" fill=\"#8C959F\"",
            "x=\"236\" y=\"78\" width=\"197\" height=\"20\" opacity=\"1\" fill=\"#8C959F\"",
            "x=\"236\" y=\"104\" width=\"197\" height=\"20\" opacity=\"1\" fill=\"#0969DA\"",
        ] {
            assert!(svg.contains(rectangle), "{rectangle} in {svg}");
        }
        assert!(svg.starts_with("<svg role=\"img\" aria-label=\"t\" viewBox=\"0 0 760 136\""), "{svg}");
        assert!(
            svg.contains("  [fill=\"#0969DA\"] { fill: #58a6ff; }") && svg.ends_with("</svg>\n"),
            "{svg}"
        );
    }
}
