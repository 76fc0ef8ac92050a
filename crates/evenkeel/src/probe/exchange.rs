//! A check over TCP that looks at what a backend says: first of all, or after it was sent something.

use evenkeel_config::{TcpCheck, TcpExpect};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::connect::{Connector, Deadline, LimitedReader, Socket};
use super::{BODY, ProbeFailure, Target};

/// What one backend is sent, and what it is expected to say.
#[derive(Debug)]
pub(super) struct TcpProbe {
    connector: Connector,
    check: TcpCheck,
}

/// What the first bytes of a response say.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Healthy,
    /// More must come.
    Part,
    Unhealthy(Option<String>),
}

/// How much of an unexpected response is shown.
const SHOWN: usize = 40;

// === impl TcpProbe ===

impl TcpProbe {
    pub(super) fn new(check: &TcpCheck, target: &Target) -> Self {
        Self { connector: Connector::plain(target), check: check.clone() }
    }

    pub(super) async fn run(&self, deadline: Deadline) -> Result<(), ProbeFailure> {
        let socket = self.connector.open(deadline).await?;
        deadline.hold(ProbeFailure::NoAnswer, self.ask(socket)).await
    }

    async fn ask(&self, socket: Socket) -> Result<(), ProbeFailure> {
        let mut socket = LimitedReader::new(socket, BODY);
        let broken = |error: std::io::Error| ProbeFailure::broken(&error);
        socket.write_all(&self.check.send).await.map_err(broken)?;
        socket.flush().await.map_err(broken)?;
        let Some(expect) = &self.check.expect else { return Ok(()) };
        let mut said = Vec::with_capacity(256);
        loop {
            if socket.read_buf(&mut said).await.map_err(broken)? == 0 {
                return Err(ProbeFailure::Closed);
            }
            match verdict(expect, &said) {
                Verdict::Healthy => break,
                Verdict::Part => {}
                Verdict::Unhealthy(Some(why)) => return Err(ProbeFailure::Unexpected(why)),
                Verdict::Unhealthy(None) => return Err(ProbeFailure::Unexpected(shown(&said))),
            }
        }
        // A server that is left in the middle of a conversation may complain of it.
        let _ = socket.write_all(&self.check.bye).await;
        let _ = socket.shutdown().await;
        Ok(())
    }
}

fn verdict(expect: &TcpExpect, said: &[u8]) -> Verdict {
    match expect {
        TcpExpect::Contains(text) if contains(said, text) => Verdict::Healthy,
        TcpExpect::Contains(_) => Verdict::Part,
        TcpExpect::StartsWith(beginnings) => starts_with(said, beginnings),
        TcpExpect::MySqlGreeting => mysql(said),
        _ => Verdict::Unhealthy(None),
    }
}

fn contains(said: &[u8], text: &[u8]) -> bool {
    said.windows(text.len().max(1)).any(|window| window == text)
}

fn starts_with(said: &[u8], beginnings: &[Vec<u8>]) -> Verdict {
    if beginnings.iter().any(|one| said.starts_with(one)) {
        Verdict::Healthy
    } else if beginnings.iter().any(|one| one.starts_with(said)) {
        Verdict::Part
    } else {
        Verdict::Unhealthy(None)
    }
}

/// The first packet of a MySQL server: a greeting of protocol 10, or an error such as "Too many connections".
fn mysql(said: &[u8]) -> Verdict {
    const PROTOCOL: u8 = 10;
    const ERROR: u8 = 255;
    match said {
        [_, _, _, _, PROTOCOL, ..] => Verdict::Healthy,
        // The code of the error, then its text.
        [length, _, _, _, ERROR, _, _, text @ ..] => {
            let rest = usize::from(*length).saturating_sub(3);
            match text.get(..rest) {
                Some(text) => Verdict::Unhealthy(Some(shown(text))),
                None => Verdict::Part,
            }
        }
        [_, _, _, _, ERROR, ..] | [] | [_] | [_, _] | [_, _, _] | [_, _, _, _] => Verdict::Part,
        _ => Verdict::Unhealthy(None),
    }
}

/// The beginning of a response, on one line.
fn shown(said: &[u8]) -> String {
    let most = said.get(..SHOWN).unwrap_or(said);
    most.escape_ascii().to_string()
}

#[cfg(test)]
mod tests {
    use super::{TcpExpect, Verdict, verdict};

    #[test]
    fn what_a_backend_says_is_compared_as_it_comes() {
        let pong = TcpExpect::StartsWith(vec![b"+PONG".to_vec(), b"-NOAUTH".to_vec()]);
        for (said, expected) in [
            (&b"+PO"[..], Verdict::Part),
            (b"+PONG\r\n", Verdict::Healthy),
            (b"-NOAUTH Authentication required.\r\n", Verdict::Healthy),
            (b"-LOADING Redis is loading", Verdict::Unhealthy(None)),
        ] {
            assert_eq!(verdict(&pong, said), expected, "{said:?}");
        }
        let ready = TcpExpect::Contains(b"ready".to_vec());
        assert_eq!(verdict(&ready, b"not rea"), Verdict::Part);
        assert_eq!(verdict(&ready, b"so ready now"), Verdict::Healthy);
    }

    #[test]
    fn a_mysql_server_greets_or_says_why_not() {
        let expect = TcpExpect::MySqlGreeting;
        assert_eq!(verdict(&expect, b"\x4a\0\0\0\x0a8.0.36"), Verdict::Healthy);
        assert_eq!(verdict(&expect, b"\x4a\0\0"), Verdict::Part);
        let full = b"\x17\0\0\0\xff\x10\x04Too many connections";
        assert_eq!(verdict(&expect, full), Verdict::Unhealthy(Some("Too many connections".to_owned())));
        assert_eq!(verdict(&expect, &full[..9]), Verdict::Part);
        assert_eq!(verdict(&expect, b"HTTP/1.1 400"), Verdict::Unhealthy(None));
    }
}
