//! `docs/reference.md` is made from what the program has: the access log's fields, the metrics, the refusals and the exit
//! codes.

#![cfg(test)]

use std::fmt::Write;

use evenkeel::filter::{Overload, Refusal, Rejection, RejectionCause, Waited};
use evenkeel::status::{Field, REFUSALS};

use crate::architecture::source::root;
use crate::cli::golden;
use crate::program::evenkeel;

const TOP: &str = "\
# Reference

<!-- Written by `UPDATE_GOLDEN=1 cargo test --package evenkeel-cli reference`; edits are lost then. -->

What evenkeel writes and returns: for dashboards, alerts and scripts. [configuration.md](configuration.md) lists the keys.
";

const SIGNALS: &str = "
## Signals

| signal | effect |
| --- | --- |
| TERM, QUIT | drains: `/readyz` returns 503; after `shutdown.pre_stop`, evenkeel accepts no more connections and finishes the open requests; it ends after `shutdown.drain_timeout` at the latest. A second signal ends the process at once, unless it comes within one second of the first |
| INT | the same without `shutdown.pre_stop`, and within 5 seconds if `shutdown.drain_timeout` is longer |
";

/// A row for each signal that has an effect of its own.
const EFFECTS: [(&str, &str); 3] = [
    (
        "HUP",
        "reads the configuration file again and puts it in force; an invalid file changes nothing. The result is logged",
    ),
    ("USR1", "opens the file of the access log again, for log rotation"),
    ("USR2", "is logged and changes nothing"),
];

const EXIT_CODES: [(u8, &str); 4] = [
    (0, "the command succeeded, or the balancer ended after a signal"),
    (1, "rejected: the configuration or the request is invalid, or an admin address rejected the request"),
    (2, "bad usage: the arguments are invalid"),
    (
        3,
        "could not start: an address, file or other resource could not be used, or an admin address did not respond",
    ),
];

/// Every refusal, with each cause that it has. Not those of filters: they choose their status.
fn refusals() -> Vec<Refusal> {
    vec![
        Refusal::BadRequest("what is wrong with the request"),
        Refusal::HeaderTimeout,
        Refusal::BodyTimeout,
        Refusal::HeaderTooLarge,
        Refusal::BodyTooLarge,
        Refusal::MethodNotAllowed,
        Refusal::NotImplemented,
        Refusal::VersionNotSupported,
        Refusal::Misdirected,
        Refusal::NoRoute,
        Refusal::NoBackend,
        Refusal::Overloaded(Overload::CircuitBreaker),
        Refusal::Overloaded(Overload::QueueFull),
        Refusal::Overloaded(Overload::QueueTimeout),
        Refusal::OutOfResources,
        Refusal::Unreachable,
        Refusal::BadAnswer,
        Refusal::BackendTimeout(Waited::Connect),
        Refusal::BackendTimeout(Waited::Tls),
        Refusal::BackendTimeout(Waited::FirstByte),
        Refusal::Timeout,
        Refusal::ShuttingDown,
        Rejection::new(RejectionCause::Unauthorized, "").into(),
        Rejection::new(RejectionCause::Forbidden, "").into(),
        Rejection::new(RejectionCause::RateLimited, "").into(),
        Rejection::status(403, "").into(),
        Refusal::Internal,
    ]
}

#[tokio::test]
async fn the_reference_page_is_what_the_program_has() {
    let help = evenkeel(&root(), &["--help"]).await;
    let codes: Vec<_> = EXIT_CODES.iter().map(|(code, _)| code.to_string()).collect();
    let line = help.out.lines().find_map(|line| line.strip_prefix("Exit codes: ")).expect("exit codes");
    let told: Vec<_> = line.split(", ").filter_map(|part| part.split(' ').next()).collect();
    assert_eq!(told, codes, "the page and --help have the same exit codes");

    let page = [TOP, &fields(), &statuses(), &metrics(), SIGNALS, &rest()].concat();
    golden(&root().join("docs/reference.md"), &page);
}

/// The access log's fields, with their descriptions in the source.
fn fields() -> String {
    let source = std::fs::read_to_string(root().join("crates/evenkeel/src/observe/fields.rs"));
    let file = syn::parse_file(&source.expect("the catalogue of fields")).expect("Rust");
    let described = file.items.iter().find_map(|item| match item {
        syn::Item::Enum(item) if item.ident == "Field" => Some(item),
        _ => None,
    });
    let described = described.expect("the fields").variants.iter();
    let described: Vec<_> =
        described.map(|variant| (variant.ident.to_string(), text(&variant.attrs))).collect();
    assert_eq!(described.len(), Field::ALL.len());
    let mut out = String::from(
        "\n## Fields of the access log\n\nEach request has one record. JSON leaves out a field without a value; templates write `-`.\n\n\
         | field | meaning |\n| --- | --- |\n",
    );
    for field in Field::ALL {
        let found =
            described.iter().find(|(name, _)| *name == format!("{field:?}")).expect("its description");
        assert!(!found.1.is_empty(), "{field:?} has no description");
        row(&mut out, &[&format!("`{}`", field.name()), &found.1]);
    }
    out
}

fn text(attributes: &[syn::Attribute]) -> String {
    let lines = attributes.iter().filter_map(|attribute| match &attribute.meta {
        syn::Meta::NameValue(pair) if pair.path.is_ident("doc") => match &pair.value {
            syn::Expr::Lit(syn::ExprLit { lit: syn::Lit::Str(line), .. }) => {
                Some(line.value().trim().to_owned())
            }
            _ => None,
        },
        _ => None,
    });
    lines.collect::<Vec<_>>().join(" ").trim_end_matches('.').replace("[`Field`]", "field")
}

fn statuses() -> String {
    let mut out = String::from(
        "\n## Responses of evenkeel itself\n\nAll other responses come from a backend, a redirect or a fixed response. `reason` is the label of\n\
         `evenkeel_refusals_total` and the `error` of a JSON body; `end` and `error` are fields of the access log. 499 is a status of\n\
         the access log only: the client disconnected before there was a response. 503 carries `Retry-After: 1`. If the client sent\n\
         gRPC, the status is in `grpc-status`.\n\n\
         | status | reason | `end` | `error` | text for the client |\n| --- | --- | --- | --- | --- |\n",
    );
    let mut reasons = Vec::new();
    for refusal in refusals() {
        if reasons.last() != Some(&refusal.reason()) {
            reasons.push(refusal.reason());
        }
        let (status, error, message) = match &refusal {
            Refusal::Filter(rejection) => {
                let status = match rejection.cause {
                    RejectionCause::Status(_) => "400 to 599".to_owned(),
                    _ => refusal.status().to_string(),
                };
                (status, "the text of the filter", "the text of the filter")
            }
            other => (other.status().to_string(), other.cause(), other.message()),
        };
        let (reason, end) = (format!("`{}`", refusal.reason()), format!("`{}`", refusal.end()));
        row(&mut out, &[&status, &reason, &end, error, message]);
    }
    assert_eq!(reasons, REFUSALS, "every refusal is on the page");
    out
}

/// The metrics, from the page that `metrics.rs` holds against the program.
fn metrics() -> String {
    let page = include_str!("../golden/metrics.txt");
    let mut out = String::from(
        "\n## Metrics\n\n`GET /metrics` on the admin address returns these in the text format of Prometheus. Labels come from the configuration only.\n\n\
         | metric | type | labels | meaning |\n| --- | --- | --- | --- |\n",
    );
    let mut count = 0;
    for (name, help) in page.lines().filter_map(|line| line.strip_prefix("# HELP ")?.split_once(' ')) {
        let kind = page.lines().find_map(|line| line.strip_prefix(&format!("# TYPE {name} ")));
        let samples = page.lines().filter_map(|line| line.strip_prefix(name));
        let labels = samples.filter_map(|rest| rest.trim_start_matches("_bucket").strip_prefix('{'));
        let mut names: Vec<_> = labels
            .flat_map(|rest| rest.split("=\"").map(|part| part.rsplit([',', '"', '{']).next()))
            .flatten()
            .collect();
        names.retain(|name| {
            !name.is_empty() && name.chars().all(|c| c.is_ascii_lowercase() || c == '_') && *name != "le"
        });
        names.sort_unstable();
        names.dedup();
        row(&mut out, &[&format!("`{name}`"), kind.expect("a type"), &names.join(", "), help]);
        count += 1;
    }
    assert!(count > 20, "{count} metrics");
    out
}

fn rest() -> String {
    let mut out = String::new();
    for (signal, effect) in EFFECTS {
        row(&mut out, &[signal, effect]);
    }
    out.push_str("\n## Exit codes\n\n| code | meaning |\n| --- | --- |\n");
    for (code, meaning) in EXIT_CODES {
        row(&mut out, &[&code.to_string(), meaning]);
    }
    out
}

fn row(out: &mut String, cells: &[&str]) {
    let cells: Vec<_> = cells.iter().map(|cell| cell.replace('|', "\\|")).collect();
    let _ = writeln!(out, "| {} |", cells.join(" | "));
}
