//! The traffic as a user describes it, and the world that it and the backends form.

use std::num::NonZeroU32;
use std::str::FromStr;
use std::time::Duration;

use evenkeel::config::{parse_duration, parse_rate};
use evenkeel::core::limit::{AdaptiveOptions, Rate, RateLimitOptions};
use evenkeel_sim::{Arrivals, FrontLimit, World};

use super::super::failure::Failure;
use super::figures;
use super::source::Scenario;

/// The options that describe requests.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Traffic")]
pub(super) struct Traffic {
    /// The request rate [default: 400/s; the requests of the log with --from-log]
    #[arg(long, value_name = "N/s", value_parser = rate)]
    rate: Option<f64>,
    /// The arrival process: poisson (independent, like many users), constant (evenly spaced), or closed(N, THINK): N
    /// clients that each wait for a response and then for THINK [default: poisson]
    #[arg(long, value_name = "HOW")]
    arrivals: Option<Process>,
    /// How long requests arrive [default: 30s; all of the log with --from-log]
    #[arg(long, value_name = "TIME", value_parser = duration)]
    duration: Option<Duration>,
    /// The number of clients, which matters to hash algorithms [default: a different client for each request]
    #[arg(long, value_name = "N")]
    clients: Option<NonZeroU32>,
    /// The most attempts for a request, each on another backend, whatever the failure
    #[arg(long, value_name = "N", default_value = "1")]
    attempts: NonZeroU32,
    /// The width of the windows for p99, shares and recovery [default: about 200 requests]
    #[arg(long, value_name = "TIME", value_parser = duration)]
    window: Option<Duration>,
    /// A rate limit for each client in front of the backends, such as 10/s; --clients says how many there are
    #[arg(long, value_name = "N/s", value_parser = parse_rate, conflicts_with = "adaptive_concurrency")]
    rate_limit: Option<Rate>,
    /// An adaptive limit of the requests in progress, in front of the backends
    #[arg(long)]
    adaptive_concurrency: bool,
    /// The share of requests with a high priority, such as 10%; the others have a low one
    #[arg(long, value_name = "SHARE", value_parser = share, requires = "adaptive_concurrency")]
    important: Option<f64>,
    /// The seed for all random numbers: the same seed gives the same result
    #[arg(long, value_name = "N", default_value = "1")]
    pub(super) seed: u64,
}

/// How requests come.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Process {
    Poisson,
    Constant,
    Closed { clients: u32, think: Duration },
}

const RATE: f64 = 400.0;
const DURATION: Duration = Duration::from_secs(30);

/// The p99 of a window with this many requests is meaningful.
const ENOUGH: f64 = 200.0;

/// Widths of windows that are easy to read, in milliseconds.
const WIDTHS: [u64; 20] = [
    10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 20_000, 30_000, 60_000, 120_000, 300_000,
    600_000, 1_200_000, 1_800_000, 3_600_000, 7_200_000,
];

// === impl Traffic ===

impl Traffic {
    /// The world of these backends and this traffic, and its duration.
    pub(super) fn world(&self, scenario: &Scenario) -> Result<(World, Duration), Failure> {
        if let (Some(Process::Closed { .. }), Some(_)) = (self.arrivals, self.rate) {
            let what = "a closed loop has no rate: its clients wait for responses; remove --rate";
            return Err(Failure::refused(what));
        }
        let duration = self.lasts(scenario);
        if duration.is_zero() {
            return Err(Failure::refused("--duration must be longer than 0"));
        }
        let backends: Vec<_> = scenario.backends.iter().map(|(name, backend)| backend.model(name)).collect();
        let mut world = World::new(backends, self.arrivals(scenario))
            .duration(duration)
            .window(self.window.unwrap_or_else(|| self.width(scenario, duration)))
            .attempts(self.attempts)
            .seed(self.seed);
        if let Some(clients) = self.clients {
            world = world.clients(clients);
        }
        if let Some(rate) = self.rate_limit {
            world = world.limit(FrontLimit::Rate(RateLimitOptions::new(rate)));
        }
        if self.adaptive_concurrency {
            world = world.limit(FrontLimit::Adaptive(AdaptiveOptions::default()));
        }
        if let Some(share) = self.important {
            world = world.important(share);
        }
        Ok((world, duration))
    }

    /// Whether there is a limit in front of the backends, and whether requests have priorities.
    pub(super) fn limits(&self) -> (bool, bool) {
        (self.rate_limit.is_some() || self.adaptive_concurrency, self.important.is_some())
    }

    /// How long requests arrive.
    pub(super) fn lasts(&self, scenario: &Scenario) -> Duration {
        // A request at the very end of a trace is included.
        let traced = scenario.trace.as_ref().map(|trace| trace.end() + Duration::from_millis(1));
        self.duration.or(traced).unwrap_or(DURATION)
    }

    /// How long requests arrive if there is no log.
    pub(super) fn lasts_without_log(&self) -> Duration {
        self.duration.unwrap_or(DURATION)
    }

    /// The traffic as text.
    pub(super) fn describe(&self, scenario: &Scenario) -> String {
        let often = |rate: f64| format!("{rate}/s");
        let process = match self.arrivals(scenario) {
            Arrivals::Trace(_) => "as logged".to_owned(),
            Arrivals::Constant { rate } => format!("{}, constant", often(rate)),
            Arrivals::Closed { clients, think } => {
                format!("{clients} clients, think time {}", figures::latency(think))
            }
            Arrivals::Poisson { rate } => format!("{}, poisson", often(rate)),
            _ => String::new(),
        };
        let plural = if self.attempts.get() == 1 { "" } else { "s" };
        let limit = match (self.rate_limit, self.adaptive_concurrency) {
            (Some(rate), _) => format!(", rate limit {rate} for each client"),
            (None, true) => ", adaptive concurrency".to_owned(),
            (None, false) => String::new(),
        };
        format!("{process}, {} attempt{plural} each, seed {}{limit}", self.attempts, self.seed)
    }

    fn arrivals(&self, scenario: &Scenario) -> Arrivals {
        let rate = self.rate.unwrap_or(RATE);
        match (self.arrivals, self.rate, &scenario.trace) {
            (None, None, Some(trace)) => Arrivals::Trace(trace.clone()),
            (Some(Process::Closed { clients, think }), ..) => Arrivals::Closed { clients, think },
            (Some(Process::Constant), ..) => Arrivals::Constant { rate },
            (Some(Process::Poisson) | None, ..) => Arrivals::Poisson { rate },
        }
    }

    /// The narrowest window that is easy to read and has enough requests, but never fewer than 30 of them.
    fn width(&self, scenario: &Scenario, duration: Duration) -> Duration {
        let rate = match self.arrivals(scenario) {
            Arrivals::Poisson { rate } | Arrivals::Constant { rate } => rate,
            Arrivals::Trace(trace) => trace.len() as f64 / duration.as_secs_f64(),
            _ => return duration / 60,
        };
        let least = (ENOUGH / rate).max(duration.as_secs_f64() / 240.0);
        let widths = || WIDTHS.into_iter().map(Duration::from_millis);
        let most = duration / 30;
        let enough = widths().find(|width| width.as_secs_f64() >= least && *width <= most);
        enough.or_else(|| widths().rfind(|width| *width <= most)).unwrap_or(duration / 60)
    }
}

// === impl Process ===

impl FromStr for Process {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let refused = || "expected poisson, constant or closed(N, THINK), like closed(50, 100ms)".to_owned();
        match text.trim() {
            "poisson" => Ok(Self::Poisson),
            "constant" => Ok(Self::Constant),
            text => {
                let inner = text
                    .strip_prefix("closed(")
                    .and_then(|rest| rest.strip_suffix(')'))
                    .ok_or_else(refused)?;
                let (clients, think) = inner.split_once(',').unwrap_or((inner, "0s"));
                let clients =
                    clients.trim().parse().ok().filter(|clients| *clients > 0).ok_or_else(refused)?;
                Ok(Self::Closed { clients, think: duration(think.trim())? })
            }
        }
    }
}

fn rate(text: &str) -> Result<f64, String> {
    let refused = || "expected a rate, like 1000/s or 600/m".to_owned();
    let (number, unit) = text.split_once('/').ok_or_else(refused)?;
    let seconds = match unit.trim() {
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3_600.0,
        _ => return Err(refused()),
    };
    let rate = number.trim().parse::<f64>().map_err(|_| refused())? / seconds;
    if rate > 0.0 && rate <= 1e9 { Ok(rate) } else { Err(refused()) }
}

fn share(text: &str) -> Result<f64, String> {
    let number = text.trim().strip_suffix('%').and_then(|number| number.trim_end().parse::<f64>().ok());
    match number {
        Some(percent) if (0.0..=100.0).contains(&percent) => Ok(percent / 100.0),
        _ => Err("expected a share, like 10%".to_owned()),
    }
}

fn duration(text: &str) -> Result<Duration, String> {
    parse_duration(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_and_processes_are_read_as_they_are_written() {
        assert_eq!([rate("1000/s"), rate("600/m"), rate("1.5 / s")], [Ok(1_000.0), Ok(10.0), Ok(1.5)]);
        for text in ["1000", "0/s", "-1/s", "1/d", "many/s", "nan/s", "inf/s"] {
            assert!(rate(text).is_err(), "{text}");
        }
        let closed = |clients, millis| Process::Closed { clients, think: Duration::from_millis(millis) };
        for (text, process) in [
            ("poisson", Process::Poisson),
            ("constant", Process::Constant),
            ("closed(50, 100ms)", closed(50, 100)),
            ("closed(8)", closed(8, 0)),
        ] {
            assert_eq!(text.parse(), Ok(process));
        }
        for text in ["", "open", "closed", "closed(0)", "closed(5, soon)", "closed(5"] {
            assert!(text.parse::<Process>().is_err(), "{text}");
        }
    }
}
