//! The state of one upstream's backends: what probes and traffic told of them, and what follows from that.

use std::mem;

use super::choice::{self, Candidate, Choice, Mode, Standing};
use super::ejection::Ejection;
use super::outliers::{self, Performance};
use super::probes::Probes;
use super::record::{Record, Traffic};
use super::slow_start;
use super::{Event, OutlierOptions, Policy, Reason};
use crate::Moment;
use crate::backend::{BackendId, BackendMap};

/// If no failure rate is configured: the largest share of failures at which requests count as succeeding while probes
/// fail.
const WELL: f64 = 0.05;

/// What an upstream says of a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Description {
    /// Its share of the requests, relative to its peers'; 0 takes it out.
    pub weight: u32,
    /// Its level: the lowest one that has a usable backend is used.
    pub priority: u8,
    /// Whether it is in the balancer's own zone. Also true if zones are not used.
    pub local: bool,
}

/// What a backend counts as.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum State {
    /// It may be chosen.
    Up,
    /// It may be chosen, with a part of its weight.
    Starting {
        /// Which part, from 0 to 1.
        share: f64,
    },
    /// Probes say that it is down, or it waits for its first success.
    Down,
    /// It gets nothing because of how it served.
    Ejected {
        /// When it returns.
        until: Moment,
    },
    /// It has no weight.
    Out,
}

/// Which backends of one upstream can be picked: it receives events, and returns the result.
///
/// Events about a backend that does not exist, or no longer, are ignored.
/// Times never go back. Not shared: its owner collects the events of every core, and publishes the result.
///
/// Telling costs O(1), or O(n) if it may eject; [`choice`](Self::choice) O(n), [`judge`](Self::judge) O(n log n).
#[derive(Debug)]
pub struct Health {
    policy: Policy,
    backends: BackendMap<Backend>,
    /// In the order in which they were given.
    order: Vec<BackendId>,
    /// How often the backends were replaced.
    sets: u64,
    /// How the upstream chose when last asked; nothing before.
    mode: Option<Mode>,
    /// When the interval began that is judged next.
    interval_began: Moment,
    events: Vec<Event>,
}

#[derive(Debug)]
struct Backend {
    description: Description,
    probes: Probes,
    down_since: Moment,
    record: Record,
    ejection: Ejection,
    /// When it came back, while its weight grows.
    starting_since: Option<Moment>,
    /// Whether it joined later than its upstream began, so that it begins slowly.
    joined_later: bool,
    gray: Option<Gray>,
    /// The last set that it was in, by [`Health::sets`].
    set: u64,
}

/// How probes and traffic disagree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Gray {
    /// Probes say up.
    ProbesUp,
    /// Probes say down.
    ProbesDown,
}

// === impl Health ===

impl Health {
    /// An upstream that begins now. Its backends begin with their full weights: that the balancer starts says nothing about
    /// them.
    pub fn new(
        policy: Policy,
        backends: impl IntoIterator<Item = (BackendId, Description)>,
        now: Moment,
    ) -> Self {
        let mut health = Self {
            policy,
            backends: BackendMap::new(),
            order: Vec::new(),
            sets: 0,
            mode: None,
            interval_began: now,
            events: Vec::new(),
        };
        for (id, description) in backends {
            health.backends.insert(id, Backend::new(description, &health.policy, now));
            health.order.push(id);
        }
        health
    }

    /// The upstream goes on with another policy and other backends, in this order. What is known of those that stay is kept.
    /// The others join: they begin slowly. Events of removed backends that were not read yet are dropped.
    pub fn replace(
        &mut self,
        policy: Policy,
        backends: impl IntoIterator<Item = (BackendId, Description)>,
        now: Moment,
    ) {
        let is_new_policy = policy != self.policy;
        self.policy = policy;
        self.sets += 1;
        self.order.clear();
        for (id, description) in backends {
            match self.backends.get_mut(id) {
                Some(backend) => {
                    let returns = backend.description.weight == 0 && description.weight > 0;
                    match is_new_policy {
                        true => backend.keep(description, &self.policy, now),
                        false => backend.description = description,
                    }
                    // As one that recovers: what it has cached is cold by now.
                    if returns && backend.probes.up() {
                        backend.start(now);
                    }
                }
                None => self.join(id, description, now),
            }
            if let Some(backend) = self.backends.get_mut(id) {
                backend.set = self.sets;
            }
            self.order.push(id);
        }
        if self.backends.len() > self.order.len() {
            self.backends.retain(|_, backend| backend.set == self.sets);
            self.events.retain(|event| event.backend().is_none_or(|id| self.backends.contains_key(id)));
        }
    }

    fn join(&mut self, id: BackendId, description: Description, now: Moment) {
        let mut backend = Backend::new(description, &self.policy, now);
        backend.joined_later = true;
        if backend.probes.up() {
            backend.start(now);
        }
        self.backends.insert(id, backend);
    }

    /// What a backend had served before this upstream began, if it did: it counts for nothing.
    pub fn served_before(&mut self, id: BackendId, traffic: Traffic) {
        if let Some(backend) = self.backends.get_mut(id) {
            backend.record.forgive();
            backend.record.told(traffic);
        }
    }

    /// A probe ended. Ignored if the policy has no thresholds.
    pub fn probed(&mut self, id: BackendId, success: bool, now: Moment) {
        self.settle(id, now);
        let (Some(backend), Some(thresholds)) = (self.backends.get_mut(id), &self.policy.thresholds) else {
            return;
        };
        // A first success without a failure before it: the backend was up before the first probe.
        let was_unknown = backend.probes.waits() && !backend.probes.failed() && !backend.joined_later;
        if backend.probes.ended(success, thresholds) {
            if success {
                self.events.push(Event::Up { backend: id });
                if !was_unknown {
                    backend.start(now);
                }
            } else {
                self.events.push(Event::Down { backend: id });
                backend.down_since = now;
                backend.starting_since = None;
            }
            // Probe results are newer than the cause of its ejection. And it behaves correctly only while it is up.
            backend.ejection.end(now);
            self.gray_is_over(id, if success { Gray::ProbesDown } else { Gray::ProbesUp });
        }
        self.look_for_gray(id, now);
    }

    /// What a backend's counters are now: totals, of which the differences are taken here. To be told of every backend,
    /// ejected ones as well, before each [`judge`](Self::judge) and when [`Choice::next`] has come; and at once when a
    /// backend has failed and its failures in a row are at the limit or beyond.
    ///
    /// Ejects the backend if it failed too often in a row. Failures before its last return do not count, although the
    /// counter still contains them: counting starts with the first record at or after the return.
    pub fn served(&mut self, id: BackendId, traffic: Traffic, now: Moment) {
        self.settle(id, now);
        let Some(backend) = self.backends.get_mut(id) else { return };
        backend.record.told(traffic);
        let failures = backend.record.failures_in_a_row();
        let limit = self.policy.outliers.and_then(|options| options.consecutive_failures);
        if limit.is_some_and(|limit| failures >= limit.get()) && self.room(now) > 0 {
            self.eject(id, Reason::ConsecutiveFailures(failures), now);
        }
    }

    /// Ends an interval: ejects those whose share of failures or whose latency was too high in it. Nothing without outlier
    /// detection.
    pub fn judge(&mut self, now: Moment) {
        let Some(options) = self.policy.outliers else { return };
        self.settle_all(now);
        let interval: Vec<Performance> = self.usable(now).map(|(id, b)| b.performance(id)).collect();
        let mut room = self.room(now);
        for (id, reason) in outliers::suspects(&interval, &options) {
            if room == 0 {
                break;
            }
            room -= usize::from(self.eject(id, reason, now));
        }
        self.look_for_gray_the_other_way(&options);
        for backend in self.backends.values_mut() {
            backend.record.next_interval();
        }
        self.interval_began = now;
    }

    /// What may be chosen now. To be asked after whatever was told, and when [`Choice::next`] has come.
    pub fn choice(&mut self, now: Moment) -> Choice {
        self.settle_all(now);
        let candidates: Vec<Candidate> = (self.in_order())
            .filter(|(_, backend)| backend.description.weight > 0)
            .map(|(id, backend)| backend.candidate(id, &self.policy, now))
            .collect();
        let (mode, members) = choice::choose(&candidates, &self.policy);
        if let Some(from) = self.mode.replace(mode).filter(|from| *from != mode) {
            self.events.push(Event::ModeChanged { from, to: mode });
        }
        let next = self.backends.values().filter_map(|backend| backend.next(&self.policy, now)).min();
        let others = choice::others(&candidates, &members, &self.policy);
        Choice { members, others, mode, next }
    }

    /// What a backend counts as at this moment; [`State::Out`] if it does not exist.
    pub fn state(&self, id: BackendId, now: Moment) -> State {
        self.backends.get(id).map_or(State::Out, |backend| backend.state(&self.policy, now))
    }

    /// Whether probes and requests disagree about a backend.
    pub fn gray(&self, id: BackendId) -> bool {
        self.backends.get(id).is_some_and(|backend| backend.gray.is_some())
    }

    /// Whether something happened that was not told yet. As long as nothing did, and [`Choice::next`] has not come, the choice
    /// is what it was.
    pub fn has_events(&self) -> bool {
        !self.events.is_empty()
    }

    /// What happened since this was called last, in order.
    pub fn drain_events(&mut self) -> Vec<Event> {
        mem::take(&mut self.events)
    }

    /// Takes note of what ended by itself.
    fn settle_all(&mut self, now: Moment) {
        for at in 0..self.order.len() {
            if let Some(&id) = self.order.get(at) {
                self.settle(id, now);
            }
        }
    }

    fn in_order(&self) -> impl Iterator<Item = (BackendId, &Backend)> {
        self.order.iter().filter_map(|id| Some((*id, self.backends.get(*id)?)))
    }

    fn settle(&mut self, id: BackendId, now: Moment) {
        let Some(backend) = self.backends.get_mut(id) else { return };
        if let Some(end) = backend.ejection.until().filter(|until| *until <= now) {
            backend.ejection.end(end);
            backend.start(end);
            self.events.push(Event::Returned { backend: id });
        }
        let full = |since: &Moment| now.since(*since) < self.policy.slow_start.unwrap_or_default();
        backend.starting_since = backend.starting_since.filter(full);
        let ejection_time = self.policy.outliers.map(|options| options.ejection_time).unwrap_or_default();
        if backend.probes.up() && backend.ejection.forget(ejection_time, now) == 0 {
            self.gray_is_over(id, Gray::ProbesUp);
        }
    }

    /// Ejects a backend, if it can be chosen now; whether there is [`room`](Self::room) is for the caller to ask. Whether it did.
    fn eject(&mut self, id: BackendId, reason: Reason, now: Moment) -> bool {
        let backend = self.backends.get_mut(id).filter(|backend| backend.is_usable(now));
        let (Some(backend), Some(options)) = (backend, &self.policy.outliers) else { return false };
        let until = backend.ejection.begin(options, now);
        self.events.push(Event::Ejected { backend: id, reason, until });
        self.look_for_gray(id, now);
        true
    }

    /// How many more may be ejected: only so many at a time, and never the last one that can be chosen.
    fn room(&self, now: Moment) -> usize {
        let weighed = self.backends.values().filter(|backend| backend.description.weight > 0);
        let ejected = weighed.clone().filter(|backend| backend.ejection.runs(now)).count();
        let share = self.policy.outliers.map_or(0.0, |options| options.max_ejected);
        // Three tenths of ten are three, also where the product falls a hair short of it.
        let most = (share * weighed.count() as f64 + 1e-9) as usize;
        most.saturating_sub(ejected).min(self.usable(now).count().saturating_sub(1))
    }

    fn usable(&self, now: Moment) -> impl Iterator<Item = (BackendId, &Backend)> {
        self.in_order().filter(move |(_, backend)| backend.is_usable(now))
    }

    /// Flags a backend that traffic ejects again while probes call it up.
    fn look_for_gray(&mut self, id: BackendId, now: Moment) {
        let Some(backend) = self.backends.get_mut(id) else { return };
        let again = backend.ejection.runs(now) && backend.ejection.in_a_row() >= 2;
        if backend.gray.is_none() && again && backend.probes.agree_on_up() {
            backend.gray = Some(Gray::ProbesUp);
            self.events.push(Event::Gray { backend: id, probes_up: true });
        }
    }

    /// Flags backends whose requests succeeded for a whole interval while their probes failed, and removes the flag
    /// when that ends.
    fn look_for_gray_the_other_way(&mut self, options: &OutlierOptions) {
        for (id, backend) in &mut self.backends {
            let traffic = backend.record.interval();
            let was_down = !backend.probes.up() && backend.down_since <= self.interval_began;
            if !was_down || traffic.attempts() < u64::from(options.min_requests.max(1)) {
                continue;
            }
            let well = traffic.failure_rate() <= options.failure_rate.unwrap_or(WELL);
            if well && backend.gray.is_none() {
                backend.gray = Some(Gray::ProbesDown);
                self.events.push(Event::Gray { backend: id, probes_up: false });
            } else if !well && backend.gray.take_if(|gray| *gray == Gray::ProbesDown).is_some() {
                self.events.push(Event::GrayOver { backend: id });
            }
        }
    }

    fn gray_is_over(&mut self, id: BackendId, gray: Gray) {
        let backend = self.backends.get_mut(id);
        if backend.is_some_and(|backend| backend.gray.take_if(|flag| *flag == gray).is_some()) {
            self.events.push(Event::GrayOver { backend: id });
        }
    }
}

// === impl Backend ===

impl Backend {
    fn new(description: Description, policy: &Policy, now: Moment) -> Self {
        Self {
            description,
            probes: Probes::new(policy.thresholds),
            down_since: now,
            record: Record::default(),
            ejection: Ejection::new(now),
            starting_since: None,
            joined_later: false,
            gray: None,
            set: 0,
        }
    }

    /// It stays. What the policy no longer asks for is forgotten.
    fn keep(&mut self, description: Description, policy: &Policy, now: Moment) {
        self.description = description;
        if policy.thresholds.is_none() {
            self.probes = Probes::new(None);
        }
        if policy.outliers.is_none() {
            self.ejection = Ejection::new(now);
        }
        if policy.thresholds.is_none() || policy.outliers.is_none() {
            self.gray = None;
        }
    }

    /// It comes back: it starts slowly, and with a clean record.
    fn start(&mut self, now: Moment) {
        self.starting_since = Some(now);
        self.record.forgive();
    }

    fn is_usable(&self, now: Moment) -> bool {
        self.description.weight > 0 && self.probes.up() && !self.ejection.runs(now)
    }

    fn state(&self, policy: &Policy, now: Moment) -> State {
        if self.description.weight == 0 {
            return State::Out;
        }
        if !self.probes.up() {
            return State::Down;
        }
        let since = match self.ejection.until() {
            Some(until) if now < until => return State::Ejected { until },
            returned @ Some(_) => returned,
            None => self.starting_since,
        };
        let share = |since| slow_start::share(since, policy.slow_start.unwrap_or_default(), now);
        match since.map(share) {
            Some(share) if share < 1.0 => State::Starting { share },
            _ => State::Up,
        }
    }

    fn candidate(&self, id: BackendId, policy: &Policy, now: Moment) -> Candidate {
        let share = |since| slow_start::share_of_step(since, policy.slow_start.unwrap_or_default(), now);
        let standing = if self.probes.waits() {
            Standing::Waits
        } else if !self.is_usable(now) {
            Standing::Unusable
        } else {
            Standing::Usable(self.starting_since.map_or(1.0, share))
        };
        let Description { weight, priority, local } = self.description;
        Candidate { id, weight, priority, local, standing }
    }

    fn performance(&self, id: BackendId) -> Performance {
        let group = (self.description.priority, self.description.local);
        let is_warm = self.starting_since.is_none();
        Performance { id, group, is_warm, traffic: self.record.interval() }
    }

    /// When it changes by itself.
    fn next(&self, policy: &Policy, now: Moment) -> Option<Moment> {
        if self.description.weight == 0 {
            return None;
        }
        let slow_start = policy.slow_start.unwrap_or_default();
        let step = |since: Moment| now.after(slow_start::step(slow_start)).min(since.after(slow_start));
        self.ejection.until().or(self.starting_since.map(step))
    }
}
