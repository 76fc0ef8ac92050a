//! The whole lane against a scripted backend, compared with Pingora's lane with the same input: no panic; what the lean
//! lane forwards, in both directions, is strictly well-formed; what both lanes forward is the same; nothing is left
//! over.
//!
//! An input defines what the client sends and what the backend sends: see `input.rs`. A fault of Pingora's lane alone
//! is not a finding: the tests of the framing corpus list its differences.
#![no_main]

mod answers;
mod bench;
mod input;
mod origin;
#[path = "../../../crates/evenkeel-cli/tests/it/framing/strict.rs"]
mod strict;

use std::time::Duration;

use answers::Answer;
use bench::{Bench, Outcome};
use input::Input;
use libfuzzer_sys::fuzz_target;
use tokio::runtime::{Builder, Runtime};

/// A finding must show so often, in a row: what depends on timing does not. Each time the client waits longer, in
/// milliseconds, for what may still come: the machine may be busy.
const WAITS: [u64; 4] = [3, 20, 60, 150];

/// After this many inputs, check for counted attempts that are not in progress.
const STRIDE: usize = 16;

/// Statuses of refusals: the backend never sees such a request.
const REFUSALS: &[u16] = &[400, 405, 408, 413, 417, 421, 431, 501, 505];

/// Statuses of the balancer's own responses. All others come from the backend.
const OWN: &[u16] = &[400, 405, 408, 413, 417, 421, 431, 500, 501, 502, 503, 504, 505];

struct World {
    runtime: Runtime,
    lean: Bench,
    pingora: Bench,
    runs: usize,
}

thread_local! {
    static WORLD: std::cell::RefCell<World> = World::start().into();
}

fuzz_target!(|bytes: &[u8]| {
    let Some(input) = Input::parse(bytes) else { return };
    WORLD.with_borrow_mut(|world| world.hold(&input));
});

impl World {
    /// The balancers run on threads of their own; the backends on this one, while an input is tried.
    fn start() -> Self {
        let runtime =
            Builder::new_current_thread().enable_all().event_interval(1).build().expect("a runtime");
        let (lean, pingora) =
            runtime.block_on(async { (Bench::start("auto").await, Bench::start("pingora").await) });
        Self { runtime, lean, pingora, runs: 0 }
    }

    fn hold(&mut self, input: &Input) {
        self.runs += 1;
        let Self { runtime, lean, pingora, runs } = self;
        runtime.block_on(async {
            for (time, wait) in WAITS.into_iter().enumerate() {
                let before = (time > 0).then(|| lean.handed_over());
                let patience = Duration::from_millis(wait);
                let (one, other) = tokio::join!(lean.run(input, patience), pingora.run(input, patience));
                let Err(fault) = judge(&one, &other, input) else { break };
                if before.is_some_and(|before| before != lean.handed_over()) {
                    // Then Pingora's lane was compared with itself.
                    break;
                }
                let last = time + 1 == WAITS.len();
                assert!(!last, "{fault}\n{input:?}\nthe lean lane: {one:#?}\nPingora's: {other:#?}");
                tokio::time::sleep(patience).await;
            }
            if *runs % STRIDE == 0 {
                lean.is_at_rest().await;
                pingora.is_at_rest().await;
            }
        });
    }
}

fn judge(lean: &Outcome, pingora: &Outcome, input: &Input) -> Result<(), String> {
    if let Some(fault) = lean.faults.first() {
        return Err(format!("a backend of the lean lane: {fault}"));
    }
    if !lean.ended {
        return Err("the lean lane does not end the connection".to_owned());
    }
    let answers = answers::read(&lean.received, input.may_be_head(), lean.reset)
        .map_err(|fault| format!("a client of the lean lane: {fault}"))?;
    let others = answers::read(&pingora.received, input.may_be_head(), pingora.reset);
    let went_on = went_on(&answers) || others.as_ref().is_ok_and(|others| went_on(others));
    if !alike(&lean.seen, &pingora.seen) && !went_on {
        return Err("the lanes pass on different requests".to_owned());
    }
    if let Ok(others) = others
        && !input.may_be_head()
        && lean.seen == pingora.seen
    {
        let passed_on = |answers: Vec<Answer>| -> Vec<Answer> {
            answers.into_iter().filter(|answer| answer.whole && !OWN.contains(&answer.status)).collect()
        };
        let (ones, others) = (passed_on(answers), passed_on(others));
        if !alike(&ones, &others) {
            return Err(format!("the lanes forward different responses: {ones:?} {others:?}"));
        }
    }
    Ok(())
}

/// Whether a request was refused and later ones were not: then the other lane may have refused others.
fn went_on(answers: &[Answer]) -> bool {
    let Some((_, before)) = answers.split_last() else { return false };
    before.iter().any(|answer| REFUSALS.contains(&answer.status))
}

/// Whether they are the same, less what one of the lanes refused.
fn alike<T: PartialEq>(ones: &[T], others: &[T]) -> bool {
    let is_part = |these: &[T], those: &[T]| {
        let mut those = those.iter();
        these.iter().all(|this| those.any(|that| this == that))
    };
    is_part(ones, others) || is_part(others, ones)
}
