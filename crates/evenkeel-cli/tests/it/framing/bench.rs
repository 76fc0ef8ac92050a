//! A balancer between a client and a strict backend, for many entries in turn.

#![cfg(test)]

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::client::{Client, answers};
use super::origin::{Log, Origin};
use crate::support::{Balancer, Lane};

/// A balancer and what it stands before.
pub(super) struct Bench {
    origin: Origin,
    balancer: Balancer,
    /// How often it was settled: no two responses are equal, so that none is mistaken for another.
    settled: AtomicUsize,
}

// === impl Bench ===

impl Bench {
    /// The balancer has limits that the corpus can reach, and one worker: so that a connection to the backend that is kept
    /// will be used. Without a lane, it has that of this run.
    pub(super) async fn start(lane: Option<Lane>) -> Self {
        let lanes = match lane {
            None => "",
            Some(Lane::Lean) => "lanes: auto\n",
            Some(Lane::Pingora) => "lanes: pingora\n",
        };
        let origin = Origin::start().await;
        let yaml = format!(
            "listeners: [{{ address: 127.0.0.1:0, \
               http: {{ max_header_size: 4KiB, max_header_fields: 32, max_body_size: 64KiB }} }}]\n\
             workers: 1\n\
             access_log: off\n\
             {lanes}upstreams: {{ web: {{ backends: [\"{}\"] }} }}",
            origin.url()
        );
        Self { origin, balancer: Balancer::start(&yaml).await, settled: AtomicUsize::new(0) }
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.balancer.address()
    }

    pub(super) fn origin(&self) -> &Origin {
        &self.origin
    }

    /// What the backend saw since the last time. A request that follows must get a response as if nothing had happened.
    /// This also ensures that everything the balancer sent before has arrived.
    pub(super) async fn settle(&self) -> Log {
        let target = format!("/settle/{}", self.settled.fetch_add(1, Ordering::Relaxed));
        let mut client = Client::connect(self.address()).await;
        let request = format!("GET {target} HTTP/1.1\r\nHost: settle\r\nConnection: close\r\n\r\n");
        client.send(&[request.into_bytes()]).await;
        client.read_to_end().await;
        let received = client.take();
        let answer = format!("GET {target}").into_bytes();
        let sound = answers(&received, &[], client.ended)
            .is_ok_and(|answers| answers.all.iter().map(|answer| &answer.body).eq([&answer]));
        for _ in 0..8 {
            // The backend's tasks, which run on this thread, take what has come.
            tokio::task::yield_now().await;
        }
        let mut log = self.origin.take();
        let last = log.requests.pop_if(|request| request.target() == target);
        if !sound || last.is_none() {
            log.faults.push(format!("a request that follows gets {:?}", super::strict::latin_1(&received)));
        }
        log
    }

    /// Whether nothing of what went before shows any more.
    pub(super) async fn is_clean(&self) -> bool {
        for _ in 0..2 {
            let log = self.settle().await;
            if !log.requests.is_empty() || !log.faults.is_empty() || !log.parts.is_empty() {
                return false;
            }
        }
        true
    }

    /// What is left over once the balancer has ended.
    pub(super) async fn finish(self) -> Log {
        self.balancer.stop();
        self.origin.finish().await
    }
}
