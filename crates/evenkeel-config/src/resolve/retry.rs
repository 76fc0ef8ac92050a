//! Retries and hedging.

use std::num::NonZeroUsize;

use evenkeel_core::limit::RetryBudgetOptions;

use super::general::share;
use super::{Context, listener};
use crate::suggest::closest;
use crate::values::Size;
use crate::wire::{self, Condition};
use crate::yaml::Path;
use crate::{Hedge, HedgeAfter, Retry, RetryOn};

/// When a request is tried again.
pub(super) fn retry(wire: &wire::Retry, path: &Path, context: &mut Context<'_>) -> Option<Retry> {
    const LARGEST_BODY: u64 = 16 << 20;
    let most = wire::Retry::MOST_ATTEMPTS;
    if wire.attempts == 0 || wire.attempts > most {
        let message = format!("is out of range: expected 1 to {most}");
        context.wrong(&path.key("attempts"), &wire.attempts.to_string(), message);
    }
    let on = conditions(&wire.on, &path.key("on"), context);
    let per_try_timeout =
        listener::given_timeout(wire.per_try_timeout, &path.key("per_try_timeout"), context);
    let backoff = listener::given_timeout(wire.backoff, &path.key("backoff"), context);
    let wait_for_backend =
        listener::given_timeout(wire.wait_for_backend, &path.key("wait_for_backend"), context);
    let wire::OrText(budget) = &wire.budget;
    // The short form is the ratio itself.
    let budget_path = path.key("budget");
    let ratio_path = budget_path.key("ratio");
    let is_short = context.node(&budget_path).is_some() && context.node(&ratio_path).is_none();
    let ratio = share(budget.ratio, if is_short { &budget_path } else { &ratio_path }, context);
    if wire.max_body.0 > LARGEST_BODY {
        let message = format!("is too large: expected at most {}", Size(LARGEST_BODY));
        context.wrong(&path.key("max_body"), &wire.max_body.to_string(), message);
    }
    Some(Retry {
        attempts: NonZeroUsize::new(wire.attempts)?,
        on: on?,
        per_try_timeout: per_try_timeout?,
        backoff: backoff?,
        wait_for_backend: wait_for_backend?,
        budget: RetryBudgetOptions { ratio: ratio?, min_per_second: budget.min_per_second },
        max_body: usize::try_from(wire.max_body.0).ok()?,
    })
}

/// The statuses that `5xx` or `502-504` probably mean, as they are written.
fn statuses(text: &str) -> Option<String> {
    const USUAL: [u16; 3] = [502, 503, 504];
    let (first, last) = match text {
        "5xx" | "5XX" | "error" | "errors" | "server_error" => {
            return Some(USUAL.map(|status| format!("\"{status}\"")).join(", "));
        }
        text => text.split_once('-')?,
    };
    let (first, last): (u16, u16) = (first.parse().ok()?, last.parse().ok()?);
    let few = (400..=599).contains(&first) && (first..first + 10).contains(&last);
    few.then(|| (first..=last).map(|status| format!("\"{status}\"")).collect::<Vec<_>>().join(", "))
}

fn conditions(texts: &[Condition], path: &Path, context: &mut Context<'_>) -> Option<RetryOn> {
    let mut on = RetryOn { connect_failure: false, reset: false, timeout: false, statuses: Vec::new() };
    let mut right = true;
    for (index, (Condition(text), path)) in texts.iter().zip(context.entries(path, texts.len())).enumerate() {
        match text.as_str() {
            "connect_failure" => on.connect_failure = true,
            "reset" => on.reset = true,
            "timeout" => on.timeout = true,
            other => match other.parse::<u16>() {
                Ok(status) if (400..=599).contains(&status) => on.statuses.push(status),
                _ => {
                    let message = format!(
                        "is not a retry condition: expected {}, or a status from 400 to 599",
                        wire::Retry::CONDITIONS.join(", ")
                    );
                    let message = match statuses(text) {
                        Some(statuses) => format!("{message}: write {statuses}"),
                        None => message,
                    };
                    let meant = closest(text, wire::Retry::CONDITIONS).map(str::to_owned);
                    context.wrong(&path, text, message).suggestion = meant;
                    right = false;
                }
            },
        }
        if texts.iter().take(index).any(|earlier| earlier.0 == *text) {
            context.wrong(&path, text, "is given twice");
        }
    }
    if texts.is_empty() {
        context.absent(path, "has no entries: to turn retries off, write attempts: 1");
    }
    right.then_some(on)
}

/// Second attempts if the first is slow.
pub(super) fn hedge(wire: &wire::Hedge, path: &Path, context: &mut Context<'_>) -> Option<Hedge> {
    let after_path = path.key("after");
    let wire::After(after) = wire.after;
    let after = match after {
        HedgeAfter::Quantile(quantile) if quantile > 0.0 && quantile < 1.0 => Some(after),
        HedgeAfter::Quantile(_) => {
            let message = "is out of range: expected more than p0 and less than p100, like p95";
            context.wrong(&after_path, &wire.after.to_string(), message);
            None
        }
        HedgeAfter::Time(time) => {
            let time = listener::timeout(crate::values::Duration(time), &after_path, context);
            time.map(HedgeAfter::Time)
        }
    };
    let budget_path = path.key("budget");
    let budget = share(wire.budget, &budget_path, context);
    if budget == Some(0.0) {
        let message = "is too small: expected more than 0%; to make no second attempts, leave hedge out";
        context.wrong(&budget_path, &wire.budget.to_string(), message);
    }
    Some(Hedge { after: after?, budget: budget? })
}
