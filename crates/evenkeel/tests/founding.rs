//! The founding example: it is the same in the README and in `examples/`, and it runs.

#![cfg(test)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

const EXAMPLE: &str = include_str!("../examples/founding.rs");
const README: &str = include_str!("../../../README.md");

/// Nothing here takes long; only a machine that is busy with other things needs so much.
const PATIENCE: Duration = Duration::from_secs(20);

#[test]
fn the_readme_shows_the_example() {
    let block = README.split("```rust\n").nth(1).and_then(|rest| rest.split("```").next());
    let program: String = EXAMPLE
        .lines()
        .skip_while(|line| line.is_empty() || line.starts_with("//"))
        .fold(String::new(), |text, line| text + line + "\n");
    assert!(program.starts_with("use evenkeel::prelude::*;"), "{program}");
    assert_eq!(block.expect("the README has a block of Rust"), program);
}

#[test]
fn a_thousand_requests_are_split_in_halves_and_sigterm_ends_it() {
    let taken = |port: u16| TcpListener::bind(("127.0.0.1", port)).err().map(|error| (port, error));
    let listeners = [8081, 8082].map(|port| TcpListener::bind(("127.0.0.1", port)));
    let [Ok(first), Ok(second)] = listeners else {
        eprintln!("skipped: port 8081 or 8082, which the example names, is taken");
        return;
    };
    if let Some((port, error)) = taken(8080) {
        eprintln!("skipped: port {port}, which the example names, is taken: {error}");
        return;
    }
    let counts = [backend(first), backend(second)];
    let mut program =
        Program(Command::new(example()).stdout(Stdio::null()).spawn().expect("the example starts"));
    let mut client = BufReader::new(connect(&mut program));
    for _ in 0..1000 {
        client.get_mut().write_all(b"GET / HTTP/1.1\r\nhost: founding\r\n\r\n").expect("it is sent");
        let (status, body) = read_message(&mut client).expect("there is a response");
        assert_eq!((status.as_str(), body.as_str()), ("HTTP/1.1 200 OK", "here"));
    }
    assert_eq!(counts.map(|count| count.load(Relaxed)), [500, 500]);

    let pid = program.0.id();
    let killed = Command::new("sh").args(["-c", &format!("kill -TERM {pid}")]).status();
    assert!(killed.expect("there is a shell").success());
    let asked = Instant::now();
    let status = loop {
        if let Some(status) = program.0.try_wait().expect("it can be waited for") {
            break status;
        }
        assert!(asked.elapsed() < PATIENCE, "it did not end after SIGTERM");
        pause();
    };
    assert!(status.success(), "{status}");
}

/// The running example; it does not outlive its test.
struct Program(Child);

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The example as `cargo test` builds it, next to the tests. A run of this test alone has not built it: then it is
/// built.
fn example() -> PathBuf {
    let this = std::env::current_exe().expect("a test has a path");
    let folder = this.parent().and_then(|deps| deps.parent()).expect("tests are built in deps/");
    let path = folder.join("examples/founding");
    if !path.exists() {
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["build", "--quiet", "--package", "evenkeel", "--example", "founding", "--target-dir"]);
        cargo.arg(folder.parent().expect("a profile has a folder in the target directory"));
        if !cfg!(debug_assertions) {
            cargo.arg("--release");
        }
        assert!(cargo.status().expect("cargo runs").success());
    }
    path
}

fn connect(program: &mut Program) -> TcpStream {
    let address = SocketAddr::from(([127, 0, 0, 1], 8080));
    let asked = Instant::now();
    loop {
        if let Ok(stream) = TcpStream::connect(address) {
            stream.set_read_timeout(Some(PATIENCE)).expect("a limit can be set");
            return stream;
        }
        let ended = program.0.try_wait().expect("it can be waited for");
        assert!(ended.is_none(), "the example ended: {ended:?}");
        assert!(asked.elapsed() < PATIENCE, "the example does not listen");
        pause();
    }
}

/// A moment, where there is no event to wait for: whether another process listens, or has ended.
fn pause() {
    std::thread::park_timeout(Duration::from_millis(5));
}

/// Responds to every request on every connection, and counts them.
fn backend(listener: TcpListener) -> Arc<AtomicUsize> {
    let count = Arc::new(AtomicUsize::new(0));
    let counted = count.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let count = counted.clone();
            std::thread::spawn(move || {
                let mut stream = BufReader::new(stream);
                while read_message(&mut stream).is_some() {
                    count.fetch_add(1, Relaxed);
                    let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nhere";
                    if stream.get_mut().write_all(answer).is_err() {
                        return;
                    }
                }
            });
        }
    });
    count
}

/// A head's first line, and the body that its length announces.
fn read_message(stream: &mut BufReader<TcpStream>) -> Option<(String, String)> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).ok().filter(|&count| count > 0)?;
        match line.trim_end() {
            "" => break,
            line => lines.push(line.to_owned()),
        }
    }
    let length = lines.iter().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
    });
    let mut body = vec![0; length.unwrap_or_default()];
    stream.read_exact(&mut body).ok()?;
    Some((lines.first()?.clone(), String::from_utf8(body).ok()?))
}
