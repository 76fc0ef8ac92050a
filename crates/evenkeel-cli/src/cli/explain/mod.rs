//! `evenkeel explain`: shows which route, filters and backend a request would get, and why, without sending it.

mod remote;
mod text;

use evenkeel::Server;
use evenkeel::explain::{Described, DescribedError, Explanation};

use super::admin::Token;
use super::failure::Failure;
use super::file::File;
use super::{block_on, print, print_json};

/// The arguments of `explain`.
#[derive(Debug, clap::Args)]
#[command(override_usage = "evenkeel explain [OPTIONS] [METHOD] <URL>")]
pub(super) struct Args {
    /// The request: its method (default GET) and its URL, like http://api.example.com/v1/users
    #[arg(required = true, num_args = 1..=2, value_name = "METHOD URL")]
    request: Vec<String>,
    #[command(flatten)]
    file: File,
    /// Use a running balancer, at its admin address like http://127.0.0.1:9900, instead of a file: includes the current
    /// state of its backends
    #[arg(long, value_name = "ADDRESS", conflicts_with = "path")]
    admin: Option<String>,
    #[command(flatten)]
    token: Token,
    /// The address that the request comes from [default: 127.0.0.1]
    #[arg(long, value_name = "IP")]
    from: Option<String>,
    /// The name of the listener that the request comes on [default: the listener on the port of the URL]
    #[arg(long, value_name = "NAME")]
    listener: Option<String>,
    /// A header field of the request, like 'x-beta: 1'; may be repeated
    #[arg(short = 'H', long = "header", value_name = "FIELD")]
    headers: Vec<String>,
    /// Print JSON instead of text
    #[arg(long)]
    json: bool,
}

/// Explains the request; fails if it would be rejected.
pub(super) fn run(args: &Args) -> Result<(), Failure> {
    args.token.check(args.admin.is_some())?;
    let request = args.described().map_err(Failure::usage)?;
    let (said, notes) = block_on(async {
        match &args.admin {
            Some(admin) => Ok((remote::ask(admin, args.token.field()?, &request).await?, String::new())),
            None => ask_file(&args.file, &request).await,
        }
    })?;
    match args.json {
        true => print_json(&(serde_json::to_string_pretty(&said).map_err(Failure::start)? + "\n"))?,
        false => print(&(text::text(&said) + &notes))?,
    }
    match said.refusal() {
        Some(refused) => Err(Failure::refused(format!(
            "the request would be rejected with {}: {}",
            refused.status, refused.message
        ))),
        None => Ok(()),
    }
}

/// The explanation by a file, and what it cannot know.
async fn ask_file(file: &File, request: &Described) -> Result<(Explanation, String), Failure> {
    let config = file.load()?;
    let model = config.model().map_err(Clone::clone)?;
    let said = Server::new(config.clone()).explain(request).await?;
    let discovered = model.upstreams.iter().filter(|upstream| {
        upstream.discovery.is_some() && said.upstreams.iter().any(|one| one.name == upstream.name)
    });
    let note = |upstream: &evenkeel::config::Upstream| {
        let name = &upstream.name;
        format!(
            "\nnote: upstream {name} finds more backends while it runs (discovery): use --admin to include them\n"
        )
    };
    let notes = discovered.map(note).collect();
    Ok((said, notes))
}

impl Args {
    fn described(&self) -> Result<Described, DescribedError> {
        let mut described = match &*self.request {
            [method, url] => Described::new(method, url)?,
            request => Described::new("GET", request.first().map_or("", String::as_str))?,
        };
        if let Some(from) = &self.from {
            described = described.with_peer(from)?;
        }
        if let Some(listener) = &self.listener {
            described = described.with_listener(listener);
        }
        self.headers.iter().try_fold(described, |described, line| described.with_header(line))
    }
}
