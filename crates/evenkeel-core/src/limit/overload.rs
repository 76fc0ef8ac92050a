//! How short the process is of memory or descriptors, and what it does about it.
//!
//! # The idea
//! Three levels by the share of a threshold that is in use. Close to the threshold, connections end with their request and idle
//! ones close: most of what is in use is usually theirs. At the threshold, new connections are rejected. A level ends well
//! below where it began, so that it does not come and go with every connection.

/// What the process does about a shortage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum OverloadLevel {
    /// Nothing: there is enough.
    #[default]
    Normal,
    /// Idle connections close, and others after their request.
    CloseIdle,
    /// New connections are rejected as well.
    Reject,
}

/// Where idle connections begin to close, as a share of the threshold.
const CLOSE_IDLE: f64 = 0.95;
/// How far below its beginning a level ends.
const MARGIN: f64 = 0.05;

// === impl OverloadLevel ===

impl OverloadLevel {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Normal, Self::CloseIdle, Self::Reject];

    /// The level after this one, with this share of the threshold in use.
    #[must_use]
    pub fn next(self, share: f64) -> Self {
        let begins = |level: Self| match level {
            Self::Normal => f64::NEG_INFINITY,
            Self::CloseIdle => CLOSE_IDLE,
            Self::Reject => 1.0,
        };
        let holds = |level: &Self| {
            let margin = if *level <= self { MARGIN } else { 0.0 };
            share >= begins(*level) - margin
        };
        Self::ALL.into_iter().rev().find(holds).unwrap_or_default()
    }

    /// The name in `/status`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Normal => "normal",
            Self::CloseIdle => "close_idle",
            Self::Reject => "reject",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::OverloadLevel::{self, CloseIdle, Normal, Reject};

    #[test]
    fn a_level_begins_at_its_share_and_ends_well_below() {
        let mut level = OverloadLevel::default();
        for (share, expected) in [
            (0.94, Normal),
            (0.95, CloseIdle),
            (0.99, CloseIdle),
            (0.91, CloseIdle),
            (0.89, Normal),
            (1.2, Reject),
            (0.96, Reject),
            (0.94, CloseIdle),
            (1.0, Reject),
            (0.5, Normal),
        ] {
            level = level.next(share);
            assert_eq!(level, expected, "{share}");
        }
    }
}
