//! The schedule, in virtual time.

use std::pin::Pin;
use std::sync::Mutex;

use tokio::time::{Instant, advance, sleep};

use super::super::{Check, Outcome, watch};
use super::*;

/// Takes its time.
#[derive(Debug)]
struct Takes(Duration);

impl Check for Takes {
    fn check<'a>(&'a self, _: &'a Target) -> Pin<Box<dyn Future<Output = Result<(), String>> + Send + 'a>> {
        Box::pin(async {
            sleep(self.0).await;
            Ok(())
        })
    }
}

fn taking(time: Duration, timeout: Duration) -> Probe {
    let kind = HealthCheckKind::Custom(CustomExtension::Named("takes".to_owned()));
    let somewhere = target("127.0.0.1:1".parse().expect("an address"));
    Probe::new(&check(kind, timeout), somewhere, Some(Arc::new(Takes(time)))).expect("a probe")
}

type Told = Arc<Mutex<Vec<Outcome>>>;

/// Watches from now on.
fn watched(probe: Probe, interval: Duration) -> Told {
    let told = Told::default();
    let tell = told.clone();
    tokio::spawn(watch(probe, interval, move |outcome| tell.lock().expect("a lock").push(outcome)));
    told
}

/// When probes began, in seconds since `start`.
fn moments(told: &Told, start: Instant) -> Vec<f64> {
    let told = told.lock().expect("a lock");
    told.iter().map(|outcome| (outcome.at - start.into_std()).as_secs_f64()).collect()
}

#[tokio::test(start_paused = true)]
async fn as_many_as_configured_each_soon_and_none_together() {
    let start = Instant::now();
    for interval in [0.2, 1.0, 2.0, 5.0] {
        let all: Vec<Told> = (0..20)
            .map(|_| {
                watched(taking(Duration::ZERO, Duration::from_millis(100)), Duration::from_secs_f64(interval))
            })
            .collect();
        let start = Instant::now();
        sleep(Duration::from_secs(30)).await;
        let mut first = Vec::new();
        for told in &all {
            let moments = moments(told, start);
            let expected = 30.0 / interval;
            #[expect(clippy::cast_precision_loss, reason = "there are few")]
            let count = moments.len() as f64;
            assert!((count - expected).abs() <= expected * 0.1, "{count} probes each {interval} s");
            assert!(moments[0] <= interval * 0.1 + 0.002, "the first came after {} s", moments[0]);
            first.push(moments[0]);
            let gaps: Vec<f64> = moments.windows(2).map(|pair| pair[1] - pair[0]).collect();
            let off = gaps.iter().map(|gap| (gap - interval).abs()).fold(0.0, f64::max);
            assert!(off <= interval * 0.1 + 0.002, "a gap is {off} s off");
            assert!(off > interval * 0.001, "no jitter: {gaps:?}");
        }
        first.sort_by(f64::total_cmp);
        assert!(first[19] - first[0] > interval * 0.03, "all at once: {first:?}");
    }
    assert!(start.elapsed() >= Duration::from_secs(120));
}

#[tokio::test(start_paused = true)]
async fn no_drift_in_a_day() {
    let told = watched(taking(Duration::from_millis(300), Duration::from_secs(1)), Duration::from_secs(10));
    sleep(Duration::from_secs(24 * 60 * 60)).await;
    assert_eq!(told.lock().expect("a lock").len(), 8640);
}

#[tokio::test(start_paused = true)]
async fn one_that_hangs_delays_no_other() {
    let (interval, start) = (Duration::from_secs(1), Instant::now());
    // The longest that the configuration allows: as long as the interval.
    let hanging = watched(taking(Duration::from_secs(3600), interval), interval);
    let well = watched(taking(Duration::from_millis(1), interval), interval);
    sleep(Duration::from_secs(30)).await;
    assert_eq!(moments(&well, start).len(), 30);
    let hung = hanging.lock().expect("a lock");
    // Even the one that hangs is probed as often as configured.
    assert!((27..=30).contains(&hung.len()), "{} probes", hung.len());
    for outcome in hung.iter() {
        assert_eq!(outcome.result, Err(ProbeFailure::NoAnswer(interval)));
        assert!(outcome.took >= interval && outcome.took < interval + Duration::from_millis(10));
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_missed_is_not_made_up_for() {
    let told = watched(taking(Duration::ZERO, Duration::from_secs(1)), Duration::from_secs(1));
    sleep(Duration::from_millis(500)).await;
    // As if the process had been stopped for a while.
    advance(Duration::from_secs(100)).await;
    sleep(Duration::from_millis(1500)).await;
    let count = told.lock().expect("a lock").len();
    assert!((3..=4).contains(&count), "{count} probes");
}

#[tokio::test(start_paused = true)]
async fn intervals_out_of_all_measure_end_nothing() {
    let told = watched(taking(Duration::ZERO, Duration::MAX), Duration::MAX);
    let often = watched(taking(Duration::ZERO, Duration::ZERO), Duration::ZERO);
    sleep(Duration::from_millis(500)).await;
    assert!(told.lock().expect("a lock").len() <= 1);
    assert!(often.lock().expect("a lock").len() <= 501);
}
