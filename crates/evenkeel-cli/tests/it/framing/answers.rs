//! Responses of the corpus: sent by a backend, and judged by what the client receives.

#![cfg(test)]

use super::bench::Bench;
use super::client::{Answer, Answers, Client, answers};
use super::corpus::{Entry, bytes};
use super::origin::{FIRST, Log, PAUSE, Play, Then};
use super::strict::{self, latin_1};

/// The result of an entry.
#[derive(Debug)]
pub(super) struct Outcome {
    log: Log,
    /// What came for the first request.
    first: Result<Answers, String>,
    /// What came for the second one.
    second: Result<Answers, String>,
    /// Whether the first response ended, in whatever way.
    ended: bool,
}

/// The expected result of an entry.
#[derive(Clone, Debug, Default)]
struct Wanted {
    method: String,
    old: bool,
    then: Then,
    /// Any of these.
    ends: Vec<End>,
    interim: Vec<u16>,
    with: Vec<(String, String)>,
    without: Vec<String>,
    trailers: Vec<(String, String)>,
    /// Whether the second request comes on the connection of the first.
    same: Option<bool>,
}

/// What the client gets.
#[derive(Clone, Debug)]
enum End {
    Whole(u16, Vec<u8>),
    Cut(u16, Vec<u8>),
    Bad,
}

/// Runs an entry. Returns the result and what is wrong with it.
pub(super) async fn run(entry: &Entry, bench: &Bench) -> (Outcome, Result<(), String>) {
    let wanted = Wanted::parse(entry);
    let outcome = exchange(&wanted, entry.pieces.clone(), bench).await;
    let verdict = judge(&wanted, &outcome);
    (outcome, verdict)
}

/// Plays the base's first bytes, `cut` of them, and closes. The last piece of a base is a body, and each one before it a head.
pub(super) async fn run_cut(base: &Entry, cut: usize, bench: &Bench) -> Result<(), String> {
    let mut wanted = Wanted::parse(base);
    let text = base.pieces.concat();
    let heads = base.pieces.iter().scan(0, |end, piece| {
        *end += piece.len();
        Some(*end)
    });
    let heads = heads.take(base.pieces.len() - 1);
    let (whole, head_end) = (heads.clone().filter(|end| *end <= cut).count(), heads.last().expect("a head"));
    wanted.interim.truncate(whole);
    wanted.same = Some(false);
    let [End::Whole(status, body)] = &wanted.ends[..] else {
        panic!("{}: what does it give when whole?", base.name)
    };
    wanted.ends = vec![match wanted.then {
        _ if cut < head_end => End::Bad,
        Then::Close => End::Whole(*status, text[head_end..cut].to_vec()),
        _ => End::Cut(*status, body.clone()),
    }];
    wanted.then = Then::Close;
    let outcome = exchange(&wanted, vec![text[..cut].to_vec()], bench).await;
    judge(&wanted, &outcome)
}

async fn exchange(wanted: &Wanted, pieces: Vec<Vec<u8>>, bench: &Bench) -> Outcome {
    bench.origin().plays(Play { pieces, then: wanted.then });
    let mut client = Client::connect(bench.address()).await;
    let (method, version) = (&wanted.method, if wanted.old { "1.0" } else { "1.1" });
    let first = format!("{method} {FIRST} HTTP/{version}\r\nHost: test\r\n\r\n").into_bytes();
    client.send(&[first]).await;
    let methods = [method.clone()];
    client.read(&methods).await;
    bench.origin().until_played().await;
    // What came late has come now.
    tokio::time::sleep(PAUSE / 4).await;
    let received = client.take();
    let ended = client.ended;
    let first = answers(&received, &methods, ended);
    let kept = !ended
        && first
            .as_ref()
            .is_ok_and(|first| first.all.iter().all(|answer| answer.complete && !answer.closes()));
    if !kept {
        client = Client::connect(bench.address()).await;
    }
    client.send(&[b"GET /second HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n".to_vec()]).await;
    client.read_to_end().await;
    let second = answers(&client.take(), &[], client.ended);
    drop(client);
    let ended = ended || first.as_ref().is_ok_and(|first| first.all.iter().any(|answer| answer.complete));
    Outcome { log: bench.settle().await, first, second, ended }
}

fn judge(wanted: &Wanted, outcome: &Outcome) -> Result<(), String> {
    let Log { requests, faults, parts } = &outcome.log;
    ensure(faults.is_empty() && parts.is_empty(), || format!("the backend: {faults:?}, {parts:?}"))?;
    let first = outcome.first.as_ref().map_err(|fault| format!("the first response: {fault}"))?;
    ensure(outcome.ended, || "the response neither ends nor is broken off".to_owned())?;
    let told =
        || format!("the client got {:?} {:?}", first.interim, first.all.iter().map(tell).collect::<Vec<_>>());
    let [answer] = &first.all[..] else { return Err(told()) };
    ensure(wanted.ends.iter().any(|end| end.matches(answer)), told)?;
    ensure(first.interim == wanted.interim || answer.status == 502, told)?;
    if answer.status != 502 {
        check_fields(wanted, answer)?;
    }
    let second = outcome.second.as_ref().map_err(|fault| format!("the second response: {fault}"))?;
    let [after] = &second.all[..] else {
        return Err(format!("{} responses to the second request", second.all.len()));
    };
    let sound =
        after.status == 200 && after.complete && after.body == b"GET /second" && second.interim.is_empty();
    ensure(sound, || format!("the second request gets {:?} {}", second.interim, tell(after)))?;
    let mut targets: Vec<_> = requests.iter().map(|request| request.target()).collect();
    // One that was closed without a byte may be asked again, on another connection.
    targets.dedup();
    ensure(targets == [FIRST, "/second"], || format!("the backend saw {targets:?}"))?;
    let connection =
        |target| requests.iter().rfind(|request| request.target() == target).map(|r| r.connection);
    let same = connection(FIRST) == connection("/second");
    let kept = if answer.status == 502 { Some(false) } else { wanted.same };
    ensure(kept.is_none_or(|kept| kept == same), || format!("the backend's connection is reused: {same}"))
}

fn check_fields(wanted: &Wanted, answer: &Answer) -> Result<(), String> {
    for (name, value) in &wanted.with {
        let found: Vec<_> = answer.head.all(name).collect();
        ensure(found == [value], || format!("the client saw {name}: {found:?}, and not {value:?}"))?;
    }
    for name in &wanted.without {
        let found: Vec<_> = answer.head.all(name).collect();
        ensure(found.is_empty(), || format!("the client saw {name}: {found:?}"))?;
    }
    let chunked = wanted.old && answer.head.all("transfer-encoding").next().is_some();
    ensure(!chunked, || "chunks for a client of HTTP/1.0".to_owned())?;
    ensure(answer.trailers.is_empty() || answer.trailers == wanted.trailers, || {
        format!("{:?}", answer.trailers)
    })
}

// === impl Outcome ===

impl Outcome {
    /// What the client got, if it is whole and the backend's.
    pub(super) fn accepted(&self) -> Option<String> {
        let first = self.first.as_ref().ok()?;
        let answer = first.all.first().filter(|answer| answer.complete && answer.status != 502)?;
        Some(format!("{:?} {}", first.interim, tell(answer)))
    }
}

// === impl Wanted ===

impl Wanted {
    fn parse(entry: &Entry) -> Self {
        let mut wanted = Self { method: "GET".to_owned(), ..Self::default() };
        for (word, rest) in &entry.expected {
            let pair = || {
                rest.split_once(": ")
                    .map(|(name, value)| (name.to_owned(), value.to_owned()))
                    .expect("a field")
            };
            match word.as_str() {
                "to" => {
                    wanted.old = rest.ends_with(" 1.0");
                    wanted.method = rest.split(' ').next().unwrap_or_default().to_owned();
                }
                "close" => wanted.then = Then::Close,
                "reset" => wanted.then = Then::Reset,
                "gets" | "cut" => wanted.ends.push(End::parse(word, rest, &entry.name)),
                "bad" | "either" => wanted.ends.push(End::Bad),
                "interim" => wanted.interim = rest.split(' ').map(|s| s.parse().expect("a status")).collect(),
                "with" => wanted.with.push(pair()),
                "without" => wanted.without.push(rest.clone()),
                "trailer" => wanted.trailers.push(pair()),
                "kept" => wanted.same = Some(true),
                "dropped" => wanted.same = Some(false),
                other => panic!("{}: {other} is not expected of a response", entry.name),
            }
        }
        assert!(!wanted.ends.is_empty(), "{}: nothing is expected", entry.name);
        wanted
    }
}

// === impl End ===

impl End {
    fn parse(word: &str, text: &str, name: &str) -> Self {
        let (status, body) = text.split_once(' ').unwrap_or((text, ""));
        let status = status.parse().unwrap_or_else(|_| panic!("{name}: the status {status:?}"));
        let body = bytes(body, name);
        if word == "cut" { Self::Cut(status, body) } else { Self::Whole(status, body) }
    }

    fn matches(&self, answer: &Answer) -> bool {
        match self {
            Self::Whole(status, body) => answer.status == *status && answer.complete && answer.body == *body,
            Self::Cut(status, body) => {
                let part = answer.status == *status && !answer.complete && body.starts_with(&answer.body);
                part || Self::Bad.matches(answer)
            }
            Self::Bad => answer.status == 502 && answer.complete,
        }
    }
}

/// A response in short.
fn tell(answer: &Answer) -> String {
    let whole = if answer.complete { "whole" } else { "cut" };
    format!("{} {:?} ({whole})", answer.status, latin_1(&answer.body))
}

fn ensure(holds: bool, fault: impl FnOnce() -> String) -> Result<(), strict::Fault> {
    if holds { Ok(()) } else { Err(fault()) }
}
