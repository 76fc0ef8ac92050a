//! Rust sources as tokens: enough of the language to tell code from comments, literals and tests. Knows nothing of the
//! rules that it serves.

#![cfg(test)]

use std::path::{Path, PathBuf};

/// A source file without its comments and its `#[cfg(test)]` items.
#[derive(Debug)]
pub(crate) struct Source {
    /// Where it is, from the checkout's root.
    pub(crate) path: PathBuf,
    tokens: Vec<Token>,
    /// Modules that only tests see and that are files of their own.
    test_modules: Vec<String>,
}

/// A struct, and how many named fields it has.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Struct {
    pub(crate) name: String,
    pub(crate) fields: usize,
}

/// A word, a mark, or a literal (whose text is not kept).
#[derive(Clone, Debug, PartialEq, Eq)]
struct Token {
    text: String,
    first_line: usize,
    last_line: usize,
}

/// The checkout's root.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).expect("two folders up from a crate").into()
}

/// Every source file under a folder of the checkout, without those that only tests see.
pub(crate) fn under(folder: &Path) -> Vec<Source> {
    let mut files = Vec::new();
    collect(&root().join(folder), &mut files);
    files.sort();
    let read = |file: PathBuf| {
        let text = std::fs::read_to_string(&file).expect("a source file is text");
        Source::new(file.strip_prefix(root()).expect("it is in the checkout").into(), &text)
    };
    let sources: Vec<Source> = files.into_iter().map(read).collect();
    let tests: Vec<PathBuf> = sources.iter().flat_map(Source::test_files).collect();
    sources
        .into_iter()
        .filter(|s| !tests.iter().any(|t| s.path.starts_with(t) || s.path == t.with_extension("rs")))
        .collect()
}

/// The comments and the string literals of a source, each with its first line. Tests are included.
pub(crate) fn texts(text: &str) -> Vec<(usize, String)> {
    let chars: Vec<char> = text.chars().collect();
    let (mut texts, mut at, mut line) = (Vec::new(), 0, 1);
    while at < chars.len() {
        let end = token_end(&chars, at);
        let token: String = chars[at..end].iter().collect();
        let lines = token.matches('\n').count();
        if token.starts_with("//") || token.starts_with("/*") || token.contains('"') {
            texts.push((line, token));
        }
        (at, line) = (end, line + lines);
    }
    texts
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for path in entries.map(|e| e.expect("a folder can be read").path()) {
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|e| e == "rs") {
            files.push(path);
        }
    }
}

// === impl Source ===

impl Source {
    /// Reads `text`.
    pub(crate) fn new(path: PathBuf, text: &str) -> Self {
        let (tokens, test_modules) = without_tests(tokens(text));
        Self { path, tokens, test_modules }
    }

    /// The file's place under `base`, a part for every folder, the last without its ending.
    pub(crate) fn parts(&self, base: &Path) -> Vec<String> {
        let inside = self.path.strip_prefix(base).expect("the file is under its base").with_extension("");
        inside.iter().map(|part| part.to_string_lossy().into_owned()).collect()
    }

    /// How many lines hold code.
    pub(crate) fn code_lines(&self) -> usize {
        let mut lines: Vec<usize> = self.tokens.iter().flat_map(|t| t.first_line..=t.last_line).collect();
        lines.sort_unstable();
        lines.dedup();
        lines.len()
    }

    /// Whether the word `second` comes right after the word `first` anywhere.
    pub(crate) fn follows(&self, first: &str, second: &str) -> bool {
        self.tokens.windows(2).any(|pair| pair[0].text == first && pair[1].text == second)
    }

    /// Every path of two segments or more, and every `use`, with its line; groups are taken apart.
    pub(crate) fn paths(&self) -> Vec<(Vec<String>, usize)> {
        let mut paths = Vec::new();
        let mut at = 0;
        while at < self.tokens.len() {
            let is_use = self.text(at) == "use";
            let start = if is_use { at + 1 } else { at };
            let start = if self.text(start) == "::" { start + 1 } else { start };
            if self.is_word(start) && (is_use || self.text(start + 1) == "::") {
                at = self.path(start, &[], &mut paths);
            } else {
                at = start.max(at) + 1;
            }
        }
        paths
    }

    /// Every struct with named fields.
    pub(crate) fn structs(&self) -> Vec<Struct> {
        let starts = (0..self.tokens.len()).filter(|i| self.text(*i) == "struct" && self.is_word(*i + 1));
        starts
            .filter_map(|i| Some(Struct { name: self.text(i + 1).into(), fields: self.fields(i + 2)? }))
            .collect()
    }

    /// Reads one path from `at`, which is a word; gives where it ends.
    fn path(&self, mut at: usize, prefix: &[String], paths: &mut Vec<(Vec<String>, usize)>) -> usize {
        let line = self.tokens[at].first_line;
        let mut path = prefix.to_vec();
        loop {
            path.push(self.text(at).to_owned());
            at += 1;
            if self.text(at) != "::" {
                break;
            }
            at += 1;
            if self.text(at) == "{" {
                at += 1;
                while at < self.tokens.len() && self.text(at) != "}" {
                    at = if self.is_word(at) { self.path(at, &path, paths) } else { at + 1 };
                }
                return at + 1;
            }
            if !self.is_word(at) {
                break;
            }
        }
        // What comes after `as` is a new name, not a path.
        if self.text(at) == "as" {
            at += 2;
        }
        paths.push((path, line));
        at
    }

    /// Counts the fields of a struct whose generics begin at `at`; `None` if it has no named ones.
    fn fields(&self, mut at: usize) -> Option<usize> {
        let mut angles = 0_usize;
        loop {
            match self.tokens.get(at)?.text.as_str() {
                "<" => angles += 1,
                ">" if self.text(at - 1) != "-" => angles = angles.saturating_sub(1),
                "{" => break,
                ";" | "(" if angles == 0 => return None,
                _ => {}
            }
            at += 1;
        }
        let (mut depth, mut fields) = (0_usize, 0);
        loop {
            match self.tokens.get(at)?.text.as_str() {
                "{" | "(" | "[" | "<" => depth += 1,
                ">" if self.text(at - 1) == "-" => {}
                "}" | ")" | "]" | ">" => depth -= 1,
                ":" if depth == 1 => fields += 1,
                _ => {}
            }
            if depth == 0 {
                return Some(fields);
            }
            at += 1;
        }
    }

    /// The files of modules that only tests see, without their ending.
    fn test_files(&self) -> Vec<PathBuf> {
        let stem = self.path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let folder = self.path.parent().unwrap_or(Path::new(""));
        let is_root = ["mod", "lib", "main"].contains(&stem.as_str());
        let folder = if is_root { folder.to_owned() } else { folder.join(stem) };
        self.test_modules.iter().map(|name| folder.join(name)).collect()
    }

    fn text(&self, at: usize) -> &str {
        self.tokens.get(at).map_or("", |t| t.text.as_str())
    }

    fn is_word(&self, at: usize) -> bool {
        self.text(at).starts_with(|c: char| c.is_alphabetic() || c == '_')
    }
}

/// The tokens without items marked `#[cfg(test)]`, and the names of the modules among these that are files.
fn without_tests(tokens: Vec<Token>) -> (Vec<Token>, Vec<String>) {
    const MARK: [&str; 7] = ["#", "[", "cfg", "(", "test", ")", "]"];
    let (mut kept, mut modules) = (Vec::new(), Vec::new());
    let mut at = 0;
    while at < tokens.len() {
        let is_mark = tokens[at..].iter().map(|t| t.text.as_str()).take(MARK.len()).eq(MARK);
        if !is_mark {
            kept.push(tokens[at].clone());
            at += 1;
            continue;
        }
        let end = end_of_item(&tokens, at + MARK.len());
        if let [.., word, name, semicolon] = &tokens[at..end]
            && word.text == "mod"
            && semicolon.text == ";"
        {
            modules.push(name.text.clone());
        }
        at = end;
    }
    (kept, modules)
}

/// Where the item at `at` ends: after its `;`, or after the brace that closes its first block.
fn end_of_item(tokens: &[Token], mut at: usize) -> usize {
    let mut depth = 0_usize;
    while let Some(token) = tokens.get(at) {
        at += 1;
        match token.text.as_str() {
            "{" | "(" | "[" => depth += 1,
            "}" if depth == 1 => {
                // A `use` with a group goes on to its semicolon.
                return if tokens.get(at).is_some_and(|t| t.text == ";") { at + 1 } else { at };
            }
            "}" | ")" | "]" => depth = depth.saturating_sub(1),
            ";" if depth == 0 => return at,
            _ => {}
        }
    }
    at
}

fn tokens(text: &str) -> Vec<Token> {
    let chars: Vec<char> = text.chars().collect();
    let (mut tokens, mut at, mut line) = (Vec::new(), 0, 1);
    while at < chars.len() {
        let end = token_end(&chars, at);
        let token: String = chars[at..end].iter().collect();
        let last_line = line + token.matches('\n').count();
        let is_comment = token.starts_with("//") || token.starts_with("/*");
        if !is_comment && !token.trim().is_empty() {
            let is_literal = token.contains('"') || (token.len() > 1 && token.contains('\''));
            let text = if is_literal { "\"".to_owned() } else { token };
            tokens.push(Token { text, first_line: line, last_line });
        }
        (at, line) = (end, last_line);
    }
    tokens
}

/// Where the token, the comment or the white space at `at` ends.
fn token_end(chars: &[char], at: usize) -> usize {
    let from = |i: usize| chars.get(i).copied().unwrap_or('\0');
    let run = |start: usize, belongs: fn(char) -> bool| {
        start + chars[start.min(chars.len())..].iter().take_while(|c| belongs(**c)).count()
    };
    match (from(at), from(at + 1)) {
        ('/', '/') => run(at, |c| c != '\n'),
        ('/', '*') => block_comment_end(chars, at),
        (':', ':') => at + 2,
        ('"', _) => string_end(chars, at + 1),
        ('\'', _) => quote_end(chars, at),
        (c, _) if c.is_whitespace() => run(at, char::is_whitespace),
        (c, _) if is_word(c) => {
            let end = run(at, is_word);
            let word: String = chars[at..end].iter().collect();
            let hashes = run(end, |c| c == '#') - end;
            match (word.as_str(), from(end), from(end + hashes)) {
                ("b" | "c", '"', _) => string_end(chars, end + 1),
                ("b", '\'', _) => quote_end(chars, end),
                ("r" | "br" | "cr", _, '"') => raw_string_end(chars, end + hashes + 1, hashes),
                _ => end,
            }
        }
        _ => at + 1,
    }
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn block_comment_end(chars: &[char], mut at: usize) -> usize {
    let mut depth = 0_usize;
    while at < chars.len() {
        match (chars[at], chars.get(at + 1)) {
            ('/', Some('*')) => (depth, at) = (depth + 1, at + 2),
            ('*', Some('/')) => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            break;
        }
    }
    at.min(chars.len())
}

fn string_end(chars: &[char], mut at: usize) -> usize {
    while at < chars.len() && chars[at] != '"' {
        at += if chars[at] == '\\' { 2 } else { 1 };
    }
    (at + 1).min(chars.len())
}

fn raw_string_end(chars: &[char], at: usize, hashes: usize) -> usize {
    let end: Vec<char> = std::iter::once('"').chain(std::iter::repeat_n('#', hashes)).collect();
    let rest = &chars[at..];
    rest.windows(end.len()).position(|w| w == end).map_or(chars.len(), |found| at + found + end.len())
}

/// The end of a character literal, or of the quote alone if a lifetime follows it.
fn quote_end(chars: &[char], at: usize) -> usize {
    match (chars.get(at + 1), chars.get(at + 2)) {
        (Some('\\'), _) => {
            let rest = &chars[(at + 3).min(chars.len())..];
            at + 4 + rest.iter().take_while(|c| **c != '\'').count()
        }
        (Some(_), Some('\'')) => at + 3,
        _ => at + 1,
    }
}

mod samples {
    use super::*;

    fn source(text: &str) -> Source {
        Source::new("src/a.rs".into(), text)
    }

    #[test]
    fn only_lines_with_code_count() {
        let text = "//! Docs.\n\nfn f() {\n    // why\n    g(\"a\n  // not a comment\n\");\n}\n#[cfg(test)]\nmod tests {\n}\n";
        assert_eq!(source(text).code_lines(), 5);
    }

    #[test]
    fn fields_are_counted_and_nothing_else() {
        let text = "pub struct A<T: Into<u8>> where T: Copy { #[a(b: 1)] x: Vec<(u8, T)>, pub y: fn(z: u8) -> Option<u8>, }
            struct B; struct C(u8, u8); struct D<F: Fn(u8)> { f: F }";
        let counted = source(text).structs();
        let expected = [("A", 2), ("D", 1)].map(|(name, fields)| Struct { name: name.into(), fields });
        assert_eq!(counted, expected);
    }

    #[test]
    fn lifetimes_are_not_characters() {
        let texts: Vec<String> =
            tokens("fn f<'a>(x: &'a str) { '\"'; '\\''; b'x'; \"'\" }").into_iter().map(|t| t.text).collect();
        assert_eq!(texts.iter().filter(|t| *t == "\"").count(), 4, "{texts:?}");
        assert!(texts.ends_with(&["\"".to_owned(), "}".to_owned()]));
    }

    #[test]
    fn files_of_test_modules_are_known() {
        let found = source("#[cfg(test)]\nmod tests;\nmod other;").test_files();
        assert_eq!(found, [PathBuf::from("src/a/tests")]);
    }
}
