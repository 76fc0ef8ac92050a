//! The section about tails: tables, bounds, how they came about, on what.

use std::fmt::Write;

use serde_json::{Value, json};

use super::contestant::Contestant;
use super::plan::Plan;
use super::results::{BACK, BASE, Course, Figures, LOST, Results};
use super::simulated::{self, Simulated};
use super::{FAST, Tail, WARM_UP, chart, load};
use xtask::bench::bounds;
use xtask::bench::report::{Host, number, row, spread};
use xtask::bench::results::Spread;
use xtask::failure::Failure;

/// What was measured on, and what.
#[derive(Debug)]
pub(crate) struct Setting {
    host: Host,
    real_time: bool,
    /// What each program calls itself.
    versions: Vec<String>,
}

/// The whole section.
pub(crate) fn section(results: &Results, setting: &Setting, plan: &Plan) -> String {
    let mut text = format!(
        "\
## Tails

What users notice while a backend is slow: {backends} backends, of which {FAST} respond in {fast} ms and one in {slow} ms, under a constant
rate of requests that does not wait for responses (an open loop). The time of a request counts from the moment when it was due.
As above, compare only values of the same run.

![p99 and p99.9 with one slow backend, by proxy and algorithm]({steady})

",
        backends = FAST + 1,
        fast = super::FAST_DELAY.as_millis(),
        slow = super::SLOW_DELAY.as_millis(),
        steady = chart::STEADY,
    );
    text += &tables(results);
    text += &method(results, setting, plan);
    text
}

/// The tables alone.
pub(crate) fn tables(results: &Results) -> String {
    let mut text = String::new();
    for rate in &results.rates {
        text += &steady(results, *rate);
    }
    text += &changes(results);
    for simulated in &results.simulated {
        text += &prediction(results, simulated);
    }
    text += "### Bounds about tails\n\n";
    text += &bounds::table(&results.bounds());
    text
}

fn steady(results: &Results, rate: u32) -> String {
    let to = format!("to {}", BASE.title());
    let mut text = format!("### One slow backend, {rate} requests/s\n\n");
    let _ = writeln!(
        text,
        "| proxy and algorithm | p50 ms | p99 ms | {to} | p99.9 ms | {to} | max ms | to the slow backend | sent late ms |\n\
         | --- | --: | --: | --: | --: | --: | --: | --: | --: |"
    );
    let measured = |c: &Contestant| results.of(*c, rate, |f| f.p50_ms).is_some();
    for contestant in results.contestants.iter().copied().filter(measured) {
        let of = |measure: fn(&Figures) -> f64| results.of(contestant, rate, measure);
        let to = |measure: fn(&Figures) -> f64| match contestant {
            BASE => "1".to_owned(),
            Contestant::Direct => "–".to_owned(),
            _ => spread(results.ratio(contestant, rate, measure), 2),
        };
        row(
            &mut text,
            &[
                name(contestant),
                number(of(|f| f.p50_ms), 1),
                spread(of(|f| f.p99_ms), 1),
                to(|f| f.p99_ms),
                spread(of(|f| f.p999_ms), 1),
                to(|f| f.p999_ms),
                number(of(|f| f.max_ms), 0),
                if contestant == Contestant::Direct {
                    "–".into()
                } else {
                    number(of(|f| f.slow_share * 100.0), 2) + " %"
                },
                number(of(|f| f.late_p999_ms), 2),
            ],
        );
    }
    text.push('\n');
    text
}

fn changes(results: &Results) -> String {
    let Some([fast, slow, end]) = results.moments().map(|m| m.map(|m| m.as_secs_f64())) else {
        return String::new();
    };
    let mut text = format!(
        "\
### Backends that change

After {fast} s the slow backend becomes as fast as the others. After {slow} s the backend that then serves most requests becomes
slow. After {end} s the run ends. A backend has its share back once it has {:.0} % of a fair share over one second. It has lost
its share once it has less than {:.0} % in each quarter of one second, without counting one request, and in all the time after that.

![Shares of the two backends that change and p99 over time, by proxy and algorithm]({})

| proxy and algorithm | share back after, s | share lost after, s | failed |
| --- | --: | --: | --: |
",
        BACK * 100.0,
        LOST * 100.0,
        chart::CHANGES
    );
    for contestant in results.contestants.iter().copied() {
        let back = results.of_courses(contestant, Course::back);
        if back.is_some() {
            let lost = results.of_courses(contestant, Course::lost);
            row(
                &mut text,
                &[name(contestant), seconds(back), seconds(lost), results.failed(contestant).to_string()],
            );
        }
    }
    text.push('\n');
    text
}

fn prediction(results: &Results, simulated: &Simulated) -> String {
    let rate = simulated.rate;
    let mut text = format!("### What the simulator says, {rate} requests/s\n\n");
    let predicted = match &simulated.p99_ms {
        Ok(predicted) => predicted,
        Err(why) => {
            let _ = writeln!(text, "Nothing: `evenkeel simulate` could not be asked ({why}).\n");
            return text;
        }
    };
    let p99 = |c: Contestant| results.of(c, rate, |f| f.p99_ms).map(|p99| (c, p99.median));
    let measured: Vec<(Contestant, f64)> = predicted.iter().filter_map(|(c, _)| p99(*c)).collect();
    let line = |all: &[(Contestant, f64)]| {
        let named = |(c, p99): (Contestant, f64)| format!("{} ({p99:.1})", c.algorithm().unwrap_or_default());
        simulated::sorted(all).into_iter().map(named).collect::<Vec<_>>().join(", ")
    };
    let wrong = simulated::disagreements(predicted, &measured);
    let verdict = if wrong.is_empty() {
        "The same order, except for those that differ by less than 10 %.".to_owned()
    } else {
        let pair = |(a, b): &(Contestant, Contestant)| format!("{} before {}", a.title(), b.title());
        format!("**Not the same order**: it has {}.", wrong.iter().map(pair).collect::<Vec<_>>().join(", "))
    };
    let _ = writeln!(
        text,
        "Algorithms by p99 in ms, best first.\n\n* `evenkeel simulate`: {}\n* this run: {}\n\n{verdict}\n",
        line(predicted),
        line(&measured)
    );
    text
}

fn method(results: &Results, setting: &Setting, plan: &Plan) -> String {
    let (rounds, seconds, warm_up) = (plan.rounds, plan.time().as_secs(), WARM_UP.as_secs());
    let mut text = format!(
        "\
### How tails were measured

* `cargo xtask bench tail --rounds {rounds} --seconds {seconds}`: {rounds} rounds. Each round starts every proxy again for every
  point, alone, and loads it for {seconds} s after {warm_up} s of warming up, in an order that rotates. The tables contain medians
  over the rounds, with the lowest and the highest in brackets. A ratio is the median of the ratios of the rounds. Proxies and
  algorithms without a bound are measured in the first round only.
* The proxy has CPU 0 and one worker; the load, and the {backends} backends in one process, share CPU 1{priority};
  all on loopback. {again} is the same proxy at another place in the order: how far its ratios are from 1
  shows how much of a ratio is chance. Every request is kept, so quantiles are exact. \"Sent late\" is about the load itself:
  99.9 % of the requests were sent no later than that after they were due. A point at which that was more than a millisecond
  is measured again, at most {again_at_most} times in all, because the load was disturbed.
* On a machine that others share, CPUs stand still for a millisecond now and then, and p99.9 would show these pauses. So on each
  CPU a thread of a still higher priority, which no proxy can delay, reads the clock every 0.2 ms. When it is late by more than
  0.2 ms, the requests that were due or finished then, or less than {around} ms from it, are left out for every proxy:
  {disturbed} % of the requests of a point. Only the start and the end of a request count, so that slow ones are not left out
  more often than fast ones. In the run with changes nothing is left out.
* A request without a response for {patience} s, or with a status other than 200, has failed.
* The run with changes has {rate} requests a second. Its chart has windows of one second, which start every quarter of a second,
  over all rounds together.
* All proxies keep connections, add `X-Forwarded-For` and log nothing; all other settings have their defaults. Envoy's
  `LEAST_REQUEST` compares two backends. `prequal` sends no probes here, and uses evenkeel's own measurements. `checked` is with a
  health check: once a second each backend receives the same HTTP request as a probe. `hedged` is with `hedge: {{}}`: second
  attempts for requests slower than 95 %, and copies of requests as tests. The configuration of each proxy is in
  `target/bench/tail/` after a run.

",
        again = Contestant::NginxLeastTimeAgain.title(),
        backends = FAST + 1,
        again_at_most = super::TRIES,
        patience = load::PATIENCE.as_secs(),
        rate = plan.change_rate(),
        around = load::AROUND.as_millis(),
        disturbed = spread(results.disturbed(), 1),
        priority = if setting.real_time { ", all at real-time priority" } else { "" },
    );
    let behind = results.behind();
    if !behind.is_empty() {
        let _ = writeln!(text, "**The load fell behind**, so do not trust: {}.\n", behind.join("; "));
    }
    let _ = writeln!(text, "| what | which |\n| --- | --- |");
    row(&mut text, &["cores".into(), setting.host.cores.clone()]);
    row(&mut text, &["kernel".into(), setting.host.kernel.clone()]);
    row(&mut text, &["proxies".into(), setting.versions.join("; ")]);
    row(&mut text, &["built with".into(), setting.host.rustc.clone()]);
    text
}

fn name(contestant: Contestant) -> String {
    let title = contestant.title();
    if contestant.is_bound() { format!("**{title}**") } else { title.to_owned() }
}

fn seconds(spread: Option<Spread>) -> String {
    let time = |s: f64| if s.is_finite() { format!("{s:.2}") } else { "never".to_owned() };
    match spread {
        Some(s) if s.low.total_cmp(&s.high).is_eq() => time(s.median),
        Some(s) => format!("{} ({}–{})", time(s.median), time(s.low), time(s.high)),
        None => "–".into(),
    }
}

// === impl Setting ===

impl Setting {
    /// Looks around.
    pub(crate) fn look(tail: &Tail<'_>, contestants: &[Contestant]) -> Result<Self, Failure> {
        let mut versions = Vec::new();
        for contestant in contestants {
            if let Some(version) = contestant.version(tail)?
                && !versions.contains(&version)
            {
                versions.push(version);
            }
        }
        Ok(Self { host: Host::look(&tail.tools)?, real_time: tail.real_time, versions })
    }

    /// For the raw results.
    pub(crate) fn facts(&self) -> Value {
        let Host { cores, kernel, rustc } = &self.host;
        json!({ "cores": cores, "kernel": kernel, "rustc": rustc, "versions": self.versions })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_never_happened_is_said() {
        let text = |values: &[f64]| seconds(Spread::over(values.to_vec()));
        assert_eq!(text(&[f64::INFINITY; 3]), "never");
        assert_eq!(text(&[0.5, 1.0, f64::INFINITY]), "1.00 (0.50–never)");
        assert_eq!(text(&[]), "–");
    }

    #[test]
    fn a_run_without_changes_or_simulator_has_no_table_of_them() {
        let mut results = Results::new(Contestant::ALL.to_vec(), vec![400]);
        let figures = Figures {
            requests: 1,
            failed: 0,
            p50_ms: 10.0,
            p99_ms: 12.0,
            p999_ms: 13.0,
            max_ms: 14.0,
            slow_share: 0.1,
            late_p999_ms: 0.1,
            disturbed: 0.0,
        };
        results.point(BASE, 400, figures);
        results.simulated.push(Simulated { rate: 400, p99_ms: Err("error: no such command".into()) });
        let text = tables(&results);
        assert!(text.contains("| nginx least_time | 10.0 | 12.0 (12.0–12.0) | 1 | 13.0"), "{text}");
        assert!(text.contains("could not be asked (error: no such command)"), "{text}");
        assert!(!text.contains("Backends that change") && !text.contains("| evenkeel round_robin"), "{text}");
    }
}
