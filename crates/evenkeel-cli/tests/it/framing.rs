//! Framing: a corpus of requests and responses (valid, unusual and hostile), each checked against RFC 9112. The corpus
//! is data: see `tests/corpus/README.md`.

#![cfg(test)]

mod answers;
mod bench;
mod client;
mod corpus;
mod departures;
mod jobs;
mod origin;
mod requests;
mod strict;

use std::collections::BTreeSet;

use jobs::Job;

use crate::support::{Lane, lane};

/// Runs them, and fails with all that went wrong.
async fn hold(jobs: Vec<Job>, at_least: usize) {
    let count = jobs.len();
    assert!(count >= at_least, "only {count}");
    let ran = jobs::run(jobs, None).await;
    let wrong = departures::sort_out(&ran, lane());
    assert!(wrong.is_empty(), "{} of {count}:\n{}", wrong.len(), wrong.join("\n"));
}

#[tokio::test]
async fn every_request_is_framed_as_it_must_be() {
    hold(jobs::requests(), 300).await;
}

#[tokio::test]
async fn every_answer_is_framed_as_it_must_be() {
    hold(jobs::answers(), 150).await;
}

#[tokio::test]
async fn a_request_that_ends_early_never_becomes_whole() {
    hold(jobs::cut_requests(), 200).await;
}

#[tokio::test]
async fn an_answer_that_ends_early_never_becomes_whole() {
    hold(jobs::cut_answers(), 200).await;
}

/// One lane may reject what the other one accepts. But what both accept must be the same in both: the result of an
/// entry in one lane is the result in the other, except for what one of them rejected.
#[tokio::test]
async fn what_both_lanes_accept_is_framed_alike() {
    let jobs = [jobs::requests(), jobs::answers()].concat();
    let lean = jobs::run(jobs.clone(), Some(Lane::Lean)).await;
    let pingora = jobs::run(jobs, Some(Lane::Pingora)).await;
    let mut wrong = Vec::new();
    for (one, other) in lean.iter().zip(&pingora) {
        let known = departures::is_known(one, Lane::Lean) || departures::is_known(other, Lane::Pingora);
        let alike = is_part(&one.seen, &other.seen) || is_part(&other.seen, &one.seen);
        if !known && !alike {
            wrong.push(format!("{}: {:?}, and over Pingora {:?}", one.name, one.seen, other.seen));
        }
    }
    assert!(wrong.is_empty(), "{}:\n{}", wrong.len(), wrong.join("\n"));
}

/// Whether all of these are among those, in the same order.
fn is_part(these: &[String], those: &[String]) -> bool {
    let mut those = those.iter();
    these.iter().all(|this| those.any(|that| this == that))
}

#[test]
fn no_two_entries_have_one_name() {
    let entries = [corpus::read("requests"), corpus::read("answers"), corpus::read("cut")].concat();
    let names: BTreeSet<_> = entries.iter().map(|entry| &entry.name).collect();
    assert_eq!(names.len(), entries.len());
}
