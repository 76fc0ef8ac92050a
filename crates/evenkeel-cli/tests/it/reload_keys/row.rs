//! A key, and what a reload that changes it is seen to do.

use std::pin::Pin;

use serde_json::Value;

use super::world::World;
use crate::support::{Lane, lane};

/// What an effect looks like: text, to be compared.
pub(super) type Seen<'a> = Pin<Box<dyn Future<Output = String> + Send + 'a>>;

/// How to look for an effect.
pub(super) type Look = Box<dyn for<'a> Fn(&'a World) -> Seen<'a> + Send + Sync>;

/// One key.
pub(super) struct Row {
    key: &'static str,
    /// `Null` stands for a key that is not there.
    from: Value,
    to: Value,
    /// What else the configuration has, before and after.
    with: Vec<(&'static str, Value)>,
    effect: Effect,
    lean: bool,
}

enum Effect {
    Seen {
        look: Look,
        before: Option<&'static str>,
        after: &'static str,
    },
    /// The reload is rejected with a message that contains this.
    Rejected(&'static str),
}

/// A row: `key` is changed from one value to another, and `look` sees it.
pub(super) fn row(
    key: &'static str,
    from: impl Into<Value>,
    to: impl Into<Value>,
    look: impl for<'a> Fn(&'a World) -> Seen<'a> + Send + Sync + 'static,
) -> Row {
    let effect = Effect::Seen { look: Box::new(look), before: None, after: "" };
    Row { key, from: from.into(), to: to.into(), with: Vec::new(), effect, lean: false }
}

/// A key that only a restart can change: the reload is rejected and says so.
pub(super) fn restart(key: &'static str, from: impl Into<Value>, to: impl Into<Value>) -> Row {
    rejected(key, from, to, "this needs a restart")
}

/// A key that the schema has here and that is not accepted here: the message says what is wrong.
pub(super) fn rejected(
    key: &'static str,
    from: impl Into<Value>,
    to: impl Into<Value>,
    message: &'static str,
) -> Row {
    let effect = Effect::Rejected(message);
    Row { key, from: from.into(), to: to.into(), with: Vec::new(), effect, lean: false }
}

// === impl Row ===

impl Row {
    pub(super) fn key(&self) -> &'static str {
        self.key
    }

    /// What is seen before the reload and after it.
    pub(super) fn shows(mut self, first: &'static str, then: &'static str) -> Self {
        if let Effect::Seen { before, after, .. } = &mut self.effect {
            (*before, *after) = (Some(first), then);
        }
        self
    }

    /// What is seen after the reload, where to look before it would take too long: the value before would let the test run
    /// out of time.
    pub(super) fn shows_then(mut self, then: &'static str) -> Self {
        if let Effect::Seen { after, .. } = &mut self.effect {
            *after = then;
        }
        self
    }

    /// Another key of the configuration, the same before and after.
    pub(super) fn with(mut self, key: &'static str, value: impl Into<Value>) -> Self {
        self.with.push((key, value.into()));
        self
    }

    /// The key has no effect in Pingora's lane: docs/lanes.md says so.
    pub(super) fn lean(mut self) -> Self {
        self.lean = true;
        self
    }

    /// Whether it holds; else what was seen instead.
    pub(super) async fn hold(self) -> Result<(), String> {
        if self.lean && lane() == Lane::Pingora {
            return Ok(());
        }
        let mut with = self.with;
        with.push((self.key, self.from));
        let world = World::start(with).await;
        let (look, before, after) = match self.effect {
            Effect::Seen { look, before, after } => (look, before, after),
            Effect::Rejected(message) => {
                let result = world.change(self.key, self.to).await;
                let error = result.err().ok_or("the reload was not rejected")?;
                return if error.contains(message) { Ok(()) } else { Err(error) };
            }
        };
        assert!(!after.is_empty(), "{}: say what the effect is", self.key);
        if let Some(before) = before {
            let seen = look(&world).await;
            if seen != before {
                return Err(format!("before the reload: {seen:?}, expected {before:?}"));
            }
        }
        let changes = world.change(self.key, self.to).await?;
        if changes.is_empty() {
            return Err("the reload found no change".to_owned());
        }
        let seen = look(&world).await;
        if seen == after { Ok(()) } else { Err(format!("{changes:?}: {seen:?}, expected {after:?}")) }
    }
}
