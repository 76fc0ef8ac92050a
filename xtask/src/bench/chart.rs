//! The chart of CPU time a request: bars drawn by hand as SVG, readable on light and on dark pages.

use std::fmt::Write;

use super::proxy::Proxy;
use super::results::Results;

pub(crate) const WIDTH: f64 = 760.0;
pub(crate) const BAR: f64 = 20.0;
pub(crate) const GAP: f64 = 6.0;
const LABELS: f64 = 170.0;
pub(crate) const VALUES: f64 = 110.0;
pub(crate) const GROUP_TITLE: f64 = 34.0;
pub(crate) const HEAD: f64 = 44.0;

/// Draws a group of bars for each scenario, each on its own scale: a request of one scenario is not one of another.
pub(crate) fn draw(results: &Results) -> String {
    let mut body = String::new();
    let mut y = HEAD;
    for scenario in &results.scenarios {
        let bars: Vec<(Proxy, f64)> = results
            .proxies
            .iter()
            .filter_map(|p| Some((*p, results.of(*p, *scenario, |c| c.cpu_us)?.median)))
            .collect();
        let most = bars.iter().map(|(_, value)| *value).fold(f64::MIN_POSITIVE, f64::max);
        let _ = writeln!(
            body,
            "  <text class=\"group\" x=\"0\" y=\"{:.0}\">{}</text>",
            y + 20.0,
            scenario.title()
        );
        y += GROUP_TITLE;
        for (proxy, value) in bars {
            let length = value / most * (WIDTH - LABELS - VALUES);
            let class = if proxy == Proxy::Evenkeel { "ours" } else { "theirs" };
            let middle = y + BAR / 2.0 + 5.0;
            let _ = writeln!(
                body,
                "  <text class=\"label\" x=\"{:.0}\" y=\"{middle:.0}\">{}</text>\n  \
                 <rect class=\"{class}\" x=\"{LABELS}\" y=\"{y:.0}\" width=\"{length:.1}\" height=\"{BAR}\" rx=\"3\"/>\n  \
                 <text x=\"{:.1}\" y=\"{middle:.0}\">{value:.1} µs</text>",
                LABELS - 8.0,
                proxy.title(),
                LABELS + length + 8.0,
            );
            y += BAR + GAP;
        }
        y += GAP;
    }
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {y:.0}\" role=\"img\" \
         aria-label=\"CPU time a request, by proxy and scenario\">\n{STYLE}  \
         <text class=\"title\" x=\"0\" y=\"22\">CPU time a request, one core: shorter is better</text>\n{body}</svg>\n"
    )
}

/// Of every chart.
pub(crate) const STYLE: &str = "  <style>
    text { font: 14px system-ui, sans-serif; fill: #1f2328; }
    .title { font-size: 17px; font-weight: 600; }
    .group { font-weight: 600; }
    .label { text-anchor: end; }
    .ours { fill: #0969da; }
    .theirs { fill: #8c959f; }
    @media (prefers-color-scheme: dark) {
      text { fill: #e6edf3; }
      .ours { fill: #58a6ff; }
      .theirs { fill: #6e7681; }
    }
  </style>
";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::results::Cell;
    use crate::bench::scenario::Scenario;

    #[test]
    fn the_longest_bar_fills_the_chart_and_half_of_it_is_half_as_long() {
        let mut results = Results::new(vec![Proxy::Bare, Proxy::Evenkeel], vec![Scenario::Small]);
        for (proxy, cpu_us) in [(Proxy::Bare, 40.0), (Proxy::Evenkeel, 20.0)] {
            let cell =
                Cell { requests_a_second: 1.0, p50_us: 1.0, p99_us: 1.0, cpu_us, busy: 1.0, memory_kib: 1.0 };
            results.cell(proxy, Scenario::Small, cell);
        }
        let svg = draw(&results);
        assert!(svg.contains("class=\"theirs\" x=\"170\" y=\"78\" width=\"480.0\""), "{svg}");
        assert!(svg.contains("class=\"ours\" x=\"170\" y=\"104\" width=\"240.0\""), "{svg}");
        assert_eq!(svg.matches("<text").count(), svg.matches("</text>").count());
    }
}
