//! The world as it happens: takes the next event, until there is none.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use super::backend::{REFUSAL, SimulatedBackend};
use super::events::{Events, Time};
use super::front::Front;
use super::law::standard_exponential;
use super::report::{BackendReport, Report};
use super::tally::Tally;
use super::world::{Arrivals, BackendModel, World};
use super::{nanos, recovery};
use evenkeel_core::Moment;
use evenkeel_core::backend::{Address, Backend, Counters, Lease, Member, Outcome, Snapshot};
use evenkeel_core::balance::{Balancer, Pick, Sample, Tried};
use evenkeel_core::limit::Priority;

pub(super) struct Engine<'a> {
    world: &'a World,
    now: Time,
    until: Time,
    events: Events<Event>,
    /// In the order of the world, which is that of the pool.
    simulated: Vec<SimulatedBackend<'a, Box<Request>>>,
    pool: Pool,
    /// Apart from all other randomness, so that every algorithm meets the same traffic.
    choices: fastrand::Rng,
    traffic: fastrand::Rng,
    tally: Tally,
    front: Front,
}

enum Event {
    /// A request comes, from this client.
    Arrive { client: u32 },
    /// An attempt ends at this backend.
    End { request: Box<Request>, backend: usize, attempt: Attempt },
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

/// Which backends may be chosen, and what chooses among them: always what it made of exactly this set.
struct Pool {
    candidates: Snapshot,
    balancer: Arc<dyn Balancer>,
}

// === impl Engine ===

impl<'a> Engine<'a> {
    pub(super) fn new(world: &'a World, balancer: Arc<dyn Balancer>) -> Self {
        let mut rng = fastrand::Rng::with_seed(world.seed);
        let (traffic, choices) = (rng.fork(), rng.fork());
        Self {
            world,
            now: 0,
            until: nanos(world.duration),
            events: Events::new(),
            simulated: world.backends.iter().map(|model| SimulatedBackend::new(model, rng.fork())).collect(),
            pool: Pool::new(snapshot(world), balancer),
            choices,
            traffic,
            tally: Tally::new(world),
            front: Front::new(world.front, world.seed),
        }
    }

    pub(super) fn run(mut self) -> Report {
        match self.world.arrivals {
            Arrivals::Closed { clients, .. } => (0..clients).for_each(|client| self.plan_arrival(0, client)),
            _ => self.plan_next_arrival(),
        }
        while let Some((time, event)) = self.events.next() {
            self.now = time;
            match event {
                Event::Arrive { client } => self.arrive(client),
                Event::End { request, backend, attempt } => self.end(request, backend, attempt),
            }
        }
        self.report()
    }

    /// If arrivals do not wait for responses, each one schedules the next.
    fn plan_next_arrival(&mut self) {
        let time = match self.world.arrivals {
            Arrivals::Poisson { rate } => {
                self.now.saturating_add((standard_exponential(&mut self.traffic) * 1e9 / rate) as Time)
            }
            // Counted from the beginning, so that rounding does not add up.
            Arrivals::Constant { rate } => (self.tally.requests as f64 * 1e9 / rate) as Time,
            Arrivals::Trace(ref trace) => match trace.call(self.tally.requests) {
                Some(call) => call.time,
                None => return,
            },
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
        let key = self.key(client);
        self.tally.requests += 1;
        self.plan_next_arrival();
        let (arrived, sent) = (self.now, self.now);
        let request =
            Request { client, key, arrived, attempts: 0, tried: Tried::default(), lease: None, sent };
        let priority = self.priority();
        let admitted = self.front.admits(key, priority, moment(self.now));
        self.tally.admit(priority == Priority::High, admitted);
        if admitted {
            self.attempt(Box::new(request));
        } else {
            self.over(&request, false);
        }
    }

    /// The priority of the request that comes.
    fn priority(&mut self) -> Priority {
        match self.world.important {
            Some(share) if self.choices.f64() < share => Priority::High,
            Some(_) => Priority::Low,
            None => Priority::Normal,
        }
    }

    /// The hash key of the request that comes.
    fn key(&mut self, client: u32) -> u64 {
        match (&self.world.arrivals, self.world.clients) {
            (Arrivals::Closed { .. }, _) => mixed(client.into()),
            (Arrivals::Trace(trace), _) => {
                trace.call(self.tally.requests).map_or(0, |call| mixed(call.client))
            }
            (_, Some(clients)) => mixed(self.traffic.u32(..clients.get()).into()),
            (_, None) => self.traffic.u64(..),
        }
    }

    fn attempt(&mut self, mut request: Box<Request>) {
        let mut pick = Pick::new(request.key, &request.tried, &mut self.choices).at(moment(self.now));
        let chosen = self.pool.pick(&mut pick);
        let chosen = chosen.and_then(|(index, member)| Some((index, member, self.simulated.get_mut(index)?)));
        let Some((index, member, simulated)) = chosen else {
            return self.finish(&request, false);
        };
        self.tally.send(index, self.now);
        request.attempts += 1;
        request.tried.insert(index);
        request.lease = Some(Lease::new(Arc::clone(&member.backend)));
        request.sent = self.now;
        simulated.in_flight.set(simulated.in_flight.now + 1, self.now.min(self.until));
        if simulated.model.is_down(Duration::from_nanos(self.now)) {
            let attempt = Attempt { holds_slot: false, fails: true };
            let time = self.now.saturating_add(REFUSAL);
            self.events.plan(time, Event::End { request, backend: index, attempt });
        } else if simulated.is_full() {
            simulated.waiting.push_back(request);
        } else {
            self.serve(request, index);
        }
    }

    fn serve(&mut self, request: Box<Request>, index: usize) {
        let Some(simulated) = self.simulated.get_mut(index) else { return };
        simulated.in_service += 1;
        self.tally.wait(self.now - request.sent);
        let (time, fails) = simulated.serve_from(self.now);
        let attempt = Attempt { holds_slot: true, fails };
        self.events.plan(time, Event::End { request, backend: index, attempt });
    }

    fn end(&mut self, mut request: Box<Request>, index: usize, attempt: Attempt) {
        if let Some(lease) = request.lease.take() {
            let latency = Duration::from_nanos(self.now - request.sent);
            let sample = Sample::new(latency, !attempt.fails, moment(self.now));
            self.pool.balancer.observe(lease.backend(), sample);
            lease.end(if attempt.fails { Outcome::Failed } else { Outcome::Answered });
        }
        let Some(simulated) = self.simulated.get_mut(index) else { return };
        simulated.in_flight.set(simulated.in_flight.now - 1, self.now.min(self.until));
        if attempt.holds_slot {
            simulated.in_service -= 1;
            if let Some(next) = simulated.waiting.pop_front() {
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
        let latency = Duration::from_nanos(self.now - request.arrived);
        self.front.ended(latency, answered, moment(self.now));
        self.over(request, answered);
    }

    /// A request has come to its end, admitted or not.
    fn over(&mut self, request: &Request, answered: bool) {
        self.tally.finish(request.arrived, self.now, answered);
        if let Arrivals::Closed { think, .. } = self.world.arrivals {
            // Where there is nothing to send to, time must go on nevertheless.
            let pause = if answered { nanos(think) } else { nanos(think).max(REFUSAL) };
            self.plan_arrival(self.now.saturating_add(pause), request.client);
        }
    }

    fn report(mut self) -> Report {
        for simulated in &mut self.simulated {
            simulated.in_flight.set(simulated.in_flight.now, self.until);
        }
        let counters = || self.pool.candidates.members().iter().map(|member| member.backend.counters());
        let attempts: u64 = counters().map(|counters| counters.attempts()).sum();
        let backend = |(simulated, counters): (&SimulatedBackend<'_, _>, &Counters)| BackendReport {
            attempts: counters.attempts(),
            failures: counters.failures(),
            share: ratio(counters.attempts() as f64, attempts as f64),
            peak_in_flight: simulated.in_flight.peak,
            mean_in_flight: ratio(simulated.in_flight.area as f64, self.until as f64),
        };
        let backends: Vec<BackendReport> = self.simulated.iter().zip(counters()).map(backend).collect();
        Report {
            requests: self.tally.requests,
            errors: self.tally.errors,
            rejected: self.tally.rejected,
            important: self.tally.important,
            latency: self.tally.latency(),
            mean_wait: self.tally.mean_wait(),
            imbalance: imbalance(&self.world.backends, &backends),
            backends,
            windows: self.tally.windows.report(),
            faults: recovery::reports(self.world, &self.tally.windows),
        }
    }
}

fn snapshot(world: &World) -> Snapshot {
    let member = |(index, model): (usize, &BackendModel)| {
        // The address is never connected to, so repeated ports in a large world do not matter.
        let address = Address::Tcp(SocketAddr::from((Ipv4Addr::LOCALHOST, index as u16)));
        let name = model.name.clone().unwrap_or_else(|| format!("backend {index}"));
        Member::new(Arc::new(Backend::new(name, address)), model.weight)
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

/// A number from which all of its bits are as good as random.
fn mixed(number: u64) -> u64 {
    fastrand::Rng::with_seed(number).u64(..)
}

fn moment(time: Time) -> Moment {
    Moment::from_micros(time / 1_000)
}

// === impl Pool ===

impl Pool {
    fn new(candidates: Snapshot, fresh: Arc<dyn Balancer>) -> Self {
        Self { balancer: fresh.rebuild(&candidates).unwrap_or(fresh), candidates }
    }

    fn pick(&self, request: &mut Pick<'_>) -> Option<(usize, &Member)> {
        let index = self.balancer.pick(&self.candidates, request)?;
        Some((index, self.candidates.members().get(index)?))
    }
}
