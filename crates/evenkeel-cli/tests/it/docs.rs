//! What the documentation says is what the program does.

#![cfg(test)]

use std::path::Path;

use crate::architecture::source::root;
use crate::cli::golden;
use crate::program::evenkeel;
use crate::support::Authority;

#[tokio::test]
async fn the_generated_files_are_fresh() {
    for (file, arguments) in [
        ("docs/configuration.md", ["schema", "--reference"].as_slice()),
        ("docs/evenkeel.schema.json", &["schema"]),
    ] {
        let said = evenkeel(&root(), arguments).await;
        assert_eq!((said.code, said.err.as_str()), (Some(0), ""));
        golden(&root().join(file), &said.out);
    }
}

/// Pages whose blocks of YAML are whole files; those of the others are parts.
const PAGES: &[&str] = &[
    "README.md",
    "docs/admin.md",
    "docs/authentication.md",
    "docs/balancing.md",
    "docs/discovery.md",
    "docs/explain.md",
    "docs/health.md",
    "docs/limits.md",
    "docs/proxy-protocol.md",
    "docs/retries.md",
    "docs/routing.md",
    "docs/simulate.md",
    "docs/tcp.md",
    "docs/tls.md",
];

#[tokio::test]
async fn the_files_of_the_pages_are_fine() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    // The certificate that pages name.
    Authority::new(folder.path()).pair("cert", &["localhost"]);
    std::fs::rename(folder.path().join("cert.key"), folder.path().join("key.pem")).expect("a file");
    std::fs::write(folder.path().join("tickets.txt"), "0f".repeat(32)).expect("a file");
    let mut count = 0;
    for page in PAGES {
        for block in blocks(page, "yaml") {
            let block = block.replace("${STICKY_SECRET}", "0123456789abcdef");
            std::fs::write(folder.path().join("evenkeel.yaml"), &block).expect("a file");
            let said = evenkeel(folder.path(), &["check"]).await;
            assert_eq!(said.code, Some(0), "{page}\n{block}\n{}", said.err);
            count += 1;
        }
    }
    assert!(count >= 10, "{count} files in all pages");
}

/// What the README shows of a simulation is what the command says, as far as it is shown.
#[test]
fn the_simulation_of_the_readme_is_the_command_s() {
    let said = read(&root().join("crates/evenkeel-cli/tests/golden/simulate/default.txt"));
    let shown = blocks("README.md", "console");
    let shown =
        shown.iter().find_map(|block| block.strip_prefix("$ evenkeel simulate\n")).expect("a simulation");
    assert!(said.starts_with(shown), "the README shows something else than:\n{said}");
}

#[test]
fn the_program_of_the_readme_is_the_example() {
    let example = read(&root().join("crates/evenkeel/examples/founding.rs"));
    let program = blocks("README.md", "rust").swap_remove(0);
    assert!(example.contains(&program), "examples/founding.rs is not what the README shows:\n{program}");
}

#[test]
fn the_tests_that_the_page_on_lanes_names_are_there() {
    let page = read(&root().join("docs/lanes.md"));
    let rows: Vec<_> = page.lines().filter(|line| line.starts_with("| ") && line.contains("::")).collect();
    assert!(rows.len() > 10, "{rows:#?}");
    for name in rows.iter().flat_map(|row| row.split('`')).filter(|word| word.contains("::")) {
        let (module, test) = name.split_once("::").expect("just looked");
        let source = read(&root().join(format!("crates/evenkeel-cli/tests/it/{module}.rs")));
        assert!(source.contains(&format!("fn {test}()")), "docs/lanes.md names {name}, which is no test");
    }
    for row in
        page.lines().skip_while(|line| !line.ends_with("| test |")).skip(2).take_while(|l| !l.is_empty())
    {
        assert!(rows.contains(&row), "no test for a difference: {row}");
    }
}

/// The blocks of code in a page that are of this language.
fn blocks(page: &str, language: &str) -> Vec<String> {
    let page = read(&root().join(page));
    let blocks = page.split("```").skip(1).step_by(2);
    blocks.filter_map(|block| Some(block.strip_prefix(language)?.trim_start().to_owned())).collect()
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
