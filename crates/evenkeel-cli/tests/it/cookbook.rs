//! The recipes of docs/cookbook.md: each is loaded, and the requests below it are sent.

#![cfg(test)]

use std::fmt::Write;

use crate::architecture::source::root;
use crate::support::{Backend, Balancer, ClosedPort, Message, Reply, Seen};

/// A recipe: its title, its file, and its requests.
struct Recipe {
    title: String,
    yaml: String,
    requests: Vec<String>,
}

/// What the backends do: what the path says.
fn reply(name: &str, seen: &Seen) -> Reply {
    let target = seen.target();
    match target.strip_prefix("/status/").and_then(|status| status.parse().ok()) {
        Some(status) => return Reply::status(status, name),
        None if target == "/cookie" => {
            return Reply::bytes("HTTP/1.1 200 OK\r\nSet-Cookie: a=1\r\nContent-Length: 0\r\n\r\n");
        }
        None if target == "/moved" => {
            return Reply::bytes(
                "HTTP/1.1 302 Found\r\nLocation: http://inner/x\r\nContent-Length: 0\r\n\r\n",
            );
        }
        None => {}
    }
    let body = if target == "/text" { "a line of text\n".repeat(100) } else { name.to_owned() };
    let length = body.len();
    Reply::bytes(format!(
        "HTTP/1.1 200 OK\r\nX-Name: {name}\r\nContent-Type: text/plain\r\nContent-Length: {length}\r\n\r\n{body}"
    ))
}

fn recipes() -> Vec<Recipe> {
    let page = std::fs::read_to_string(root().join("docs/cookbook.md")).expect("the page is there");
    let recipes = page.split("\n### ").skip(1).map(|recipe| {
        let title = recipe.lines().next().unwrap_or_default().to_owned();
        let block = |kind: &str| {
            let (_, rest) =
                recipe.split_once(&format!("```{kind}\n")).unwrap_or_else(|| panic!("{title}: no {kind}"));
            rest.split("```").next().unwrap_or_default().to_owned()
        };
        let requests = block("text").lines().map(str::to_owned).collect();
        Recipe { yaml: block("yaml"), requests, title: title.clone() }
    });
    recipes.collect()
}

/// Words, of which one can be in quotes: `Name="a b"`.
fn words(text: &str) -> Vec<String> {
    let (mut words, mut quoted) = (vec![String::new()], false);
    for c in text.trim().chars() {
        match c {
            '"' => quoted = !quoted,
            ' ' if !quoted => words.push(String::new()),
            c => words.last_mut().expect("there is one").push(c),
        }
    }
    words
}

async fn try_out(recipe: &Recipe) {
    let (one, two, three) = (
        Backend::start(|seen| reply("one", seen)).await,
        Backend::start(|seen| reply("two", seen)).await,
        Backend::start(|seen| reply("three", seen)).await,
    );
    let (backends, closed) = ([&one, &two, &three], ClosedPort::new());
    let mut yaml =
        recipe.yaml.replace("127.0.0.1:8080", "127.0.0.1:0").replace("http://127.0.0.1:8084", &closed.url());
    for (number, backend) in backends.iter().enumerate() {
        yaml = yaml.replace(&format!("http://127.0.0.1:{}", 8081 + number), &backend.url());
    }
    let balancer = Balancer::start(&yaml).await;
    for line in &recipe.requests {
        let (request, expected) =
            line.split_once(" -> ").unwrap_or_else(|| panic!("{}: {line}", recipe.title));
        let request = words(request);
        let [method, target, fields @ ..] = request.as_slice() else { panic!("{}: {line}", recipe.title) };
        let mut head = format!("{method} {target} HTTP/1.1\r\n");
        if !fields.iter().any(|field| field.starts_with("Host=")) {
            head.push_str("Host: test\r\n");
        }
        for (name, value) in fields.iter().filter_map(|field| field.split_once('=')) {
            write!(head, "{name}: {value}\r\n").expect("a text");
        }
        if method == "POST" {
            head.push_str("Content-Length: 0\r\n");
        }
        let response = balancer.client().await.ask(format!("{head}\r\n")).await;
        for expected in words(expected) {
            check(&expected, &response, &backends, &format!("{}: {line}", recipe.title));
        }
    }
}

/// Checks a status, or `name=value`.
fn check(expected: &str, response: &Message, backends: &[&Backend], place: &str) {
    let Some((name, value)) = expected.split_once('=') else {
        assert_eq!(response.status().to_string(), expected, "{place}");
        return;
    };
    let mut sent =
        backends.iter().filter(|backend| backend.count() > 0).map(|backend| backend.last_request());
    let found = match name.strip_prefix("sent.") {
        // The first that received a request: the others only decide.
        Some("target") => sent.next_back().map(|sent| sent.target().to_owned()),
        Some(name) => sent.next().and_then(|sent| sent.header(name).map(str::to_owned)),
        None if name == "body" => Some(response.text()),
        None => response.header(name).map(str::to_owned),
    };
    match value {
        "*" => assert!(found.is_some(), "{place}: {name}"),
        "none" => assert_eq!(found, None, "{place}: {name}"),
        value => assert_eq!(found.as_deref(), Some(value), "{place}: {name}"),
    }
}

#[tokio::test]
async fn every_recipe_works() {
    let recipes = recipes();
    assert!(recipes.len() >= 40, "only {} recipes", recipes.len());
    let mut running = tokio::task::JoinSet::new();
    for recipe in recipes {
        running.spawn(async move { try_out(&recipe).await });
    }
    let mut failed = 0;
    while let Some(tried) = running.join_next().await {
        // What is wrong was printed when it panicked.
        failed += usize::from(tried.is_err());
    }
    assert_eq!(failed, 0, "recipes failed: see above");
}
