//! `bandwidth_limit`: how many bytes each client, or each of something else, can receive and send in a second.
//!
//! It decides which requests share a rate. The data paths pause: see `evenkeel_core::limit`. It never knows where the request goes.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use evenkeel_config::ByteRateText;
use evenkeel_core::Moment;
use evenkeel_core::limit::{ByteBucket, KeySecret, LimitKey};
use parking_lot::Mutex;
use schemars::JsonSchema;
use serde::Deserialize;

use super::key::{Key, Prefixes, is_limit_name, random};
use super::rate_limit::KeyParam;
use super::registry::{FilterError, FilterKind};
use super::{BuildContext, Filter, Request, Verdict};

/// Limits the bytes of each key. See [`BandwidthLimitParams`].
#[derive(Debug)]
pub struct BandwidthLimitFilter {
    name: Box<str>,
    /// `None` for each request alone.
    key: Option<Key>,
    download: Option<u64>,
    upload: Option<u64>,
    shared: Arc<Shared>,
}

/// How many bytes each key can receive and send in a second.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a map with a rate, like { download: 1MiB/s }")]
pub struct BandwidthLimitParams {
    /// The name in metrics and `/status`: up to 64 printable characters without quotes. Default: the name in the top-level
    /// `filters`, else the key. Give limits of one route different names.
    pub name: Option<String>,
    /// Which requests share the rate: `client_ip`, `header NAME`, `cookie NAME`, `query NAME`, `path`, `host`, `method`, `route` or
    /// `all` (all requests together), or a list of these, as for `rate_limit`; or `request`: each request has the rate for itself.
    #[serde(default)]
    pub key: KeyParam,
    /// The rate at which bodies of responses are sent to the client, at least 1KiB/s. Default: no limit.
    pub download: Option<ByteRateText>,
    /// The rate at which bodies of requests are read from the client, at least 1KiB/s. Default: no limit.
    pub upload: Option<ByteRateText>,
    /// The part of an IPv4 address that is the client: 1 to 32.
    #[serde(default = "whole_ipv4")]
    #[schemars(range(min = 1, max = 32))]
    pub ipv4_prefix: u8,
    /// The part of an IPv6 address that is the client: 1 to 128. A client usually has a whole /64.
    #[serde(default = "usual_ipv6")]
    #[schemars(range(min = 1, max = 128))]
    pub ipv6_prefix: u8,
}

/// A request's share of a rate.
#[derive(Clone, Debug)]
pub struct BandwidthShare {
    buckets: Arc<Buckets>,
    direction: Direction,
    rate: u64,
    shared: Arc<Shared>,
}

/// A limit, as `/status` and `/metrics` show it.
#[derive(Debug)]
pub struct BandwidthLimitView<'a>(&'a BandwidthLimitFilter);

/// The directions of a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// To the client.
    Download,
    /// From the client.
    Upload,
}

/// What stays when the limit changes.
#[derive(Debug)]
struct Shared {
    secret: KeySecret,
    keys: Mutex<Keys>,
    /// Bytes in each direction.
    moved: [AtomicU64; 2],
}

/// The buckets of keys with requests, and of those with something to make up for.
#[derive(Debug, Default)]
struct Keys {
    buckets: HashMap<LimitKey, Arc<Buckets>>,
    /// How many there may be before those that are not needed are dropped.
    most: usize,
}

/// What one key has moved in each direction.
#[derive(Debug, Default)]
struct Buckets([ByteBucket; 2]);

/// The slowest rate, in bytes a second. Slower ones would make pauses longer than timeouts.
const SLOWEST: u64 = 1 << 10;
/// How many keys are kept without looking which are needed.
const FEW: usize = 1024;

fn whole_ipv4() -> u8 {
    32
}

fn usual_ipv6() -> u8 {
    64
}

// === impl BandwidthLimitFilter ===

impl BandwidthLimitFilter {
    /// What it shows.
    pub fn view(&self) -> BandwidthLimitView<'_> {
        BandwidthLimitView(self)
    }

    fn explain(&self, request: &mut Request<'_>) {
        let key = self.key.as_ref().map_or_else(|| "this request".to_owned(), |key| key.text(request, true));
        request.explain(|| {
            let rate = |rate: Option<u64>| ByteRateText(rate);
            format!(
                "limit {}: key {key}: download {}, upload {}",
                self.name,
                rate(self.download),
                rate(self.upload)
            )
        });
    }
}

impl Filter for BandwidthLimitFilter {
    fn on_request(&self, request: &mut Request<'_>) -> Verdict {
        if request.is_dry_run() {
            self.explain(request);
            return Verdict::Continue;
        }
        let buckets = match &self.key {
            None => Arc::default(),
            Some(key) => self.shared.buckets(key.of(request, self.shared.secret.hasher()), request.now),
        };
        let share = |rate: Option<u64>, direction| {
            let (buckets, shared) = (buckets.clone(), self.shared.clone());
            Some(BandwidthShare { buckets, direction, rate: rate?, shared })
        };
        request.limit_bandwidth(share(self.download, Direction::Download));
        request.limit_bandwidth(share(self.upload, Direction::Upload));
        Verdict::Continue
    }
}

impl FilterKind for BandwidthLimitFilter {
    const NAME: &'static str = "bandwidth_limit";
    const EXAMPLE: &'static str = "bandwidth_limit: { key: client_ip, download: 10MiB/s, upload: 1MiB/s }";
    const DOC: &'static str = "Limits how many bytes each client, or each value of another key, receives and sends in a second. \
                               Nothing is rejected: transfers take longer.";
    type Params = BandwidthLimitParams;

    fn new(params: BandwidthLimitParams, context: &BuildContext<'_>) -> Result<Self, FilterError> {
        let prefixes = Prefixes { v4: params.ipv4_prefix, v6: params.ipv6_prefix };
        let each = params.key.0 == ["request"];
        let key = if each { None } else { Some(Key::new(&params.key.0, prefixes)?) };
        let written = || key.as_ref().map_or_else(|| "request".to_owned(), Key::to_string);
        let name = params.name.or_else(|| context.name.map(str::to_owned)).unwrap_or_else(written);
        if !is_limit_name(&name) {
            return Err(FilterError::new("name", "1 to 64 printable ASCII characters, without \" and \\"));
        }
        let (download, upload) =
            (params.download.and_then(|rate| rate.0), params.upload.and_then(|rate| rate.0));
        for (path, rate) in [("download", download), ("upload", upload)] {
            if rate.is_some_and(|rate| rate < SLOWEST) {
                return Err(FilterError::new(path, "at least 1KiB/s"));
            }
        }
        if download.or(upload).is_none() {
            return Err(FilterError::new("", "download, upload or both"));
        }
        // Another key has nothing in common with what was moved.
        let previous = context.previous::<Self>().filter(|previous| previous.key == key);
        let shared =
            previous.map_or_else(|| Arc::new(Shared::new(random())), |previous| previous.shared.clone());
        Ok(Self { name: name.into(), key, download, upload, shared })
    }
}

// === impl BandwidthShare ===

impl BandwidthShare {
    /// The rate, in bytes a second.
    pub(crate) fn rate(&self) -> u64 {
        self.rate
    }

    /// The direction.
    pub(crate) fn direction(&self) -> Direction {
        self.direction
    }

    /// Counts bytes that are moved now. Gives how long to pause.
    pub(crate) fn take(&self, bytes: u64, now: Moment) -> std::time::Duration {
        let at = self.direction as usize;
        if let Some(moved) = self.shared.moved.get(at) {
            moved.fetch_add(bytes, Relaxed);
        }
        self.buckets.0.get(at).map_or(std::time::Duration::ZERO, |bucket| bucket.take(bytes, self.rate, now))
    }
}

// === impl Direction ===

impl Direction {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Download, Self::Upload];

    /// The name in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Download => "download",
            Self::Upload => "upload",
        }
    }
}

// === impl Shared ===

impl Shared {
    fn new(secret: u128) -> Self {
        Self { secret: KeySecret::new(secret), keys: Mutex::default(), moved: Default::default() }
    }

    /// The buckets of a key.
    fn buckets(&self, key: LimitKey, now: Moment) -> Arc<Buckets> {
        let mut keys = self.keys.lock();
        if keys.buckets.len() >= keys.most.max(FEW) {
            keys.buckets.retain(|_, buckets| Arc::strong_count(buckets) > 1 || !buckets.is_whole(now));
            keys.most = keys.buckets.len() * 2;
        }
        keys.buckets.entry(key).or_default().clone()
    }
}

// === impl Buckets ===

impl Buckets {
    fn is_whole(&self, now: Moment) -> bool {
        self.0.iter().all(|bucket| bucket.is_whole(now))
    }
}

// === impl BandwidthLimitView ===

impl<'a> BandwidthLimitView<'a> {
    /// The limit's name.
    pub fn name(&self) -> &'a str {
        &self.0.name
    }

    /// What shares the rate, as written.
    pub fn key(&self) -> impl fmt::Display {
        self.0.key.as_ref().map_or_else(|| "request".to_owned(), Key::to_string)
    }

    /// The rate of a direction, in bytes a second.
    pub fn rate(&self, direction: Direction) -> Option<u64> {
        match direction {
            Direction::Download => self.0.download,
            Direction::Upload => self.0.upload,
        }
    }

    /// How many bytes were moved.
    pub fn moved(&self, direction: Direction) -> u64 {
        self.0.shared.moved.get(direction as usize).map_or(0, |moved| moved.load(Relaxed))
    }
}
