//! Whether messages, pages and comments keep to the word list of CONTRIBUTING.md. The list is read from there.

#![cfg(test)]

use std::path::{Path, PathBuf};

use crate::architecture::source::{self, root};

/// What is checked: folders and files of the checkout.
const PLACES: [&str; 9] = [
    "ARCHITECTURE.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "README.md",
    "SECURITY.md",
    "crates",
    "docs",
    "fuzz/fuzz_targets",
    "fuzz/seeds",
];

/// What is not checked: bytes that tests send, this file, whose samples use the words, and a page that `xtask` writes.
const SKIPPED: [&str; 5] = [
    "crates/evenkeel-cli/tests/golden/check/b09-latin1.yaml",
    "crates/evenkeel-cli/tests/corpus/requests",
    "crates/evenkeel-cli/tests/corpus/answers",
    "crates/evenkeel-cli/tests/it/words.rs",
    "docs/performance.md",
];

/// A row of the word list.
#[derive(Debug)]
struct Rule {
    /// The words and phrases that are not to be written.
    not: Vec<String>,
    write: String,
    /// Phrases in which these words are fine.
    except: Vec<String>,
}

/// A text, character by character, each with its line: lower case, one space for all white space.
type Chars = Vec<(char, usize)>;

#[test]
fn texts_keep_to_the_word_list() {
    let rules = rules();
    let found: Vec<String> = files().iter().flat_map(|path| found_in(&rules, path)).collect();
    assert!(found.is_empty(), "write other words, see the list in CONTRIBUTING.md:\n{}", found.join("\n"));
}

fn found_in(rules: &[Rule], path: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(root().join(path)).expect("a file of the checkout is text");
    found(rules, path, &text)
}

/// Every use of a word of the list, as `path:line: word: write …`.
fn found(rules: &[Rule], path: &Path, text: &str) -> Vec<String> {
    let is_rust = path.extension().is_some_and(|e| e == "rs");
    let texts = if is_rust { of_rust(text) } else { vec![of_page(path, text)] };
    let mut found = Vec::new();
    for text in &texts {
        for rule in rules {
            for (line, word) in rule.uses(text) {
                found.push((line, format!("{}:{line}: {word}: write {}", path.display(), rule.write)));
            }
        }
    }
    found.sort();
    found.into_iter().map(|(_, line)| line).collect()
}

// === impl Rule ===

impl Rule {
    /// Where a text uses a word of this rule.
    fn uses(&self, text: &[(char, usize)]) -> Vec<(usize, &str)> {
        let mut uses = Vec::new();
        for word in &self.not {
            for at in 0..text.len() {
                if is_at(text, at, word)
                    && is_whole(text, at, at + word.chars().count())
                    && !self.is_fine(text, at, word)
                {
                    uses.push((text[at].1, word.as_str()));
                }
            }
        }
        uses
    }

    /// Whether the word at `at` is part of a phrase in which it is fine.
    fn is_fine(&self, text: &[(char, usize)], at: usize, word: &str) -> bool {
        self.except.iter().any(|phrase| {
            phrase
                .find(word)
                .is_some_and(|before| at.checked_sub(before).is_some_and(|start| is_at(text, start, phrase)))
        })
    }
}

fn is_at(text: &[(char, usize)], at: usize, phrase: &str) -> bool {
    let mut rest = text[at..].iter().map(|(c, _)| *c);
    phrase.chars().all(|c| rest.next() == Some(c))
}

/// Whether a word ends at both sides, and is no part of a path, of an identifier or of a placeholder.
fn is_whole(text: &[(char, usize)], start: usize, end: usize) -> bool {
    let char = |at: Option<usize>| at.and_then(|at| text.get(at)).map_or(' ', |(c, _)| *c);
    let (before, after, next) = (char(start.checked_sub(1)), char(Some(end)), char(Some(end + 1)));
    let joins = |c: char| c.is_alphanumeric() || "_/{<$".contains(c);
    let is_path = ['.', ':'].contains(&before)
        || (after == ':' && next == ':')
        || (after == '.' && next.is_alphanumeric());
    !joins(before) && !joins(after) && !is_path
}

/// The rules of the table in CONTRIBUTING.md.
fn rules() -> Vec<Rule> {
    let page = std::fs::read_to_string(root().join("CONTRIBUTING.md")).expect("the page is there");
    let rules: Vec<Rule> = table(&page).filter_map(rule).collect();
    assert!(rules.len() > 10, "the word list was not found: {rules:?}");
    rules
}

fn table(page: &str) -> impl Iterator<Item = &str> {
    let lines = page.lines().skip_while(|line| !line.starts_with("| do not write |"));
    lines.skip(2).take_while(|line| line.starts_with('|'))
}

fn rule(row: &str) -> Option<Rule> {
    let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
    let list = |cell: &str| cell.split(", ").filter(|w| !w.is_empty()).map(str::to_lowercase).collect();
    let [not, write, except] = cells[..] else { return None };
    Some(Rule { not: list(not), write: write.to_owned(), except: list(except) })
}

/// The text of a page, without its tables of words and without what is in backticks.
fn of_page(path: &Path, text: &str) -> Chars {
    let is_words = path == Path::new("CONTRIBUTING.md");
    let is_quoted = path.extension().is_none_or(|e| e != "md");
    let mut lines = Vec::new();
    let mut in_list = false;
    for (at, line) in text.lines().enumerate() {
        let is_head = line.starts_with("| do not write |") || line.starts_with("| instead of |");
        in_list = is_words && line.starts_with('|') && (in_list || is_head);
        if !in_list {
            lines.push((at + 1, line));
        }
    }
    joined(&lines, !is_quoted)
}

/// The comments of a source, those of neighbouring lines together, and its string literals of more than one word.
fn of_rust(text: &str) -> Vec<Chars> {
    let (mut texts, mut comment): (Vec<Chars>, Vec<(usize, String)>) = (Vec::new(), Vec::new());
    for (line, token) in source::texts(text) {
        let is_banner = token.starts_with("// === impl ");
        let is_comment = token.starts_with('/') && !is_banner;
        let follows = comment.last().is_some_and(|(last, _)| last + 1 == line);
        if !(is_comment && follows) {
            texts.extend(of_comment(&std::mem::take(&mut comment)));
        }
        if is_comment {
            comment.push((line, token.trim_start_matches(['/', '!', '*']).to_owned()));
        } else if token.contains(' ') && !is_banner {
            let lines = token.lines().enumerate().map(|(n, l)| (line + n, l.trim_end_matches('\\')));
            let lines: Vec<_> = lines.collect();
            texts.push(joined(&lines, false));
        }
    }
    texts.extend(of_comment(&comment));
    texts
}

fn of_comment(comment: &[(usize, String)]) -> Option<Chars> {
    let lines: Vec<(usize, &str)> = comment.iter().map(|(line, text)| (*line, text.as_str())).collect();
    (!lines.is_empty()).then(|| joined(&lines, true))
}

/// Lines as one text. Where backticks quote, what they quote is left out, except for blocks of code.
fn joined(lines: &[(usize, &str)], has_quotes: bool) -> Chars {
    let mut chars: Chars = Vec::new();
    let (mut in_block, mut in_quote) = (false, false);
    for (line, text) in lines {
        if has_quotes && text.trim_start().starts_with("```") {
            in_block = !in_block;
            continue;
        }
        for c in text.chars().flat_map(char::to_lowercase).chain([' ']) {
            if has_quotes && !in_block && c == '`' {
                in_quote = !in_quote;
                chars.push(('`', *line));
            } else if !(in_quote || c.is_whitespace() && ends_with_space(&chars)) {
                chars.push((if c.is_whitespace() { ' ' } else { c }, *line));
            }
        }
    }
    chars
}

fn ends_with_space(chars: &Chars) -> bool {
    chars.last().is_none_or(|(last, _)| last.is_whitespace())
}

/// Every file that is checked, from the checkout's root.
fn files() -> Vec<PathBuf> {
    let mut files = Vec::new();
    for place in PLACES {
        collect(Path::new(place), &mut files);
    }
    files.sort();
    assert!(files.len() > 300, "only {} files found: the scan itself is broken", files.len());
    files
}

fn collect(path: &Path, files: &mut Vec<PathBuf>) {
    const READ: [&str; 7] = ["err", "html", "json", "md", "rs", "txt", "yaml"];
    if SKIPPED.iter().any(|skipped| path == Path::new(skipped)) {
        return;
    }
    if let Ok(entries) = std::fs::read_dir(root().join(path)) {
        for entry in entries {
            collect(&path.join(entry.expect("a folder can be read").file_name()), files);
        }
    } else if path.extension().is_some_and(|e| READ.iter().any(|read| e == *read)) {
        files.push(path.to_owned());
    }
}

mod samples {
    use super::*;

    fn uses(name: &str, text: &str) -> Vec<String> {
        let rules = [
            "| answer | response | |",
            "| well | healthy | as well, well-known |",
            "| for ever | forever | |",
        ];
        let rules: Vec<Rule> = rules.into_iter().filter_map(rule).collect();
        let found = found(&rules, Path::new(name), text);
        found.into_iter().map(|line| line.split(": write").next().unwrap_or_default().to_owned()).collect()
    }

    #[test]
    fn a_page_is_read_with_its_blocks_and_without_its_quotes() {
        let page =
            "an Answer\n`answer` and\n`an answer`\n```\nthe answer\n```\nanswered, an_answer, answer/a.txt";
        assert_eq!(uses("a.md", page), ["a.md:1: answer", "a.md:5: answer"]);
    }

    #[test]
    fn a_phrase_may_go_over_the_end_of_a_line() {
        assert_eq!(uses("a.md", "kept for\never"), ["a.md:1: for ever"]);
        assert_eq!(uses("a.rs", "/// kept for\n    /// ever\nfn f() {}"), ["a.rs:1: for ever"]);
        assert_eq!(uses("a.rs", "const A: &str = \"kept for \\\n   ever\";"), ["a.rs:1: for ever"]);
    }

    #[test]
    fn exceptions_are_fine() {
        assert_eq!(uses("a.md", "well-known, this as well"), [""; 0]);
        assert_eq!(uses("a.md", "it is well, as well"), ["a.md:1: well"]);
    }

    #[test]
    fn code_is_not_read_but_its_comments_and_messages_are() {
        let code = "let answer = \"answer\"; // its answer\nlog!(\"{answer} is no answer\");\nA::answer(); /* answer */";
        assert_eq!(uses("a.rs", code), ["a.rs:1: answer", "a.rs:2: answer", "a.rs:3: answer"]);
    }
}
