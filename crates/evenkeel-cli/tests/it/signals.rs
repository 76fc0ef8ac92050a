//! What each signal does to the real program.

#![cfg(test)]

use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::life::{AT_ONCE, before, lasts_less_than, records, slow, until_not_ready};
use crate::program::Program;
use crate::support::{Backend, Client, PATIENCE, Reply, eventually, get};

/// After this time a second signal is not the same signal any more. The pause is what is tested.
const LATER: Duration = Duration::from_millis(1_100);

/// How many lines of the program contain this text.
fn lines(program: &Program, text: &str) -> usize {
    program.said().iter().filter(|line| line.contains(text)).count()
}

/// Waits until the program has written this many lines that contain this text.
async fn until_lines(program: &Program, text: &str, count: usize) {
    eventually(PATIENCE, || lines(program, text) == count).await;
}

/// A client whose request has reached the backend and has no response yet.
async fn waiting(program: &Program, backend: &Backend) -> Client {
    let mut client = Client::connect(program.address()).await;
    client.send("GET /work HTTP/1.1\r\nHost: test\r\n\r\n").await;
    backend.until_requests(1).await;
    client
}

#[tokio::test]
async fn sighup_of_an_unchanged_file_and_sigusr2_are_logged_and_change_nothing() {
    let backend = slow(Duration::from_secs(1)).await;
    let mut program = before(&backend, "").await;
    let mut client = waiting(&program, &backend).await;
    let hangup = "configuration reloaded: nothing changed";
    let user2 = "SIGUSR2: binary upgrade is not supported yet: nothing was changed";
    for (signal, line) in [(Signal::HUP, hangup), (Signal::USR2, user2)] {
        program.signal(signal);
        until_lines(&program, line, 1).await;
        assert_eq!(program.readyz().await, 200);
    }
    assert_eq!(client.response().await.status(), 200, "an open request goes on");
    assert_eq!(get(program.address(), "/new").await.status(), 200);
    program.signal(Signal::TERM);
    program.ended_well().await;
    assert_eq!((lines(&program, hangup), lines(&program, "SIGUSR2")), (1, 1), "{:#?}", program.said());
}

#[tokio::test]
async fn sigquit_drains_like_sigterm() {
    for signal in [Signal::TERM, Signal::QUIT] {
        let backend = slow(Duration::from_secs(1)).await;
        let mut program = before(&backend, "shutdown: { pre_stop: 500ms }").await;
        let mut client = waiting(&program, &backend).await;
        let start = Instant::now();
        program.signal(signal);
        until_not_ready(&program).await;
        let response = client.response().await;
        assert_eq!((response.status(), response.text().as_str()), (200, "done"), "{signal:?}");
        let lasted = program.ended_well().await - start;
        assert!(lasted >= Duration::from_millis(490), "{signal:?} does not wait for pre_stop: {lasted:?}");
    }
}

#[tokio::test]
async fn a_signal_sent_twice_is_one_signal() {
    for (one, other) in
        [(Signal::INT, Signal::INT), (Signal::TERM, Signal::TERM), (Signal::INT, Signal::TERM)]
    {
        let backend = slow(Duration::from_secs(2)).await;
        let mut program = before(&backend, "").await;
        let mut client = waiting(&program, &backend).await;
        program.signal(one);
        until_lines(&program, "draining", 1).await;
        program.signal(other);
        assert_eq!(client.response().await.status(), 200, "{one:?} {other:?}: {:#?}", program.said());
        program.ended_well().await;
        assert_eq!(lines(&program, "second signal"), 0, "{:#?}", program.said());
    }
}

#[tokio::test]
async fn a_second_signal_later_ends_it_now() {
    lasts_less_than(AT_ONCE, async || {
        let backend = Backend::start(|_| Reply::silence()).await;
        let mut program = before(&backend, "").await;
        let mut client = Client::connect(program.address()).await;
        client.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n").await;
        backend.until_requests(1).await;
        program.signal(Signal::TERM);
        until_not_ready(&program).await;
        tokio::time::sleep(LATER).await;
        let start = Instant::now();
        program.signal(Signal::TERM);
        let lasted = program.ended_well().await - start;
        assert_eq!(records(&program, "access.log").len(), 1, "also what was cut has its record");
        lasted
    })
    .await;
}

#[tokio::test]
async fn other_signals_do_not_disturb_a_drain() {
    let backend = slow(Duration::from_secs(2)).await;
    let mut program = before(&backend, "").await;
    let mut client = waiting(&program, &backend).await;
    program.signal(Signal::TERM);
    until_lines(&program, "draining", 1).await;
    for signal in [Signal::HUP, Signal::USR1, Signal::USR2] {
        program.signal(signal);
    }
    until_lines(&program, "configuration rejected, the old one stays in force: the server drains", 1).await;
    assert_eq!(client.response().await.status(), 200);
    program.ended_well().await;
}

#[tokio::test]
async fn sigusr1_opens_the_log_again() {
    let backend = Backend::saying("hello").await;
    let mut program = before(&backend, "").await;
    get(program.address(), "/before").await;
    eventually(PATIENCE, || records(&program, "access.log").len() == 1).await;
    std::fs::rename(program.file("access.log"), program.file("access.log.1")).expect("a rotation");
    program.signal(Signal::USR1);
    eventually(PATIENCE, || program.file("access.log").exists()).await;
    get(program.address(), "/after").await;
    program.signal(Signal::TERM);
    program.ended_well().await;
    let targets = |file| records(&program, file).iter().map(|r| r["target"].clone()).collect::<Vec<_>>();
    assert_eq!(targets("access.log.1"), ["/before"]);
    assert_eq!(targets("access.log"), ["/after"]);
}

#[tokio::test]
async fn no_record_is_lost_or_torn_when_the_log_is_rotated() {
    const ROTATIONS: usize = 5;
    let backend = Backend::saying("hello").await;
    let mut program = before(&backend, "").await;
    let address = program.address();
    let load = tokio::spawn(async move {
        let mut client = Client::connect(address).await;
        for number in 0..2_000 {
            assert_eq!(client.get(&format!("/{number}")).await.status(), 200);
        }
    });
    for number in 0..ROTATIONS {
        eventually(PATIENCE, || !records_so_far(&program, "access.log").is_empty()).await;
        std::fs::rename(program.file("access.log"), program.file(&format!("access.log.{number}")))
            .expect("a rotation");
        program.signal(Signal::USR1);
        eventually(PATIENCE, || program.file("access.log").exists()).await;
    }
    load.await.expect("each request gets a response");
    program.signal(Signal::TERM);
    program.ended_well().await;
    let files = (0..ROTATIONS).map(|number| format!("access.log.{number}"));
    let files: Vec<String> = files.chain(["access.log".to_owned()]).collect();
    // Fails on a record that is not whole.
    let all = files.iter().flat_map(|file| records(&program, file));
    let targets: Vec<String> =
        all.map(|record| record["target"].as_str().expect("text").to_owned()).collect();
    let sent: Vec<String> = (0..2_000).map(|number| format!("/{number}")).collect();
    assert_eq!(targets, sent);
}

/// The text of a log that may be written to now.
fn records_so_far(program: &Program, file: &str) -> String {
    std::fs::read_to_string(program.file(file)).unwrap_or_default()
}
