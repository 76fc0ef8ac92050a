//! `evenkeel run`: the balancer, from a file or from a few options, until a signal ends it.

use std::path::Path;
use std::pin::pin;

use evenkeel::config::{
    Config, ConfigBuilder, ConfigError, ListenAddress, ListenerBuilder, Protocol, RateLimit, TcpBuilder, Tls,
    parse_rate,
};
use evenkeel::core::balance::LoadBalancingAlgorithm;
use evenkeel::core::limit::Rate;
use evenkeel::error::StartError;
use evenkeel::{Server, ServerError};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::check::problems;
use super::failure::Failure;
use super::file::{FileArgument, load};
use super::logging::{Level, Logging};
use super::sockets;
use super::watch::Watch;
use super::{block_on, outside, tell};

/// The arguments of `run`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    file: FileArgument,
    /// Listen here instead of reading a file: ip:port, unix:/path, or https://ip:port with --cert and --key; for TCP
    /// tcp://ip:port, or tls://ip:port with --cert and --key; may be repeated
    #[arg(long, value_name = "ADDRESS", conflicts_with_all = ["path", "argument"], requires = "to")]
    listen: Vec<String>,
    /// A backend, like http://127.0.0.1:8081, or tcp://127.0.0.1:5432 for TCP; may be repeated
    #[arg(long, value_name = "URL", conflicts_with_all = ["path", "argument"], requires = "listen")]
    to: Vec<String>,
    /// The PEM file of a certificate for https:// and tls:// addresses, with its intermediate certificates; may be repeated
    #[arg(long, value_name = "FILE", conflicts_with_all = ["path", "argument"], requires = "listen", requires = "key")]
    cert: Vec<String>,
    /// The PEM file of the certificate's private key; one for each --cert, in the same order
    #[arg(long, value_name = "FILE", conflicts_with_all = ["path", "argument"], requires = "cert")]
    key: Vec<String>,
    /// How a backend is picked: round_robin, random, least_connections, power_of_two_choices, peak_ewma, source_ip_hash,
    /// consistent_hash, maglev, rendezvous or prequal
    /// [default: round_robin]
    #[arg(long, value_name = "NAME", conflicts_with_all = ["path", "argument"], requires = "listen")]
    algorithm: Option<LoadBalancingAlgorithm>,
    /// Limit how often each client can send a request, like 100/s or 5000/h
    #[arg(long, value_name = "RATE", value_parser = rate, conflicts_with_all = ["path", "argument"], requires = "listen")]
    rate_limit: Option<Rate>,
    /// Show /metrics, /status, /livez and /readyz here
    #[arg(long, value_name = "ADDRESS", conflicts_with_all = ["path", "argument"], requires = "listen")]
    admin: Option<String>,
    /// Reload when the configuration, or a file that it names, changes
    #[arg(long, conflicts_with = "listen")]
    watch: bool,
    /// Listen also where another evenkeel of the same user listens, to start a new process before the old one ends
    #[arg(long)]
    reuse_port: bool,
    #[command(flatten)]
    logging: Logging,
}

/// Runs the balancer until a signal ends it.
pub(super) fn run(args: Args) -> Result<(), Failure> {
    args.logging.start(Level::Info);
    let source = args.source()?;
    let again = if args.listen.is_empty() { args.file.again()? } else { None };
    let watch = args.watch;
    if watch && again.is_none() {
        return Err(Failure::usage("--watch needs a file: standard input can be read once only"));
    }
    let reuse_port = args.reuse_port;
    let config = args.config()?;
    raise_file_limit();
    let mut server = Server::new(config.clone()).give_back_memory(evenkeel_allocator::give_back);
    server = server.listening_sockets(sockets::passed()?)?;
    if reuse_port {
        sockets::warn_of_resets();
        server = server.reuse_port();
    }
    // What it watches are the files of the configuration that was just read.
    let watch = again.clone().filter(|_| watch).map(|path| Watch::new(path, &config));
    if let Some(path) = again {
        server = server.reload_from(move || read_again(&path).map_err(|failure| failure.to_string()));
    }
    block_on(serve(server, &config, &source, watch))
}

fn rate(text: &str) -> Result<Rate, String> {
    parse_rate(text).map_err(|message| format!("it {message}"))
}

/// Takes as many file descriptors as the system allows. The usual soft limit of 1,024, which is low because of
/// `select`, is enough for 512 concurrent requests.
fn raise_file_limit() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        log::warn!("cannot raise the limit of open files: {error}");
    }
}

async fn serve(
    mut server: Server,
    config: &Config,
    source: &str,
    watch: Option<Watch>,
) -> Result<(), Failure> {
    server.start().await.map_err(|error| placed(error, config))?;
    if let (Some(watch), Some(handle)) = (watch, server.handle()) {
        // It ends with the server.
        tokio::spawn(watch.run(handle));
    }
    let lines = announcement(&server, source);
    let mut running = pin!(server.run());
    // Its first poll catches the signals. Only after that may anyone learn that there is a process to send one to.
    tokio::select! {
        biased;
        ended = &mut running => return Ok(ended?),
        () = async { lines.iter().for_each(|line| tell(line)) } => {}
    }
    Ok(running.await?)
}

/// Reads the configuration for a reload, with everything that `check` looks at: its messages have the place in the file.
fn read_again(path: &Path) -> Result<Config, Failure> {
    let config = load(path)?;
    let model = config.model().map_err(Clone::clone)?;
    match problems(&config, model) {
        problems if problems.is_empty() => Ok(config),
        problems => Err(Failure::Refused(problems.join("\n"))),
    }
}

/// A failure to start, with the place in the file where the configuration names what is not there.
fn placed(error: ServerError, config: &Config) -> Failure {
    let problems = match (&error, config.model()) {
        (ServerError::Start(StartError::Plan(_)), Ok(model)) => {
            outside::problems(config, model, Server::new(config.clone()).check())
        }
        _ => Vec::new(),
    };
    let placed: Vec<_> = problems.into_iter().filter(|problem| problem.place.is_some()).collect();
    match placed.is_empty() {
        true => error.into(),
        false => ConfigError::new(placed).into(),
    }
}

/// What runs, then one line for each address, with its real port. Scripts read these: their form stays.
fn announcement(server: &Server, source: &str) -> Vec<String> {
    let workers = server.workers().unwrap_or_default();
    let plural = if workers == 1 { "" } else { "s" };
    let first =
        format!("evenkeel {}, configuration: {source}, {workers} worker{plural}", env!("CARGO_PKG_VERSION"));
    let listeners = server.state().map(|state| state.listeners()).unwrap_or_default();
    let listeners =
        listeners.into_iter().map(|listener| match (listener.address.clone(), listener.is_tls()) {
            (ListenAddress::Tcp(address), tls) if listener.protocol() == Protocol::Tcp => {
                format!("listening on {}{address}", if tls { TLS } else { TCP })
            }
            (ListenAddress::Tcp(address), false) => format!("listening on http://{address}"),
            (ListenAddress::Tcp(address), true) => format!("listening on https://{address}"),
            (address, false) => format!("listening on {address}"),
            (address, true) => format!("listening on {address} with TLS"),
        });
    let admin = server.admin_address().map(|address| format!("admin on http://{address}"));
    std::iter::once(first).chain(listeners).chain(admin).collect()
}

impl Args {
    /// Where the configuration comes from.
    fn source(&self) -> Result<String, Failure> {
        if self.listen.is_empty() { self.file.full_name() } else { Ok("command line".to_owned()) }
    }

    fn config(self) -> Result<Config, Failure> {
        if self.listen.is_empty() {
            return self.file.load();
        }
        let mut builder = ConfigBuilder::new().upstream_servers(self.to);
        let tls = tls(&self.cert, &self.key)?;
        let speaks_tls = |address: &String| address.starts_with(HTTPS) || address.starts_with(TLS);
        if tls.is_some() && !self.listen.iter().any(speaks_tls) {
            return Err(Failure::usage("--cert has no effect: write --listen https://ip:port"));
        }
        for address in self.listen {
            builder = builder.listener(listener(&address, tls.as_ref())?);
        }
        if let Some(algorithm) = self.algorithm {
            builder = builder.load_balancing_algorithm(algorithm);
        }
        if let Some(rate) = self.rate_limit {
            builder = builder.rate_limit(RateLimit::per_client(1).rate(rate));
        }
        if let Some(address) = self.admin {
            builder = builder.admin(address);
        }
        Ok(builder.try_build()?)
    }
}

/// How `--listen` names an address with TLS, one of TCP, and one of TCP with TLS.
const HTTPS: &str = "https://";
const TCP: &str = "tcp://";
const TLS: &str = "tls://";

/// TLS with these certificates; nothing if there are none.
fn tls(certs: &[String], keys: &[String]) -> Result<Option<Tls>, Failure> {
    if certs.len() != keys.len() {
        let message =
            format!("{} --cert and {} --key: expected one --key for each --cert", certs.len(), keys.len());
        return Err(Failure::usage(message));
    }
    Ok(certs.iter().zip(keys).fold(None, |tls: Option<Tls>, (cert, key)| match tls {
        None => Some(Tls::from_files(cert, key)),
        Some(tls) => Some(tls.certificate(cert, key)),
    }))
}

fn listener(address: &str, tls: Option<&Tls>) -> Result<ListenerBuilder, Failure> {
    if let Some(address) = address.strip_prefix(TCP) {
        return Ok(ListenerBuilder::new(address).tcp(TcpBuilder::new()));
    }
    let over_tls = address.strip_prefix(HTTPS).map(ListenerBuilder::new);
    let tcp_over_tls = || Some(ListenerBuilder::new(address.strip_prefix(TLS)?).tcp(TcpBuilder::new()));
    match (over_tls.or_else(tcp_over_tls), tls) {
        (None, _) => Ok(ListenerBuilder::new(address)),
        (Some(listener), Some(tls)) => Ok(listener.tls(tls.clone())),
        (Some(_), None) => {
            let message = format!("--listen {address} needs a certificate: add --cert FILE --key FILE");
            Err(Failure::usage(message))
        }
    }
}
