//! `evenkeel simulate`: runs every algorithm on the same backends and the same traffic, in virtual time.
//!
//! The world is in `evenkeel-sim`. This module describes it and shows its reports.

mod chart;
mod contest;
mod describe;
mod figures;
mod json;
mod log;
mod source;
mod table;
mod text_chart;
mod traffic;

use std::path::PathBuf;

use evenkeel::core::balance::LoadBalancingAlgorithm;

use self::contest::Contest;
use self::source::{Scenario, Source};
use self::traffic::Traffic;
use super::failure::Failure;
use super::{print, print_json, tell};

/// The arguments of `simulate`.
#[derive(Debug, clap::Args)]
#[command(after_help = MORE)]
pub(super) struct Args {
    #[command(flatten)]
    source: Source,
    #[command(flatten)]
    traffic: Traffic,
    #[command(flatten)]
    output: Output,
}

/// What is compared, and how it is shown.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Result")]
struct Output {
    /// An algorithm to run; may be repeated [default: all]
    #[arg(long, value_name = "NAME")]
    algorithm: Vec<LoadBalancingAlgorithm>,
    /// Write a chart over time to this file
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// Print JSON instead of a table and a chart
    #[arg(long)]
    json: bool,
}

const MORE: &str = "\
A backend is described as LAW[xN][, DETAIL]…, where N is the number of such backends:

  10ms, constant(10ms)     each request takes 10 ms
  exponential(10ms)        10 ms on average
  lognormal(10ms, 0.5)     median 10 ms; the spread is 0.5 (narrow) to 1.5 (wide)
  pareto(5ms, 1.5)         at least 5 ms; the lower the shape, the heavier the tail

  capacity=8               serves 8 requests at once, the others wait
  weight=3
  slow=10x@20s..40s        takes 10 times as long from 20 s to 40 s
  down=20s..25s            refuses requests, and breaks off those in progress
  errors=5%@10s..          fails 5 % of the requests from 10 s on, at once

You can omit either end of a time range, and for slow and errors the whole range. Faults can be repeated.

The algorithms and limits are the balancer's own. Not simulated: health checks, outlier
detection, hedging, the conditions of retries, zones.

Examples:

  evenkeel simulate
  evenkeel simulate --backend 'lognormal(10ms, 0.5)x9' --backend 100ms --rate 1000/s --seed 7
  evenkeel simulate -c evenkeel.yaml --upstream api --change '3, down=20s..25s' --attempts 2
  evenkeel simulate --backend 'exponential(10ms)x2, capacity=5' --rate 5000/s --adaptive-concurrency --important 10%
  evenkeel simulate --from-log access.log --algorithm peak_ewma --algorithm least_connections";

/// Runs all algorithms, and prints the results.
pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let scenario = args.source.scenario(&args.traffic)?;
    scenario.notes.iter().for_each(|note| tell(note));
    let world = args.traffic.world(&scenario)?;
    let algorithms = args.output.algorithms(&scenario);
    let contest = Contest::run(&world, algorithms).map_err(Failure::refused)?;
    if let Some(file) = &args.output.svg {
        let written = std::fs::write(file, chart::draw(&scenario, &contest));
        written.map_err(|error| Failure::start(format!("{}: {error}", file.display())))?;
    }
    if args.output.json {
        return print_json(&json::write(&scenario, &args.traffic, &contest)?);
    }
    let head = table::head(&scenario, &args.traffic, &contest);
    print(&format!(
        "{head}\n{}\n{}",
        table::draw(&contest, args.traffic.limits()),
        text_chart::draw(&scenario, &contest)
    ))
}

impl Output {
    /// The requested algorithms, or all. The upstream's own algorithm has the parameters of its file.
    fn algorithms(&self, scenario: &Scenario) -> Vec<LoadBalancingAlgorithm> {
        if !self.algorithm.is_empty() {
            return self.algorithm.clone();
        }
        let all = LoadBalancingAlgorithm::NAMES.iter().filter_map(|name| name.parse().ok());
        let as_configured = |algorithm: LoadBalancingAlgorithm| match &scenario.own {
            Some(own) if own.name() == algorithm.name() => own.clone(),
            _ => algorithm,
        };
        all.map(as_configured).collect()
    }
}
