//! An explanation as text for people.

use std::fmt::Write;

use evenkeel::explain::{
    BackendExplanation, Basis, ChoiceExplanation, Explanation, FilterExplanation, HashExplanation, Outcome,
    UpstreamExplanation, VerdictKind,
};

use super::super::printable::{one_line_each, width};

/// The whole text. Every value in it stays on its line and is safe for a terminal: the explanation may come from another
/// machine.
pub(super) fn text(said: &Explanation) -> String {
    let said = &one_line_each(said).unwrap_or_else(|| said.clone());
    let mut out = format!("{} {}\n{}\n", said.method, said.url, client(said));
    if let Some(path) = &said.path {
        let _ = writeln!(out, "routes and filters see the path {path}");
    }
    section(&mut out, "routes", &routes(said));
    section(&mut out, "filters", &said.filters.iter().map(filter).collect::<Vec<_>>());
    for upstream in &said.upstreams {
        explain_upstream(&mut out, upstream);
    }
    let _ = writeln!(out, "\n{}", outcome(said));
    if !said.live && !said.upstreams.is_empty() {
        out.push_str("no requests in flight: explained from the file alone\n");
    }
    out
}

fn client(said: &Explanation) -> String {
    let client = &said.client;
    let ip = client.ip.map_or_else(|| "unknown".to_owned(), |ip| ip.to_string());
    match client.peer_trusted {
        true if client.ip == Some(client.peer) => {
            format!("from {ip}, a trusted proxy that forwards no other address")
        }
        true => format!("from {ip}, forwarded by the trusted proxy {}", client.peer),
        false => format!("from {ip}"),
    }
}

fn routes(said: &Explanation) -> Vec<Vec<String>> {
    let passed = said.passed_over.iter();
    let passed = passed.map(|passed| vec!["no".to_owned(), passed.route.clone(), passed.reason.clone()]);
    let taken = said.route.iter().map(|route| vec!["yes".to_owned(), route.clone()]);
    passed.chain(taken).collect()
}

fn filter(filter: &FilterExplanation) -> Vec<String> {
    let mut does = Vec::new();
    if let Some(path) = &filter.path {
        does.push(format!("path becomes {path}"));
    }
    for (verb, fields) in [("removes", &filter.removed), ("sets", &filter.set), ("adds", &filter.added)] {
        if !fields.is_empty() {
            does.push(format!("{verb} {}", fields.join(", ")));
        }
    }
    match filter.verdict {
        VerdictKind::Answer => does.push("responds".to_owned()),
        VerdictKind::Refuse => does.push("rejects".to_owned()),
        VerdictKind::Wait => does.push("would wait for a result (explain does not wait)".to_owned()),
        _ if does.is_empty() => does.push("no change".to_owned()),
        _ => {}
    }
    does.extend(filter.notes.iter().cloned());
    vec![filter.kind.clone(), does.join("; ")]
}

fn explain_upstream(out: &mut String, upstream: &UpstreamExplanation) {
    let share = upstream.share.map(|share| format!(", {} of the requests", percent(share)));
    let _ = writeln!(out, "\nupstream {}{}", upstream.name, share.unwrap_or_default());
    let mut facts = vec![vec!["algorithm".to_owned(), upstream.algorithm.clone()]];
    facts.extend(upstream.hash.as_ref().map(hash));
    if let Some(cookie) = &upstream.cookie {
        let names = match (&cookie.backend, cookie.sent) {
            (Some(backend), _) => format!("{} names {backend}", cookie.name),
            (None, true) => format!("{} names no usable backend", cookie.name),
            (None, false) => format!("{} was not sent", cookie.name),
        };
        facts.push(vec!["cookie".to_owned(), names]);
    }
    let meaning = match upstream.mode.as_str() {
        "fail_open" => "fail_open: no healthy backend, sending to all",
        "panic" => "panic: too few healthy backends, sending to all",
        "refuse" => "refuse: no healthy backend, rejecting all requests",
        _ => "",
    };
    if !meaning.is_empty() {
        facts.push(vec!["mode".to_owned(), meaning.to_owned()]);
    }
    out.push_str(&aligned(&facts, &[]));
    let head = ["", "backend", "state", "weight", "in flight", "score"].map(str::to_owned);
    let mut rows = vec![head.to_vec()];
    rows.extend(upstream.backends.iter().map(backend));
    let scored = upstream.backends.iter().any(|backend| backend.score.is_some());
    if !scored {
        rows.iter_mut().for_each(|row| drop(row.remove(5)));
    }
    out.push_str(&aligned(&rows, if scored { &[3, 4, 5] } else { &[3, 4] }));
}

fn hash(hash: &HashExplanation) -> Vec<String> {
    let value = match (&hash.value, &*hash.key) {
        (Some(value), _) => format!("{} = {value}", hash.key),
        (None, "client_ip") => hash.key.clone(),
        (None, _) => format!("{} is absent: the client's address", hash.key),
    };
    vec!["key".to_owned(), format!("{value}, hash {}", hash.hash)]
}

fn backend(backend: &BackendExplanation) -> Vec<String> {
    let mut state = backend.state.clone();
    if let Some(share) = backend.starting_share {
        state.push_str(&format!(" {}", percent(share)));
    }
    if backend.gray {
        state.push_str(", gray");
    }
    let numbers = [backend.weight.to_string(), backend.in_flight.to_string()];
    let score = backend.score.map_or_else(|| "-".to_owned(), |score| score.to_string());
    let mut row = vec![(if backend.chosen { ">" } else { "" }).to_owned(), backend.name.clone(), state];
    row.extend(numbers);
    row.push(score);
    row.extend(backend.left_out.clone());
    row
}

fn outcome(said: &Explanation) -> String {
    match &said.outcome {
        Outcome::Answer { status, location: Some(location) } => {
            format!("would respond with {status}, location {location}")
        }
        Outcome::Answer { status, .. } => format!("would respond with {status}"),
        Outcome::Refusal(refused) => {
            format!("would be rejected with {}: {}", refused.status, refused.message)
        }
        _ => {
            let target = said.target.as_deref().unwrap_or_default();
            let choices = said.upstreams.iter().map(|upstream| choice(upstream, target));
            choices.collect::<Vec<_>>().join("\n")
        }
    }
}

fn choice(upstream: &UpstreamExplanation, target: &str) -> String {
    let by_share = if upstream.share.is_some() { format!("{}: ", upstream.name) } else { String::new() };
    let does = match &upstream.choice {
        ChoiceExplanation::Backend { name, by } => {
            let by = match by {
                Basis::Cookie => "by its cookie",
                Basis::Hash => "by its key",
                _ => "this time",
            };
            format!("would send {target} to {name}, {by}")
        }
        ChoiceExplanation::Wait { pending } => {
            format!("would wait for a free backend, with {pending} others waiting")
        }
        ChoiceExplanation::Refusal(refused) => {
            format!("would be rejected with {}: {}", refused.status, refused.message)
        }
        _ => "outcome unknown to this version".to_owned(),
    };
    by_share + &does
}

fn percent(share: f64) -> String {
    format!("{} %", (share * 1e3).round() / 10.0)
}

fn section(out: &mut String, title: &str, rows: &[Vec<String>]) {
    if !rows.is_empty() {
        let _ = write!(out, "\n{title}\n{}", aligned(rows, &[]));
    }
}

/// Rows indented and in columns. The given columns are aligned right.
fn aligned(rows: &[Vec<String>], right: &[usize]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or_default();
    let cells = |column: usize| rows.iter().filter_map(move |row| row.get(column)).map(String::as_str);
    let widths: Vec<usize> = (0..columns).map(|column| width(cells(column))).collect();
    let mut out = String::new();
    for row in rows {
        let mut line = String::new();
        for (column, (cell, &width)) in row.iter().zip(&widths).enumerate() {
            let _ = match right.contains(&column) {
                true => write!(line, "  {cell:>width$}"),
                false => write!(line, "  {cell:<width$}"),
            };
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}
