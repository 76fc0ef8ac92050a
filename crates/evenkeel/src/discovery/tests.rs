//! What a subscription does with the sets and failures of a source, in virtual time.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use evenkeel_config::{Backend, BackendUrl};
use parking_lot::Mutex;
use tokio::time::{Instant, sleep, timeout};

use super::{BackendSet, Discovery, DiscoveryError, Options, Subscription};

/// A source that does what a test says: each step after a pause.
#[derive(Debug)]
struct Scripted {
    steps: VecDeque<(Duration, Step)>,
    /// When it was read.
    reads: Arc<Mutex<Vec<Instant>>>,
}

#[derive(Clone, Debug)]
enum Step {
    Set(Vec<&'static str>),
    Fail(DiscoveryError),
    Panic,
}

impl Discovery for Scripted {
    fn name(&self) -> String {
        "script".to_owned()
    }

    fn next(&mut self) -> Pin<Box<dyn Future<Output = Result<BackendSet, DiscoveryError>> + Send + '_>> {
        Box::pin(async {
            self.reads.lock().push(Instant::now());
            let Some((pause, step)) = self.steps.pop_front() else { return std::future::pending().await };
            sleep(pause).await;
            match step {
                Step::Set(urls) => Ok(set(&urls)),
                Step::Fail(error) => Err(error),
                Step::Panic => panic!("on purpose"),
            }
        })
    }
}

fn set(urls: &[&str]) -> BackendSet {
    BackendSet::new(urls.iter().map(|url| Backend::new(BackendUrl::parse(url).unwrap())))
}

fn down() -> Step {
    Step::Fail(DiscoveryError::Unreachable("down".to_owned()))
}

const A: &str = "http://10.0.0.1:80";
const B: &str = "http://10.0.0.2:80";
const MS: Duration = Duration::from_millis(1);

struct Run {
    subscription: Subscription,
    sets: tokio::sync::watch::Receiver<Option<BackendSet>>,
    reads: Arc<Mutex<Vec<Instant>>>,
    begun: Instant,
}

fn run(options: Options, steps: impl IntoIterator<Item = (u32, Step)>) -> Run {
    let reads = Arc::<Mutex<Vec<Instant>>>::default();
    let steps = steps.into_iter().map(|(pause, step)| (MS * pause, step)).collect();
    let source = Scripted { steps, reads: reads.clone() };
    let subscription = Subscription::start("upstream web", Box::new(source), options);
    let sets = subscription.sets();
    Run { subscription, sets, reads, begun: Instant::now() }
}

impl Run {
    /// The next published set, and when it was published, in milliseconds since the start.
    async fn next(&mut self) -> (Vec<String>, u128) {
        let changed = timeout(Duration::from_secs(60), self.sets.changed()).await;
        changed.expect("no set").expect("the source goes on");
        let set = self.sets.borrow_and_update().clone().expect("a set");
        (set.iter().map(|one| one.url.text.clone()).collect(), self.begun.elapsed().as_millis())
    }

    fn urls(&self) -> Option<usize> {
        self.subscription.current().map(|set| set.len())
    }
}

#[tokio::test(start_paused = true)]
async fn a_change_is_published_at_once_and_many_changes_cost_few() {
    let steps = [
        (0, Step::Set(vec![A])),
        (1_000, Step::Set(vec![A, B])),
        (30, Step::Set(vec![A])),
        (30, Step::Set(vec![B])),
        (1_000, Step::Set(vec![B])),
    ];
    let mut run = run(Options::default(), steps);
    assert_eq!(run.next().await, (vec![A.to_owned()], 0));
    let (urls, first) = run.next().await;
    assert_eq!(urls, [A, B]);
    assert!((1_000..1_020).contains(&first), "{first}");
    let (urls, at) = run.next().await;
    assert_eq!((urls.as_slice(), at), ([B.to_owned()].as_slice(), first + 100));
    sleep(Duration::from_secs(5)).await;
    assert_eq!(run.subscription.status().read().counts.updates, 3);
}

#[tokio::test(start_paused = true)]
async fn a_change_that_is_undone_within_the_debounce_is_not_published() {
    let steps = [(0, Step::Set(vec![A])), (20, Step::Set(vec![A, B])), (20, Step::Set(vec![A]))];
    let run = run(Options::default(), steps);
    sleep(Duration::from_secs(1)).await;
    assert_eq!((run.urls(), run.subscription.status().read().counts.updates), (Some(1), 1));
}

#[tokio::test(start_paused = true)]
async fn a_source_that_fails_leaves_the_last_set_in_use_and_its_age_visible() {
    let steps = [(0, Step::Set(vec![A, B])), (1_000, down()), (0, down()), (0, Step::Set(vec![A]))];
    let mut run = run(Options::default(), steps);
    run.next().await;
    sleep(MS * 1_050).await;
    let status = run.subscription.status().read();
    assert_eq!((run.urls(), status.backends), (Some(2), Some(2)));
    assert_eq!(status.error, Some(DiscoveryError::Unreachable("down".to_owned())));
    assert!(status.confirmed.unwrap().elapsed() >= Duration::from_secs(1));
    let (urls, _) = run.next().await;
    assert_eq!(urls, [A]);
    let status = run.subscription.status().read();
    assert_eq!((status.error, status.failing_since, status.counts.unreachable), (None, None, 2));
}

#[tokio::test(start_paused = true)]
async fn pauses_between_tries_grow_and_stay_below_two_seconds() {
    let steps = std::iter::repeat_n((0, down()), 30);
    let run = run(Options::default(), steps);
    sleep(Duration::from_secs(60)).await;
    let reads = run.reads.lock().clone();
    assert_eq!(reads.len(), 31);
    let pauses: Vec<Duration> = reads.windows(2).map(|pair| pair[1] - pair[0]).collect();
    for (index, pause) in pauses.iter().enumerate() {
        let whole = Duration::from_millis(100 << index.min(4));
        assert!(*pause >= whole / 2 && *pause <= whole + MS * 2, "pause {index}: {pause:?}");
    }
    assert!(pauses[5..].iter().any(|pause| *pause != pauses[5]), "no jitter: {pauses:?}");
}

#[tokio::test(start_paused = true)]
async fn a_set_without_backends_is_accepted_only_if_allowed() {
    let none = Step::Fail(DiscoveryError::Empty("NXDOMAIN".to_owned()));
    let steps = || {
        [(0, Step::Set(vec![A])), (500, Step::Set(vec![])), (500, none.clone()), (500, Step::Set(vec![B]))]
    };
    let mut strict = run(Options::default(), steps());
    strict.next().await;
    sleep(MS * 1_200).await;
    let status = strict.subscription.status().read();
    assert_eq!((strict.urls(), status.counts.empty), (Some(1), 2));
    assert_eq!(status.error.unwrap().to_string(), "NXDOMAIN (`allow_empty: true` accepts this)");
    assert_eq!(strict.next().await.0, [B]);

    let mut loose = run(Options { allow_empty: true, ..Options::default() }, steps());
    loose.next().await;
    assert_eq!(loose.next().await.0, Vec::<String>::new());
    sleep(MS * 600).await;
    assert_eq!(loose.subscription.status().read().error, None);
}

#[tokio::test(start_paused = true)]
async fn a_source_that_never_returns_holds_no_one_up_longer_than_its_limit() {
    let run = run(Options::default(), [(3_600_000, Step::Set(vec![A]))]);
    let begun = Instant::now();
    assert!(!run.subscription.ready(begun + Duration::from_secs(5)).await);
    assert_eq!(begun.elapsed(), Duration::from_secs(5));
    assert_eq!(run.urls(), None);
}

#[tokio::test(start_paused = true)]
async fn the_first_set_ends_the_wait_for_it_and_is_still_new_to_the_reader() {
    let run = run(Options::default(), [(300, Step::Set(vec![A]))]);
    assert!(run.subscription.ready(Instant::now() + Duration::from_secs(5)).await);
    assert_eq!(run.urls(), Some(1));
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_a_source_is_a_failure_of_it() {
    let mut run = run(Options::default(), [(0, Step::Panic), (0, Step::Set(vec![A]))]);
    assert_eq!(run.next().await.0, [A]);
    assert_eq!(run.subscription.status().read().counts.unreachable, 1);
}

#[tokio::test(start_paused = true)]
async fn a_source_that_returns_at_once_does_not_keep_a_core_busy() {
    let run = run(Options::default(), std::iter::repeat_n((0, Step::Set(vec![A])), 10_000));
    sleep(Duration::from_secs(1)).await;
    let reads = run.reads.lock().len();
    assert!(reads <= 220, "{reads}");
}

#[tokio::test(start_paused = true)]
async fn dropping_a_subscription_ends_the_source() {
    let run = run(Options::default(), std::iter::repeat_n((100, Step::Set(vec![A])), 1_000));
    sleep(Duration::from_secs(1)).await;
    let reads = run.reads.clone();
    drop(run.subscription);
    sleep(MS * 200).await;
    let before = reads.lock().len();
    sleep(Duration::from_secs(10)).await;
    assert_eq!(reads.lock().len(), before);
}

#[test]
fn of_two_entries_with_the_same_address_the_first_counts() {
    assert_eq!(set(&[A, B, A]).len(), 2);
    assert_eq!(set(&["http://a:80", "https://a:80"]).len(), 2);
}
