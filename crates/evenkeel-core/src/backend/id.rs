//! What tells an upstream's backends apart while its set changes: an id that is valid for as long as the backend belongs to
//! the upstream, and maps by such ids.

slotmap::new_key_type! {
    /// Identifies a backend within its upstream: an index with a generation. The id of a removed backend is never given to
    /// another one, so what still refers to it (a probe that has just ended) reaches nothing.
    pub struct BackendId;
}

/// The backends of an upstream by their ids: inserting one gives it its id.
pub type BackendIds<T> = slotmap::SlotMap<BackendId, T>;

/// What else is known of backends that have their ids from [`BackendIds`].
pub type BackendMap<T> = slotmap::SecondaryMap<BackendId, T>;
