//! What is compared: the name of each, where it comes from, how it is started. Their configurations are in [`files`].

use std::fmt;
use std::path::PathBuf;

use clap::ValueEnum;
use xtask::failure::Failure;
use xtask::process::{self, Running};
use xtask::shell::Shell;
use xtask::tools::Tools;
use xtask::workspace;

use super::Tail;
use super::files::{self, Wanted};

/// A proxy with one way of choosing a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Contestant {
    /// No proxy, and one fast backend: the error of the load and the backends themselves
    Direct,
    NginxLeastTime,
    /// The same once more: how much it differs from itself is chance
    NginxLeastTimeAgain,
    NginxLeastConn,
    HaproxyLeastconn,
    HaproxyRandom,
    EnvoyLeastRequest,
    RoundRobin,
    LeastConnections,
    PowerOfTwoChoices,
    PeakEwma,
    Prequal,
    /// With a health check, whose probes take as long as requests
    PeakEwmaChecked,
    /// Likewise
    PrequalChecked,
    /// With hedging: second attempts, and copies of requests as tests
    PeakEwmaHedged,
    /// Likewise
    PrequalHedged,
}

/// What of evenkeel is turned on next to an algorithm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Extra {
    Nothing,
    HealthCheck,
    Hedging,
}

/// A contestant that answers.
#[derive(Debug)]
pub(crate) struct Started {
    pub(crate) port: u16,
    /// Ends it when this is dropped. There is none without a proxy.
    _running: Option<Running>,
}

// === impl Contestant ===

impl Contestant {
    /// All, in the order of the report.
    pub(crate) const ALL: [Self; 16] = [
        Self::Direct,
        Self::NginxLeastTime,
        Self::NginxLeastTimeAgain,
        Self::NginxLeastConn,
        Self::HaproxyLeastconn,
        Self::HaproxyRandom,
        Self::EnvoyLeastRequest,
        Self::RoundRobin,
        Self::LeastConnections,
        Self::PowerOfTwoChoices,
        Self::PeakEwma,
        Self::Prequal,
        Self::PeakEwmaChecked,
        Self::PrequalChecked,
        Self::PeakEwmaHedged,
        Self::PrequalHedged,
    ];

    /// What the report calls it.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Direct => "no proxy, a fast backend",
            Self::NginxLeastTime => "nginx least_time",
            Self::NginxLeastTimeAgain => "nginx least_time, again",
            Self::NginxLeastConn => "nginx least_conn",
            Self::HaproxyLeastconn => "HAProxy leastconn",
            Self::HaproxyRandom => "HAProxy random(2)",
            Self::EnvoyLeastRequest => "Envoy LEAST_REQUEST",
            Self::RoundRobin => "evenkeel round_robin",
            Self::LeastConnections => "evenkeel least_connections",
            Self::PowerOfTwoChoices => "evenkeel power_of_two_choices",
            Self::PeakEwma => "evenkeel peak_ewma",
            Self::Prequal => "evenkeel prequal",
            Self::PeakEwmaChecked => "evenkeel peak_ewma, checked",
            Self::PrequalChecked => "evenkeel prequal, checked",
            Self::PeakEwmaHedged => "evenkeel peak_ewma, hedged",
            Self::PrequalHedged => "evenkeel prequal, hedged",
        }
    }

    /// The algorithm, as evenkeel's file and its simulator call it. The others have none.
    pub(crate) fn algorithm(self) -> Option<&'static str> {
        match self {
            Self::RoundRobin => Some("round_robin"),
            Self::LeastConnections => Some("least_connections"),
            Self::PowerOfTwoChoices => Some("power_of_two_choices"),
            Self::PeakEwma | Self::PeakEwmaChecked | Self::PeakEwmaHedged => Some("peak_ewma"),
            Self::Prequal | Self::PrequalChecked | Self::PrequalHedged => Some("prequal"),
            _ => None,
        }
    }

    /// Whether a bound holds for it.
    pub(crate) fn is_bound(self) -> bool {
        self.extra() != Extra::Nothing || matches!(self, Self::PeakEwma | Self::Prequal)
    }

    /// Whether it differs from what it is held against by so little that several rounds must tell.
    pub(crate) fn is_close(self) -> bool {
        self.is_bound() || matches!(self, Self::Direct | Self::NginxLeastTime | Self::NginxLeastTimeAgain)
    }

    /// What is turned on next to its algorithm, of which the simulator knows nothing.
    pub(crate) fn extra(self) -> Extra {
        match self {
            Self::PeakEwmaChecked | Self::PrequalChecked => Extra::HealthCheck,
            Self::PeakEwmaHedged | Self::PrequalHedged => Extra::Hedging,
            _ => Extra::Nothing,
        }
    }

    /// Whether it goes through the changes.
    pub(crate) fn is_changed(self) -> bool {
        !matches!(self, Self::Direct | Self::NginxLeastTimeAgain)
    }

    fn is_nginx(self) -> bool {
        matches!(self, Self::NginxLeastTime | Self::NginxLeastTimeAgain | Self::NginxLeastConn)
    }

    fn is_haproxy(self) -> bool {
        matches!(self, Self::HaproxyLeastconn | Self::HaproxyRandom)
    }

    /// Installs what is neither here nor built here.
    pub(crate) fn install(self, tools: &Tools<'_>) -> Result<(), Failure> {
        peer(self, tools).map(drop)
    }

    /// Its version, as it says itself.
    pub(crate) fn version(self, tail: &Tail<'_>) -> Result<Option<String>, Failure> {
        let Some(program) = self.program(tail)? else { return Ok(None) };
        let how = match self {
            _ if self.is_nginx() || self.is_haproxy() => "-v",
            _ => "--version",
        };
        let told = tail.tools.command(&program).arg(how).output()?;
        let line = told.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default();
        let version = line.split_once("version: ").map_or(line, |(_, version)| version);
        Ok(Some(match self {
            // What follows is commit/version/state/kind/library.
            Self::EnvoyLeastRequest => format!("Envoy {}", version.split('/').nth(1).unwrap_or(version)),
            _ if self.is_haproxy() => line.split(" - http").next().unwrap_or(line).into(),
            _ => version.to_owned(),
        }))
    }

    /// Whether its program can do this at all; otherwise, what it said.
    pub(crate) fn check(self, tail: &Tail<'_>) -> Result<(), Failure> {
        let wanted = Wanted { port: 1, admin: 2, backends: &tail.ports };
        match (self.algorithm(), self.program(tail)?) {
            (Some(algorithm), Some(program)) => {
                let file = self.write(tail, &files::evenkeel(&wanted, algorithm, self.extra()))?;
                tail.tools.command(program).args(["check", "-c"]).arg(file).output().map(drop)
            }
            _ => Ok(()),
        }
    }

    /// Starts it afresh on CPU 0, and waits until it answers.
    pub(crate) fn start(self, tail: &Tail<'_>) -> Result<Started, Failure> {
        let [port, admin] = process::free_ports()?;
        let Some(shell) = self.shell(tail, &Wanted { port, admin, backends: &tail.ports })? else {
            return Ok(Started { port: tail.port(super::ALONE)?, _running: None });
        };
        // At the same priority as the load, so that other work on the CPU makes no difference between proxies.
        let running = Running::start(self.title(), &tail.urgent(shell), Some(0))?;
        if self.algorithm().is_some() {
            process::await_ok(admin, "/readyz", &running)?;
        }
        process::await_ok(port, "/", &running)?;
        Ok(Started { port, _running: Some(running) })
    }

    fn shell(self, tail: &Tail<'_>, wanted: &Wanted<'_>) -> Result<Option<Shell>, Failure> {
        let Some(program) = self.program(tail)? else { return Ok(None) };
        let command = tail.tools.command(&program);
        Ok(Some(match self {
            Self::Direct => return Ok(None),
            Self::NginxLeastTime | Self::NginxLeastTimeAgain | Self::NginxLeastConn => {
                let folder = tail.folder.join("nginx");
                std::fs::create_dir_all(&folder)
                    .map_err(|e| Failure::new(format!("cannot make a folder: {e}")))?;
                let method = if self == Self::NginxLeastConn { "least_conn" } else { "least_time header" };
                let file = self.write(tail, &files::nginx(wanted, &folder, method))?;
                // A master that is killed leaves its workers behind; after SIGTERM it ends them.
                let nginx = tail.tools.command("setpriv").args(["--pdeathsig", "TERM"]).arg(program);
                nginx.arg("-p").arg(&folder).arg("-c").arg(file)
            }
            Self::HaproxyLeastconn | Self::HaproxyRandom => {
                let balance = if self == Self::HaproxyRandom { "random(2)" } else { "leastconn" };
                let file = self.write(tail, &files::haproxy(wanted, balance))?;
                command.args(["-q", "-db", "-f"]).arg(file)
            }
            Self::EnvoyLeastRequest => {
                let file = self.write(tail, &files::envoy(wanted))?;
                let envoy =
                    command.args(["--concurrency", "1", "--disable-hot-restart", "--log-level", "error"]);
                envoy.arg("-c").arg(file)
            }
            _ => {
                let algorithm = self.algorithm().unwrap_or_default();
                let file = self.write(tail, &files::evenkeel(wanted, algorithm, self.extra()))?;
                command.args(["run", "-c"]).arg(file)
            }
        }))
    }

    fn program(self, tail: &Tail<'_>) -> Result<Option<PathBuf>, Failure> {
        if self.algorithm().is_some() { Ok(Some(tail.evenkeel.clone())) } else { peer(self, &tail.tools) }
    }

    fn write(self, tail: &Tail<'_>, text: &str) -> Result<PathBuf, Failure> {
        let ending = if self.is_nginx() || self.is_haproxy() { "conf" } else { "yaml" };
        let file = tail.folder.join(format!("{self}.{ending}"));
        workspace::write(&file, text)?;
        Ok(file)
    }
}

impl fmt::Display for Contestant {
    /// Its name, as `--only` takes it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.to_possible_value().unwrap_or_default().get_name())
    }
}

/// The program of another project, installed if it is missing.
fn peer(contestant: Contestant, tools: &Tools<'_>) -> Result<Option<PathBuf>, Failure> {
    match contestant {
        _ if contestant.is_nginx() => tools.nginx131().map(Some),
        _ if contestant.is_haproxy() => tools.haproxy28().map(Some),
        Contestant::EnvoyLeastRequest => tools.envoy().map(Some),
        _ => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn titles_are_all_different() {
        for one in Contestant::ALL {
            let alike = |other: &&Contestant| other.title() == one.title();
            assert_eq!(Contestant::ALL.iter().filter(alike).count(), 1, "{one:?}");
        }
        assert_eq!(Contestant::ALL.iter().filter(|c| c.is_bound()).count(), 6);
    }
}
