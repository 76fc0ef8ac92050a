//! A restart under load: the new process begins before or after the old one ends, and no client notices.

#![cfg(test)]

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};

use rustix::process::Signal;
use tokio::task::JoinSet;

use crate::program::Program;
use crate::support::{Backend, Client, PATIENCE, eventually, get};

/// Clients that send requests without a pause, on kept connections and on new ones.
struct Load {
    stop: Arc<AtomicBool>,
    served: Arc<AtomicUsize>,
    clients: JoinSet<Result<(), String>>,
}

// === impl Load ===

impl Load {
    fn start(address: SocketAddr) -> Self {
        let (stop, served) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let mut clients = JoinSet::new();
        for number in 0..6 {
            let (stop, served) = (stop.clone(), served.clone());
            clients.spawn(async move {
                while !stop.load(SeqCst) {
                    connection(address, number % 2 == 0, &stop, &served).await?;
                }
                Ok(())
            });
        }
        Self { stop, served, clients }
    }

    /// Waits until so many more requests were served.
    async fn until_more(&self, more: usize) {
        let before = self.served.load(SeqCst);
        eventually(PATIENCE, || self.served.load(SeqCst) >= before + more || self.stop.load(SeqCst)).await;
    }

    /// The failures.
    async fn end(mut self) -> Vec<String> {
        self.stop.store(true, SeqCst);
        let mut failures = Vec::new();
        while let Some(ended) = self.clients.join_next().await {
            failures.extend(ended.expect("no panic").err());
        }
        failures
    }
}

/// The requests of one connection: until the balancer says that it ends, or one.
async fn connection(
    address: SocketAddr,
    keeps: bool,
    stop: &AtomicBool,
    served: &AtomicUsize,
) -> Result<(), String> {
    let stream =
        tokio::net::TcpStream::connect(address).await.map_err(|error| format!("connect: {error}"))?;
    let mut client = Client::over(Box::new(stream));
    loop {
        let close = if keeps { "" } else { "Connection: close\r\n" };
        let sent = client.try_send(format!("GET / HTTP/1.1\r\nHost: test\r\n{close}\r\n")).await;
        sent.map_err(|error| format!("send: {error}"))?;
        let response = client.try_response_to("GET").await.map_err(|error| format!("response: {error}"))?;
        if (response.status(), response.text().as_str()) != (200, "hello") {
            return Err(format!("{}: {}", response.status(), response.text()));
        }
        served.fetch_add(1, SeqCst);
        if response.closes() || !keeps || stop.load(SeqCst) {
            return Ok(());
        }
    }
}

/// With `pre_stop`, clients that are at work hear that their connection ends before it does.
fn yaml(address: SocketAddr, backend: &Backend) -> String {
    format!(
        "listeners: [{{ address: \"{address}\" }}]\nshutdown: {{ pre_stop: 500ms }}\n\
         upstreams: {{ web: {{ backends: [\"{}\"] }} }}\n",
        backend.url()
    )
}

#[tokio::test]
async fn sockets_of_a_supervisor_lose_nothing() {
    let backend = Backend::saying("hello").await;
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let yaml = yaml(address, &backend);
    let start = async || {
        let socket = listener.try_clone().expect("a descriptor");
        Program::run_with_socket(&yaml, socket.into()).await
    };
    let mut old = start().await;
    let load = Load::start(address);
    load.until_more(50).await;
    // Both at once, and then the new one alone.
    let mut new = start().await;
    load.until_more(50).await;
    old.signal(Signal::TERM);
    old.ended_well().await;
    load.until_more(50).await;
    // The old one first: connections wait in the socket until there is a new one.
    new.signal(Signal::TERM);
    new.ended_well().await;
    let waiting = tokio::spawn(get(address, "/"));
    let last = start().await;
    assert_eq!(waiting.await.expect("no panic").text(), "hello");
    load.until_more(50).await;
    assert_eq!(load.end().await, [""; 0]);
    drop(last);
}

#[tokio::test]
async fn two_processes_listen_on_one_address_only_where_allowed() {
    let backend = Backend::saying("hello").await;
    let mut old = Program::run(&yaml(SocketAddr::from(([127, 0, 0, 1], 0)), &backend)).await;
    let (address, folder) = (old.address(), tempfile::tempdir().expect("a temporary folder"));
    let yaml = yaml(address, &backend);
    std::fs::write(folder.path().join("evenkeel.yaml"), &yaml).expect("a file");
    let said = crate::program::evenkeel(folder.path(), &["run"]).await;
    assert_eq!(
        (said.code, said.err.lines().last()),
        (Some(3), Some(&*format!("error: address {address} in use")))
    );

    let load = Load::start(address);
    load.until_more(50).await;
    let new = Program::run_given(&yaml, &["--reuse-port"], &[]).await;
    load.until_more(50).await;
    old.signal(Signal::TERM);
    old.ended_well().await;
    load.until_more(50).await;
    let failures = load.end().await;
    // The system resets a connection that is being set up when the old socket closes, unless its settings say to move it.
    let moves =
        std::fs::read_to_string("/proc/sys/net/ipv4/tcp_migrate_req").is_ok_and(|value| value.trim() == "1");
    let allowed = usize::from(!moves);
    assert!(failures.len() <= allowed, "{failures:?}");
    assert!(failures.iter().all(|failure| failure.contains("reset")), "{failures:?}");
    drop(new);
}
