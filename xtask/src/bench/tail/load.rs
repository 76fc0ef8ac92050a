//! The load: requests at a constant rate, whatever becomes of those before (an open loop). Knows nothing of who answers.
//!
//! A request's time counts from the moment when it was meant to be sent. So a proxy that holds one up cannot hide what it
//! does to the next ones, which a client that waits for answers would not even have sent (coordinated omission).
//!
//! Clients take turns: the one whose turn it is sleeps until the next request is due, sends it, gives the turn away and
//! waits for its answer. So there are as many connections as are needed at once, and a few to spare.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::{self, Scope};
use std::time::{Duration, Instant};

use super::sample::{Sample, Samples};
use super::stall::{self, Stall};
use super::{backend, clock};
use crate::failure::Failure;

/// What is sent, and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Load {
    pub(crate) port: u16,
    /// Requests a second.
    pub(crate) rate: u32,
    /// Of the same load, before what counts.
    pub(crate) warm_up: Duration,
    /// Of what counts.
    pub(crate) time: Duration,
    /// Where the samples go.
    pub(crate) file: PathBuf,
    pub(crate) changes: Vec<Change>,
}

/// An order to a backend in the middle of the load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Change {
    /// How long after the warm-up.
    pub(crate) at: Duration,
    /// The backend; or else, of those that no order went to, the one that has given the most answers in the second before, so
    /// that it has a share to lose.
    pub(crate) port: Option<u16>,
    /// How long it takes for a request from then on.
    pub(crate) delay: Duration,
}

/// Silence for so long makes a request a failure.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);

/// Clients that are kept waiting for their turn, beside the one that has it.
const SPARE: usize = 8;

/// More clients than this there never are; without one, requests are late, and the samples say so.
const MOST: usize = 1024;

/// How far from a stall of the machine a request must have begun and ended, for its time to say something.
pub(crate) const AROUND: Duration = Duration::from_millis(1);

/// The CPUs that a request passes: the proxy's, and that of the load and the backends.
const CPUS: [usize; 2] = [0, 1];

/// Of each client's thread.
const STACK: usize = 128 * 1024;

/// The clients of a load, as each of them sees it.
struct Crowd<'a> {
    load: &'a Load,
    /// When the first request is due.
    start: Instant,
    requests: u64,
    /// How many requests have been taken by a client. Who holds the lock has the turn.
    turn: Mutex<u64>,
    waiting: AtomicUsize,
    clients: AtomicUsize,
    samples: Mutex<Vec<Sample>>,
    failures: Mutex<BTreeMap<String, usize>>,
}

/// A kept connection.
struct Connection {
    stream: TcpStream,
    received: Vec<u8>,
}

/// How far back the backend with the most answers is looked for.
const LATELY: Duration = Duration::from_secs(1);

/// What came of a load.
struct Done {
    samples: Samples,
    /// The ports that orders went to.
    changed: Vec<u16>,
    /// Why requests failed, and how many for each reason.
    failures: BTreeMap<String, usize>,
}

/// Runs the load that the arguments tell of, and writes its samples. Prints the ports that orders went to, a line each, and
/// why requests failed.
pub(crate) fn run(arguments: &[String]) -> Result<(), Failure> {
    let load = Load::parse(arguments)?;
    clock::sharpen();
    let done = load.run()?;
    done.failures.iter().for_each(|(why, count)| println!("{count} requests failed: {why}"));
    done.changed.iter().for_each(|port| println!("{port}"));
    std::fs::write(&load.file, done.samples.to_text())
        .map_err(|e| Failure::new(format!("cannot write {}: {e}", load.file.display())))
}

/// In the arguments, the backend with the most answers.
const BUSIEST: &str = "busiest";

// === impl Load ===

impl Load {
    /// As the arguments of [`run`].
    pub(crate) fn arguments(&self) -> Vec<String> {
        let mut arguments = vec![
            self.port.to_string(),
            self.rate.to_string(),
            self.warm_up.as_millis().to_string(),
            self.time.as_millis().to_string(),
            self.file.display().to_string(),
        ];
        arguments.extend(self.changes.iter().map(|change| {
            let port = change.port.map_or_else(|| BUSIEST.to_owned(), |port| port.to_string());
            format!("{}:{port}:{}", change.at.as_millis(), change.delay.as_millis())
        }));
        arguments
    }

    fn parse(arguments: &[String]) -> Result<Self, Failure> {
        let wrong = || Failure::usage(format!("{arguments:?} is no load"));
        let number = |text: &str| text.parse().map(Duration::from_millis).map_err(|_| wrong());
        let [port, rate, warm_up, time, file, changes @ ..] = arguments else { return Err(wrong()) };
        let change = |text: &String| match text.split(':').collect::<Vec<_>>()[..] {
            [at, port, delay] => Ok(Change {
                at: number(at)?,
                port: if port == BUSIEST { None } else { Some(port.parse().map_err(|_| wrong())?) },
                delay: number(delay)?,
            }),
            _ => Err(wrong()),
        };
        Ok(Self {
            port: port.parse().map_err(|_| wrong())?,
            rate: rate.parse().ok().filter(|rate| *rate > 0).ok_or_else(wrong)?,
            warm_up: number(warm_up)?,
            time: number(time)?,
            file: file.into(),
            changes: changes.iter().map(change).collect::<Result<_, _>>()?,
        })
    }

    fn run(&self) -> Result<Done, Failure> {
        let crowd = Crowd::new(self);
        let (changed, stalls) = thread::scope(|scope| {
            let until = crowd.due(crowd.requests) + AROUND;
            let watches = CPUS.map(|cpu| scope.spawn(move || stall::watch(cpu, until)));
            let changes = scope.spawn(|| crowd.change_backends());
            (0..=SPARE).try_for_each(|_| crowd.join(scope))?;
            let changed = changes.join();
            let changed =
                changed.unwrap_or_else(|_| Err(Failure::new("the thread that orders changes panicked")))?;
            let stalls = watches.into_iter().flat_map(|watch| watch.join().unwrap_or_default());
            Ok::<_, Failure>((changed, stalls.collect::<Vec<Stall>>()))
        })?;
        let samples = crowd.judged(&stalls);
        let failures = crowd.failures.into_inner().unwrap_or_else(PoisonError::into_inner);
        Ok(Done { samples, changed, failures })
    }
}

// === impl Crowd ===

impl<'a> Crowd<'a> {
    fn new(load: &'a Load) -> Self {
        let whole = (load.warm_up + load.time).as_secs_f64() * f64::from(load.rate);
        Self {
            load,
            start: Instant::now() + Duration::from_millis(100),
            requests: whole.round() as u64,
            turn: Mutex::new(0),
            waiting: AtomicUsize::new(0),
            clients: AtomicUsize::new(0),
            samples: Mutex::new(Vec::new()),
            failures: Mutex::new(BTreeMap::new()),
        }
    }

    /// One more client, which counts as waiting already: it soon will.
    fn join<'scope>(&'scope self, scope: &'scope Scope<'scope, '_>) -> Result<(), Failure> {
        if self.clients.fetch_add(1, Relaxed) >= MOST {
            self.clients.fetch_sub(1, Relaxed);
            return Ok(());
        }
        self.waiting.fetch_add(1, Relaxed);
        let started =
            thread::Builder::new().stack_size(STACK).spawn_scoped(scope, move || self.take_turns(scope));
        started.map(drop).map_err(|e| Failure::new(format!("no thread for a client: {e}")))
    }

    fn take_turns<'scope>(&'scope self, scope: &'scope Scope<'scope, '_>) {
        let none = || io::Error::from(io::ErrorKind::NotConnected);
        let mut connection = None;
        loop {
            let mut turn = lock(&self.turn);
            let index = *turn;
            if index >= self.requests {
                break;
            }
            *turn += 1;
            if self.waiting.fetch_sub(1, Relaxed) <= SPARE {
                // Without one more, requests may be late, and the samples say so.
                let _ = self.join(scope);
            }
            // Most often there is time enough before the request is due. Earlier, and proxies give up on a client that waits
            // for its first turn.
            connection = connection.or_else(|| Connection::open(self.load.port).ok());
            let due = self.due(index);
            clock::sleep_until(due);
            let sent = Instant::now();
            let written = connection.as_mut().ok_or_else(none).and_then(Connection::ask);
            drop(turn);
            let answered = written.and_then(|()| connection.as_mut().ok_or_else(none)?.answer());
            let sample = self.sample(due, sent, answered.as_ref().ok().copied());
            lock(&self.samples).push(sample);
            if let Err(why) = answered {
                *lock(&self.failures).entry(why.to_string()).or_default() += 1;
                connection = None;
            }
            self.waiting.fetch_add(1, Relaxed);
        }
    }

    fn due(&self, index: u64) -> Instant {
        self.start + Duration::from_secs_f64(index as f64 / f64::from(self.load.rate))
    }

    fn sample(&self, due: Instant, sent: Instant, backend: Option<u16>) -> Sample {
        let begin = self.start + self.load.warm_up;
        let micros = |time: Duration| u32::try_from(time.as_micros()).unwrap_or(u32::MAX);
        let (after, before) = (due.saturating_duration_since(begin), begin.saturating_duration_since(due));
        Sample {
            at: i64::from(micros(after)) - i64::from(micros(before)),
            late: micros(sent.saturating_duration_since(due)),
            took: micros(due.elapsed()),
            backend: backend.unwrap_or(Sample::FAILED),
            disturbed: false,
        }
    }

    /// All samples, those marked that began or ended about when the machine stood still.
    fn judged(&self, stalls: &[Stall]) -> Samples {
        let begin = self.start + self.load.warm_up;
        let mut samples = std::mem::take(&mut *lock(&self.samples));
        for sample in &mut samples {
            let offset = Duration::from_micros(sample.at.unsigned_abs());
            let due = if sample.at < 0 { begin - offset } else { begin + offset };
            let took = Duration::from_micros(sample.took.into());
            let ends = [(due, due + AROUND), (due + took.saturating_sub(AROUND), due + took)];
            sample.disturbed =
                stalls.iter().any(|stall| ends.iter().any(|(from, to)| stall.touches(*from, *to)));
        }
        Samples::new(samples)
    }

    /// The ports that orders went to.
    fn change_backends(&self) -> Result<Vec<u16>, Failure> {
        let mut changed = Vec::new();
        for change in &self.load.changes {
            clock::sleep_until(self.start + self.load.warm_up + change.at);
            let port = change.port.map_or_else(|| self.busiest(change.at, &changed), Ok)?;
            backend::set_delay(port, change.delay)?;
            changed.push(port);
        }
        Ok(changed)
    }

    /// The backend that has given the most answers of late, but for these.
    fn busiest(&self, now: Duration, but: &[u16]) -> Result<u16, Failure> {
        let since = now.saturating_sub(LATELY).as_micros() as i64;
        let mut answers = BTreeMap::new();
        let lately = |s: &&Sample| s.at + i64::from(s.took) >= since && s.backend != Sample::FAILED;
        for sample in lock(&self.samples).iter().filter(lately) {
            *answers.entry(sample.backend).or_insert(0) += 1;
        }
        answers.retain(|port, _| !but.contains(port));
        let most = answers.into_iter().max_by_key(|(_, count)| *count);
        most.map(|(port, _)| port).ok_or_else(|| Failure::new("no backend has answered of late"))
    }
}

/// No client leaves anything half done, even if it panics.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

// === impl Connection ===

impl Connection {
    fn open(port: u16) -> io::Result<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Self { stream, received: Vec::new() })
    }

    fn ask(&mut self) -> io::Result<()> {
        self.stream.write_all(b"GET / HTTP/1.1\r\nHost: bench\r\n\r\n")
    }

    /// Waits for the answer to what was asked; the backend that gave it.
    fn answer(&mut self) -> io::Result<u16> {
        self.received.clear();
        let mut chunk = [0; 4096];
        let head = loop {
            if let Some(end) = backend::end_of_head(&self.received) {
                break end;
            }
            let read = self.stream.read(&mut chunk)?;
            if read == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.received.extend_from_slice(chunk.get(..read).unwrap_or_default());
        };
        let (length, backend) = understand(self.received.get(..head).unwrap_or_default())?;
        let mut missing = (head + length).saturating_sub(self.received.len());
        while missing > 0 {
            let room = missing.min(chunk.len());
            let read = self.stream.read(chunk.get_mut(..room).unwrap_or_default())?;
            if read == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            missing -= read;
        }
        Ok(backend)
    }
}

/// The length of the body, and who gave the answer.
fn understand(head: &[u8]) -> io::Result<(usize, u16)> {
    let wrong = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what);
    let head = str::from_utf8(head).map_err(|_| wrong("the answer is not text"))?;
    if !head.starts_with("HTTP/1.1 200 ") {
        return Err(wrong(head.lines().next().unwrap_or_default()));
    }
    let field = |name: &str| {
        let mut fields = head.lines().filter_map(|line| line.split_once(':'));
        fields.find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
    };
    let length = field("content-length").and_then(|l| l.parse().ok()).ok_or_else(|| wrong("no length"))?;
    let backend = field(backend::NAME).and_then(|b| b.parse().ok()).ok_or_else(|| wrong("no backend"))?;
    Ok((length, backend))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(port: u16) -> Load {
        Load {
            port,
            rate: 200,
            warm_up: Duration::from_millis(250),
            time: Duration::from_millis(500),
            file: "/tmp/a".into(),
            changes: Vec::new(),
        }
    }

    #[test]
    fn a_load_survives_being_told() {
        let change = Change { at: Duration::from_secs(10), port: Some(3), delay: Duration::from_millis(100) };
        let load = Load { changes: vec![change, Change { port: None, ..change }], ..load(2) };
        assert_eq!(Load::parse(&load.arguments()).unwrap(), load);
        let mut wrong = load.arguments();
        wrong.push("1:2".into());
        assert!(Load::parse(&wrong).is_err());
        assert!(Load::parse(&[]).is_err());
    }

    #[test]
    fn an_answer_is_understood_whatever_its_case() {
        let head = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nX-Backend: 18081\r\n\r\n";
        assert_eq!(understand(head).unwrap(), (3, 18081));
        assert!(understand(b"HTTP/1.1 503 No\r\ncontent-length: 0\r\nx-backend: 1\r\n\r\n").is_err());
        assert!(understand(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").is_err());
    }

    /// Answers each connection's requests one after the other, each after so long.
    fn slow_server(delay: Duration) -> u16 {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        thread::spawn(move || {
            for mut stream in listener.incoming().map(Result::unwrap) {
                thread::spawn(move || {
                    while let Ok(1..) = stream.read(&mut [0; 512]) {
                        thread::sleep(delay);
                        let answer = b"HTTP/1.1 200 OK\r\nx-backend: 7\r\ncontent-length: 1\r\n\r\n.";
                        if stream.write_all(answer).is_err() {
                            break;
                        }
                    }
                });
            }
        });
        port
    }

    #[test]
    fn slow_answers_do_not_slow_the_load() {
        // In flight at once: 200 a second times 0.2 s, so 40, many more than the clients at first.
        let samples = load(slow_server(Duration::from_millis(200))).run().unwrap().samples;
        let all = samples.all();
        assert_eq!(all.len(), 150);
        assert_eq!(all.iter().filter(|s| s.at >= 0).count(), 100);
        assert_eq!((all[0].at, all[149].at), (-250_000, 495_000));
        assert!(all.iter().all(|s| s.backend == 7 && s.took >= 200_000), "{all:?}");
        let median = samples.counted().quantile_ms(0.5).unwrap();
        assert!((200.0..400.0).contains(&median), "{median}");
    }

    #[test]
    fn an_order_goes_to_the_backend_that_answers_most() {
        let load = load(1);
        let crowd = Crowd::new(&load);
        assert!(crowd.busiest(Duration::from_secs(2), &[]).is_err());
        for (at, backend) in
            [(0, 5), (500_000, 5), (900_000, 5), (1_500_000, 6), (1_600_000, 6), (1_700_000, 7)]
        {
            lock(&crowd.samples).push(Sample { at, late: 0, took: 1, backend, disturbed: false });
        }
        assert_eq!(crowd.busiest(Duration::from_secs(2), &[]).unwrap(), 6);
        assert_eq!(crowd.busiest(Duration::from_secs(2), &[6]).unwrap(), 7);
    }

    #[test]
    fn a_stall_disturbs_what_begins_or_ends_then_and_nothing_between() {
        let load = load(1);
        let crowd = Crowd::new(&load);
        for at in [0, 50_000, 100_000] {
            lock(&crowd.samples).push(Sample { at, late: 0, took: 60_000, backend: 5, disturbed: false });
        }
        let at = |millis| crowd.start + load.warm_up + Duration::from_millis(millis);
        let samples = crowd.judged(&[Stall { from: at(58), to: at(59) }, Stall { from: at(80), to: at(81) }]);
        let disturbed: Vec<bool> = samples.all().iter().map(|s| s.disturbed).collect();
        assert_eq!(disturbed, [true, false, false]);
    }

    #[test]
    fn what_is_not_answered_is_a_failure_of_each_request() {
        let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let done = load(closed).run().unwrap();
        assert_eq!(done.failures.into_values().sum::<usize>(), 150);
        assert_eq!(done.samples.all().iter().filter(|s| s.backend == Sample::FAILED).count(), 150);
    }
}
