//! In which form the paths of requests are matched and forwarded.

/// In which form the paths of requests are matched and forwarded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Paths {
    /// The path that routes and filters see. Default [`PathForm::Normal`].
    pub matching: PathForm,
    /// The path that backends get, unless a filter makes another one. Default [`PathForm::AsSent`].
    pub forward: PathForm,
}

/// A form of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PathForm {
    /// As the client sent it.
    AsSent,
    /// The normal form: see [`normal_path`](evenkeel_core::route::normal_path).
    Normal,
}

// === impl Paths ===

impl Paths {
    pub(crate) fn new(matching: PathForm, forward: PathForm) -> Self {
        Self { matching, forward }
    }
}

impl Default for Paths {
    fn default() -> Self {
        Self { matching: PathForm::Normal, forward: PathForm::AsSent }
    }
}
