//! Makes the seeds for fuzzing from the corpus of the framing tests: `cargo run --manifest-path fuzz/seeds/Cargo.toml`. They
//! go to `fuzz/corpus`, one folder for each target; what is there stays.

#[expect(dead_code, reason = "the tests use more of it")]
#[path = "../../../crates/evenkeel-cli/tests/it/framing/corpus.rs"]
mod corpus;

use std::collections::BTreeSet;
use std::path::Path;

use corpus::Entry;

/// As in the target `lanes`: starts a response; is a pause; closes after a response; resets.
const ANSWER: u8 = 0xfe;
const PAUSE: u8 = 0xfd;
const CLOSE: u8 = 0xfc;
const RESET: u8 = 0xfb;

/// More is not worth the time that each try takes.
const LARGEST: usize = 4096;

fn main() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let entries = |folder| {
        corpus::read(&here.join("../../crates/evenkeel-cli/tests/corpus").join(folder).to_string_lossy())
    };
    let (mut requests, mut answers) = (entries("requests"), entries("answers"));
    let (cut_answers, cut_requests): (Vec<_>, Vec<_>) =
        entries("cut").into_iter().partition(|entry| entry.name.starts_with("responses"));
    requests.extend(cut_requests);
    answers.extend(cut_answers);

    let texts = |entries: &[Entry]| entries.iter().map(|entry| entry.pieces.concat()).collect::<Vec<_>>();
    let (asked, answered) = (texts(&requests), texts(&answers));
    let heads = asked.iter().map(|text| [b"\0", &text[..]].concat());
    let heads = heads.chain(answered.iter().map(|text| [b"\x01", &text[..]].concat()));
    write(&here.join("../corpus/heads"), heads);

    let bodies = asked.iter().chain(&answered).filter_map(|text| {
        let end = text.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
        let chunked = text[..end].to_ascii_lowercase().windows(7).any(|seven| seven == b"chunked");
        chunked.then(|| [b"\x07", &text[end..]].concat())
    });
    write(&here.join("../corpus/chunked"), bodies);

    write(&here.join("../corpus/lanes"), requests.iter().map(asking).chain(answers.iter().map(answering)));
}

/// The client sends an entry.
fn asking(entry: &Entry) -> Vec<u8> {
    let bare = entry.expected.iter().any(|(word, _)| word == "incomplete");
    [&[u8::from(bare)][..], &entry.pieces.join(&PAUSE)].concat()
}

/// The backend responds with an entry.
fn answering(entry: &Entry) -> Vec<u8> {
    let says = |wanted| entry.expected.iter().any(|(word, _)| word == wanted);
    let (method, version) =
        entry.expected.iter().find(|(word, _)| word == "to").map_or(("GET", "1.1"), |(_, to)| {
            (to.split(' ').next().unwrap_or("GET"), if to.ends_with(" 1.0") { "1.0" } else { "1.1" })
        });
    let mut bytes = format!("\0{method} /first HTTP/{version}\r\nHost: test\r\n\r\n").into_bytes();
    bytes.push(ANSWER);
    bytes.extend(entry.pieces.join(&PAUSE));
    if says("close") {
        bytes.push(CLOSE);
    } else if says("reset") {
        bytes.push(RESET);
    }
    bytes
}

fn write(folder: &Path, seeds: impl Iterator<Item = Vec<u8>>) {
    std::fs::create_dir_all(folder).expect("a folder for the seeds");
    let seeds: BTreeSet<_> = seeds.filter(|seed| seed.len() <= LARGEST).collect();
    for (nth, seed) in seeds.iter().enumerate() {
        std::fs::write(folder.join(format!("seed-{nth:03}")), seed).expect("a seed is written");
    }
    println!("{} seeds in {}", seeds.len(), folder.display());
}
