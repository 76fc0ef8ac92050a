//! The world as it happens: takes the next event, until there is none.

use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use super::events::{Events, Time};
use super::histogram::Histogram;
use super::law::standard_exponential;
use super::report::{BackendReport, LatencySummary, Report};
use super::world::{Arrivals, BackendModel, World};
use crate::backend::{Address, Backend, Counters, Lease, Member, Outcome, Snapshot};
use crate::balance::{Balancer, LoadBalancingAlgorithm, Pick, Tried};

/// How long it takes to be refused by a backend that is down: about a round trip.
const REFUSAL: Time = 200_000;

pub(super) struct Engine<'a> {
    world: &'a World,
    now: Time,
    until: Time,
    events: Events<Event>,
    sites: Vec<Site<'a>>,
    candidates: Snapshot,
    balancer: Arc<dyn Balancer>,
    /// Apart from all other randomness, so that every algorithm meets the same traffic.
    choices: fastrand::Rng,
    traffic: fastrand::Rng,
    tally: Tally,
}

enum Event {
    /// A request comes, from this client.
    Arrive { client: u32 },
    /// An attempt ends at this backend.
    End { request: Box<Request>, site: usize, attempt: Attempt },
}

/// How an attempt goes.
#[derive(Clone, Copy)]
struct Attempt {
    holds_slot: bool,
    fails: bool,
}

struct Request {
    client: u32,
    key: u64,
    arrived: Time,
    attempts: u32,
    tried: Tried,
    /// The attempt under way, and when it was sent.
    lease: Option<Lease>,
    sent: Time,
}

/// A backend at work.
struct Site<'a> {
    model: &'a BackendModel,
    rng: fastrand::Rng,
    in_service: u32,
    waiting: VecDeque<Box<Request>>,
    in_flight: Gauge,
}

/// A number over time.
#[derive(Default)]
struct Gauge {
    now: u32,
    peak: u32,
    /// The sum of the number times how long it stood, in nanoseconds, up to the end of the world's duration.
    area: u128,
    since: Time,
}

struct Tally {
    requests: u64,
    errors: u64,
    latency: Histogram,
    waits: u64,
    waited: u128,
}

// === impl Engine ===

impl<'a> Engine<'a> {
    pub(super) fn new(world: &'a World, algorithm: &LoadBalancingAlgorithm) -> Self {
        let mut rng = fastrand::Rng::with_seed(world.seed);
        let (traffic, choices) = (rng.fork(), rng.fork());
        let candidates = snapshot(world);
        let fresh = algorithm.balancer();
        Self {
            world,
            now: 0,
            until: nanos(world.duration),
            events: Events::new(),
            sites: world.backends.iter().map(|model| Site::new(model, rng.fork())).collect(),
            balancer: fresh.rebuild(&candidates).unwrap_or(fresh),
            candidates,
            choices,
            traffic,
            tally: Tally { requests: 0, errors: 0, latency: Histogram::new(), waits: 0, waited: 0 },
        }
    }

    pub(super) fn run(mut self) -> Report {
        match self.world.arrivals {
            Arrivals::Closed { clients, .. } => (0..clients).for_each(|client| self.plan_arrival(0, client)),
            Arrivals::Poisson { .. } | Arrivals::Constant { .. } => self.plan_next_arrival(),
        }
        while let Some((time, event)) = self.events.next() {
            self.now = time;
            match event {
                Event::Arrive { client } => self.arrive(client),
                Event::End { request, site, attempt } => self.end(request, site, attempt),
            }
        }
        self.report()
    }

    /// Where arrivals do not wait for answers, each one brings about the next.
    fn plan_next_arrival(&mut self) {
        let time = match self.world.arrivals {
            Arrivals::Poisson { rate } => {
                self.now.saturating_add((standard_exponential(&mut self.traffic) * 1e9 / rate) as Time)
            }
            // Counted from the beginning, so that rounding does not add up.
            Arrivals::Constant { rate } => (self.tally.requests as f64 * 1e9 / rate) as Time,
            Arrivals::Closed { .. } => return,
        };
        self.plan_arrival(time, 0);
    }

    fn plan_arrival(&mut self, time: Time, client: u32) {
        if time < self.until {
            self.events.plan(time, Event::Arrive { client });
        }
    }

    fn arrive(&mut self, client: u32) {
        self.tally.requests += 1;
        let key = match self.world.arrivals {
            Arrivals::Closed { .. } => fastrand::Rng::with_seed(u64::from(client)).u64(..),
            Arrivals::Poisson { .. } | Arrivals::Constant { .. } => self.traffic.u64(..),
        };
        self.plan_next_arrival();
        let (arrived, sent) = (self.now, self.now);
        let request =
            Request { client, key, arrived, attempts: 0, tried: Tried::default(), lease: None, sent };
        self.attempt(Box::new(request));
    }

    fn attempt(&mut self, mut request: Box<Request>) {
        let mut pick = Pick::new(request.key, &request.tried, &mut self.choices);
        let choice = self.balancer.pick(&self.candidates, &mut pick);
        let chosen = choice.and_then(|index| {
            Some((index, self.candidates.members().get(index)?, self.sites.get_mut(index)?))
        });
        let Some((index, member, site)) = chosen else {
            return self.finish(&request, false);
        };
        request.attempts += 1;
        request.tried.insert(index);
        request.lease = Some(Lease::new(Arc::clone(&member.backend)));
        request.sent = self.now;
        site.in_flight.set(site.in_flight.now + 1, self.now.min(self.until));
        if site.model.is_down(Duration::from_nanos(self.now)) {
            let attempt = Attempt { holds_slot: false, fails: true };
            let time = self.now.saturating_add(REFUSAL);
            self.events.plan(time, Event::End { request, site: index, attempt });
        } else if site.is_full() {
            site.waiting.push_back(request);
        } else {
            self.serve(request, index);
        }
    }

    fn serve(&mut self, request: Box<Request>, index: usize) {
        let Some(site) = self.sites.get_mut(index) else { return };
        site.in_service += 1;
        self.tally.waits += 1;
        self.tally.waited += u128::from(self.now - request.sent);
        let (time, fails) = site.serve_from(self.now);
        let attempt = Attempt { holds_slot: true, fails };
        self.events.plan(time, Event::End { request, site: index, attempt });
    }

    fn end(&mut self, mut request: Box<Request>, index: usize, attempt: Attempt) {
        if let Some(lease) = request.lease.take() {
            lease.end(if attempt.fails { Outcome::Failed } else { Outcome::Answered });
        }
        let Some(site) = self.sites.get_mut(index) else { return };
        site.in_flight.set(site.in_flight.now - 1, self.now.min(self.until));
        if attempt.holds_slot {
            site.in_service -= 1;
            if let Some(next) = site.waiting.pop_front() {
                self.serve(next, index);
            }
        }
        if attempt.fails && request.attempts < self.world.attempts.get() {
            self.attempt(request);
        } else {
            self.finish(&request, !attempt.fails);
        }
    }

    fn finish(&mut self, request: &Request, answered: bool) {
        if answered {
            self.tally.latency.record(self.now - request.arrived);
        } else {
            self.tally.errors += 1;
        }
        if let Arrivals::Closed { think, .. } = self.world.arrivals {
            // Where there is nothing to send to, time must go on nevertheless.
            let pause = if answered { nanos(think) } else { nanos(think).max(REFUSAL) };
            self.plan_arrival(self.now.saturating_add(pause), request.client);
        }
    }

    fn report(mut self) -> Report {
        for site in &mut self.sites {
            site.in_flight.set(site.in_flight.now, self.until);
        }
        let counters = || self.candidates.members().iter().map(|member| member.backend.counters());
        let attempts: u64 = counters().map(|counters| counters.attempts()).sum();
        let backend = |(site, counters): (&Site<'_>, &Counters)| BackendReport {
            attempts: counters.attempts(),
            failures: counters.failures(),
            share: ratio(counters.attempts() as f64, attempts as f64),
            peak_in_flight: site.in_flight.peak,
            mean_in_flight: ratio(site.in_flight.area as f64, self.until as f64),
        };
        let backends: Vec<BackendReport> = self.sites.iter().zip(counters()).map(backend).collect();
        let mean_wait = self.tally.waited.checked_div(u128::from(self.tally.waits)).unwrap_or_default();
        Report {
            requests: self.tally.requests,
            errors: self.tally.errors,
            latency: LatencySummary::of(&self.tally.latency),
            mean_wait: Duration::from_nanos(mean_wait as u64),
            imbalance: imbalance(&self.world.backends, &backends),
            backends,
        }
    }
}

fn snapshot(world: &World) -> Snapshot {
    let member = |(index, model): (usize, &BackendModel)| {
        // Nobody connects to it, so that ports repeat in a large world does not matter.
        let address = Address::Tcp(SocketAddr::from((Ipv4Addr::LOCALHOST, index as u16)));
        Member::new(Arc::new(Backend::new(format!("backend {index}"), address)), model.weight)
    };
    Snapshot::new(world.backends.iter().enumerate().map(member).collect::<Vec<_>>())
}

fn imbalance(models: &[BackendModel], reports: &[BackendReport]) -> f64 {
    let weight = |model: &BackendModel| f64::from(model.weight.get());
    let peaks =
        models.iter().zip(reports).map(|(model, report)| f64::from(report.peak_in_flight) / weight(model));
    let in_flight: f64 = reports.iter().map(|report| report.mean_in_flight).sum();
    let weights: f64 = models.iter().map(weight).sum();
    ratio(peaks.fold(0.0, f64::max) * weights, in_flight)
}

fn ratio(part: f64, whole: f64) -> f64 {
    if whole > 0.0 { part / whole } else { 0.0 }
}

fn nanos(duration: Duration) -> Time {
    Time::try_from(duration.as_nanos()).unwrap_or(Time::MAX)
}

// === impl Site ===

impl<'a> Site<'a> {
    fn new(model: &'a BackendModel, rng: fastrand::Rng) -> Self {
        Self { model, rng, in_service: 0, waiting: VecDeque::new(), in_flight: Gauge::default() }
    }

    fn is_full(&self) -> bool {
        self.model.capacity.is_some_and(|slots| self.in_service >= slots.get())
    }

    /// When service that begins `now` ends, and whether because the backend goes down. Whoever gets a slot of a
    /// backend that is down was waiting when it went down, and breaks off at once.
    fn serve_from(&mut self, now: Time) -> (Time, bool) {
        let moment = Duration::from_nanos(now);
        if self.model.is_down(moment) {
            return (now, true);
        }
        let done = now.saturating_add(self.model.law.sample(self.model.slowness(moment), &mut self.rng));
        match self.model.next_down(moment).map(nanos) {
            Some(down) if down <= done => (down, true),
            _ => (done, false),
        }
    }
}

// === impl Gauge ===

impl Gauge {
    fn set(&mut self, value: u32, time: Time) {
        self.area += u128::from(self.now) * u128::from(time - self.since);
        self.since = time;
        self.now = value;
        self.peak = self.peak.max(value);
    }
}
