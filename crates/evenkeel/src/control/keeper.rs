//! Keeps an upstream's backends: hears how probes and traffic went, and publishes who may be chosen.

use std::sync::Arc;
use std::time::{Duration, Instant};

use evenkeel_core::Moment;
use evenkeel_core::backend::{Member, Snapshot, Weight};
use evenkeel_core::balance::Balancer;
use evenkeel_core::health::{Choice, Event, Health, State, Traffic};
use tokio::sync::{Notify, mpsc};
use tokio::task::{JoinHandle, JoinSet};

use super::board::Board;
use super::loops::OwnAddresses;
use super::pace::Pace;
use super::prober::Prober;
use super::resolve::until_found;
use super::telling::{Scene, Teller};
use crate::probe::{self, Probe};
use crate::upstream::{Endpoint, Members, Upstream, moment_of};

/// What one upstream's keeper needs.
#[derive(Debug)]
pub(super) struct Keeper {
    pub(super) upstream: Arc<Upstream>,
    pub(super) health: Health,
    pub(super) board: Arc<Board>,
    /// Notified by the data path when a backend fails too often in a row.
    pub(super) alert: Arc<Notify>,
    /// Where no name of a backend may lead.
    pub(super) own: OwnAddresses,
    /// How often traffic is judged, if it is.
    pub(super) judges: Option<Duration>,
    pub(super) watch: Option<Watch>,
    /// What probes take, if there are any.
    pub(super) pace: Option<Pace>,
    /// Who asks for backends' load, if the algorithm wants to know.
    pub(super) prober: Option<Prober>,
    /// What was published last.
    pub(super) choice: Choice,
    /// Who writes the error log.
    pub(super) teller: Teller,
}

/// How backends are probed: one probe for each, in their order.
#[derive(Debug)]
pub(super) struct Watch {
    pub(super) probes: Vec<Probe>,
    pub(super) interval: Duration,
    /// How long a probe takes at most.
    pub(super) timeout: Duration,
}

/// A probe's end.
type Report = (usize, probe::Outcome);

/// How often a measure is taken of how slow is slow.
const MEASURE: Duration = Duration::from_secs(1);

/// The least time between two looks at traffic for failures in a row: where all backends fail, alerts do not stop.
const REST: Duration = Duration::from_millis(10);

/// A keeper at work. Dropping it ends it.
#[derive(Debug)]
pub(super) struct Keeping {
    stop: Arc<Notify>,
    task: JoinHandle<Keeper>,
}

// === impl Keeping ===

impl Keeping {
    /// Ends it. Gives what it knows; nothing if it panicked.
    pub(super) async fn stop(mut self) -> Option<Keeper> {
        self.stop.notify_one();
        (&mut self.task).await.ok()
    }
}

impl Drop for Keeping {
    fn drop(&mut self) {
        self.task.abort();
    }
}

// === impl Keeper ===

impl Keeper {
    /// Starts keeping, on a task of its own.
    pub(super) fn start(self) -> Keeping {
        let stop = Arc::new(Notify::new());
        let task = tokio::spawn(self.run(stop.clone()));
        Keeping { stop, task }
    }

    /// Runs until `stop`, and then returns what it knows. Probes end with this future.
    async fn run(mut self, stop: Arc<Notify>) -> Self {
        let (tell, mut reports) = mpsc::channel::<Report>(64);
        let mut probes = JoinSet::new();
        let mut silence = self.watch.take().map(|watch| {
            let silence = Silence::new(&watch);
            watch.spawn(&tell, &mut probes);
            silence
        });
        if let Some(prober) = self.prober.take() {
            probes.spawn(prober.run());
        }
        self.look_up_names(&mut probes);
        let mut judging = self.judges.map(ticks);
        let mut measuring = self.upstream.hedging.is_some().then(|| ticks(MEASURE));
        let mut rest = Instant::now();
        loop {
            let next = self.choice.next.map(instant_of);
            tokio::select! {
                () = stop.notified() => return self,
                Some((index, outcome)) = reports.recv() => {
                    if let Some(silence) = &mut silence {
                        silence.heard(index);
                    }
                    if !self.probed(index, &outcome) {
                        continue;
                    }
                }
                () = alerted(&self.alert, rest) => {
                    rest = Instant::now() + REST;
                    self.hear_traffic();
                }
                () = tick(&mut judging) => {
                    self.hear_traffic();
                    self.health.judge(moment_of(Instant::now()));
                }
                () = tick(&mut measuring) => {
                    if let Some(hedging) = &self.upstream.hedging {
                        hedging.measure();
                    }
                    continue;
                }
                () = until(next) => self.hear_traffic(),
                () = until(self.teller.due()) => {
                    self.teller.flush();
                    continue;
                }
                () = until(silence.as_ref().map(Silence::due)) => {
                    if let Some(silence) = &mut silence {
                        silence.complain(&self.upstream);
                    }
                    continue;
                }
            }
            self.publish();
        }
    }

    /// Looks up the names that have no address yet.
    fn look_up_names(&self, tasks: &mut JoinSet<()>) {
        for endpoint in self.upstream.all.iter().filter(|endpoint| endpoint.dialer.first().is_none()) {
            let (name, own) = (self.upstream.name.clone(), self.own.clone());
            tasks.spawn(until_found(name, endpoint.clone(), own));
        }
    }

    /// Whether that changed anything.
    fn probed(&mut self, index: usize, outcome: &probe::Outcome) -> bool {
        let now = moment_of(Instant::now());
        self.board.probed(index, outcome);
        self.health.probed(index, outcome.result.is_ok(), now);
        if let Some(endpoint) = self.upstream.all.get(index) {
            if let Some(pace) = &mut self.pace {
                pace.probed(index, outcome, endpoint, now);
            }
            if let Err(failed) = &outcome.result {
                let name = endpoint.backend.name();
                log::debug!("upstream {}: probe of {name}: {failed}", self.upstream.name);
            }
        }
        self.health.has_events()
    }

    fn hear_traffic(&mut self) {
        let now = moment_of(Instant::now());
        for (index, endpoint) in self.upstream.all.iter().enumerate() {
            let counters = endpoint.backend.counters();
            let (answers, latency_sum) = endpoint.metrics.answers();
            let traffic = Traffic {
                answers,
                failures: counters.failures(),
                latency_sum,
                failures_in_a_row: counters.failures_in_a_row(),
            };
            self.health.served(index, traffic, now);
        }
    }

    /// Publishes who may be chosen now, if that has changed, and tells what happened.
    fn publish(&mut self) {
        let now = moment_of(Instant::now());
        let choice = self.health.choice(now);
        if (&choice.members, &choice.others) != (&self.choice.members, &self.choice.others) {
            let current = self.upstream.members.load();
            let members = members(&self.upstream.all, &choice, current.balancer.clone());
            self.upstream.members.store(Arc::new(members));
        }
        self.choice = choice;
        let states = (0..self.upstream.all.len())
            .map(|index| (self.health.state(index, now), self.health.gray(index)));
        self.board.stands(self.choice.mode, states);
        for event in self.health.drain_events() {
            self.board.happened(&event);
            self.tell(&event, now);
        }
    }

    fn tell(&mut self, event: &Event, now: Moment) {
        let index = index_of(event);
        let probe = self.board.read(|content| {
            let status = content.backends.get(index?)?;
            status.probe.as_ref()?.failed.clone()
        });
        let upstream = self.upstream.clone();
        let backend = index.and_then(|index| upstream.all.get(index));
        let states = (0..upstream.all.len()).map(|index| self.health.state(index, now));
        let states = states.filter(|state| *state != State::Out);
        let healthy = states.clone().filter(|state| matches!(state, State::Up | State::Starting { .. }));
        let healthy = (healthy.count(), states.count());
        let backend = backend.map_or("", |endpoint| endpoint.backend.name());
        self.teller.tell(event, &Scene { backend, probe, healthy, now });
    }
}

/// The backend that an event is about.
fn index_of(event: &Event) -> Option<usize> {
    match event {
        Event::Up { index }
        | Event::Down { index }
        | Event::Ejected { index, .. }
        | Event::Returned { index }
        | Event::Gray { index, .. }
        | Event::GrayOver { index } => Some(*index),
        Event::ModeChanged { .. } => None,
    }
}

/// The set that this choice stands for.
pub(super) fn members(all: &[Arc<Endpoint>], choice: &Choice, balancer: Arc<dyn Balancer>) -> Members {
    let chosen = choice.members.iter().filter_map(|&(index, weight)| {
        let endpoint = all.get(index)?;
        Some((Member::new(endpoint.backend.clone(), Weight::new(weight)?), endpoint.clone()))
    });
    let (members, endpoints): (Vec<_>, Vec<_>) = chosen.unzip();
    let snapshot = Snapshot::new(members);
    let balancer = balancer.rebuild(&snapshot).unwrap_or(balancer);
    let others = choice.others.iter().filter_map(|index| all.get(*index).cloned()).collect();
    Members { snapshot, endpoints, others, balancer }
}

// === impl Watch ===

impl Watch {
    /// How long after a probe's end the next one must have ended.
    pub(super) fn patience(&self) -> Duration {
        self.interval * 2 + self.timeout
    }

    fn spawn(self, tell: &mpsc::Sender<Report>, probes: &mut JoinSet<()>) {
        for (index, probe) in self.probes.into_iter().enumerate() {
            let tell = tell.clone();
            // Each on its own: one that hangs holds up no other.
            probes.spawn(probe::watch(probe, self.interval, move |outcome| {
                // A keeper that cannot keep up misses results, and hears the next.
                let _ = tell.try_send((index, outcome));
            }));
        }
    }
}

/// Notices probes that do not happen: a check that never runs is a fault, and not to be kept silent.
#[derive(Debug)]
struct Silence {
    patience: Duration,
    heard: Vec<Instant>,
    complained: Vec<bool>,
}

impl Silence {
    fn new(watch: &Watch) -> Self {
        let backends = watch.probes.len();
        let patience = watch.patience() + Duration::from_secs(1);
        Self { patience, heard: vec![Instant::now(); backends], complained: vec![false; backends] }
    }

    fn heard(&mut self, index: usize) {
        if let (Some(heard), Some(complained)) = (self.heard.get_mut(index), self.complained.get_mut(index)) {
            (*heard, *complained) = (Instant::now(), false);
        }
    }

    /// When the backend that was heard of the longest ago will have been silent for too long.
    fn due(&self) -> Instant {
        let waiting = self.heard.iter().zip(&self.complained).filter(|(_, complained)| !**complained);
        let oldest = waiting.map(|(heard, _)| *heard).min();
        oldest.unwrap_or_else(Instant::now) + self.patience
    }

    fn complain(&mut self, upstream: &Upstream) {
        let late = self.heard.iter().map(|heard| heard.elapsed() >= self.patience);
        for ((late, complained), endpoint) in late.zip(&mut self.complained).zip(upstream.all.iter()) {
            if late && !*complained {
                *complained = true;
                let name = endpoint.backend.name();
                log::error!("upstream {}: {name} was not probed for {:?}", upstream.name, self.patience);
            }
        }
    }
}

/// The data path has sent an alert, and the pause has passed.
async fn alerted(alert: &Notify, rest: Instant) {
    tokio::time::sleep_until(rest.into()).await;
    alert.notified().await;
}

fn ticks(period: Duration) -> tokio::time::Interval {
    let mut ticks = tokio::time::interval_at(tokio::time::Instant::now() + period, period);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    ticks
}

async fn tick(ticks: &mut Option<tokio::time::Interval>) {
    match ticks {
        Some(ticks) => drop(ticks.tick().await),
        None => std::future::pending().await,
    }
}

async fn until(instant: Option<Instant>) {
    match instant {
        Some(instant) => tokio::time::sleep_until(instant.into()).await,
        None => std::future::pending().await,
    }
}

fn instant_of(moment: Moment) -> Instant {
    let now = Instant::now();
    now + moment.since(moment_of(now))
}
