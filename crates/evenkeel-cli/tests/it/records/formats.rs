//! What a record looks like, in each of the three forms: held against golden files.

use std::path::Path;

use super::super::support::samples::assert_golden;
use super::super::support::{Backend, Balancer, Client, PATIENCE, Reply, eventually, lane};

/// What is sent, one connection each. The values try to break out of their line and their quotes, and to turn the line around.
const REQUESTS: [&str; 6] = [
    "GET /plain?q=1 HTTP/1.1\r\nHost: test\r\nUser-Agent: agent/1.0\r\nReferer: http://from.test/\r\n\r\n",
    "POST /body HTTP/1.1\r\nHost: test:8080\r\nContent-Length: 4\r\n\r\nbody",
    "GET /\"quoted\"\\x HTTP/1.1\r\nHost: test\r\nUser-Agent: a \"quoted\" \\ \u{e9} agent\ttab\r\nReferer: /\u{202e}txt.exe\u{2028}{}\r\n\r\n",
    "GET /old HTTP/1.0\r\n\r\n",
    "GET /nowhere HTTP/1.1\r\nHost: other\r\n\r\n",
    "nonsense\r\n\r\n",
];

#[tokio::test]
async fn the_three_forms() {
    for (name, format) in [
        ("records/json.txt", "json"),
        ("records/combined.txt", "combined"),
        (
            "records/template.txt",
            "'{client} \"{method} {target} {protocol}\" {status} {end} \"{error}\" route={route} attempts={attempts} \
             in={bytes_in} out={bytes_out} agent=\"{user_agent}\" from=\"{referer}\" {{braces}}'",
        ),
    ] {
        let backend = Backend::start(|_| Reply::ok("fine")).await;
        let folder = tempfile::tempdir().expect("a temporary folder");
        let log = folder.path().join("access.log");
        let yaml = format!(
            "workers: 1\nroutes: [{{ name: web, match: {{ hosts: [test] }}, upstream: web }}, {{ name: old, match: {{ \
             path: /old }}, respond: {{ status: 204 }} }}]\nupstreams: {{ web: {{ backends: [\"{}\"] }} }}\n\
             access_log: {{ to: {}, format: {format} }}",
            backend.url(),
            log.display()
        );
        let balancer = Balancer::start(&yaml).await;
        for (index, request) in REQUESTS.into_iter().enumerate() {
            Client::connect(balancer.address()).await.ask(request).await;
            eventually(PATIENCE, || lines(&log) > index).await;
        }
        let text = std::fs::read_to_string(&log).expect("a log");
        let lines: Vec<String> = text
            .lines()
            .map(|line| normal(&line.replace(&backend.url(), "BACKEND"), format) + "\n")
            .collect();
        assert_golden(name, &lines.concat());
    }
}

fn lines(log: &Path) -> usize {
    std::fs::read_to_string(log).unwrap_or_default().matches('\n').count()
}

/// A record without what is different each time: its shape is held, not its value.
fn normal(line: &str, format: &str) -> String {
    match format {
        "json" => {
            let mut line = line.to_owned();
            for (name, is_fine) in [
                ("time", is_time as fn(&str) -> bool),
                ("request_id", |id| id.len() == 34 && id[1..33].bytes().all(|b| b.is_ascii_hexdigit())),
                ("duration_ms", is_millis),
                ("first_byte_ms", is_millis),
                ("lane", |name| name.trim_matches('"') == lane().name()),
            ] {
                let Some((before, rest)) = line.split_once(&format!("\"{name}\":")) else { continue };
                let (value, after) = rest.split_at(rest.find([',', '}']).expect("the value ends"));
                assert!(is_fine(value), "{name} is {value}");
                line = format!("{before}\"{name}\":{}{after}", name.to_uppercase());
            }
            line
        }
        "combined" => {
            let (before, rest) = line.split_once('[').expect("a time");
            let (time, after) = rest.split_once(']').expect("a time");
            assert!(is_combined_time(time), "{time}");
            format!("{before}[TIME]{after}")
        }
        _ => line.to_owned(),
    }
}

fn is_time(value: &str) -> bool {
    shape(value) == "\"0000-00-00T00:00:00.000Z\""
}

fn is_combined_time(value: &str) -> bool {
    shape(value).replacen("Aaa", "Mon", 1) == "00/Mon/0000:00:00:00 +0000"
}

fn is_millis(value: &str) -> bool {
    value.split_once('.').is_some_and(|(whole, part)| {
        part.len() == 3 && [whole, part].iter().all(|text| text.bytes().all(|b| b.is_ascii_digit()))
    })
}

/// Digits as 0. The month of the combined form becomes `Aaa`.
fn shape(value: &str) -> String {
    let digits: String = value.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
    match (digits.get(..3), digits.get(3..6), digits.get(6..)) {
        (Some("00/"), Some(_), Some(rest)) => format!("00/Aaa{rest}"),
        _ => digits,
    }
}
