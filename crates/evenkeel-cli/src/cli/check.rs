//! `evenkeel check`: everything that can be wrong with a configuration, without listening or connecting.

use evenkeel::Server;
use evenkeel::config::{Config, Model};

use super::failure::Failure;
use super::file::FileArgument;
use super::{block_on, outside, print};

/// The arguments of `check`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    file: FileArgument,
}

/// Prints that the file is valid and which keys have no effect, or all that is wrong with it.
pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let name = args.file.name()?;
    let config = args.file.load()?;
    let model = config.model().map_err(Clone::clone)?;
    let problems = problems(&config, model);
    if !problems.is_empty() {
        return Err(Failure::Refused(problems.join("\n")));
    }
    let names = block_on(async { Ok(outside::names(&config, model).await) })?;
    let lists = outside::lists(&config, model);
    let notes =
        model.without_effect().into_iter().chain(names).chain(outside::certificates(&config)).chain(lists);
    let notes: String = notes.map(|note| format!("note: {note}\n")).collect();
    print(&format!("{name}: fine: {}\n{notes}", summary(model)))
}

/// What is wrong beyond the text: with filters, and with the files that it names.
pub(super) fn problems(config: &Config, model: &Model) -> Vec<String> {
    let server = Server::new(config.clone());
    outside::problems(config, model, server.check()).into_iter().map(|problem| problem.to_string()).collect()
}

fn summary(model: &Model) -> String {
    let backends = model.upstreams.iter().map(|upstream| upstream.backends.len()).sum();
    let counts = [
        (model.listeners.len(), "listener"),
        (model.routes.len(), "route"),
        (model.upstreams.len(), "upstream"),
        (backends, "backend"),
    ];
    let counts = counts.map(|(count, what)| format!("{count} {what}{}", if count == 1 { "" } else { "s" }));
    counts.join(", ")
}
