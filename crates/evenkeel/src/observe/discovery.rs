//! What is measured of the sources of backends.

use super::exposition::Exposition;

/// A source of backends.
#[derive(Clone, Debug, Default)]
pub struct DiscoveryView<'a> {
    /// The name of its upstream.
    pub upstream: &'a str,
    /// How many backends it reports.
    pub backends: usize,
    /// Seconds since it confirmed them last; since the start if it never did.
    pub age: f64,
    /// Sets that were put in force.
    pub updates: u64,
    /// Reads that failed, by reason.
    pub failures: [(&'static str, u64); 3],
}

/// The families of sources.
pub(super) fn sources(page: &mut Exposition, sources: &[DiscoveryView<'_>]) {
    let name = "evenkeel_discovery_backends";
    page.family(name, "gauge", "Backends that the source of an upstream reports.");
    for source in sources {
        page.sample(name, &[("upstream", source.upstream)], source.backends);
    }
    let name = "evenkeel_discovery_age_seconds";
    page.family(name, "gauge", "Time since the source of an upstream confirmed its backends.");
    for source in sources {
        page.sample(name, &[("upstream", source.upstream)], format!("{:.3}", source.age));
    }
    let name = "evenkeel_discovery_updates_total";
    page.family(name, "counter", "Changed sets of backends that were put in force.");
    for source in sources {
        page.sample(name, &[("upstream", source.upstream)], source.updates);
    }
    let name = "evenkeel_discovery_failures_total";
    page.family(name, "counter", "Reads of a source that returned no usable set of backends, by reason.");
    for source in sources {
        for (reason, count) in source.failures {
            page.sample(name, &[("upstream", source.upstream), ("reason", reason)], count);
        }
    }
}
