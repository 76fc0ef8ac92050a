//! Whatever is in a file, loading it ends, soon, and without a panic.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests fail as tests do")]

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use evenkeel_config::Config;

/// The budget is a second; a debug build on a busy machine gets more.
const BUDGET: Duration = Duration::from_secs(if cfg!(debug_assertions) { 5 } else { 1 });

/// A small generator of its own: the same inputs in every run, on every machine (xorshift64*, Vigna 2016).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let bits = self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33;
        usize::try_from(bits).unwrap() % bound
    }

    fn pick<'a, T: ?Sized>(&mut self, from: &[&'a T]) -> &'a T {
        from[self.below(from.len())]
    }
}

const PIECES: &[&str] = &[
    "{",
    "}",
    "[",
    "]",
    ":",
    ": ",
    "- ",
    "-",
    ",",
    "\n",
    "\n  ",
    "\t",
    "#",
    "&a ",
    "*a",
    "!",
    "!!str ",
    "|\n",
    ">\n",
    "'",
    "\"",
    "\\",
    "---\n",
    "...\n",
    "? ",
    "%YAML 1.2\n",
    "<<: ",
    "~",
    "null",
    "${",
    "${A:-",
    "$${",
    "\0",
    "\u{feff}",
    "\u{85}",
    "\u{2028}",
    "é",
    "99999999999999999999",
    "-1",
    "1e999",
    ".inf",
    "0x10",
    "5s",
    "1GiB",
    "100%",
    "0.5%",
    "p99.9",
    "nan",
    "200-299",
    "header ",
    "unix:",
    "http://",
    "[::]",
    "{{",
    "listeners",
    "routes",
    "upstreams",
    "filters",
];

fn corpus() -> Vec<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let mut texts: Vec<(String, String)> = ["ok", "err"]
        .iter()
        .flat_map(|kind| fs::read_dir(folder.join(kind)).unwrap())
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "yaml"))
        .map(|path| (path.display().to_string(), fs::read_to_string(path).unwrap()))
        .collect();
    texts.sort();
    texts.into_iter().map(|(_, text)| text).collect()
}

fn mutated(text: &str, other: &str, random: &mut Random) -> String {
    let mut chars: Vec<char> = text.chars().collect();
    for _ in 0..=random.below(6) {
        let at = random.below(chars.len() + 1);
        let end = (at + random.below(12)).min(chars.len());
        match random.below(5) {
            0 => drop(chars.drain(at..end)),
            1 => drop(chars.splice(at..at, random.pick(PIECES).chars())),
            2 => drop(chars.splice(at..end, random.pick(PIECES).chars())),
            3 => {
                let copy: Vec<char> = chars[at..end].to_vec();
                let to = random.below(chars.len() + 1);
                drop(chars.splice(to..to, copy));
            }
            _ => {
                let other: Vec<char> = other.chars().collect();
                let from = random.below(other.len() + 1);
                let to = (from + random.below(80)).min(other.len());
                drop(chars.splice(at..at, other[from..to].iter().copied()));
            }
        }
    }
    chars.into_iter().collect()
}

fn load(text: &str) -> Duration {
    let begin = Instant::now();
    if let Err(error) = Config::from_yaml(text, "hostile", &|name| (name == "A").then(|| "value".to_owned()))
    {
        assert!(!error.diagnostics().is_empty(), "{text:?}");
        assert!(error.diagnostics().len() <= 21, "{text:?}");
        assert!(!error.to_string().contains('\u{1b}'), "{text:?}");
    }
    begin.elapsed()
}

#[test]
fn mutated_files_end_soon_and_without_a_panic() {
    let corpus = corpus();
    let mut random = Random(0x5EED);
    for round in 0..6_000 {
        let text = mutated(&corpus[round % corpus.len()], &corpus[random.below(corpus.len())], &mut random);
        let took = load(&text);
        assert!(took < BUDGET, "round {round}: {took:?} for {text:?}");
    }
}

#[test]
fn large_files_end_soon() {
    let many = |count: usize, entry: &dyn Fn(usize) -> String| (0..count).map(entry).collect::<String>();
    let head = "listeners: [{ address: 127.0.0.1:1 }]\nupstreams: { web: { backends: ['http://a'] } }\n";
    for (what, text) in [
        ("nested lists", format!("routes: {}", "[".repeat(100_000))),
        ("nested maps", "{a: ".repeat(50_000)),
        ("nested blocks", many(3_000, &|depth| format!("{}a:\n", " ".repeat(depth)))),
        ("one long word", "a".repeat(1 << 20)),
        ("many keys", many(20_000, &|index| format!("key{index}: {index}\n"))),
        ("the same key", "a: 1\n".repeat(50_000)),
        ("many anchors", many(20_000, &|index| format!("a{index}: &a{index} 1\n"))),
        ("many wrong listeners", format!("listeners:\n{}", many(5_000, &|_| "- { adress: 1 }\n".to_owned()))),
        ("many wrong routes", format!("{head}routes:\n{}", many(5_000, &|_| "- { name: 1 }\n".to_owned()))),
        ("many variables", format!("{head}trusted_proxies:\n{}", many(20_000, &|_| "- ${B}\n".to_owned()))),
        ("large", "#".repeat(9 << 20)),
    ] {
        let took = load(&text);
        assert!(took < BUDGET, "{what}: {took:?}");
    }
}

#[test]
fn forty_thousand_routes_load_in_four_seconds() {
    let routes: String = (0..40_000)
        .map(|index| format!("  - {{ name: r{index}, match: {{ hosts: [h{index}.example.com], path_prefix: /p{index} }}, filters: [{{ request_headers: {{ set: {{ x-a: a }} }} }}], upstream: u{} }}\n", index % 100))
        .collect();
    let upstreams: String =
        (0..100).map(|index| format!("  u{index}: {{ backends: ['http://10.0.0.{index}:80'] }}\n")).collect();
    let text = format!("listeners: [{{ address: 127.0.0.1:1 }}]\nroutes:\n{routes}upstreams:\n{upstreams}");
    let begin = Instant::now();
    let config = Config::from_yaml(&text, "many", &|_| None).unwrap();
    let took = begin.elapsed();
    assert_eq!(config.model().unwrap().routes.len(), 40_000);
    assert!(took < 4 * BUDGET, "{took:?}");
}

/// What it takes to load `count` of each thing that a file may have many of.
fn load_many(count: usize) -> Duration {
    let listed = |entry: &dyn Fn(usize) -> String| (0..count).map(entry).collect::<String>();
    let text = format!(
        "listeners:\n{}upstreams:\n{}routes:\n{}",
        listed(&|index| format!("  - {{ address: 10.{}.{}.1:80 }}\n", index >> 8, index & 255)),
        listed(&|index| format!(
            "  u{index}: {{ backends: ['http://10.0.0.1:80'], deadline_header: x-left }}\n"
        )),
        listed(&|index| format!(
            "  - {{ name: r{index}, match: {{ path: /{index} }}, upstream: u{index}, timeout: 1s }}\n"
        )),
    );
    // The best of several, which is the one that other work on the machine disturbed least.
    let once = |_| {
        let begin = Instant::now();
        assert!(Config::from_yaml(&text, "many", &|_| None).is_ok());
        begin.elapsed()
    };
    (0..3).map(once).min().unwrap()
}

#[test]
fn four_times_as_much_takes_about_four_times_as_long() {
    let (few, many) = (load_many(2_000), load_many(8_000));
    let growth = many.as_secs_f64() / few.as_secs_f64();
    // Sixteen if anything were searched from its start for each entry.
    assert!(growth < 9.0, "{growth:.1} times as long: {few:?}, {many:?}");
}

#[cfg(target_os = "linux")]
#[test]
fn a_file_without_an_end_is_refused() {
    let begin = Instant::now();
    let error = Config::from_file("/dev/zero", &|_| None).unwrap_err().to_string();
    assert_eq!(error, "error: /dev/zero: is too large: expected at most 8 MiB");
    assert!(begin.elapsed() < BUDGET);
}
