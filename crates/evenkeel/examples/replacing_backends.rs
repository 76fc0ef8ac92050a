//! A program that finds its backends itself. It replaces all backends of a running upstream, again and again, and measures what
//! requests notice of that: `cargo run --release --example replacing_backends -- [BACKENDS] [PER_SECOND]`.
//!
//! One server listens at as many addresses of 127.0.0.0/8 as there are backends. Windows with and without replacements alternate.
#![expect(clippy::print_stdout, reason = "it reports what it measured")]

use std::error::Error;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use evenkeel::config::{Backend, BackendUrl, ListenAddress, UpstreamBuilder};
use evenkeel::prelude::*;
use evenkeel::status::UpstreamHandle;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, interval, sleep_until};

type Failed = Box<dyn Error + Send + Sync>;

const CONNECTIONS: u32 = 64;
const REQUESTS_PER_SECOND: u32 = 3_000;
const WINDOW: Duration = Duration::from_secs(4);
const RESPONSE: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

#[tokio::main]
async fn main() -> Result<(), Failed> {
    let mut arguments = std::env::args().skip(1).map(|number| number.parse::<usize>());
    let backends = arguments.next().transpose()?.unwrap_or(10_000);
    let per_second = arguments.next().transpose()?.unwrap_or(50);
    let server = TcpListener::bind("0.0.0.0:0").await?;
    let port = server.local_addr()?.port();
    tokio::spawn(serve(server));
    // Of twice as many addresses, each set has one half.
    let all = (0..2 * backends).map(|index| Ok(Backend::new(BackendUrl::parse(&url(index, port))?)));
    let all = all.collect::<Result<Vec<Backend>, String>>()?;

    let web = UpstreamBuilder::new("web").backend(url(0, port)).pool_idle_timeout(Duration::from_secs(1));
    let config = ConfigBuilder::new().listen_address("127.0.0.1:0").upstream(web).build();
    let mut balancer = Server::new(config);
    balancer.start().await?;
    let handle = balancer.handle().ok_or("not started")?;
    let web = handle.upstream("web").await.ok_or("no such upstream")?;
    web.replace(all.iter().take(backends).cloned().collect()).await?;
    let Some(ListenAddress::Tcp(address)) = balancer.addresses().first().cloned() else {
        return Err("no address".into());
    };

    let (mut without, mut with) = (Vec::new(), Vec::new());
    for _ in 0..4 {
        without.extend(measure(address).await?);
        let source = tokio::spawn(replace(web.clone(), all.clone(), per_second));
        with.extend(measure(address).await?);
        source.abort();
        if let Ok(result) = source.await {
            result?;
        }
    }
    let (without, with) = (report("without", without), report("with", with));
    println!("p99 with replacements: {:.2} times that without", with / without);
    Ok(())
}

/// The scripted source: each set has a hundredth of its backends replaced by others.
async fn replace(web: UpstreamHandle, all: Vec<Backend>, per_second: usize) -> Result<(), Failed> {
    let mut ticks = interval(Duration::from_secs(1) / u32::try_from(per_second)?);
    let backends = all.len() / 2;
    let mut from = 0;
    loop {
        ticks.tick().await;
        from = (from + backends / 100) % all.len();
        let set: Vec<Backend> = all.iter().cycle().skip(from).take(backends).cloned().collect();
        web.replace(set).await?;
    }
}

/// The latencies of a window, in microseconds, from when each request was due.
async fn measure(address: SocketAddr) -> Result<Vec<u128>, Failed> {
    let end = Instant::now() + WINDOW;
    let client = |number: u32| async move {
        let mut stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let pause = Duration::from_secs(1) * CONNECTIONS / REQUESTS_PER_SECOND;
        let mut due = Instant::now() + pause * number / CONNECTIONS;
        let (mut latencies, mut response) = (Vec::new(), [0; 1024]);
        while due < end {
            sleep_until(due).await;
            stream.write_all(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n").await?;
            let read = stream.read(&mut response).await?;
            if !response.get(..read).is_some_and(|text| text.starts_with(b"HTTP/1.1 200 ")) {
                return Err(Failed::from("a request failed"));
            }
            latencies.push(due.elapsed().as_micros());
            due += pause;
        }
        Ok(latencies)
    };
    let clients: Vec<_> = (0..CONNECTIONS).map(|number| tokio::spawn(client(number))).collect();
    let mut all = Vec::new();
    for client in clients {
        all.extend(client.await??);
    }
    Ok(all)
}

/// Prints a summary, and gives the 99th percentile in microseconds.
fn report(name: &str, mut latencies: Vec<u128>) -> f64 {
    latencies.sort_unstable();
    let at = |share: usize| latencies.get(latencies.len() * share / 1000).copied().unwrap_or_default();
    let count = latencies.len();
    println!("{name}: {count} requests, p50 {} us, p99 {} us, p99.9 {} us", at(500), at(990), at(999));
    at(990) as f64
}

fn url(index: usize, port: u16) -> String {
    let [_, b, c, d] = u32::try_from(index + 256).unwrap_or_default().to_be_bytes();
    format!("http://{}:{port}", Ipv4Addr::new(127, b, c, d))
}

async fn serve(server: TcpListener) {
    while let Ok((mut stream, _)) = server.accept().await {
        tokio::spawn(async move {
            let mut request = [0; 4096];
            while stream.read(&mut request).await.is_ok_and(|read| read > 0) {
                if stream.write_all(RESPONSE).await.is_err() {
                    return;
                }
            }
        });
    }
}
