//! The world as described: what there is, before anything happens.

use std::num::NonZeroU32;
use std::time::Duration;

use super::engine::Engine;
use super::fault::Fault;
use super::front::FrontLimit;
use super::law::Law;
use super::report::Report;
use super::trace::Trace;
use evenkeel_core::backend::Weight;
use evenkeel_core::balance::LoadBalancingAlgorithm;

/// Backends and the traffic for them. Run it once per algorithm to compare.
///
/// # Defaults
/// 10 seconds in 60 windows, one attempt a request, each from a client of its own, seed 0.
#[derive(Clone, Debug, PartialEq)]
pub struct World {
    pub(super) backends: Vec<BackendModel>,
    pub(super) arrivals: Arrivals,
    pub(super) duration: Duration,
    pub(super) window: Option<Duration>,
    pub(super) attempts: NonZeroU32,
    pub(super) clients: Option<NonZeroU32>,
    pub(super) seed: u64,
    pub(super) front: Option<FrontLimit>,
    pub(super) important: Option<f64>,
}

/// When requests come.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Arrivals {
    /// Independent of each other and of the responses: like many users.
    Poisson {
        /// Requests per second on average; positive, at most 10^9.
        rate: f64,
    },
    /// Evenly spaced, whatever the responses.
    Constant {
        /// Requests per second; positive, at most 10^9.
        rate: f64,
    },
    /// From clients that wait for each response: what most load generators do. It hides overload, because slow
    /// responses slow down the clients.
    Closed {
        /// How many clients there are.
        clients: u32,
        /// How long each waits between a response and its next request.
        think: Duration,
    },
    /// At their recorded times, whatever the responses.
    Trace(Trace),
}

/// A backend as the simulation knows it.
///
/// # Defaults
/// Named by its index, weight one, as many requests at once as come, no faults.
#[derive(Clone, Debug, PartialEq)]
pub struct BackendModel {
    pub(super) name: Option<String>,
    pub(super) law: Law,
    pub(super) weight: Weight,
    pub(super) capacity: Option<NonZeroU32>,
    pub(super) faults: Vec<Fault>,
}

/// Why a world cannot be run.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidWorld {
    /// Only the program that registers an algorithm of its own can run it.
    #[error("an algorithm that a program registers by name cannot be simulated")]
    Algorithm,
    /// Requests cannot come at this rate.
    #[error("the request rate must be positive and at most 1e9 per second, not {rate}")]
    Rate {
        /// The rate that was given.
        rate: f64,
    },
    /// There is no such distribution.
    #[error(
        "backend {backend}: a spread must not be negative, a shape must be positive, both must be finite, not {value}"
    )]
    Law {
        /// The backend's index.
        backend: usize,
        /// The parameter that was given.
        value: f64,
    },
    /// A backend cannot be slower by this factor.
    #[error("backend {backend}: the factor of slow must be positive and finite, not {factor}")]
    Factor {
        /// The backend's index.
        backend: usize,
        /// The factor that was given.
        factor: f64,
    },
    /// A share is a part of one.
    #[error("backend {backend}: the share of errors must be from 0 to 1, not {share}")]
    Share {
        /// The backend's index.
        backend: usize,
        /// The share that was given.
        share: f64,
    },
}

// === impl World ===

impl World {
    /// A world of these backends, in this order, and this traffic.
    pub fn new(backends: impl Into<Vec<BackendModel>>, arrivals: Arrivals) -> Self {
        Self {
            backends: backends.into(),
            arrivals,
            duration: Duration::from_secs(10),
            window: None,
            attempts: NonZeroU32::MIN,
            clients: None,
            seed: 0,
            front: None,
            important: None,
        }
    }

    /// How long requests arrive. Those in progress at the end still get a response.
    pub fn duration(mut self, duration: Duration) -> Self {
        self.duration = duration;
        self
    }

    /// The width of the windows in the report; at least a thousandth of the duration. Recovery is measured in windows,
    /// so narrow windows are more exact. But each should have some hundred requests, or its p99 means little. Each
    /// costs up to 100 KiB while the world runs.
    pub fn window(mut self, width: Duration) -> Self {
        self.window = Some(width);
        self
    }

    /// How often a request is tried before it counts as an error, each time on another backend.
    pub fn attempts(mut self, attempts: NonZeroU32) -> Self {
        self.attempts = attempts;
        self
    }

    /// How many clients the requests come from, evenly: those of one client have one hash key. Says nothing where the
    /// arrivals name the clients themselves.
    pub fn clients(mut self, clients: NonZeroU32) -> Self {
        self.clients = Some(clients);
        self
    }

    /// Where all randomness comes from.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// A limit that each request meets before a backend is picked. Default none.
    pub fn limit(mut self, limit: FrontLimit) -> Self {
        self.front = Some(limit);
        self
    }

    /// Which part of the requests has a high priority, from 0 to 1; the others have a low one. Default: all have the same.
    pub fn important(mut self, share: f64) -> Self {
        self.important = Some(share);
        self
    }

    /// Lets everything happen. Takes less than a microsecond an attempt, more where choosing looks at every backend; memory
    /// grows with the requests under way, and so with the backlog of backends that cannot keep up.
    ///
    /// # Errors
    /// When a number in the description makes no sense.
    pub fn run(&self, algorithm: &LoadBalancingAlgorithm) -> Result<Report, InvalidWorld> {
        self.validate()?;
        let balancer = algorithm.balancer().ok_or(InvalidWorld::Algorithm)?;
        Ok(Engine::new(self, balancer).run())
    }

    /// A backend's part of all weights.
    pub(super) fn fair_share(&self, backend: usize) -> f64 {
        let weight = |model: &BackendModel| f64::from(model.weight.get());
        let all: f64 = self.backends.iter().map(weight).sum();
        self.backends.get(backend).map_or(0.0, |model| weight(model) / all)
    }

    fn validate(&self) -> Result<(), InvalidWorld> {
        if let Arrivals::Poisson { rate } | Arrivals::Constant { rate } = self.arrivals
            && !(rate > 0.0 && rate <= 1e9)
        {
            return Err(InvalidWorld::Rate { rate });
        }
        for (backend, model) in self.backends.iter().enumerate() {
            if let Some(value) = model.law.invalid_parameter() {
                return Err(InvalidWorld::Law { backend, value });
            }
            for fault in &model.faults {
                match *fault {
                    Fault::Slow { factor, .. } if !(factor > 0.0 && factor.is_finite()) => {
                        return Err(InvalidWorld::Factor { backend, factor });
                    }
                    Fault::Errors { share, .. } if !(0.0..=1.0).contains(&share) => {
                        return Err(InvalidWorld::Share { backend, share });
                    }
                    _ => {}
                }
            }
        }
        Ok(())
    }
}

// === impl BackendModel ===

impl BackendModel {
    /// A backend whose service times follow this law.
    pub fn new(law: Law) -> Self {
        Self { name: None, law, weight: Weight::ONE, capacity: None, faults: Vec::new() }
    }

    /// What it is called. Algorithms that hash backends go by their names.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Its weight in the upstream. The algorithm sees it, the backend is no faster for it.
    pub fn weight(mut self, weight: Weight) -> Self {
        self.weight = weight;
        self
    }

    /// How many requests it serves at once; the others wait in the order in which they came.
    pub fn capacity(mut self, slots: NonZeroU32) -> Self {
        self.capacity = Some(slots);
        self
    }

    /// Something wrong with it, besides what was said before.
    pub fn fault(mut self, fault: Fault) -> Self {
        self.faults.push(fault);
        self
    }

    pub(super) fn is_down(&self, now: Duration) -> bool {
        self.faults.iter().any(|fault| matches!(fault, Fault::Down { .. }) && fault.holds(now))
    }

    /// When it goes down next, after `now`.
    pub(super) fn next_down(&self, now: Duration) -> Option<Duration> {
        let begin = |fault: &Fault| match *fault {
            Fault::Down { from, to } if now < from && from < to => Some(from),
            _ => None,
        };
        self.faults.iter().filter_map(begin).min()
    }

    /// How many times as long as usual a request takes that begins `now`.
    pub(super) fn slowness(&self, now: Duration) -> f64 {
        let factor = |fault: &Fault| match *fault {
            Fault::Slow { factor, .. } if fault.holds(now) => factor,
            _ => 1.0,
        };
        self.faults.iter().map(factor).product()
    }

    /// How likely a request that starts `now` fails.
    pub(super) fn failing(&self, now: Duration) -> f64 {
        let passing = |fault: &Fault| match *fault {
            Fault::Errors { share, .. } if fault.holds(now) => 1.0 - share,
            _ => 1.0,
        };
        1.0 - self.faults.iter().map(passing).product::<f64>()
    }
}
