//! A page of metrics as numbers by series, and golden files of what is shown.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// A page of metrics: the value of each series, by its name with its labels as they stand on the page.
#[derive(Clone, Debug)]
pub(crate) struct Samples(BTreeMap<String, f64>);

// === impl Samples ===

impl Samples {
    /// Reads a page. Fails when a series is there twice, or a value is not a number.
    pub(crate) fn parse(page: &str) -> Self {
        let mut samples = BTreeMap::new();
        for line in page.lines().filter(|line| !line.starts_with('#')) {
            let (series, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("not a sample: {line:?}"));
            let value = value.parse().unwrap_or_else(|_| panic!("not a number: {line:?}"));
            assert!(samples.insert(series.to_owned(), value).is_none(), "{series} is there twice");
        }
        assert!(!samples.is_empty(), "an empty page");
        Self(samples)
    }

    /// The names of all series, with their labels.
    pub(crate) fn series(&self) -> BTreeSet<&str> {
        self.0.keys().map(String::as_str).collect()
    }

    /// The sum of all series of this name that carry each of these labels: `("code", "2xx")`.
    pub(crate) fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let mut found = false;
        let carries = |series: &str| {
            let rest = series.strip_prefix(name)?;
            let labelled = rest.is_empty() || rest.starts_with('{');
            let all = labels.iter().all(|(label, value)| {
                let pair = format!("{label}=\"{value}\"");
                rest.contains(&format!("{{{pair}")) || rest.contains(&format!(",{pair}"))
            });
            (labelled && all).then_some(())
        };
        let mut sum = 0.0;
        for (series, value) in &self.0 {
            if carries(series).is_some() {
                found = true;
                sum += value;
            }
        }
        assert!(found, "no series {name} with {labels:?}");
        sum
    }

    /// How many requests were counted, over all routes and statuses.
    pub(crate) fn requests(&self) -> usize {
        let requests = self.sum("evenkeel_requests_total", &[]);
        format!("{requests}").parse().expect("a whole number")
    }
}

/// Holds `found` against a file of `tests/golden`; with the variable `UPDATE_GOLDEN`, writes the file instead.
pub(crate) fn assert_golden(name: &str, found: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder can be made");
        std::fs::write(&path, found).expect("a golden file can be written");
        return;
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        expected == found,
        "{}, which UPDATE_GOLDEN=1 would rewrite:\n--- expected\n{expected}\n--- found\n{found}",
        path.display()
    );
}
