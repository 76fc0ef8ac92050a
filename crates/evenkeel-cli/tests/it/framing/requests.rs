//! Requests of the corpus: run, and judged.

#![cfg(test)]

use super::bench::Bench;
use super::client::{Answer, Answers, Client, answers};
use super::corpus::{Entry, bytes};
use super::origin::{Log, Request};
use super::strict::latin_1;

/// What a client sends after an entry's own bytes.
const LAST: &[u8] = b"GET /last HTTP/1.1\r\nHost: last\r\nConnection: close\r\n\r\n";

/// The result of an entry.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) log: Log,
    pub(super) answers: Result<Answers, String>,
    /// Whether the balancer closed the connection in the end.
    pub(super) ended: bool,
}

/// One way that an entry may go.
#[derive(Clone, Debug)]
struct Story {
    seen: Vec<Wanted>,
    end: End,
}

/// How a connection ends.
#[derive(Clone, Debug)]
enum End {
    /// With the response to [`LAST`].
    Open,
    /// With the requests so far.
    Closes,
    Refused(Vec<u16>),
    /// A response of the balancer itself, and then the one to [`LAST`].
    Answered(Vec<u16>),
    Broken(Vec<u16>),
    Incomplete,
}

/// A request that the backend is to see.
#[derive(Clone, Debug)]
struct Wanted {
    method: String,
    target: String,
    body: Vec<u8>,
    trailers: Vec<(String, String)>,
    with: Vec<(String, String)>,
    without: Vec<String>,
}

/// Runs an entry. Returns the result and what is wrong with it.
pub(super) async fn run(entry: &Entry, bench: &Bench) -> (Outcome, Result<(), String>) {
    let stories = stories(entry);
    let mut pieces = entry.pieces.clone();
    let whole = !matches!(stories[0].end, End::Incomplete);
    if whole {
        pieces.last_mut().expect("a piece").extend_from_slice(LAST);
    }
    let methods = methods(&stories[0].seen);
    let outcome = exchange(&pieces, (!whole).then_some(&methods), bench).await;
    let faults: Vec<_> = stories.iter().map_while(|story| judge(story, &outcome).err()).collect();
    let mut verdict = if faults.len() < stories.len() { Ok(()) } else { Err(faults.join("; or ")) };
    if entry.expected.iter().any(|(word, _)| word == "no-interim") {
        let interim = outcome.answers.as_ref().map_or(0, |answers| answers.interim.len());
        verdict = verdict
            .and_then(|()| ensure(interim == 0, || format!("{interim} responses before the final one")));
    }
    (outcome, verdict)
}

/// Sends the base's first bytes, `cut` of them, and closes that half: at once, or when complete requests have their
/// responses.
pub(super) async fn run_cut(base: &Entry, cut: usize, at_once: bool, bench: &Bench) -> Result<(), String> {
    let mut wanted = stories(base).remove(0).seen;
    let mut end = 0;
    let ends: Vec<usize> = base.pieces.iter().map(|piece| (end += piece.len(), end).1).collect();
    assert_eq!(ends.len(), wanted.len(), "{}: each request is a piece", base.name);
    wanted.truncate(ends.iter().filter(|end| **end <= cut).count());
    let pieces = [base.pieces.concat()[..cut].to_vec()];
    let methods = if at_once { Vec::new() } else { methods(&wanted) };
    let outcome = exchange(&pieces, Some(&methods), bench).await;
    if at_once {
        // A client that closes its half may count as disconnected: then complete requests may stay without a response,
        // or unsent.
        wanted.truncate(outcome.log.requests.len());
        ensure(outcome.log.faults.is_empty(), || format!("the backend: {}", outcome.log.faults.join("; ")))?;
        ensure(outcome.log.requests.len() == wanted.len(), || format!("{:?}", outcome.log.requests))?;
        let answers = outcome.answers.as_ref().map_err(String::clone)?;
        return answers.all.iter().enumerate().try_for_each(|(nth, answer)| match wanted.get(nth) {
            Some(wanted) if answer.status == 200 => check_answer(wanted, answer),
            _ => check_own(answer, &[400, 408], false),
        });
    }
    judge(&Story { seen: wanted, end: End::Incomplete }, &outcome)
}

/// Sends pieces, and reads all that arrives. With `half`, the client closes its half, once requests of these methods
/// have their responses.
async fn exchange(pieces: &[Vec<u8>], half: Option<&[String]>, bench: &Bench) -> Outcome {
    let mut client = Client::connect(bench.address()).await;
    client.send(pieces).await;
    if let Some(methods) = half {
        client.read(methods).await;
        client.finish().await;
    }
    client.read_to_end().await;
    let (received, ended) = (client.take(), client.ended);
    drop(client);
    let log = bench.settle().await;
    let mut methods: Vec<_> = log.requests.iter().map(|request| request.method().to_owned()).collect();
    if methods.is_empty() && pieces.first().is_some_and(|piece| piece.starts_with(b"HEAD ")) {
        // The backend does not see a request that is rejected.
        methods.push("HEAD".to_owned());
    }
    Outcome { answers: answers(&received, &methods, ended), log, ended }
}

fn judge(story: &Story, outcome: &Outcome) -> Result<(), String> {
    let Log { requests, faults, parts } = &outcome.log;
    ensure(faults.is_empty(), || format!("the backend: {}", faults.join("; ")))?;
    ensure(outcome.ended, || "the balancer does not close the connection".to_owned())?;
    let partial = matches!(story.end, End::Answered(_) | End::Broken(_) | End::Incomplete);
    ensure(partial || parts.is_empty(), || format!("a part of a request reached the backend: {parts:?}"))?;
    let answers = &outcome.answers.as_ref().map_err(String::clone)?.all;
    let told = || {
        let seen: Vec<_> = requests.iter().map(told).collect();
        let statuses: Vec<_> = answers.iter().map(|answer| answer.status).collect();
        format!("the backend saw {seen:?}, the client got {statuses:?}")
    };
    let mut seen = story.seen.clone();
    if matches!(story.end, End::Open | End::Answered(_)) {
        seen.push(Wanted::last());
    }
    ensure(requests.len() == seen.len(), told)?;
    requests.iter().zip(&seen).try_for_each(|(request, wanted)| check_request(wanted, request))?;
    let mut answers = answers.iter();
    for wanted in &story.seen {
        check_answer(wanted, answers.next().ok_or_else(told)?)?;
    }
    match &story.end {
        End::Open => check_answer(&Wanted::last(), answers.next().ok_or_else(told)?)?,
        End::Closes => {}
        End::Refused(statuses) => check_own(answers.next().ok_or_else(told)?, statuses, true)?,
        End::Answered(statuses) => {
            check_own(answers.next().ok_or_else(told)?, statuses, false)?;
            check_answer(&Wanted::last(), answers.next().ok_or_else(told)?)?;
        }
        End::Broken(statuses) => answers.next().map_or(Ok(()), |answer| check_own(answer, statuses, true))?,
        End::Incomplete => answers.next().map_or(Ok(()), |answer| check_own(answer, &[400, 408], false))?,
    }
    ensure(answers.next().is_none(), told)
}

fn check_request(wanted: &Wanted, request: &Request) -> Result<(), String> {
    let told = || format!("the backend saw {}, and not {wanted:?}", told(request));
    let same =
        request.method() == wanted.method && request.target() == wanted.target && request.body == wanted.body;
    ensure(same, told)?;
    ensure(request.trailers.is_empty() || request.trailers == wanted.trailers, || {
        format!("{:?}", request.trailers)
    })?;
    for (name, value) in &wanted.with {
        let found: Vec<_> = request.head.all(name).collect();
        ensure(found == [value.as_str()], || {
            format!("the backend saw {name}: {found:?}, and not {value:?}")
        })?;
    }
    for name in &wanted.without {
        let found: Vec<_> = request.head.all(name).collect();
        ensure(found.is_empty(), || format!("the backend saw {name}: {found:?}"))?;
    }
    Ok(())
}

/// Whether this is the backend's response to that request.
fn check_answer(wanted: &Wanted, answer: &Answer) -> Result<(), String> {
    let text = format!("{} {}", wanted.method, wanted.target);
    let body = if wanted.method == "HEAD" { "" } else { &text };
    let same = answer.status == 200 && answer.complete && latin_1(&answer.body) == body;
    ensure(same, || format!("{:?} gets {}: {:?}", text, answer.status, latin_1(&answer.body)))
}

/// Whether this is a response of the balancer itself.
fn check_own(answer: &Answer, statuses: &[u16], last: bool) -> Result<(), String> {
    ensure(statuses.contains(&answer.status), || format!("{}, and not one of {statuses:?}", answer.status))?;
    ensure(answer.complete && (answer.closes() || !last), || {
        format!("no end is said in {:?}", answer.head.fields)
    })
}

fn stories(entry: &Entry) -> Vec<Story> {
    let mut main = Story { seen: Vec::new(), end: End::Open };
    let mut others = Vec::new();
    for (word, rest) in &entry.expected {
        let last = main.seen.last_mut();
        let last = || last.unwrap_or_else(|| panic!("{}: {word} before a request", entry.name));
        let pair = || {
            rest.split_once(": ").map(|(name, value)| (name.to_owned(), value.to_owned())).expect("a field")
        };
        match word.as_str() {
            "seen" => main.seen.push(Wanted::parse(rest, &entry.name)),
            "trailer" => last().trailers.push(pair()),
            "with" => {
                let (name, value) = pair();
                last().with.push((name, latin_1(&bytes(&value, &entry.name))));
            }
            "without" => last().without.push(rest.clone()),
            "refused" => main.end = End::Refused(statuses(rest)),
            "answered" => main.end = End::Answered(statuses(rest)),
            "broken" => main.end = End::Broken(statuses(rest)),
            "closes" => main.end = End::Closes,
            "incomplete" => main.end = End::Incomplete,
            "either" => {
                let ends = [End::Refused, End::Broken, End::Answered].map(|end| end(statuses(rest)));
                others.extend(ends.map(|end| Story { seen: main.seen.clone(), end }));
            }
            "no-interim" => {}
            other => panic!("{}: {other} is not expected of a request", entry.name),
        }
    }
    if let End::Answered(statuses) = &main.end {
        let ends = [End::Refused, End::Broken].map(|end| end(statuses.clone()));
        others.extend(ends.map(|end| Story { seen: main.seen.clone(), end }));
    }
    others.insert(0, main);
    others
}

// === impl Wanted ===

impl Wanted {
    fn parse(text: &str, name: &str) -> Self {
        let mut parts = text.splitn(3, ' ');
        let mut next = || latin_1(&bytes(parts.next().unwrap_or_default(), name));
        let (method, target) = (next(), next());
        let body = bytes(parts.next().unwrap_or_default(), name);
        Self { method, target, body, trailers: Vec::new(), with: Vec::new(), without: Vec::new() }
    }

    fn last() -> Self {
        let mut last = Self::parse("GET /last", "");
        last.with.push(("host".to_owned(), "last".to_owned()));
        last
    }
}

fn methods(requests: &[Wanted]) -> Vec<String> {
    requests.iter().map(|request| request.method.clone()).collect()
}

fn statuses(text: &str) -> Vec<u16> {
    text.split('|').map(|status| status.trim().parse().expect("a status")).collect()
}

/// A request in short.
pub(super) fn told(request: &Request) -> String {
    format!("{} {} {:?}", request.method(), request.target(), latin_1(&request.body))
}

fn ensure(holds: bool, fault: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(fault()) }
}
