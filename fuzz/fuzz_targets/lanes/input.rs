//! What an input means. Its first byte is a set of flags. Then comes what the client sends, and then, each after an
//! [`ANSWER`], what the backend can send.

use std::fmt;

/// Starts a response of the backend.
pub const ANSWER: u8 = 0xfe;

/// What follows is sent on its own, a little later.
pub const PAUSE: u8 = 0xfd;

/// At the end of a response: the connection is closed after it.
pub const CLOSE: u8 = 0xfc;

/// At the end of a response: the connection is reset after it.
pub const RESET: u8 = 0xfb;

/// The client does not send [`LAST`] in the end.
const BARE: u8 = 1;

/// The client closes its half at once, and not only when it has got nothing for a while.
const HALF: u8 = 2;

/// The backend responds as soon as it has a head.
const EARLY: u8 = 4;

/// A sound request, which ends the connection.
const LAST: &[u8] = b"GET /own/last HTTP/1.1\r\nHost: last\r\nConnection: close\r\n\r\n";

pub struct Input {
    /// What the client sends, in pieces.
    pub client: Vec<Vec<u8>>,
    pub half: bool,
    pub early: bool,
    /// The responses of the backend.
    pub answers: Vec<Script>,
}

#[derive(Clone)]
pub struct Script {
    pub pieces: Vec<Vec<u8>>,
    pub then: Then,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    Stay,
    Close,
    Reset,
}

impl Input {
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let (&flags, rest) = bytes.split_first()?;
        let mut parts = rest.split(|byte| *byte == ANSWER);
        let mut client = pieces(parts.next()?);
        if flags & BARE == 0 {
            client.last_mut()?.extend_from_slice(LAST);
        }
        let answers = parts.map(Script::parse).collect();
        Some(Self { client, half: flags & HALF != 0, early: flags & EARLY != 0, answers })
    }

    /// Whether there may be a request of HEAD.
    pub fn may_be_head(&self) -> bool {
        self.client.concat().windows(4).any(|four| four == b"HEAD")
    }

    /// The response to a request for this target, the same in both lanes and for every repetition; `None` for a valid
    /// one.
    pub fn answer(&self, target: &str) -> Option<Script> {
        let sum = target.bytes().map(usize::from).sum::<usize>();
        let own = target.starts_with("/own/");
        self.answers.get(sum.checked_rem(self.answers.len())?).filter(|_| !own).cloned()
    }
}

impl Script {
    fn parse(bytes: &[u8]) -> Self {
        let (bytes, then) = match bytes {
            [bytes @ .., CLOSE] => (bytes, Then::Close),
            [bytes @ .., RESET] => (bytes, Then::Reset),
            bytes => (bytes, Then::Stay),
        };
        Self { pieces: pieces(bytes), then }
    }
}

fn pieces(bytes: &[u8]) -> Vec<Vec<u8>> {
    bytes.split(|byte| *byte == PAUSE).map(<[u8]>::to_vec).collect()
}

impl fmt::Debug for Input {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let half = if self.half { ", and closes its half at once" } else { "" };
        writeln!(f, "the client sends{half}:")?;
        self.client.iter().try_for_each(|piece| writeln!(f, "  {:?}", piece.escape_ascii().to_string()))?;
        for Script { pieces, then } in &self.answers {
            writeln!(
                f,
                "the backend may respond, and then {then:?}{}:",
                if self.early { ", early" } else { "" }
            )?;
            pieces.iter().try_for_each(|piece| writeln!(f, "  {:?}", piece.escape_ascii().to_string()))?;
        }
        Ok(())
    }
}
