//! A filter that a program passes as a value.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

/// A filter that a program passes as a value. This crate does not know what it is: the registry is a floor above.
#[derive(Clone)]
pub struct FilterValue(Arc<dyn Any + Send + Sync>);

// === impl FilterValue ===

impl FilterValue {
    /// The value, in whatever form the registry expects it.
    pub fn new(value: impl Any + Send + Sync) -> Self {
        Self(Arc::new(value))
    }

    /// The value, if it is of this type.
    pub fn get<T: Any>(&self) -> Option<&T> {
        self.0.downcast_ref()
    }
}

/// Equal when they are the same value, not an equal one.
impl PartialEq for FilterValue {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl fmt::Debug for FilterValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FilterValue")
    }
}
