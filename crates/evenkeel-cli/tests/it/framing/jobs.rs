//! What is run: entries, and entries cut off somewhere; many of them on a few benches at a time.

#![cfg(test)]

use std::sync::Arc;

use tokio::task::JoinSet;

use super::bench::Bench;
use super::corpus::{self, Entry};
use super::{answers, requests};
use crate::support::Lane;

/// How many benches share the jobs.
const BENCHES: usize = 6;

/// Something to run.
#[derive(Clone, Debug)]
pub(super) enum Job {
    Request(Entry),
    Answer(Entry),
    /// The first bytes of a request, this many; then the client closes its half, at once or when complete requests have
    /// their responses.
    CutRequest(Entry, usize, bool),
    CutAnswer(Entry, usize),
}

/// The result of a job.
#[derive(Clone, Debug)]
pub(super) struct Ran {
    pub(super) name: String,
    /// What is wrong with it.
    pub(super) fault: Option<String>,
    /// What the other end saw complete, in order: the requests, or the response.
    pub(super) seen: Vec<String>,
}

/// Every request of the corpus.
pub(super) fn requests() -> Vec<Job> {
    corpus::read("requests").into_iter().map(Job::Request).collect()
}

/// Every response of the corpus.
pub(super) fn answers() -> Vec<Job> {
    corpus::read("answers").into_iter().map(Job::Answer).collect()
}

/// Every base of requests, cut off at each of its bytes, in both ways.
pub(super) fn cut_requests() -> Vec<Job> {
    let cuts = cuts("requests");
    cuts.flat_map(|(base, cut)| [true, false].map(|at_once| Job::CutRequest(base.clone(), cut, at_once)))
        .collect()
}

/// Every base of responses, cut off at each of its bytes.
pub(super) fn cut_answers() -> Vec<Job> {
    cuts("responses").map(|(base, cut)| Job::CutAnswer(base, cut)).collect()
}

fn cuts(file: &'static str) -> impl Iterator<Item = (Entry, usize)> {
    let bases = corpus::read("cut").into_iter().filter(move |base| base.name.starts_with(file));
    bases.flat_map(|base| (0..base.pieces.concat().len()).map(move |cut| (base.clone(), cut)))
}

/// Runs them all, over this lane or that of this run; returns the results in order.
pub(super) async fn run(jobs: Vec<Job>, lane: Option<Lane>) -> Vec<Ran> {
    let jobs = Arc::new(jobs);
    let mut benches = JoinSet::new();
    for first in 0..BENCHES {
        let jobs = jobs.clone();
        benches.spawn(async move {
            let mut bench = Bench::start(lane).await;
            let mut ran = Vec::new();
            for nth in (first..jobs.len()).step_by(BENCHES) {
                let one = jobs[nth].run(&bench).await;
                // Whatever it left behind is not the next one's.
                if one.fault.is_some() && !bench.is_clean().await {
                    bench = Bench::start(lane).await;
                }
                ran.push((nth, one));
            }
            let rest = bench.finish().await;
            assert!(rest.requests.is_empty() && rest.faults.is_empty(), "{rest:?} comes when all is over");
            ran
        });
    }
    let mut ran: Vec<_> = benches.join_all().await.into_iter().flatten().collect();
    ran.sort_by_key(|(nth, _)| *nth);
    ran.into_iter().map(|(_, ran)| ran).collect()
}

// === impl Job ===

impl Job {
    async fn run(&self, bench: &Bench) -> Ran {
        let (fault, seen) = match self {
            Self::Request(entry) => {
                let (outcome, verdict) = requests::run(entry, bench).await;
                (verdict.err(), outcome.log.requests.iter().map(requests::told).collect())
            }
            Self::Answer(entry) => {
                let (outcome, verdict) = answers::run(entry, bench).await;
                (verdict.err(), outcome.accepted().into_iter().collect())
            }
            Self::CutRequest(base, cut, at_once) => {
                (requests::run_cut(base, *cut, *at_once, bench).await.err(), Vec::new())
            }
            Self::CutAnswer(base, cut) => (answers::run_cut(base, *cut, bench).await.err(), Vec::new()),
        };
        Ran { name: self.name(), fault, seen }
    }

    fn name(&self) -> String {
        match self {
            Self::Request(entry) | Self::Answer(entry) => entry.name.clone(),
            Self::CutRequest(base, cut, true) => format!("{}, cut at {cut} at once", base.name),
            Self::CutRequest(base, cut, false) | Self::CutAnswer(base, cut) => {
                format!("{}, cut at {cut}", base.name)
            }
        }
    }
}
