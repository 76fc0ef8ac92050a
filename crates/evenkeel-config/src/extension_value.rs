//! A program's own code in a configuration: by a name that it registers, or as a value.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

/// A health check or a source of backends that the program brings along.
#[derive(Clone, Debug, PartialEq)]
pub enum CustomExtension {
    /// What the program registers under this name.
    Named(String),
    /// A value from code.
    Value(ExtensionValue),
}

/// A filter, a health check or a source of backends that a program passes as a value. This crate does not know what it is: the
/// traits are a floor above.
#[derive(Clone)]
pub struct ExtensionValue(Arc<dyn Any + Send + Sync>);

// === impl ExtensionValue ===

impl ExtensionValue {
    /// The value, in whatever form the library expects it.
    pub fn new(value: impl Any + Send + Sync) -> Self {
        Self(Arc::new(value))
    }

    /// The value, if it is of this type.
    pub fn get<T: Any>(&self) -> Option<&T> {
        self.0.downcast_ref()
    }
}

/// Equal when they are the same value, not an equal one.
impl PartialEq for ExtensionValue {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl fmt::Debug for ExtensionValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ExtensionValue")
    }
}
