//! The two ends of a benchmark that are not the proxy: a backend that costs next to nothing, and a crowd of idle clients.
//!
//! `bench-backend serve PORT…` answers HTTP/1.1 on loopback, all ports from one thread. `bench-backend hold N ADDRESS`
//! makes one request on each of N connections and keeps them open until its standard input ends. Neither is a web
//! server: heads are searched, not parsed, and every answer is made before the first request.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command of the benchmark: it tells its parent when it is ready"
)]

use std::error::Error;
use std::process::ExitCode;

mod hold;
mod serve;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench-backend: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[&str]) -> Result<(), Box<dyn Error>> {
    match arguments {
        ["serve", ports @ ..] if !ports.is_empty() => {
            let ports = ports.iter().map(|p| p.parse()).collect::<Result<Vec<u16>, _>>()?;
            serve::serve(&ports, || println!("ready"))?;
            Ok(())
        }
        ["hold", count, address] => {
            let held = hold::open(count.parse()?, address.parse()?)?;
            println!("ready");
            hold::until_end_of_input(held)?;
            Ok(())
        }
        _ => Err("usage: bench-backend serve PORT… | bench-backend hold N ADDRESS".into()),
    }
}
