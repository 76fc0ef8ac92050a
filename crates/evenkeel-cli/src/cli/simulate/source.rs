//! Where the backends come from: a description, a file, an access log, or the default.

use std::path::PathBuf;
use std::time::Duration;

use evenkeel::config::{Model, Upstream};
use evenkeel::core::backend::Weight;
use evenkeel::core::balance::LoadBalancingAlgorithm;
use evenkeel_sim::{Fault, Law, Trace};

use super::super::failure::Failure;
use super::super::file::load;
use super::super::printable::one_line;
use super::describe::{Backend, Change, Description};
use super::figures;
use super::log;
use super::traffic::Traffic;

/// The options that name the backends.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Backends")]
pub(super) struct Source {
    /// Backends like `lognormal(10ms, 0.5)x9` or `10ms, capacity=8, slow=10x@20s..40s`, see below; may be repeated.
    /// With a file, it describes how the backends of the file behave, in their order; the last one applies to all that
    /// follow [default: nine of 10 ms, and one that takes 100 ms in the middle third]
    #[arg(long, value_name = "BACKENDS")]
    backend: Vec<Description>,
    /// Take the backends, weights and algorithm of an upstream of this configuration; `-` reads standard input
    #[arg(short = 'c', long, value_name = "FILE", conflicts_with = "from_log")]
    config: Option<PathBuf>,
    /// Use backends, latencies, failures and requests from a JSON access log; `-` reads standard input
    #[arg(long, value_name = "FILE", conflicts_with = "backend")]
    from_log: Option<PathBuf>,
    /// The upstream of the file or the log [default: the only one]
    #[arg(long, value_name = "NAME")]
    upstream: Option<String>,
    /// Change one backend, by its number or its name: `3, slow=10x@20s..40s`; may be repeated
    #[arg(long, value_name = "BACKEND, DETAILS")]
    change: Vec<Change>,
}

/// The backends of a simulation.
#[derive(Debug, Default)]
pub(super) struct Scenario {
    /// Each with its name.
    pub(super) backends: Vec<(String, Backend)>,
    /// The requests of the log.
    pub(super) trace: Option<Trace>,
    /// The upstream's own algorithm.
    pub(super) own: Option<LoadBalancingAlgorithm>,
    /// Notes for the user about the source.
    pub(super) notes: Vec<String>,
}

/// More are a typing mistake.
const MOST_BACKENDS: usize = 100_000;

// === impl Source ===

impl Source {
    /// The backends, as changed.
    pub(super) fn scenario(&self, traffic: &Traffic) -> Result<Scenario, Failure> {
        let mut scenario = match (&self.config, &self.from_log) {
            (Some(file), _) => {
                let config = load(file)?;
                let model = config.model().map_err(Clone::clone)?;
                self.of_upstream(self.upstream(model)?, traffic)?
            }
            (None, Some(file)) => log::read(file, self.upstream.as_deref())?,
            (None, None) if self.upstream.is_some() => {
                return Err(Failure::refused("--upstream needs a file: -c FILE or --from-log FILE"));
            }
            (None, None) => self.described(traffic)?,
        };
        for change in &self.change {
            let backend = scenario.backend(&change.which)?;
            backend.change(change);
        }
        Ok(scenario)
    }

    fn upstream<'a>(&self, model: &'a Model) -> Result<&'a Upstream, Failure> {
        let names = || model.upstreams.iter().map(|upstream| upstream.name.as_str());
        match (&self.upstream, model.upstreams.as_slice()) {
            (None, [only]) => Ok(only),
            (None, _) => Err(Failure::refused(which("file", names()))),
            (Some(name), upstreams) => {
                let found = upstreams.iter().find(|upstream| upstream.name == *name);
                found.ok_or_else(|| Failure::refused(no_such("file", name, names())))
            }
        }
    }

    /// The backends of an upstream that receive requests while all backends are healthy.
    fn of_upstream(&self, upstream: &Upstream, traffic: &Traffic) -> Result<Scenario, Failure> {
        if upstream.backends.is_empty() {
            let name = &upstream.name;
            return Err(Failure::refused(format!(
                "the upstream {name} has no backends in the file: discovery finds them at run time: describe them with \
                 --backend, without -c"
            )));
        }
        let first = upstream.backends.iter().filter(|backend| backend.weight > 0);
        let first = first.map(|backend| backend.priority).min().unwrap_or_default();
        let chosen = upstream.backends.iter().filter(|backend| backend.priority == first);
        let chosen: Vec<_> =
            chosen.filter_map(|backend| Some((&backend.url.text, Weight::new(backend.weight)?))).collect();
        let mut backends = expand(&self.backend)?;
        if backends.len() > chosen.len() {
            return Err(Failure::refused(format!(
                "{} backends are described, but the upstream has {}",
                backends.len(),
                chosen.len()
            )));
        }
        match backends.last().cloned() {
            Some(last) => backends.resize(chosen.len(), last),
            None => backends = usual(chosen.len(), traffic.lasts_without_log()),
        }
        let left_out = upstream.backends.len() - chosen.len();
        let note = match left_out {
            1 => "left out: 1 backend with a lower priority or weight 0".to_owned(),
            _ => format!("left out: {left_out} backends with a lower priority or weight 0"),
        };
        let named = |((name, weight), backend): ((&String, Weight), Backend)| {
            (name.clone(), backend.weight_or(weight))
        };
        Ok(Scenario {
            backends: chosen.into_iter().zip(backends).map(named).collect(),
            trace: None,
            own: Some(upstream.algorithm.clone()),
            notes: (left_out > 0).then_some(note).into_iter().collect(),
        })
    }

    fn described(&self, traffic: &Traffic) -> Result<Scenario, Failure> {
        let mut backends = expand(&self.backend)?;
        if backends.is_empty() {
            backends = usual(10, traffic.lasts_without_log());
        }
        let named = |(number, backend): (usize, Backend)| (format!("backend {number}"), backend);
        Ok(Scenario { backends: (1..).zip(backends).map(named).collect(), ..Scenario::default() })
    }
}

// === impl Scenario ===

impl Scenario {
    /// The backend of this name, or else of this number, from one.
    fn backend(&mut self, which: &str) -> Result<&mut Backend, Failure> {
        let count = self.backends.len();
        let named = self.backends.iter().position(|(name, _)| name == which);
        let index = named.or_else(|| which.parse::<usize>().ok()?.checked_sub(1));
        let found = index.and_then(|index| self.backends.get_mut(index));
        let unknown =
            || format!("no backend `{which}` to change: expected a name, or a number from 1 to {count}");
        found.map(|(_, backend)| backend).ok_or_else(|| Failure::refused(unknown()))
    }
}

fn expand(descriptions: &[Description]) -> Result<Vec<Backend>, Failure> {
    let count = descriptions.iter().map(|description| description.count.get() as usize).sum::<usize>();
    if count > MOST_BACKENDS {
        return Err(Failure::refused(format!(
            "{count} backends are too many: expected at most {MOST_BACKENDS}"
        )));
    }
    let copies = |description: &Description| {
        std::iter::repeat_n(description.backend.clone(), description.count.get() as usize)
    };
    Ok(descriptions.iter().flat_map(copies).collect())
}

/// Backends of 10 ms. The last one becomes slow and then fast again.
fn usual(count: usize, duration: Duration) -> Vec<Backend> {
    let backend = Backend::new(Law::Constant(Duration::from_millis(10)), "constant(10ms)".to_owned());
    let mut backends = vec![backend; count];
    let (from, to) = (duration / 3, duration * 2 / 3);
    if let Some(last) = backends.pop() {
        let written = |time| figures::seconds(time).replace(' ', "");
        let text = format!("slow=10x@{}..{}", written(from), written(to));
        backends.push(last.fault(Fault::Slow { from, to, factor: 10.0 }, text));
    }
    backends
}

/// There are several upstreams, and none was chosen.
pub(super) fn which<'a>(place: &str, names: impl Iterator<Item = &'a str>) -> String {
    format!("the {place} has several upstreams, choose one with --upstream: {}", listed(names))
}

/// There is no such upstream.
pub(super) fn no_such<'a>(place: &str, name: &str, names: impl Iterator<Item = &'a str>) -> String {
    format!("the {place} has no upstream `{name}`, expected one of: {}", listed(names))
}

fn listed<'a>(names: impl Iterator<Item = &'a str>) -> String {
    names.map(one_line).collect::<Vec<_>>().join(", ")
}
