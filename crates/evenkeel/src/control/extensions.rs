//! What the program brings along for the configuration to name, and what the process was given.
//!
//! It never knows which of it a configuration uses.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use evenkeel_core::balance::Balancer;

use crate::discovery::Discovery;
use crate::filter::Registry;
use crate::listen::{Inherited, Sharing};
use crate::probe::Check;

/// What the program brings along for the configuration to name.
#[derive(Clone, Debug, Default)]
pub struct Extensions {
    /// Kinds of filters.
    pub filters: Registry,
    /// Algorithms by name.
    pub algorithms: Factories<Arc<dyn Balancer>>,
    /// Health checks by name.
    pub checks: Factories<Arc<dyn Check>>,
    /// Sources of backends by name.
    pub sources: Factories<Box<dyn Discovery>>,
    /// Listening sockets that the process was given. Listeners on their addresses use them.
    pub sockets: Vec<Inherited>,
    /// Whether another process may listen on the same addresses.
    pub sharing: Sharing,
    /// How memory is given back to the system, if the program's allocator must be told to.
    pub give_back: Option<fn()>,
}

/// What makes extensions of one kind, by the names that a configuration uses.
pub struct Factories<T>(HashMap<String, Arc<dyn Fn() -> T + Send + Sync>>);

// === impl Factories ===

impl<T> Factories<T> {
    /// Adds one. It replaces one of the same name.
    pub fn insert(&mut self, name: String, make: impl Fn() -> T + Send + Sync + 'static) {
        self.0.insert(name, Arc::new(make));
    }

    /// Makes one, if the program registered this name.
    pub fn make(&self, name: &str) -> Option<T> {
        self.0.get(name).map(|make| make())
    }

    /// Whether the program registered this name.
    pub fn knows(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }
}

impl<T> Clone for Factories<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T> Default for Factories<T> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<T> fmt::Debug for Factories<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}
