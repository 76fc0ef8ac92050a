//! Owns what is running, and alone publishes it: model → plan → start → drain.
//!
//! This room never prints.

mod apply;
mod backend_change;
mod backends;
mod board;
mod certificates;
mod change;
mod checks;
mod discovery;
mod event_log;
mod explain;
mod extensions;
mod files;
mod filters;
mod handle;
mod keeper;
mod limits;
mod live;
mod loops;
mod overload;
mod overrides;
mod plan;
mod prober;
mod resolve;
mod running;
mod set;
mod signals;
mod state;
mod status;
mod trust;
mod upstream;

pub use backend_change::{BackendUpdate, Change, ChangeError, ChangeRequest, Changed, WeightUpdate};
pub use explain::{
    BackendExplanation, Basis, ChoiceExplanation, ClientExplanation, CookieExplanation, Described,
    DescribedError, Explanation, FilterExplanation, HashExplanation, Outcome, PassedOver, Refused,
    UpstreamExplanation, VerdictKind,
};
pub use extensions::Extensions;
pub use handle::{SetChange, UpstreamGone, UpstreamHandle};
pub use plan::{Plan, PlanError};
pub use running::{Running, StartError};
pub use signals::{SignalAction, Signals};
pub use state::{ListenerState, State};
