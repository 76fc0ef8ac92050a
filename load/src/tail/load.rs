//! The load: requests at a constant rate, whatever happens to earlier ones (an open loop). Knows nothing of who responds.
//!
//! A request's time counts from the moment when it was due. So a proxy that holds one up cannot hide what it does to the next
//! ones, which a client that waits for responses would not even have sent (coordinated omission).
//!
//! One thread sends all requests, each over the connection that has been idle the longest. So there are as many connections as
//! are needed at once.

use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::scope;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http1::SendRequest;
use hyper::{Request, Response};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use xtask::failure::Failure;

use super::backend::{self, Backends};
use super::sample::{Sample, Samples};
use super::stall::{self, Stall};
use super::{clock, thread};
use crate::http;

/// What is sent, and when.
#[derive(Clone, Debug)]
pub(crate) struct Load {
    pub(crate) port: u16,
    /// Requests a second.
    pub(crate) rate: u32,
    /// Of the same load, before what counts.
    pub(crate) warm_up: Duration,
    /// Of what counts.
    pub(crate) time: Duration,
    pub(crate) changes: Vec<Change>,
}

/// A new delay of a backend in the middle of the load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Change {
    /// How long after the warm-up.
    pub(crate) at: Duration,
    /// The backend. Without one: the backend, among those without a change, that has responded most in the second before, so
    /// that it has a share to lose.
    pub(crate) port: Option<u16>,
    /// How long it takes for a request from then on.
    pub(crate) delay: Duration,
}

/// The result of a load.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) samples: Samples,
    /// The ports of the backends that changed.
    pub(crate) changed: Vec<u16>,
    /// Why requests failed, and how many for each reason.
    pub(crate) failures: BTreeMap<String, usize>,
}

/// After so long without a response, a request has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);

/// There are never more requests in flight than this. Beyond it, requests are late, and the samples say so.
const MOST: usize = 1024;

/// How far from a stall of the machine a request must have begun and ended, for its time to count.
pub(crate) const AROUND: Duration = Duration::from_millis(1);

/// The CPUs that a request passes: the proxy's, and that of the load and the backends.
const CPUS: [usize; 2] = [0, super::LOAD_CPU];

/// How far back the backend with the most responses is looked for.
const LATELY: Duration = Duration::from_secs(1);

/// Where the requests of a load put what became of them.
struct Crowd {
    load: Load,
    /// When the first request is due.
    start: Instant,
    permits: Arc<Semaphore>,
    idle: Mutex<VecDeque<Sender>>,
    samples: Mutex<Vec<Sample>>,
    failures: Mutex<BTreeMap<String, usize>>,
}

type Sender = SendRequest<Empty<Bytes>>;

// === impl Load ===

impl Load {
    /// Runs it on the CPU of the load; `real_time` puts it before all else there.
    pub(crate) fn run(self, backends: &Backends, real_time: bool) -> Result<Done, Failure> {
        let failure = |e: std::io::Error| Failure::new(format!("cannot run the load: {e}"));
        let crowd = Arc::new(Crowd::new(self));
        let until = crowd.due(crowd.requests()) + AROUND;
        let (changed, stalls) = scope(|scope| {
            let watches = CPUS.map(|cpu| scope.spawn(move || stall::watch(cpu, until)));
            let sent = scope.spawn(|| {
                let runtime = thread::runtime(super::LOAD_CPU, real_time).map_err(failure)?;
                runtime.block_on(async {
                    let (sent, changed) = tokio::join!(crowd.send(), crowd.change(backends));
                    sent.map_err(failure).and(changed)
                })
            });
            let changed = sent.join().unwrap_or_else(|_| Err(Failure::new("the load's thread panicked")))?;
            let stalls = watches.into_iter().flat_map(|watch| watch.join().unwrap_or_default());
            Ok::<_, Failure>((changed, stalls.collect::<Vec<Stall>>()))
        })?;
        let mut samples = std::mem::take(&mut *lock(&crowd.samples));
        judge(&mut samples, crowd.begin(), &stalls);
        let failures = std::mem::take(&mut *lock(&crowd.failures));
        Ok(Done { samples: Samples::new(samples), changed, failures })
    }
}

// === impl Crowd ===

impl Crowd {
    fn new(load: Load) -> Self {
        Self {
            load,
            start: Instant::now() + Duration::from_millis(100),
            permits: Arc::new(Semaphore::new(MOST)),
            idle: Mutex::default(),
            samples: Mutex::default(),
            failures: Mutex::default(),
        }
    }

    fn requests(&self) -> u64 {
        ((self.load.warm_up + self.load.time).as_secs_f64() * f64::from(self.load.rate)).round() as u64
    }

    fn due(&self, index: u64) -> Instant {
        self.start + Duration::from_secs_f64(index as f64 / f64::from(self.load.rate))
    }

    /// When the warm-up ends.
    fn begin(&self) -> Instant {
        self.start + self.load.warm_up
    }

    /// Sends each request when it is due, and waits for the last response.
    async fn send(self: &Arc<Self>) -> std::io::Result<()> {
        let mut exchanges = tokio::task::JoinSet::new();
        for index in 0..self.requests() {
            let permit = self.permits.clone().acquire_owned().await.map_err(std::io::Error::other)?;
            // Before the request is due: its time does not include connecting. And only just before: proxies close
            // connections that stay idle.
            let mut connection = self.connection().await;
            let due = self.due(index);
            clock::sleep_until(due).await?;
            let sent = Instant::now();
            let response =
                connection.as_mut().map_err(|why| why.clone()).and_then(|c| Ok(c.send_request(request()?)));
            exchanges.spawn(self.clone().exchange(permit, connection.ok(), [due, sent], response));
            while exchanges.try_join_next().is_some() {}
        }
        exchanges.join_all().await;
        Ok(())
    }

    /// The connection that has been idle the longest, or a new one.
    async fn connection(&self) -> Result<Sender, String> {
        loop {
            let next = lock(&self.idle).pop_front();
            match next {
                None => return http::connect(self.load.port).await.map_err(|e| e.to_string()),
                Some(mut idle) => {
                    // The proxy may have closed it meanwhile.
                    if idle.ready().await.is_ok() {
                        return Ok(idle);
                    }
                }
            }
        }
    }

    async fn exchange(
        self: Arc<Self>,
        permit: OwnedSemaphorePermit,
        connection: Option<Sender>,
        [due, sent]: [Instant; 2],
        response: Result<impl Future<Output = hyper::Result<Response<Incoming>>>, String>,
    ) {
        let received = match response {
            Ok(response) => tokio::time::timeout(PATIENCE, receive(response)).await,
            Err(why) => Ok(Err(why)),
        };
        let received = received.unwrap_or_else(|_| Err(format!("no response for {PATIENCE:?}")));
        let micros = |time: Duration| u32::try_from(time.as_micros()).unwrap_or(u32::MAX);
        let begin = self.begin();
        let (after, before) = (due.saturating_duration_since(begin), begin.saturating_duration_since(due));
        let sample = Sample {
            at: i64::from(micros(after)) - i64::from(micros(before)),
            late: micros(sent.saturating_duration_since(due)),
            took: micros(due.elapsed()),
            backend: received.as_ref().copied().unwrap_or(Sample::FAILED),
            disturbed: false,
        };
        lock(&self.samples).push(sample);
        match received {
            Ok(_) => lock(&self.idle).extend(connection),
            Err(why) => *lock(&self.failures).entry(why).or_default() += 1,
        }
        drop(permit);
    }

    /// Makes the changes, each when it is due. Returns the ports of the backends that changed.
    async fn change(&self, backends: &Backends) -> Result<Vec<u16>, Failure> {
        let mut changed = Vec::new();
        for change in &self.load.changes {
            let slept = clock::sleep_until(self.begin() + change.at).await;
            slept.map_err(|e| Failure::new(format!("cannot wait for a change: {e}")))?;
            let busiest = || busiest(&lock(&self.samples), change.at, &changed);
            let port = change.port.or_else(busiest);
            let port = port.ok_or_else(|| Failure::new("no backend has responded lately"))?;
            backends.set_delay(port, change.delay);
            changed.push(port);
        }
        Ok(changed)
    }
}

fn request() -> Result<Request<Empty<Bytes>>, String> {
    Request::get("/").header("host", "bench").body(Empty::new()).map_err(|e| e.to_string())
}

/// Waits for the whole response. Returns the port of the backend that sent it.
async fn receive(response: impl Future<Output = hyper::Result<Response<Incoming>>>) -> Result<u16, String> {
    let response = response.await.map_err(|e| e.to_string())?;
    if response.status() != 200 {
        return Err(format!("status {}", response.status()));
    }
    let backend = response.headers().get(backend::NAME).and_then(|name| name.to_str().ok()?.parse().ok());
    let mut body = response.into_body();
    while let Some(frame) = body.frame().await {
        frame.map_err(|e| e.to_string())?;
    }
    backend.ok_or_else(|| "the response names no backend".into())
}

/// Marks the samples that began or ended about when the machine stood still.
fn judge(samples: &mut [Sample], begin: Instant, stalls: &[Stall]) {
    for sample in samples {
        let offset = Duration::from_micros(sample.at.unsigned_abs());
        let due = if sample.at < 0 { begin - offset } else { begin + offset };
        let took = Duration::from_micros(sample.took.into());
        let ends = [(due, due + AROUND), (due + took.saturating_sub(AROUND), due + took)];
        sample.disturbed = stalls.iter().any(|stall| ends.iter().any(|(from, to)| stall.touches(*from, *to)));
    }
}

/// The backend that has responded most lately, except for these.
fn busiest(samples: &[Sample], now: Duration, except: &[u16]) -> Option<u16> {
    let since = now.saturating_sub(LATELY).as_micros() as i64;
    let mut responses = BTreeMap::new();
    let lately = |s: &&Sample| s.at + i64::from(s.took) >= since && s.backend != Sample::FAILED;
    for sample in samples.iter().filter(lately).filter(|s| !except.contains(&s.backend)) {
        *responses.entry(sample.backend).or_insert(0) += 1;
    }
    responses.into_iter().max_by_key(|(_, count)| *count).map(|(port, _)| port)
}

/// No task leaves anything half done, even if it panics.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(port: u16, changes: Vec<Change>) -> Load {
        let (warm_up, time) = (Duration::from_millis(250), Duration::from_millis(500));
        Load { port, rate: 200, warm_up, time, changes }
    }

    fn sample(at: i64, took: u32, backend: u16) -> Sample {
        Sample { at, late: 0, took, backend, disturbed: false }
    }

    #[test]
    fn slow_responses_do_not_slow_the_load() {
        let backends = Backends::start(1, 0, false).unwrap();
        let port = backends.ports()[0];
        // In flight at once: 200 a second times 0.2 s, so 40.
        backends.set_delay(port, Duration::from_millis(200));
        let change = Change { at: Duration::from_millis(450), port: None, delay: Duration::from_millis(300) };
        let done = load(port, vec![change]).run(&backends, false).unwrap();
        let all = done.samples.all();
        assert_eq!((all.len(), all.iter().filter(|s| s.at >= 0).count()), (150, 100));
        assert_eq!((all[0].at, all[149].at), (-250_000, 495_000));
        assert!(all.iter().all(|s| s.backend == port && s.took >= 200_000), "{all:?}");
        let median = done.samples.counted().quantile_ms(0.5).unwrap();
        assert!((200.0..400.0).contains(&median), "{median}");
        // The change is made to the only backend that has responded.
        assert_eq!(done.changed, [port]);
        assert!(all[149].took >= 300_000, "{:?}", all[149]);
    }

    #[test]
    fn a_change_is_made_to_the_backend_that_responds_most() {
        let samples = [(0, 5), (500_000, 5), (900_000, 5), (1_500_000, 6), (1_600_000, 6), (1_700_000, 7)];
        let samples = samples.map(|(at, backend)| sample(at, 1, backend));
        let of = |except: &[u16]| busiest(&samples, Duration::from_secs(2), except);
        assert_eq!((of(&[]), of(&[6]), of(&[6, 7])), (Some(6), Some(7), None));
    }

    #[test]
    fn a_stall_disturbs_what_begins_or_ends_then_and_nothing_between() {
        let begin = Instant::now();
        let mut samples = [0, 50_000, 100_000].map(|at| sample(at, 60_000, 5));
        let at = |millis| begin + Duration::from_millis(millis);
        judge(&mut samples, begin, &[Stall { from: at(58), to: at(59) }, Stall { from: at(80), to: at(81) }]);
        assert_eq!(samples.map(|s| s.disturbed), [true, false, false]);
    }

    #[test]
    fn without_a_response_every_request_has_failed() {
        let backends = Backends::start(0, 0, false).unwrap();
        let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let done = load(closed, Vec::new()).run(&backends, false).unwrap();
        assert_eq!(done.failures.into_values().sum::<usize>(), 150);
        assert_eq!(done.samples.failed(), 150);
    }
}
