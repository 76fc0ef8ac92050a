//! What a filter is built with, besides its parameters.

use std::any::Any;

use evenkeel_config::template;
use evenkeel_core::Moment;
use evenkeel_http::message::{Escape, Phase, Scope, Template};
use tokio::runtime::Handle;
use tokio::task::AbortHandle;

use super::{Filter, FilterError};

/// What a filter is built with, besides its parameters.
///
/// A filter can be built without ever being used: for `check`, for the dry run of a reload, for a reload that is then rejected.
/// So building it must change nothing outside of it, nor what the previous filter does.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct BuildContext<'a> {
    /// The name of the route; empty for a filter of a listener, and for one that routes and listeners share.
    pub route: &'a str,
    /// The name of the filter, if it is one of the top-level `filters`: routes and listeners share those.
    pub name: Option<&'a str>,
    /// How many workers will call the filter. Workers run on different cores: what each request writes is best kept for each
    /// worker apart.
    pub workers: usize,
    /// The time, by the process's clock: what [`Request::now`](super::Request::now) is later. Zero where the filter is built only
    /// to be checked.
    pub now: Moment,
    /// What placeholders can name, besides the request.
    scope: Scope<'a>,
    previous: Option<&'a dyn Filter>,
    runtime: Option<&'a Handle>,
}

/// A task that a filter runs in the background. Dropping it ends the task.
#[derive(Debug)]
#[must_use = "dropping it ends the task"]
pub struct Task(Option<AbortHandle>);

// === impl BuildContext ===

impl<'a> BuildContext<'a> {
    /// For a filter of this route that nothing runs: as for `check`, or for a test of the filter.
    pub fn new(route: &'a str, workers: usize) -> Self {
        let (now, name, scope) = (Moment::default(), None, Scope::default());
        Self { route, name, workers, now, scope, previous: None, runtime: None }
    }

    /// For a filter whose placeholders can name these.
    #[must_use]
    pub fn with_scope(mut self, scope: Scope<'a>) -> Self {
        self.scope = scope;
        self
    }

    /// Compiles a template of a parameter (`set.x-user`; empty for all of them), for a use, with the placeholders that are known
    /// in a phase. See [docs/placeholders.md](https://github.com/evenkeel/evenkeel/blob/main/docs/placeholders.md).
    ///
    /// # Errors
    /// If it is no template: an unknown placeholder, or a variable of another product.
    pub fn template(
        &self,
        path: &str,
        text: &str,
        escape: Escape,
        phase: Phase,
    ) -> Result<Template, FilterError> {
        template(text, escape, phase, self.scope)
            .map_err(|fault| FilterError::new(path, fault.expected()).suggestion(fault.suggestion))
    }

    /// The filter that is replaced: of the same type, in the route of the same name. The new one can take over its state, so that
    /// a reload forgets nothing. `None` at the start, and for a new route.
    pub fn previous<T: Filter>(&self) -> Option<&'a T> {
        let previous: &'a dyn Any = self.previous?;
        previous.downcast_ref()
    }

    /// Runs a task in the background, such as one that refreshes keys. It runs on the runtime of
    /// [`Server::run`](crate::Server::run), not on a worker, until the returned value is dropped. So the filter keeps that
    /// value. Does nothing where the filter is built only to be checked.
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) -> Task {
        Task(self.runtime.map(|runtime| runtime.spawn(task).abort_handle()))
    }

    /// For a filter with this name, if it has one.
    pub(crate) fn named(mut self, name: Option<&'a str>) -> Self {
        self.name = name;
        self
    }

    /// For a filter that will run from now on, and perhaps replaces another one.
    pub(crate) fn live(
        mut self,
        previous: Option<&'a dyn Filter>,
        runtime: Option<&'a Handle>,
        now: Moment,
    ) -> Self {
        (self.previous, self.runtime, self.now) = (previous, runtime, now);
        self
    }
}

// === impl Task ===

impl Drop for Task {
    fn drop(&mut self) {
        if let Some(task) = &self.0 {
            task.abort();
        }
    }
}
