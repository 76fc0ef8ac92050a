//! Requests that were accepted right before.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use evenkeel_core::Moment;
use parking_lot::Mutex;
use ring::hmac;
use ring::rand::SystemRandom;

use super::Granted;
use crate::filter::Request;
use crate::filter::place::Place;

/// Requests that were accepted right before, by everything that the decision depends on. Bounded in memory.
pub(super) struct Cache {
    by: Vec<Place>,
    keep: Duration,
    /// What names requests in memory: no secret of a client is kept.
    secret: hmac::Key,
    /// A lock on the way of a request: it saves the way to the service.
    known: Mutex<HashMap<Tag, (Moment, Arc<Granted>)>>,
}

/// A request, so that no one can tell which.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Tag([u8; 32]);

/// How many requests are remembered.
const MOST: usize = 10_000;

// === impl Cache ===

impl Cache {
    /// Nothing yet; `None` if nothing is to be remembered.
    pub(super) fn new(by: Vec<Place>, keep: Duration) -> Option<Self> {
        if by.is_empty() || keep.is_zero() {
            return None;
        }
        // Without randomness nothing is remembered.
        let secret = hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new()).ok()?;
        Some(Self { by, keep, secret, known: Mutex::default() })
    }

    /// What a request is remembered by. `None` if it has nothing that tells who it is from.
    pub(super) fn tag(&self, request: &Request<'_>) -> Option<Tag> {
        let mut context = hmac::Context::with_key(&self.secret);
        let mut add = |part: &[u8]| {
            context.update(&(part.len() as u64).to_ne_bytes());
            context.update(part);
        };
        let head = request.head;
        let client = request.client.map(|client| client.to_string()).unwrap_or_default();
        for part in [head.method(), head.authority(), head.path(), head.query().unwrap_or_default(), &client]
        {
            add(part.as_bytes());
        }
        let mut has_any = false;
        for place in &self.by {
            match place.find(head) {
                // Several values: not to be remembered.
                Some((_, true)) => return None,
                Some((value, false)) => {
                    has_any = true;
                    add(&value);
                }
                None => add(&[]),
            }
        }
        has_any.then(|| context.sign().as_ref().try_into().ok().map(Tag)).flatten()
    }

    /// What the service said of this request, unless that is too long ago.
    pub(super) fn find(&self, tag: Tag, now: Moment) -> Option<Arc<Granted>> {
        let known = self.known.lock();
        let (since, granted) = known.get(&tag)?;
        (now.since(*since) < self.keep).then(|| granted.clone())
    }

    pub(super) fn remember(&self, tag: Tag, now: Moment, granted: Arc<Granted>) {
        let mut known = self.known.lock();
        if known.len() >= MOST {
            known.retain(|_, (since, _)| now.since(*since) < self.keep);
        }
        if known.len() >= MOST {
            known.clear();
        }
        known.insert(tag, (now, granted));
    }
}

impl fmt::Debug for Cache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cache").field("by", &self.by).field("keep", &self.keep).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::{Cache, MOST, Place, Tag};
    use evenkeel_core::Moment;
    use std::sync::Arc;
    use std::time::Duration;

    fn tag(number: usize) -> Tag {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&number.to_ne_bytes());
        Tag(bytes)
    }

    #[test]
    fn what_is_remembered_ends_and_is_bounded() {
        let by = vec![Place::Cookie("session".to_owned())];
        assert!(Cache::new(Vec::new(), Duration::from_secs(1)).is_none());
        assert!(Cache::new(by.clone(), Duration::ZERO).is_none());
        let cache = Cache::new(by, Duration::from_secs(10)).unwrap();
        let at = |seconds: u64| Moment::from_micros(seconds * 1_000_000);
        cache.remember(tag(0), at(5), Arc::default());
        assert!(cache.find(tag(0), at(14)).is_some() && cache.find(tag(1), at(14)).is_none());
        assert!(cache.find(tag(0), at(15)).is_none());
        for number in 0..MOST {
            cache.remember(tag(number), at(20), Arc::default());
        }
        assert_eq!(cache.known.lock().len(), MOST);
        cache.remember(tag(MOST), at(29), Arc::default());
        assert_eq!(cache.known.lock().len(), 1, "full of what is still good: it starts again");
        cache.remember(tag(0), at(40), Arc::default());
        assert!(cache.find(tag(0), at(40)).is_some());
    }
}
