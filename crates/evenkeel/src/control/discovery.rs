//! The sources of upstreams: followed from the start of an upstream to its end, each feeding the set of its upstream.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use arc_swap::ArcSwap;
use evenkeel_config::{Backend, BackendHost, CustomExtension, DiscoverySource, Model, Upstream};
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::Instant;

use super::extensions::Extensions;
use super::handle::{UpstreamGone, UpstreamHandle};
use super::live::Live;
use super::loops::OwnAddresses;
use super::plan::PlanError;
use super::running::Running;
use crate::discovery::{BackendSet, Discovery, File, Options, SourceFactory, Status, Subscription};

/// A source that an upstream follows.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) settings: evenkeel_config::Discovery,
    subscription: Subscription,
    begun: Instant,
    /// The backends of the configuration: they are always there.
    fixed: ArcSwap<Vec<Backend>>,
    /// Rung when the set is to be put in force again, although the source reports no other one.
    again: Arc<Notify>,
    /// Puts sets in force.
    feeding: Mutex<Option<JoinHandle<()>>>,
}

/// Sources by the names of their upstreams.
pub(super) type Sources = HashMap<String, Arc<Source>>;

// === impl Source ===

impl Source {
    /// Follows the source of an upstream, if it has one.
    ///
    /// # Errors
    /// When there is no such source.
    pub(super) fn start(
        upstream: &Upstream,
        extensions: &Extensions,
    ) -> Result<Option<Arc<Self>>, PlanError> {
        let Some(settings) = &upstream.discovery else { return Ok(None) };
        let source = source(upstream, settings, extensions)?;
        let options = Options { allow_empty: settings.allow_empty, debounce: settings.debounce };
        Ok(Some(Arc::new(Self {
            settings: settings.clone(),
            subscription: Subscription::start(format!("upstream {}", upstream.name), source, options),
            begun: Instant::now(),
            fixed: ArcSwap::from_pointee(upstream.backends.clone()),
            again: Arc::default(),
            feeding: Mutex::default(),
        })))
    }

    /// Waits for the first set, for the rest of its `start_timeout`.
    async fn ready(&self) {
        let limit = self.begun + self.settings.start_timeout;
        if !self.subscription.ready(limit).await {
            let (source, patience) = (self.status().source(), self.settings.start_timeout);
            log::warn!("{source}: no backends within start_timeout ({patience:?}): continuing without them");
        }
    }

    /// The backends that its upstream should have now: those of the configuration, and those that the source reports.
    pub(super) fn backends(&self) -> Vec<Backend> {
        with_found(&self.fixed.load(), &self.set())
    }

    /// An upstream of the configuration with the backends that the source has reported, without those that are listeners of the
    /// balancer itself.
    pub(super) fn upstream(&self, upstream: &Upstream, own: &OwnAddresses) -> Upstream {
        let mut whole = upstream.clone();
        whole.backends = with_found(&upstream.backends, &self.set());
        let fixed = upstream.backends.len();
        let mut place = 0;
        whole.backends.retain(|backend| {
            place += 1;
            place <= fixed || own.listener_of(&backend.url.host).is_none()
        });
        whole
    }

    /// The set in use; empty as long as there is none.
    fn set(&self) -> BackendSet {
        self.subscription.current().unwrap_or_default()
    }

    /// What is known of it.
    pub(super) fn status(&self) -> &Arc<Status> {
        self.subscription.status()
    }

    /// The URLs of the backends of the configuration.
    pub(super) fn fixed(&self) -> HashSet<String> {
        self.fixed.load().iter().map(|backend| backend.url.text.clone()).collect()
    }

    /// Puts every set of the source in force from now on, together with these backends of the configuration.
    pub(super) fn feed(self: &Arc<Self>, handle: &UpstreamHandle, fixed: &[Backend]) {
        self.fixed.store(Arc::new(fixed.to_vec()));
        // A set that arrived while the configuration was changed was overwritten by an older one.
        self.again.notify_one();
        let mut feeding = self.feeding.lock();
        if feeding.is_some() {
            return;
        }
        let (source, handle, again) = (Arc::downgrade(self), handle.clone(), self.again.clone());
        let mut sets = self.subscription.sets();
        *feeding = Some(tokio::spawn(async move {
            loop {
                // Seen before it is read: a set that comes meanwhile counts as new.
                sets.mark_unchanged();
                let Some(source) = source.upgrade() else { return };
                if source.put_in_force(&handle).await.is_err() {
                    return;
                }
                // It ends when its upstream drops it.
                drop(source);
                tokio::select! {
                    changed = sets.changed() => if changed.is_err() { return },
                    () = again.notified() => {}
                }
            }
        }));
    }

    /// Replaces the backends of its upstream.
    async fn put_in_force(&self, handle: &UpstreamHandle) -> Result<(), UpstreamGone> {
        if self.subscription.current().is_none() {
            return Ok(());
        }
        let change = handle.replace(self.backends()).await?;
        for reason in &change.rejected {
            log::warn!("{}: {reason}: backend ignored", self.status().source());
        }
        Ok(())
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        if let Some(feeding) = self.feeding.lock().take() {
            feeding.abort();
        }
    }
}

// === impl Live ===

impl Live {
    /// Lets the sources put their sets in force, together with the backends of the configuration. Upstreams that had a source
    /// and have none now keep no backend of it.
    pub(super) async fn feed(&self, had_sources: &HashSet<String>) {
        let Some(model) = &self.model else { return };
        for upstream in &model.upstreams {
            let Some(live) = self.upstreams.get(&upstream.name) else { continue };
            match &live.source {
                Some(source) => source.feed(&live.handle, &upstream.backends),
                None if had_sources.contains(&upstream.name) => {
                    // One that has gone has no backends either.
                    let _ = live.handle.replace(upstream.backends.clone()).await;
                }
                None => {}
            }
        }
    }
}

// === impl Running ===

impl Running {
    /// Follows the sources that a model has and that are not followed yet, and waits for their first sets: each for its
    /// `start_timeout` at most, all at the same time.
    ///
    /// # Errors
    /// When there is no such source.
    pub(super) async fn follow(&self, model: &Model) -> Result<Sources, PlanError> {
        let fresh = sources(&*self.live.lock().await, model, &self.extensions)?;
        wait(fresh.values().cloned()).await;
        Ok(fresh)
    }

    /// Waits for the first sets of all sources, and puts them in force.
    pub(super) async fn first_sets(&self) {
        let live = self.live.lock().await;
        let all = live.upstreams.values().filter_map(|one| Some((one.source.clone()?, one.handle.clone())));
        let all: Vec<_> = all.collect();
        drop(live);
        wait(all.iter().map(|(source, _)| source.clone())).await;
        for (source, handle) in all {
            // An upstream that has gone needs none.
            let _ = source.put_in_force(&handle).await;
        }
    }
}

/// Follows the sources that a model has and that do not run yet.
///
/// # Errors
/// When there is no such source.
pub(super) fn sources(live: &Live, model: &Model, extensions: &Extensions) -> Result<Sources, PlanError> {
    let mut fresh = Sources::new();
    for upstream in &model.upstreams {
        if running(live, upstream).is_none()
            && let Some(source) = Source::start(upstream, extensions)?
        {
            fresh.insert(upstream.name.clone(), source);
        }
    }
    Ok(fresh)
}

/// The source of an upstream that runs with the same settings.
pub(super) fn running<'a>(live: &'a Live, upstream: &Upstream) -> Option<&'a Arc<Source>> {
    let source = live.upstreams.get(&upstream.name)?.source.as_ref()?;
    (Some(&source.settings) == upstream.discovery.as_ref()).then_some(source)
}

async fn wait(sources: impl Iterator<Item = Arc<Source>>) {
    let mut waiting = JoinSet::new();
    for source in sources {
        waiting.spawn(async move { source.ready().await });
    }
    while waiting.join_next().await.is_some() {}
}

/// The source that an upstream asks for.
fn source(
    upstream: &Upstream,
    settings: &evenkeel_config::Discovery,
    extensions: &Extensions,
) -> Result<Box<dyn Discovery>, PlanError> {
    let scheme = settings.scheme;
    let missing = |reason| PlanError::Discovery { upstream: upstream.name.clone(), reason };
    Ok(match &settings.source {
        DiscoverySource::File(source) => Box::new(File::new(source, scheme)),
        #[cfg(feature = "discovery-dns")]
        DiscoverySource::Dns(source) => Box::new(crate::discovery::Dns::new(source, scheme)),
        #[cfg(feature = "discovery-http")]
        DiscoverySource::Http(source) => Box::new(crate::discovery::Http::new(source, scheme)),
        #[cfg(feature = "discovery-consul")]
        DiscoverySource::Consul(source) => Box::new(crate::discovery::Consul::new(source, scheme)),
        DiscoverySource::Custom(CustomExtension::Value(value)) => match value.get::<SourceFactory>() {
            Some(make) => make(),
            None => return Err(missing("the value is no source of backends".to_owned())),
        },
        DiscoverySource::Custom(CustomExtension::Named(name)) => match extensions.sources.make(name) {
            Some(source) => source,
            None => return Err(missing(format!("the program registers no source named {name}"))),
        },
        _ => return Err(missing("this program was built without this kind of source".to_owned())),
    })
}

/// What is wrong with the sources of a model, besides what they return.
pub(super) fn unknown(model: &Model, extensions: &Extensions) -> Vec<PlanError> {
    let with = |upstream: &Upstream| {
        let settings = upstream.discovery.as_ref()?;
        source(upstream, settings, extensions).err()
    };
    model.upstreams.iter().filter_map(with).collect()
}

/// The backends of the configuration, and after them those that a source reports. A backend of both is as the configuration says.
fn with_found(fixed: &[Backend], set: &BackendSet) -> Vec<Backend> {
    let mut known: HashSet<(bool, &BackendHost)> =
        fixed.iter().map(|one| (one.url.tls, &one.url.host)).collect();
    let found = set.iter().filter(|one| known.insert((one.url.tls, &one.url.host)));
    fixed.iter().chain(found).cloned().collect()
}
