//! What a client gets, read strictly.

use super::strict::{self, Fault, Framing};

pub struct Answer {
    pub status: u16,
    pub body: Vec<u8>,
    /// As far as a client can tell.
    pub whole: bool,
    /// Whether it ends with the connection: then it may be cut off, and no client can tell.
    pub until_close: bool,
}

/// The final responses in what arrived until the connection ended. Only the last one can be incomplete.
///
/// With `may_be_head`, any of them may be to a HEAD, if the rest is valid then: requests that the balancer responds to
/// itself are not known here, so it is unknown which response belongs to which request.
pub fn read(bytes: &[u8], may_be_head: bool, reset: bool) -> Result<Vec<Answer>, Fault> {
    if bytes.is_empty() {
        return Ok(Vec::new());
    }
    let Some(head) = strict::answer_head(bytes)? else {
        // A reset may take away what was sent before.
        let cut = format!("a response has no end: {:?}", bytes.escape_ascii().to_string());
        return if reset { Ok(Vec::new()) } else { Err(cut) };
    };
    let status: u16 = head.line[1].parse().map_err(|_| format!("the status {:?}", head.line[1]))?;
    let rest = &bytes[head.length..];
    let as_method = |method| {
        let framing = head.answer_framing(method)?;
        let body = strict::body(framing, rest)?;
        let whole = body.end.is_some() || (framing == Framing::Close && !reset);
        let mut answers = read(&rest[body.end.unwrap_or(rest.len())..], may_be_head, reset)?;
        if !(100..200).contains(&status) || status == 101 {
            answers.insert(
                0,
                Answer { status, body: body.bytes, whole, until_close: framing == Framing::Close },
            );
        }
        Ok(answers)
    };
    match as_method("GET") {
        Err(_) if may_be_head => as_method("HEAD"),
        result => result,
    }
}

/// Whether they can be the same response.
impl PartialEq for Answer {
    fn eq(&self, other: &Self) -> bool {
        let cut = (self.until_close && other.body.starts_with(&self.body))
            || (other.until_close && self.body.starts_with(&other.body));
        self.status == other.status && (self.body == other.body || cut)
    }
}

impl std::fmt::Debug for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {:?}", self.status, self.body.escape_ascii().to_string())
    }
}
