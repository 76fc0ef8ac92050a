//! The text format of Prometheus, version 0.0.4.
//!
//! Written here rather than taken from a library because the numbers live in per-core shards that no library's registry
//! knows; what remains is this page.

use std::fmt::{Display, Write};

use super::instruments::Histogram;

/// A page of metrics in the making.
#[derive(Debug, Default)]
pub struct Exposition {
    page: String,
}

impl Exposition {
    /// The content type of the page.
    pub const CONTENT_TYPE: &'static str = "text/plain; version=0.0.4; charset=utf-8";

    /// Opens a family: every sample until the next one belongs to it.
    pub fn family(&mut self, name: &str, kind: &str, help: &str) {
        let _ = writeln!(self.page, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    /// One sample.
    pub fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        self.page.push_str(name);
        self.labels(labels, None);
        let _ = writeln!(self.page, " {value}");
    }

    /// The samples of one histogram: the sum of these shards, in seconds.
    pub fn histogram<'a>(
        &mut self,
        name: &str,
        labels: &[(&str, &str)],
        shards: impl Iterator<Item = &'a Histogram>,
    ) {
        let mut buckets = [0; Histogram::BOUNDS.len() + 1];
        let mut sum = 0;
        for (counts, micros) in shards.map(Histogram::read) {
            for (total, count) in buckets.iter_mut().zip(counts) {
                *total += count;
            }
            sum += micros;
        }
        let mut count = 0;
        let bounds = Histogram::BOUNDS.iter().map(|&micros| Some(seconds(micros))).chain([None]);
        for (bucket, bound) in buckets.into_iter().zip(bounds) {
            count += bucket;
            let bound = bound.map_or_else(|| "+Inf".to_owned(), |seconds| seconds.to_string());
            let _ = write!(self.page, "{name}_bucket");
            self.labels(labels, Some(&bound));
            let _ = writeln!(self.page, " {count}");
        }
        self.sample(&format!("{name}_sum"), labels, seconds(sum));
        self.sample(&format!("{name}_count"), labels, count);
    }

    /// The finished page.
    pub fn finish(self) -> String {
        self.page
    }

    fn labels(&mut self, labels: &[(&str, &str)], le: Option<&str>) {
        let mut separator = '{';
        for (name, value) in labels.iter().copied().chain(le.map(|le| ("le", le))) {
            self.page.push(separator);
            separator = ',';
            let _ = write!(self.page, "{name}=\"");
            for c in value.chars() {
                match c {
                    '\\' => self.page.push_str("\\\\"),
                    '"' => self.page.push_str("\\\""),
                    '\n' => self.page.push_str("\\n"),
                    c => self.page.push(c),
                }
            }
            self.page.push('"');
        }
        if separator == ',' {
            self.page.push('}');
        }
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "the sum of a few centuries of latency still fits the mantissa"
)]
fn seconds(micros: u64) -> f64 {
    micros as f64 / 1e6
}

#[cfg(test)]
mod tests {
    use super::Exposition;
    use crate::observe::instruments::Histogram;
    use std::time::Duration;

    #[test]
    fn labels_are_escaped() {
        let mut page = Exposition::default();
        page.sample("m", &[("a", "x\"y\\z\n")], 1);
        page.sample("m", &[], 2);
        assert_eq!(page.finish(), "m{a=\"x\\\"y\\\\z\\n\"} 1\nm 2\n");
    }

    #[test]
    fn histogram_buckets_are_cumulative_over_shards() {
        let (one, two) = (Histogram::default(), Histogram::default());
        one.record(Duration::from_micros(400));
        two.record(Duration::from_secs(100));
        let mut page = Exposition::default();
        page.histogram("h", &[("r", "x")], [&one, &two].into_iter());
        let page = page.finish();
        assert!(page.contains("h_bucket{r=\"x\",le=\"0.0005\"} 1\n"), "{page}");
        assert!(page.contains("h_bucket{r=\"x\",le=\"60\"} 1\n"), "{page}");
        assert!(page.contains("h_bucket{r=\"x\",le=\"+Inf\"} 2\n"), "{page}");
        assert!(page.contains("h_count{r=\"x\"} 2\n"), "{page}");
        assert!(page.contains("h_sum{r=\"x\"} 100.0004\n"), "{page}");
    }
}
