//! The balancer as a program sees it: configured, started, run to its end.

use std::error::Error;
use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use evenkeel_config::{Config, ConfigError, ListenAddress};
use evenkeel_core::balance::Balancer;
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use tokio::task::JoinSet;

use crate::admin::{Admin, AdminError};
use crate::control::{Extensions, Running, SignalAction, Signals, StartError, State};
use crate::discovery::Discovery;
use crate::filter::{BuildContext, Filter, FilterError, Registry};
use crate::handle::{Drain, Handle, Source, Started};
use crate::listen::{Inherited, Sharing};
use crate::probe::Check;

/// A load balancer: configured, then [`run`](Server::run).
///
/// ```no_run
/// use evenkeel::prelude::*;
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let config = ConfigBuilder::new()
///     .listen_address("127.0.0.1:8080")
///     .upstream_servers(["http://127.0.0.1:8081", "http://127.0.0.1:8082"])
///     .build();
/// Server::new(config).run().await?;
/// # Ok(())
/// # }
/// ```
pub struct Server {
    config: Config,
    extensions: Extensions,
    source: Option<Source>,
    started: Option<Arc<Started>>,
}

/// Why a balancer did not start, or ended too soon.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServerError {
    /// The configuration is wrong.
    #[error(transparent)]
    Config(ConfigError),
    /// What the configuration asks for could not be had.
    #[error(transparent)]
    Start(StartError),
    /// The admin address could not be had.
    #[error(transparent)]
    Admin(#[from] AdminError),
    /// Signals cannot be caught.
    #[error("cannot catch signals: {0}")]
    Signals(#[source] io::Error),
    /// A worker's thread ended that was not asked to.
    #[error("a worker thread panicked")]
    Broken,
}

/// A second signal to end within this time of the first one counts as the same signal.
const SAME_SIGNAL: Duration = Duration::from_secs(1);

// === impl Server ===

impl Server {
    /// A balancer with this configuration. Nothing happens until it is started or run.
    pub fn new(config: Config) -> Self {
        let extensions = Extensions::default();
        Self { config, extensions, source: None, started: None }
    }

    /// Sets all kinds of filters that the configuration can use. Default: [`Registry::builtin`].
    #[must_use]
    pub fn filters(mut self, registry: Registry) -> Self {
        self.extensions.filters = registry;
        self
    }

    /// With a kind of filter of your own, for the configuration to name: `filters: [{ NAME: … }]`, besides those that there are.
    /// One is made for each place that names it. In code, a route takes a value: `RouteBuilder::filter_value`.
    ///
    /// ```
    /// use evenkeel::prelude::*;
    ///
    /// #[derive(Debug)]
    /// struct Hello(String);
    ///
    /// impl Filter for Hello {
    ///     fn on_request(&self, _: &mut Request<'_>) -> Verdict {
    ///         Verdict::Answer(Answer::new(200).body(self.0.clone()))
    ///     }
    /// }
    ///
    /// let config = Config::from_yaml(
    ///     "
    ///     listeners: [{ address: 127.0.0.1:8080 }]
    ///     routes: [{ name: all, filters: [{ hello: world }], upstream: web }]
    ///     upstreams: { web: { backends: ['http://127.0.0.1:8081'] } }
    ///     ",
    ///     "evenkeel.yaml",
    ///     &|_| None,
    /// )?;
    /// let server = Server::new(config).filter("hello", |text: String, _| Ok(Hello(text)));
    /// assert!(server.check().is_empty());
    /// # Ok::<(), ConfigError>(())
    /// ```
    #[must_use]
    pub fn filter<P, F>(
        mut self,
        name: &'static str,
        make: impl Fn(P, &BuildContext<'_>) -> Result<F, FilterError> + Send + Sync + 'static,
    ) -> Self
    where
        P: DeserializeOwned + JsonSchema,
        F: Filter,
    {
        self.extensions.filters = self.extensions.filters.with_factory(name, make);
        self
    }

    /// With an algorithm of your own, for the configuration to name: `algorithm: { custom: NAME }`. One is made for each upstream
    /// that names it. In code, an upstream takes a value: [`LoadBalancingAlgorithm::Custom`](evenkeel_core::balance::LoadBalancingAlgorithm::Custom).
    ///
    /// ```
    /// use evenkeel::algorithm::Snapshot;
    /// use evenkeel::prelude::*;
    ///
    /// #[derive(Debug)]
    /// struct First;
    ///
    /// impl Balancer for First {
    ///     fn pick(&self, candidates: &Snapshot, request: &mut Pick<'_>) -> Option<usize> {
    ///         (0..candidates.members().len()).find(|index| !request.tried.contains(*index))
    ///     }
    /// }
    ///
    /// let config = Config::from_yaml(
    ///     "
    ///     listeners: [{ address: 127.0.0.1:8080 }]
    ///     upstreams: { web: { algorithm: { custom: first }, backends: ['http://127.0.0.1:8081'] } }
    ///     ",
    ///     "evenkeel.yaml",
    ///     &|_| None,
    /// )?;
    /// let server = Server::new(config).algorithm("first", || First);
    /// assert!(server.check().is_empty());
    /// # Ok::<(), ConfigError>(())
    /// ```
    #[must_use]
    pub fn algorithm<B: Balancer>(
        mut self,
        name: impl Into<String>,
        make: impl Fn() -> B + Send + Sync + 'static,
    ) -> Self {
        self.extensions.algorithms.insert(name.into(), move || Arc::new(make()));
        self
    }

    /// With a health check of your own, for the configuration to name: `health_check: { custom: NAME }`. One is made for each
    /// upstream that names it. In code, an upstream takes a value: [`HealthCheckBuilder::value`](crate::health_check::CheckValue).
    #[must_use]
    pub fn health_check<C: Check>(
        mut self,
        name: impl Into<String>,
        make: impl Fn() -> C + Send + Sync + 'static,
    ) -> Self {
        self.extensions.checks.insert(name.into(), move || Arc::new(make()));
        self
    }

    /// With a source of backends of your own, for the configuration to name: `discovery: { custom: NAME }`. One is made
    /// for each upstream that names it. In code, an upstream takes a value:
    /// [`DiscoveryBuilder::value`](crate::discovery::DiscoveryValue).
    #[must_use]
    pub fn discovery<D: Discovery>(
        mut self,
        name: impl Into<String>,
        make: impl Fn() -> D + Send + Sync + 'static,
    ) -> Self {
        self.extensions.sources.insert(name.into(), move || Box::new(make()));
        self
    }

    /// Sets listening sockets that the program was given, by systemd for example: a listener of the configuration whose address is
    /// that of a socket accepts connections from it and binds nothing. Connections that wait in such a socket when the server
    /// ends stay there for the next process. A socket whose address is no listener's is not used, and
    /// logged. Default: none.
    ///
    /// # Errors
    /// When one of them is not a listening TCP or Unix stream socket.
    pub fn listening_sockets(
        mut self,
        sockets: impl IntoIterator<Item = OwnedFd>,
    ) -> Result<Self, ServerError> {
        let sockets = sockets.into_iter().map(Inherited::new).collect::<Result<_, _>>();
        self.extensions.sockets = sockets.map_err(|error| ServerError::Start(error.into()))?;
        Ok(self)
    }

    /// Listens also where another process of the same user listens, if that allows it, as every evenkeel does (`SO_REUSEPORT`):
    /// for a restart in which the new process begins before the old one ends. The system deals new connections out to
    /// both. Default: an address in use is an error, since two servers on one address are a mistake most of the time.
    #[must_use]
    pub fn reuse_port(mut self) -> Self {
        self.extensions.sharing = Sharing::Allowed;
        self
    }

    /// With what makes the program's allocator give back to the system what was freed, if it does not do so by itself. It is
    /// called on a worker's own thread, at most once a second, after most of its connections have gone.
    #[must_use]
    pub fn give_back_memory(mut self, give_back: fn()) -> Self {
        self.extensions.give_back = Some(give_back);
        self
    }

    /// Sets where the configuration is read from on SIGHUP and on `POST /reload` to the admin address. The closure may block:
    /// usually it reads a file.
    #[must_use]
    pub fn reload_from<E>(mut self, source: impl Fn() -> Result<Config, E> + Send + Sync + 'static) -> Self
    where
        E: Into<Box<dyn Error + Send + Sync>>,
    {
        self.source = Some(Arc::new(move || source().map_err(Into::into)));
        self
    }

    /// Runs until SIGTERM, SIGQUIT or SIGINT, and then until the last request has ended, at the latest for the configured
    /// `drain_timeout`. A second of these signals ends it at once, unless it comes within a second of the first one: a
    /// terminal and a supervisor often send the same signal twice. SIGUSR1 opens the access log's file again. SIGHUP reads the
    /// configuration again, if [`reload_from`](Server::reload_from) says where, and puts it in force; the result is
    /// logged. SIGUSR2 changes nothing and is logged.
    ///
    /// Starts the balancer if that was not done yet. Any tokio runtime will do; connections are served on threads of their
    /// own.
    ///
    /// # Errors
    /// Why it did not start: see [`ServerError`].
    pub async fn run(&mut self) -> Result<(), ServerError> {
        let mut signals = Signals::new().map_err(ServerError::Signals)?;
        let begun = self.started.is_none();
        self.begin().await?;
        let Some(started) = self.started.clone() else { return Ok(()) };
        let running = &started.running;
        let serve = async {
            if begun {
                started.running.open_listeners().await;
            }
            running.broken().await;
        };
        let quick = tokio::select! {
            quick = until_ended(&mut signals, &started) => Some(quick),
            // It drains already.
            () = started.drain.begins.notified() => None,
            () = serve => return Err(ServerError::Broken),
        };
        let first = Instant::now();
        let second = async {
            until_ended(&mut signals, &started).await;
            while first.elapsed() < SAME_SIGNAL {
                log::info!("draining already: another signal within {SAME_SIGNAL:?} has no effect");
                until_ended(&mut signals, &started).await;
            }
        };
        let ended = async {
            match quick {
                Some(quick) => running.end(quick).await,
                None => started.drain.ends.notified().await,
            }
        };
        tokio::select! {
            () = ended => {}
            () = second => log::warn!("stopped by a second signal: open requests were cut"),
        }
        drop(started);
        self.stop();
        Ok(())
    }

    /// Runs until `shutdown` resolves, and then until the last request has ended, as [`run`](Server::run) does; catches no
    /// signals.
    ///
    /// # Errors
    /// Why it did not start: see [`ServerError`].
    pub async fn run_until(&mut self, shutdown: impl Future<Output = ()>) -> Result<(), ServerError> {
        self.start().await?;
        let Some(started) = &self.started else { return Ok(()) };
        let drains = tokio::select! {
            () = shutdown => false,
            () = started.drain.begins.notified() => true,
            () = started.running.broken() => return Err(ServerError::Broken),
        };
        if drains {
            started.drain.ends.notified().await;
        } else {
            started.running.end(false).await;
        }
        self.stop();
        Ok(())
    }

    /// Starts the balancer and returns: from here on it accepts connections. Does nothing when it is started. If upstreams have
    /// sources of backends, it waits for their first sets, each for its `start_timeout` at most.
    ///
    /// Dropping a started server ends it with all its connections.
    ///
    /// # Errors
    /// Why it did not start; nothing is left behind then.
    pub async fn start(&mut self) -> Result<(), ServerError> {
        if self.started.is_some() {
            return Ok(());
        }
        self.begin().await?;
        if let Some(started) = &self.started {
            started.running.open_listeners().await;
        }
        Ok(())
    }

    /// Everything of a start that can fail. Nothing is accepted yet.
    async fn begin(&mut self) -> Result<(), ServerError> {
        if self.started.is_some() {
            return Ok(());
        }
        let model = self.config.model().map_err(|error| ServerError::Config(error.clone()))?;
        let running = Running::start(model, &self.extensions).await.map_err(|error| match error {
            StartError::Config(error) => ServerError::Config(error),
            error => ServerError::Start(error),
        })?;
        let (admin, source) = (parking_lot::Mutex::default(), self.source.clone());
        let started = Arc::new(Started { running, admin, source, drain: Drain::default() });
        if let Some(admin) = &model.admin {
            let handle = Arc::new(Handle::new(&started));
            *started.admin.lock() = Some(Admin::start(admin, started.running.state().clone(), handle).await?);
        }
        started.running.warn_of_limits(model);
        self.started = Some(started);
        Ok(())
    }

    /// Ends a started balancer at once, with all its connections.
    pub fn stop(&mut self) {
        if let Some(started) = self.started.take() {
            // It refers to the balancer by its handle, and to its state.
            *started.admin.lock() = None;
        }
    }

    /// What it was made with.
    pub(crate) fn config(&self) -> &Config {
        &self.config
    }

    /// What the program brings along.
    pub(crate) fn extensions(&self) -> &Extensions {
        &self.extensions
    }

    /// What is running, once it is started.
    pub fn state(&self) -> Option<&Arc<State>> {
        self.started.as_ref().map(|started| started.running.state())
    }

    /// Controls the balancer from elsewhere in the program, once it is started: reload, drain, look.
    pub fn handle(&self) -> Option<Handle> {
        self.started.as_ref().map(Handle::new)
    }

    /// The addresses that it listens on, with their real ports, in the configured order; empty until it is started.
    pub fn addresses(&self) -> Vec<ListenAddress> {
        let listeners = self.state().map(|state| state.listeners()).unwrap_or_default();
        listeners.into_iter().map(|listener| listener.address).collect()
    }

    /// How many threads serve connections, once it is started.
    pub fn workers(&self) -> Option<usize> {
        self.state().map(|state| state.workers())
    }

    /// The admin address, with its real port, once it is started.
    pub fn admin_address(&self) -> Option<std::net::SocketAddr> {
        self.started.as_ref()?.admin.lock().as_ref().map(Admin::address)
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { config, extensions, source, started } = self;
        f.debug_struct("Server")
            .field("config", config)
            .field("extensions", extensions)
            .field("reloads", &source.is_some())
            .field("started", started)
            .finish()
    }
}

/// Obeys signals until one asks for the end. Gives whether it asks for a quick one.
async fn until_ended(signals: &mut Signals, started: &Arc<Started>) -> bool {
    let mut reloads = JoinSet::new();
    loop {
        let order = tokio::select! {
            order = signals.next() => order,
            Some(_) = reloads.join_next() => continue,
        };
        match order {
            SignalAction::Drain => return false,
            SignalAction::Quit => return true,
            SignalAction::Reopen => started.running.reopen_log().await,
            SignalAction::Reload => {
                let handle = Handle::new(started);
                // Not waited for: a signal to end must not wait for a slow resolver. The result is logged.
                reloads.spawn(async move { handle.reload_again(false).await.is_ok() });
            }
            SignalAction::Upgrade => {
                log::warn!("SIGUSR2: binary upgrade is not supported yet: nothing was changed");
            }
        }
    }
}
