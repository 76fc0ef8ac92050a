//! A backend that accepts only strictly well-formed requests, and responds as the input says.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, yield_now};
use tokio::time::sleep;

use super::input::{Input, Script, Then};
use super::strict::{self, Head};

/// How long a part of a request may stay on a connection: the balancer will close it.
const LONG: Duration = Duration::from_secs(3);

pub struct Origin {
    address: SocketAddr,
    shared: Arc<Shared>,
}

/// A request that came whole.
#[derive(Clone, PartialEq, Eq)]
pub struct Seen {
    method: String,
    /// With the characters that Pingora percent-encodes in that form: see docs/lanes.md.
    target: String,
    host: String,
    body: Vec<u8>,
}

#[derive(Default)]
struct Shared(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    input: Option<Input>,
    seen: Vec<Seen>,
    faults: Vec<String>,
    /// The open connections, each with what it has of a request that is not whole.
    open: BTreeMap<usize, (AbortHandle, Vec<u8>)>,
    accepted: usize,
}

/// Takes a connection off the list, however it ends.
struct Open {
    shared: Arc<Shared>,
    number: usize,
}

impl Origin {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("its address");
        let shared = Arc::<Shared>::default();
        tokio::spawn(accept(listener, shared.clone()));
        Self { address, shared }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The script for responses from now on.
    pub fn plays(&self, input: &Input) {
        let mut inner = self.shared.lock();
        let answers = input.answers.clone();
        inner.input = Some(Input { client: Vec::new(), half: input.half, early: input.early, answers });
        inner.seen.clear();
        inner.faults.clear();
    }

    /// What arrived since, without the requests that only check for health. A request that arrived several times in a
    /// row counts once: it may have been sent again, on another connection.
    pub async fn take(&self, faults: &mut Vec<String>) -> Vec<Seen> {
        // The tasks of the connections, which run on this thread, take what has come.
        for _ in 0..8 {
            yield_now().await;
        }
        let start = std::time::Instant::now();
        while let Some(part) = self.shared.part() {
            if start.elapsed() > LONG {
                faults.push(format!("a part of a request stays on a connection: {part:?}"));
                break;
            }
            sleep(Duration::from_millis(1)).await;
        }
        let mut inner = self.shared.lock();
        faults.append(&mut inner.faults);
        let mut seen = std::mem::take(&mut inner.seen);
        seen.retain(|request| !request.target.starts_with("/own/settle/"));
        seen.dedup();
        seen
    }

    /// Ends all connections.
    pub async fn hang_up(&self) {
        for (connection, _) in self.shared.lock().open.values() {
            connection.abort();
        }
        while !self.shared.lock().open.is_empty() {
            yield_now().await;
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().expect("no panic")
    }

    fn part(&self) -> Option<String> {
        let inner = self.lock();
        let part = inner.open.values().find(|(_, part)| !part.is_empty());
        part.map(|(_, part)| part.escape_ascii().to_string())
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.shared.lock().open.remove(&self.number);
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    loop {
        let (stream, _) = listener.accept().await.expect("a connection");
        stream.set_nodelay(true).expect("a TCP option");
        let mut inner = shared.lock();
        let number = inner.accepted;
        inner.accepted += 1;
        let open = Open { shared: shared.clone(), number };
        let task = tokio::spawn(async move { serve(stream, &open).await });
        inner.open.insert(number, (task.abort_handle(), Vec::new()));
    }
}

async fn serve(mut stream: TcpStream, open: &Open) {
    let mut buffer = Vec::new();
    let mut answered = false;
    let mut continued = false;
    loop {
        let next = take(&mut buffer);
        if let Some((_, part)) = open.shared.lock().open.get_mut(&open.number) {
            part.clone_from(&buffer);
        }
        let (head, whole) = match next {
            Err(fault) => {
                let fault = format!("{fault}, in {:?}", buffer.escape_ascii().to_string());
                return open.shared.lock().faults.push(fault);
            }
            Ok(Next::Nothing) => (None, false),
            Ok(Next::Head(head)) => (Some(head), false),
            Ok(Next::Whole(head, seen)) => {
                open.shared.lock().seen.push(seen);
                (Some(head), true)
            }
        };
        if let Some(head) = head {
            let (early, script) = open.shared.lock().script(&head);
            if head.expects() && !early && !std::mem::replace(&mut continued, true) {
                let _ = stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await;
            }
            if (whole || early)
                && !std::mem::replace(&mut answered, true)
                && !answer(&mut stream, &head, script).await
            {
                return;
            }
        }
        if whole {
            (answered, continued) = (false, false);
        } else if !matches!(stream.read_buf(&mut buffer).await, Ok(1..)) {
            return;
        }
    }
}

impl Inner {
    /// Whether a request gets its response before it is complete, and which. Without a script, the response is what the
    /// request says.
    fn script(&self, head: &Head) -> (bool, Option<Script>) {
        let input = self.input.as_ref();
        (input.is_some_and(|input| input.early), input.and_then(|input| input.answer(&head.line[1])))
    }
}

/// Responds; false when the connection is over. This is also the case after an incomplete response, or none.
async fn answer(stream: &mut TcpStream, head: &Head, script: Option<Script>) -> bool {
    let [method, target, _] = &head.line;
    let Some(Script { pieces, then }) = script else {
        let body = format!("{method} {target}");
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
        let body = if method == "HEAD" { "" } else { &body };
        return stream.write_all(format!("{head}{body}").as_bytes()).await.is_ok();
    };
    for (nth, piece) in pieces.iter().enumerate() {
        if nth > 0 {
            sleep(Duration::from_millis(1)).await;
        }
        let _ = stream.write_all(piece).await;
    }
    let whole = is_whole(&pieces.concat(), method);
    match then {
        Then::Stay if whole => return true,
        Then::Stay | Then::Close => {
            let _ = stream.shutdown().await;
            // A socket that is dropped with bytes unread resets the connection.
            let mut rest = [0; 1024];
            while matches!(stream.read(&mut rest).await, Ok(1..)) {}
        }
        Then::Reset => {
            // What was sent is to arrive first.
            sleep(Duration::from_millis(1)).await;
            let _ = stream.set_zero_linger();
        }
    }
    false
}

/// Whether there is a complete final response, strictly.
fn is_whole(bytes: &[u8], method: &str) -> bool {
    let Ok(Some(head)) = strict::answer_head(bytes) else { return false };
    let rest = &bytes[head.length..];
    if head.line[1].starts_with('1') {
        return is_whole(rest, method);
    }
    let body = head.answer_framing(method).and_then(|framing| strict::body(framing, rest));
    body.is_ok_and(|body| body.end.is_some())
}

/// How far the next request is.
enum Next {
    Nothing,
    Head(Head),
    Whole(Head, Seen),
}

/// Takes the next request off the bytes.
fn take(buffer: &mut Vec<u8>) -> Result<Next, strict::Fault> {
    let Some(head) = strict::request_head(buffer)? else { return Ok(Next::Nothing) };
    let body = strict::body(head.request_framing()?, &buffer[head.length..])?;
    let Some(end) = body.end else { return Ok(Next::Head(head)) };
    buffer.drain(..head.length + end);
    let [method, target, _] = head.line.clone();
    let target = encoded(&target);
    let host = head.all("host").collect();
    Ok(Next::Whole(head, Seen { method, target, host, body: body.bytes }))
}

/// A target as Pingora sends it.
fn encoded(target: &str) -> String {
    target.replace('"', "%22").replace('<', "%3C").replace('>', "%3E").replace('`', "%60")
}

impl fmt::Debug for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { method, target, host, body } = self;
        write!(f, "{method} {target:?} of {host:?} {:?}", body.escape_ascii().to_string())
    }
}
