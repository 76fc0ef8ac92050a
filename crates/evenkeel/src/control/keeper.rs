//! Keeps an upstream's backends: receives how probes and requests went and which backends there are, and publishes which of them
//! can be picked.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use evenkeel_core::Moment;
use evenkeel_core::backend::{BackendId, Member, Snapshot, Weight};
use evenkeel_core::balance::Balancer;
use evenkeel_core::health::{Choice, Event, Health, State, Traffic};
use tokio::sync::{Notify, mpsc};
use tokio::task::{JoinHandle, JoinSet};

use super::backend_change::{ChangeError, Changed, PendingChange};
use super::board::StatusBoard;
use super::checks::Checks;
use super::event_log::{EventContext, EventLog};
use super::handle::{SetChange, SetUpdate, Update};
use super::overrides::Author;
use super::prober::{LoadProbes, Prober};
use super::resolve::follow;
use super::set::{BackendSet, Replaced};
use super::upstream::policy;
use crate::probe;
use crate::upstream::{Endpoint, Members, Roster, Upstream, moment_of};

/// What one upstream's keeper needs.
#[derive(Debug)]
pub(super) struct Keeper {
    pub(super) upstream: Arc<Upstream>,
    pub(super) set: BackendSet,
    pub(super) health: Health,
    pub(super) board: Arc<StatusBoard>,
    /// Notified by the data path when a backend fails too often in a row.
    pub(super) alert: Arc<Notify>,
    /// Sets that replace this one.
    pub(super) updates: mpsc::Receiver<Update>,
    /// How often traffic is judged, if it is.
    pub(super) judges: Option<Duration>,
    /// Probes, if they are configured.
    pub(super) checks: Option<Checks>,
    /// Probes for load, if the algorithm wants to know it.
    pub(super) load_probes: Option<LoadProbes>,
    /// What was published last.
    pub(super) choice: Choice,
    /// Who writes the error log.
    pub(super) event_log: EventLog,
    /// States that were replaced. Requests that began with one still hold it, and none of them should be the one to free
    /// thousands of backends.
    pub(super) retired: Vec<Arc<Members>>,
}

/// How often a measure is taken of how slow is slow.
const MEASURE: Duration = Duration::from_secs(1);

/// The least time between two looks at traffic for failures in a row: where all backends fail, alerts do not stop.
const REST: Duration = Duration::from_millis(10);

/// How often to look whether a replaced state is still in use.
const RETIRE: Duration = Duration::from_millis(50);

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
        let mut tasks = self.begin();
        let mut judging = self.judges.map(ticks);
        let mut measuring = self.upstream.hedging.is_some().then(|| ticks(MEASURE));
        let mut rest = Instant::now();
        loop {
            let next = self.choice.next.map(instant_of);
            let retire = (!self.retired.is_empty()).then(|| Instant::now() + RETIRE);
            let look = self.checks.as_ref().map(Checks::due);
            tokio::select! {
                () = stop.notified() => return self,
                Some(update) = self.updates.recv() => {
                    match update {
                        Update::Set(update) => self.replace(update, &mut tasks),
                        Update::Change(request) => self.change(request, &mut tasks),
                    }
                    continue;
                }
                (id, outcome) = next_report(&mut self.checks) => {
                    if !self.probed(id, &outcome) {
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
                () = until(self.event_log.due()) => {
                    self.event_log.flush();
                    continue;
                }
                () = until(look) => {
                    if let Some(checks) = &mut self.checks {
                        checks.look(&self.upstream.name, &self.set);
                    }
                    continue;
                }
                () = until(retire) => {
                    self.free_retired();
                    continue;
                }
            }
            self.publish();
        }
    }

    /// Starts probes and the lookup of names. Gives the tasks that end with the keeper.
    fn begin(&mut self) -> JoinSet<()> {
        let mut tasks = JoinSet::new();
        if let Some(checks) = &mut self.checks {
            checks.start();
        }
        if let Some(probes) = self.load_probes.clone() {
            tasks.spawn(Prober { upstream: self.upstream.clone(), probes }.run());
        }
        let all: Vec<_> = self.set.iter().cloned().collect();
        self.look_up_names(&all, false, &mut tasks);
        tasks
    }

    /// Follows the addresses of the names of these backends.
    fn look_up_names(&self, endpoints: &[Arc<Endpoint>], at_once: bool, tasks: &mut JoinSet<()>) {
        for endpoint in endpoints.iter().filter(|endpoint| endpoint.dialer.names().is_some()) {
            let (name, own) = (self.upstream.name.clone(), self.set.factory.settings.own.clone());
            tasks.spawn(follow(name, endpoint.clone(), own, at_once));
        }
    }

    /// Replaces the set of backends, and publishes it.
    fn replace(&mut self, update: SetUpdate, tasks: &mut JoinSet<()>) {
        let replaced = self.set.replace(update.set);
        let nothing = replaced.is_nothing();
        let change = SetChange {
            added: replaced.joined.len(),
            removed: replaced.left.len(),
            changed: replaced.changed,
            total: self.set.iter().count(),
            rejected: replaced.rejected.iter().map(ToString::to_string).collect(),
        };
        if !nothing {
            self.put_in_force(replaced, tasks);
        }
        if !nothing || !change.rejected.is_empty() {
            self.event_log.log_set(&change);
        }
        // The source may have gone meanwhile.
        let _ = update.done.send(change);
    }

    /// Changes the set at run time, and publishes it.
    fn change(&mut self, request: PendingChange, tasks: &mut JoinSet<()>) {
        let PendingChange { order, done } = request;
        let current = self.set.revision();
        let result = match order.revision.filter(|revision| *revision != current) {
            Some(_) => Err(ChangeError::Outdated { current }),
            None => {
                let author = Author { by: order.by, at: SystemTime::now() };
                let described = order.change.clone();
                let changed = self.set.change(order.change, &author);
                changed.map(|(backend, replaced)| (described.describe(&backend), author, backend, replaced))
            }
        };
        let result = result.map(|(text, author, backend, replaced)| {
            let changed = replaced.is_some();
            if let Some(replaced) = replaced {
                self.put_in_force(replaced, tasks);
                self.event_log.log_change(&text, &author.by, self.choice.members.len());
            }
            Changed { backend, changed, revision: self.set.revision(), usable: self.choice.members.len() }
        });
        // Its client may have gone meanwhile.
        let _ = done.send(result);
    }

    /// Publishes a set that was replaced.
    fn put_in_force(&mut self, replaced: Replaced, tasks: &mut JoinSet<()>) {
        while tasks.try_join_next().is_some() {}
        let joined = replaced.joined.iter().filter_map(|joined| self.set.get(joined.id).cloned());
        self.look_up_names(&joined.collect::<Vec<_>>(), true, tasks);
        let now = moment_of(Instant::now());
        self.health.replace(policy(&self.set.factory.settings.model), self.set.descriptions(), now);
        self.board.replace(self.set.descriptions(), &replaced.left);
        self.board.differ(self.set.overrides(), self.set.revision());
        self.probe_others(replaced);
        self.publish_set();
    }

    /// Starts the probes of backends that joined, and stops those of backends that left.
    fn probe_others(&mut self, replaced: Replaced) {
        for id in &replaced.left {
            if let Some(checks) = &mut self.checks {
                checks.remove(*id);
            }
            if let Some(probes) = &self.load_probes {
                probes.remove(*id);
            }
        }
        self.add_probes(replaced);
        if let Some(checks) = &mut self.checks {
            checks.start();
        }
    }

    /// Takes over what probes the backends that joined.
    pub(super) fn add_probes(&mut self, replaced: Replaced) {
        for joined in replaced.joined {
            if let (Some(checks), Some(probe)) = (&mut self.checks, joined.probe) {
                checks.add(joined.id, probe);
            }
            if let (Some(probes), Some(probe)) = (&self.load_probes, joined.load_probe) {
                probes.add(joined.id, probe);
            }
        }
    }

    /// Takes note of a result, and of those that are there already. Whether that changed anything.
    fn probed(&mut self, id: BackendId, outcome: &probe::Outcome) -> bool {
        self.note_probe(id, outcome);
        while let Some((id, outcome)) = self.checks.as_mut().and_then(Checks::try_next) {
            self.note_probe(id, &outcome);
        }
        self.health.has_events()
    }

    fn note_probe(&mut self, id: BackendId, outcome: &probe::Outcome) {
        // It has just left.
        let Some(endpoint) = self.set.get(id) else { return };
        let now = moment_of(Instant::now());
        self.board.probed(id, outcome);
        self.health.probed(id, outcome.result.is_ok(), now);
        if let Some(checks) = &mut self.checks {
            checks.heard(id, outcome, endpoint, now);
        }
        if outcome.requested && outcome.result.is_ok() {
            endpoint.backend.counters().reach().succeeded();
        }
        if let Err(failed) = &outcome.result {
            let name = endpoint.backend.name();
            log::debug!("upstream {}: probe of {name}: {failed}", self.upstream.name);
        }
    }

    fn hear_traffic(&mut self) {
        let now = moment_of(Instant::now());
        for endpoint in self.set.iter() {
            let counters = endpoint.backend.counters();
            let (answers, latency_sum) = endpoint.metrics.answers();
            let traffic = Traffic {
                answers,
                failures: counters.failures(),
                latency_sum,
                failures_in_a_row: counters.failures_in_a_row(),
            };
            self.health.served(endpoint.id, traffic, now);
        }
    }

    /// Publishes which backends can be picked now, if that has changed, and reports what happened.
    fn publish(&mut self) {
        let now = moment_of(Instant::now());
        let choice = self.health.choice(now);
        if (&choice.members, &choice.others) != (&self.choice.members, &self.choice.others) {
            let roster = self.upstream.members.load().roster.clone();
            self.store(roster, &choice);
        }
        self.choice = choice;
        self.report(now);
    }

    /// Publishes a set of backends.
    fn publish_set(&mut self) {
        let now = moment_of(Instant::now());
        let choice = self.health.choice(now);
        self.store(Arc::new(self.set.roster()), &choice);
        self.choice = choice;
        self.report(now);
    }

    fn store(&mut self, roster: Arc<Roster>, choice: &Choice) {
        let balancer = self.upstream.members.load().balancer.clone();
        let before = self.upstream.publish(members(&self.set, roster, choice, balancer));
        self.free_retired();
        self.retired.push(before);
    }

    /// Frees replaced states that no request holds any more.
    fn free_retired(&mut self) {
        self.retired.retain(|members| Arc::strong_count(members) > 1);
    }

    fn report(&mut self, now: Moment) {
        let states = self.set.iter().map(|endpoint| {
            let id = endpoint.id;
            (id, self.health.state(id, now), self.health.gray(id))
        });
        self.board.stands(self.choice.mode, states);
        let events = self.health.drain_events();
        if events.is_empty() {
            return;
        }
        let states = self.set.iter().map(|endpoint| self.health.state(endpoint.id, now));
        let (mut healthy, mut all) = (0, 0);
        for state in states.filter(|state| *state != State::Out) {
            all += 1;
            healthy += usize::from(matches!(state, State::Up | State::Starting { .. }));
        }
        for event in events {
            if let Event::Up { backend } = &event
                && let Some(endpoint) = self.set.get(*backend)
            {
                endpoint.backend.counters().recovered();
            }
            self.board.happened(&event);
            self.log_event(&event, (healthy, all), now);
        }
    }

    fn log_event(&mut self, event: &Event, healthy: (usize, usize), now: Moment) {
        let id = event.backend();
        let probe = self.board.read(|content| content.status(id?)?.probe.as_ref()?.failed.clone());
        let endpoint = id.and_then(|id| self.set.get(id));
        let backend = endpoint.map_or("", |endpoint| endpoint.backend.name());
        self.event_log.log_event(event, &EventContext { backend, probe, healthy, now });
    }
}

/// The state that this choice stands for.
pub(super) fn members(
    set: &BackendSet,
    roster: Arc<Roster>,
    choice: &Choice,
    balancer: Arc<dyn Balancer>,
) -> Members {
    let chosen = choice.members.iter().filter_map(|&(id, weight)| {
        let endpoint = set.get(id)?;
        Some((Member::new(endpoint.backend.clone(), Weight::new(weight)?), endpoint))
    });
    let (members, endpoints): (Vec<_>, Vec<_>) = chosen.unzip();
    let snapshot = Snapshot::new(members);
    let balancer = balancer.rebuild(&snapshot).unwrap_or(balancer);
    let others = choice.others.iter().filter_map(|id| set.get(*id).cloned()).collect();
    // Usually all of them can be picked: both are in the same order.
    let endpoints = match endpoints.len() == roster.len() {
        true => roster.endpoints().clone(),
        false => endpoints.into_iter().cloned().collect(),
    };
    Members::new(roster, snapshot, endpoints, others, balancer)
}

async fn next_report(checks: &mut Option<Checks>) -> super::checks::Report {
    match checks {
        Some(checks) => checks.next().await,
        None => std::future::pending().await,
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
