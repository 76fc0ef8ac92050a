//! The house as `ARCHITECTURE.md` draws it: its table says what each room may import, and this holds the sources to it.
//!
//! It parses the sources but does not resolve names: it reads paths as they are written. It cannot see through a glob or a
//! re-export, which is why the house bans the first and keeps the second to the top of a crate.

#![cfg(test)]

pub(crate) mod source;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use self::source::Source;

/// What each room may import, by its name in the table.
type Table = BTreeMap<String, Vec<String>>;

/// The crates of the product: their folder under `crates/`, their name in the table, and whether their folders are rooms.
const CRATES: [(&str, &str, bool); 7] = [
    ("evenkeel-core", "core", true),
    ("evenkeel-sim", "sim", false),
    ("evenkeel-http", "http", true),
    ("evenkeel-config", "config", false),
    ("evenkeel", "evenkeel", true),
    ("evenkeel-allocator", "allocator", false),
    ("evenkeel-cli", "cli", false),
];

#[test]
fn every_import_is_in_the_table() {
    let table = table(&map());
    let rooms = rooms_on_disk();
    let breaches: Vec<String> = product()
        .iter()
        .flat_map(|(name, source)| breaches(source, &Place::of(name, source, &rooms), &rooms, &table))
        .collect();
    assert!(breaches.is_empty(), "imports that ARCHITECTURE.md does not allow:\n{}", breaches.join("\n"));
}

#[test]
fn the_table_has_the_rooms_that_there_are() {
    let table: BTreeSet<String> = table(&map()).into_keys().collect();
    let rooms = rooms_on_disk();
    let missing: Vec<_> = rooms.difference(&table).collect();
    let stale: Vec<_> = table.difference(&rooms).collect();
    assert!(missing.is_empty(), "rooms without a row in ARCHITECTURE.md: {missing:?}");
    assert!(stale.is_empty(), "rows of ARCHITECTURE.md without a room: {stale:?}");
}

#[test]
fn the_table_names_only_what_there_is() {
    let table = table(&map());
    for (room, allowed) in &table {
        for import in allowed {
            let known = CAPABILITIES.contains(&import.as_str())
                || table.contains_key(import.strip_suffix("/*").unwrap_or(import));
            assert!(known, "{room} may import {import}, which is neither a room nor one of {CAPABILITIES:?}");
        }
    }
}

#[test]
fn one_type_is_pingoras_proxy() {
    // Pingora's whole pump is compiled once for each type that implements this.
    let found: Vec<String> = product()
        .iter()
        .filter(|(_, source)| source.implements("ProxyHttp"))
        .map(|(_, source)| source.path.display().to_string())
        .collect();
    assert_eq!(found.len(), 1, "ProxyHttp is implemented in {found:?}");
}

/// What is not a room of ours, and yet no room may use without leave.
const CAPABILITIES: [&str; 7] = ["pingora", "rustls", "tokio", "network", "files", "clock", "environment"];

/// Where a file stands.
#[derive(Debug)]
struct Place {
    /// The name of its crate in the table.
    krate: String,
    /// The name of its room in the table.
    room: String,
    /// Its module path within its crate.
    module: Vec<String>,
}

/// Everything in `source` that its room may not import.
fn breaches(source: &Source, place: &Place, rooms: &BTreeSet<String>, table: &Table) -> Vec<String> {
    let allowed = table.get(&place.room).cloned().unwrap_or_default();
    let mut breaches = Vec::new();
    for (path, line) in source.paths() {
        let Some(import) = place.import(&path, rooms) else { continue };
        let is_allowed = import == place.room
            || allowed.iter().any(|a| match a.strip_suffix("/*") {
                Some(krate) => import == krate || import.starts_with(&format!("{krate}/")),
                None => *a == import,
            });
        if !is_allowed {
            let (file, path) = (source.path.display(), path.join("::"));
            breaches.push(format!("{file}:{line}: {} imports {import} ({path})", place.room));
        }
    }
    breaches
}

/// The table of `ARCHITECTURE.md`.
fn table(markdown: &str) -> Table {
    let names = |cell: &str| cell.split('`').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>();
    let rows = markdown.lines().skip_while(|l| !l.starts_with("| room | may import |")).skip(2);
    rows.take_while(|l| l.starts_with('|'))
        .map(|row| {
            let cells: Vec<&str> = row.trim_matches('|').split('|').collect();
            let [room, allowed] = cells.as_slice() else { panic!("not a row of two cells: {row}") };
            let [room] = names(room).try_into().unwrap_or_else(|_| panic!("not one room: {row}"));
            (room, names(allowed))
        })
        .collect()
}

fn map() -> String {
    std::fs::read_to_string(source::root().join("ARCHITECTURE.md")).expect("ARCHITECTURE.md is there")
}

/// Every source file of the product, with the name of its crate in the table.
fn product() -> Vec<(&'static str, Source)> {
    let of = |(folder, name, _): (&str, &'static str, bool)| {
        let sources = source::under(&Path::new("crates").join(folder).join("src"));
        assert!(!sources.is_empty(), "no sources in {folder}: the scan itself is broken");
        sources.into_iter().map(move |source| (name, source))
    };
    CRATES.into_iter().flat_map(of).collect()
}

/// Crates and rooms, as the table names them.
fn rooms_on_disk() -> BTreeSet<String> {
    let mut rooms = BTreeSet::new();
    for (folder, name, has_rooms) in CRATES {
        rooms.insert(name.to_owned());
        if !has_rooms {
            continue;
        }
        let base = Path::new("crates").join(folder).join("src");
        for source in source::under(&base) {
            let parts = source.parts(&base);
            if parts.len() > 1 {
                rooms.insert(format!("{name}/{}", parts[0]));
            }
        }
    }
    rooms
}

// === impl Place ===

impl Place {
    fn of(krate: &str, source: &Source, rooms: &BTreeSet<String>) -> Self {
        let folder = CRATES.iter().find(|(_, name, _)| *name == krate).expect("a crate of ours").0;
        let mut module = source.parts(&Path::new("crates").join(folder).join("src"));
        if module.last().is_some_and(|last| ["mod", "lib", "main"].contains(&last.as_str())) {
            module.pop();
        }
        Self { krate: krate.into(), room: room(krate, module.first().map(String::as_str), rooms), module }
    }

    /// The room or the capability that a path leads to, if it leads out of the standard library's harmless part.
    fn import(&self, path: &[String], rooms: &BTreeSet<String>) -> Option<String> {
        let segments: Vec<&str> = path.iter().map(String::as_str).collect();
        let (first, rest) = segments.split_first()?;
        let second = rest.first().copied();
        match *first {
            "crate" => Some(room(&self.krate, second, rooms)),
            "super" => {
                let ups = segments.iter().take_while(|s| **s == "super").count();
                let kept = self.module.get(..self.module.len().checked_sub(ups)?)?;
                let target = kept.first().map(String::as_str).or_else(|| segments.get(ups).copied());
                Some(room(&self.krate, target, rooms))
            }
            "evenkeel_core" => Some(room("core", second, rooms)),
            "evenkeel_http" => Some(room("http", second, rooms)),
            "evenkeel_sim" => Some(room("sim", second, rooms)),
            "evenkeel_config" => Some(room("config", second, rooms)),
            "evenkeel_allocator" => Some(room("allocator", second, rooms)),
            "evenkeel" => Some(room("evenkeel", second, rooms)),
            _ => capability(&segments).map(str::to_owned),
        }
    }
}

fn room(krate: &str, first: Option<&str>, rooms: &BTreeSet<String>) -> String {
    let room = format!("{krate}/{}", first.unwrap_or_default());
    if rooms.contains(&room) { room } else { krate.to_owned() }
}

fn capability(segments: &[&str]) -> Option<&'static str> {
    match segments {
        [first, ..] if first.starts_with("pingora") => Some("pingora"),
        [first, ..] if *first == "rustls" || first.starts_with("rustls_") || *first == "tokio_rustls" => {
            Some("rustls")
        }
        ["tokio" | "std", "fs", ..] => Some("files"),
        [first, ..] if *first == "tokio" || first.starts_with("tokio_") => Some("tokio"),
        ["h2" | "hyper" | "hyper_util" | "socket2", ..]
        | ["std", "net", "TcpListener" | "TcpStream" | "UdpSocket", ..]
        | ["std", "os", "unix", "net", ..] => Some("network"),
        ["std", "env" | "process", ..] => Some("environment"),
        [.., "Instant" | "SystemTime", "now"] => Some("clock"),
        _ => None,
    }
}

mod samples {
    use super::*;

    /// What the rule finds in `text`, as a file of the room `proxy` that may import `filter`, `core` and the clock.
    fn found(text: &str) -> Vec<String> {
        let rooms = ["core", "core/route", "evenkeel", "evenkeel/proxy", "evenkeel/filter", "evenkeel/admin"];
        let rooms = rooms.map(str::to_owned).into();
        let table = table(
            "| room | may import |\n| --- | --- |\n| `evenkeel/proxy` | `evenkeel/filter`, `core/*`, `clock` |\n",
        );
        let source = Source::new("crates/evenkeel/src/proxy/peer.rs".into(), text);
        breaches(&source, &Place::of("evenkeel", &source, &rooms), &rooms, &table)
            .iter()
            .map(|b| b.split_once(" imports ").expect("the form of a breach").1.to_owned())
            .collect()
    }

    #[test]
    fn what_the_table_allows_passes() {
        let text = "use crate::filter::Filter; use super::pump; use crate::proxy::Pump; use evenkeel_core::route::Route;
            use evenkeel_core::Thing; fn f() { let now = std::time::Instant::now(); self::g(); }";
        assert_eq!(found(text), [""; 0]);
    }

    #[test]
    fn what_it_does_not_allow_is_found_in_every_spelling() {
        for (text, told) in [
            ("use crate::admin::Admin;", "evenkeel/admin (crate::admin::Admin)"),
            ("use crate::{filter::Filter, admin::{self, Admin}};", "evenkeel/admin (crate::admin::self)"),
            ("use super::super::admin;", "evenkeel/admin (super::super::admin)"),
            ("fn f() -> crate::admin::Admin {}", "evenkeel/admin (crate::admin::Admin)"),
            ("use crate::Server;", "evenkeel (crate::Server)"),
            ("use evenkeel_config::model::Model;", "config (evenkeel_config::model::Model)"),
            ("use pingora_core as p;", "pingora (pingora_core)"),
            ("#[tokio::main] async fn main() {}", "tokio (tokio::main)"),
            ("use std::{fmt, env};", "environment (std::env)"),
            ("use std::net::{IpAddr, TcpStream};", "network (std::net::TcpStream)"),
            ("fn f() { std::fs::read(\"x\"); }", "files (std::fs::read)"),
        ] {
            assert_eq!(found(text).first().map(String::as_str), Some(told), "in {text}");
        }
    }

    #[test]
    fn comments_strings_and_tests_do_not_count() {
        let text = "// use crate::admin::A;\n/* crate::admin::B /* nested */ crate::admin::C */
            const A: &str = \"crate::admin::D\"; const B: &str = r#\"\" crate::admin::E\"#; const C: char = '\"';
            #[cfg(test)] #[expect(x)] mod tests { use crate::admin::F; fn f() { {} } }
            #[cfg(test)] use crate::admin::G;";
        assert_eq!(found(text), [""; 0]);
        assert_eq!(
            found("#[cfg(test)] mod t {} use crate::admin::H;").len(),
            1,
            "what follows the tests counts again"
        );
    }

    #[test]
    fn a_clock_needs_leave() {
        let now: &[&str] = &["std", "time", "Instant", "now"];
        assert_eq!(capability(now), Some("clock"));
        assert_eq!(capability(&["Instant", "now"]), Some("clock"));
        assert_eq!(capability(&["std", "time", "Instant"]), None);
    }
}
