//! `evenkeel demo`: sample backends, a balancer and light traffic in one process, with nothing to prepare.

mod backends;
mod report;
mod traffic;

use std::time::Duration;

use evenkeel::config::{Config, ConfigBuilder, ListenerBuilder};
use evenkeel::core::balance::LoadBalancingAlgorithm;
use evenkeel::error::StartError;
use evenkeel::status::ListenerState;
use evenkeel::{Server, ServerError};
use tokio::signal::unix::{Signal, SignalKind, signal};

use self::backends::Backend;
use self::report::Report;
use self::traffic::Traffic;
use super::failure::Failure;
use super::logging::{Level, Logging};
use super::{block_on, print};

/// The arguments of `demo`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The address of the balancer [default: 127.0.0.1:8080, or a free port if it is in use]
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<String>,
    /// The admin address [default: 127.0.0.1:9900, or a free port if it is in use]
    #[arg(long, value_name = "ADDRESS")]
    admin: Option<String>,
    /// How a backend is picked: round_robin, random, least_connections, power_of_two_choices, peak_ewma,
    /// source_ip_hash, consistent_hash, maglev, rendezvous or prequal [default: least_connections]
    #[arg(long, value_name = "NAME")]
    algorithm: Option<LoadBalancingAlgorithm>,
    /// Stop after this many seconds instead of at Ctrl-C
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    seconds: Option<u32>,
    #[command(flatten)]
    logging: Logging,
}

/// The addresses to try.
#[derive(Clone, Debug)]
struct Wanted {
    listen: String,
    admin: String,
}

const LISTEN: &str = "127.0.0.1:8080";
const ADMIN: &str = "127.0.0.1:9900";
/// Any free port.
const ANY: &str = "127.0.0.1:0";

/// Requests per second. Few enough for a busy machine, and enough to show a slow backend.
const RATE: u32 = 20;

/// Connections at once: the demo needs few, and no more open files than any system allows.
const CONNECTIONS: usize = 100;
/// How long requests can take to finish; no request of the demo takes longer.
const DRAIN: Duration = Duration::from_secs(1);

/// Runs the demo until it is ended.
pub(super) fn run(args: Args) -> Result<(), Failure> {
    args.logging.start(Level::Warn);
    block_on(show(args))
}

async fn show(args: Args) -> Result<(), Failure> {
    let signals = Signals::new().map_err(|error| Failure::start(format!("cannot catch signals: {error}")))?;
    let backends = backends::start().await.map_err(|error| Failure::start(format!("a backend: {error}")))?;
    let algorithm = args.algorithm.clone().unwrap_or(LoadBalancingAlgorithm::LeastConnections);
    let mut server = args.start(&backends, &algorithm).await?;
    let (Some(state), Some(admin)) = (server.state().cloned(), server.admin_address()) else {
        return Err(Failure::start("the balancer did not start"));
    };
    let listener = state.listeners().first().map(|listener: &ListenerState| listener.name.to_string());
    let listener = listener.unwrap_or_default();
    print(&args.welcome(&listener, &admin.to_string(), algorithm.name()))?;

    let traffic = Traffic::start(&listener, RATE);
    let count = traffic.count.clone();
    let end = async {
        signals.or_after(args.seconds).await;
        // The clients stop first, so that the balancer has nothing to wait for.
        drop(traffic);
    };
    let mut report = Report::new(&backends);
    tokio::select! {
        ended = server.run_until(end) => ended?,
        failure = report.print_forever(&state) => return Err(failure),
    }
    print(&format!("\n{count}\n"))
}

impl Args {
    /// Starts the balancer. A default port that is in use is replaced by a free one.
    async fn start(
        &self,
        backends: &[Backend],
        algorithm: &LoadBalancingAlgorithm,
    ) -> Result<Server, Failure> {
        let listen = self.listen.clone().unwrap_or_else(|| LISTEN.to_owned());
        let admin = self.admin.clone().unwrap_or_else(|| ADMIN.to_owned());
        let mut wanted = Wanted { listen, admin };
        loop {
            let mut server = Server::new(wanted.config(backends, algorithm)?);
            match server.start().await {
                Ok(()) => return Ok(server),
                Err(ServerError::Start(StartError::Bind(_)))
                    if self.listen.is_none() && wanted.listen != ANY =>
                {
                    wanted.listen = ANY.to_owned();
                }
                Err(ServerError::Admin(_)) if self.admin.is_none() && wanted.admin != ANY => {
                    wanted.admin = ANY.to_owned();
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn welcome(&self, listener: &str, admin: &str, algorithm: &str) -> String {
        let instead = |address: &str, given: &Option<String>, default: &str| match given {
            None if address != default => format!(" ({default} is taken)"),
            _ => String::new(),
        };
        let taken = instead(listener, &self.listen, LISTEN);
        let admin_taken = instead(admin, &self.admin, ADMIN);
        format!(
            "\
Three backends, one of them slow; the balancer, with {algorithm}; {RATE} requests a second.

Open
  http://{listener}/
      the balancer: each response names its backend{taken}
  http://{admin}/status
      what the balancer knows; the same for Prometheus at /metrics{admin_taken}

Try
  curl -i http://{listener}/
  for i in 1 2 3 4 5 6; do curl -s http://{listener}/; done
  curl -s http://{admin}/metrics
  evenkeel demo --algorithm round_robin    # the slow backend gets its full third

Ctrl-C ends it. What each backend got, and how long it took:

"
        )
    }
}

impl Wanted {
    fn config(&self, backends: &[Backend], algorithm: &LoadBalancingAlgorithm) -> Result<Config, Failure> {
        let config = ConfigBuilder::new()
            .listener(ListenerBuilder::new(&self.listen).max_connections(CONNECTIONS))
            .admin(&self.admin)
            .upstream_servers(backends.iter().map(Backend::url))
            .load_balancing_algorithm(algorithm.clone())
            .drain_timeout(DRAIN);
        Ok(config.try_build()?)
    }
}

/// The signals that end the demo.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    async fn or_after(mut self, seconds: Option<u32>) {
        let after = async {
            match seconds {
                Some(seconds) => tokio::time::sleep(Duration::from_secs(seconds.into())).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            () = after => {}
        }
    }
}
