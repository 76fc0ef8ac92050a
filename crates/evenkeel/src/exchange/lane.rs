//! Which data path carries a request, for records and metrics.

/// Which data path carries a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Lane {
    /// None: it was refused before one took it.
    None,
    /// The lean lane, for plain HTTP/1.1.
    Lean,
    /// Pingora's proxy.
    Pingora,
}

// === impl Lane ===

impl Lane {
    /// What the access log and the metrics call it; nothing if there was none.
    pub fn name(self) -> Option<&'static str> {
        match self {
            Self::None => None,
            Self::Lean => Some("lean"),
            Self::Pingora => Some("pingora"),
        }
    }
}
