//! Rust sources, parsed by syn, as far as the rules of the house need them. Knows nothing of the rules.

#![cfg(test)]

use std::ops::Range;
use std::path::{Path, PathBuf};

use proc_macro2::{Delimiter, Spacing, Span, TokenStream, TokenTree};
use quote::ToTokens;
use syn::visit::{self, Visit};
use syn::visit_mut::{self, VisitMut};
use syn::{Attribute, Block, Fields, ImplItem, Item, ItemImpl, ItemMod, ItemStruct, Stmt};

/// A source file without its `#[cfg(test)]` items.
pub(crate) struct Source {
    /// Where it is, from the checkout's root.
    pub(crate) path: PathBuf,
    file: syn::File,
    /// Its tokens without documentation: macros hold paths, too, and syn does not parse what is in them.
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
    bytes: Range<usize>,
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
    let mut tokens = Vec::new();
    flatten(text.parse().expect("a source file has tokens"), &mut tokens);
    // Comments, documentation among them, are what is between the tokens.
    let (mut texts, mut at, mut line) = (Vec::new(), 0, 1);
    let end = Token { bytes: text.len()..text.len(), ..token("", Span::call_site()) };
    for token in tokens.iter().chain([&end]) {
        for (number, comment) in text[at..token.bytes.start].lines().enumerate() {
            texts.push((line + number, comment.trim().to_owned()));
        }
        let code = &text[token.bytes.clone()];
        if code.contains('"') {
            texts.push((token.first_line, code.to_owned()));
        }
        (at, line) = (token.bytes.end, token.last_line);
    }
    texts.retain(|(_, text)| !text.is_empty());
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
    /// Parses `text`.
    pub(crate) fn new(path: PathBuf, text: &str) -> Self {
        let parsed = syn::parse_file(text);
        let mut file = parsed.unwrap_or_else(|e| panic!("{}:{}: {e}", path.display(), e.span().start().line));
        let mut tests = Tests::default();
        tests.visit_file_mut(&mut file);
        let mut tokens = Vec::new();
        flatten(file.to_token_stream(), &mut tokens);
        Self { path, file, tokens, test_modules: tests.modules }
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

    /// Whether it implements a trait of this name for a type.
    pub(crate) fn implements(&self, name: &str) -> bool {
        let mut traits = Traits::default();
        traits.visit_file(&self.file);
        traits.0.iter().any(|found| found == name)
    }

    /// Every struct with named fields.
    pub(crate) fn structs(&self) -> Vec<Struct> {
        let mut structs = Structs::default();
        structs.visit_file(&self.file);
        structs.0
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

/// Takes items that only tests see out of a file.
#[derive(Default)]
struct Tests {
    modules: Vec<String>,
}

#[derive(Default)]
struct Traits(Vec<String>);

#[derive(Default)]
struct Structs(Vec<Struct>);

fn is_test(attributes: &[Attribute]) -> bool {
    let mut cfgs = attributes.iter().filter(|a| a.path().is_ident("cfg"));
    cfgs.any(|cfg| cfg.parse_args::<syn::Ident>().is_ok_and(|condition| condition == "test"))
}

/// The attributes of the items that are only for tests in practice.
fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Macro(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Static(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Trait(item) => &item.attrs,
        Item::Type(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => &[],
    }
}

/// Adds the tokens of a stream, and of the groups in it, without documentation.
fn flatten(stream: TokenStream, tokens: &mut Vec<Token>) {
    let trees: Vec<TokenTree> = stream.into_iter().collect();
    let is_mark = |at: usize, mark| matches!(trees.get(at), Some(TokenTree::Punct(p)) if p.as_char() == mark);
    let mut at = 0;
    while let Some(tree) = trees.get(at) {
        at += 1;
        match tree {
            TokenTree::Punct(mark) if mark.as_char() == '#' => {
                let attribute = if is_mark(at, '!') { at + 1 } else { at };
                if trees.get(attribute).is_some_and(is_documentation) {
                    at = attribute + 1;
                } else {
                    tokens.push(token("#", mark.span()));
                }
            }
            TokenTree::Punct(mark)
                if mark.as_char() == ':' && mark.spacing() == Spacing::Joint && is_mark(at, ':') =>
            {
                tokens.push(token("::", mark.span()));
                at += 1;
            }
            TokenTree::Punct(mark) => tokens.push(token(&mark.to_string(), mark.span())),
            TokenTree::Ident(word) => tokens.push(token(&word.to_string(), word.span())),
            TokenTree::Literal(literal) => tokens.push(token("\"", literal.span())),
            TokenTree::Group(group) => {
                let [open, close] = match group.delimiter() {
                    Delimiter::Brace => ["{", "}"],
                    Delimiter::Bracket => ["[", "]"],
                    Delimiter::Parenthesis => ["(", ")"],
                    Delimiter::None => ["", ""],
                };
                tokens.push(token(open, group.span_open()));
                flatten(group.stream(), tokens);
                tokens.push(token(close, group.span_close()));
            }
        }
    }
}

fn token(text: &str, span: Span) -> Token {
    let (first_line, last_line) = (span.start().line, span.end().line);
    Token { text: text.into(), bytes: span.byte_range(), first_line, last_line }
}

fn is_documentation(tree: &TokenTree) -> bool {
    matches!(tree, TokenTree::Group(group) if group.stream().to_string().starts_with("doc "))
}

// === impl Tests ===

impl VisitMut for Tests {
    fn visit_file_mut(&mut self, file: &mut syn::File) {
        self.prune(&mut file.items);
        visit_mut::visit_file_mut(self, file);
    }

    fn visit_item_mod_mut(&mut self, module: &mut ItemMod) {
        if let Some((_, items)) = &mut module.content {
            self.prune(items);
        }
        visit_mut::visit_item_mod_mut(self, module);
    }

    fn visit_item_impl_mut(&mut self, item: &mut ItemImpl) {
        item.items.retain(|item| !matches!(item, ImplItem::Fn(method) if is_test(&method.attrs)));
        visit_mut::visit_item_impl_mut(self, item);
    }

    fn visit_block_mut(&mut self, block: &mut Block) {
        block.stmts.retain(|statement| !matches!(statement, Stmt::Item(item) if is_test(attributes(item))));
        visit_mut::visit_block_mut(self, block);
    }
}

impl Tests {
    fn prune(&mut self, items: &mut Vec<Item>) {
        let files = items.iter().filter_map(|item| match item {
            Item::Mod(module) if module.content.is_none() && is_test(&module.attrs) => Some(&module.ident),
            _ => None,
        });
        self.modules.extend(files.map(ToString::to_string));
        items.retain(|item| !is_test(attributes(item)));
    }
}

impl<'a> Visit<'a> for Traits {
    fn visit_item_impl(&mut self, item: &'a ItemImpl) {
        let name = item.trait_.as_ref().and_then(|(_, path, _)| path.segments.last());
        self.0.extend(name.map(|segment| segment.ident.to_string()));
        visit::visit_item_impl(self, item);
    }
}

impl<'a> Visit<'a> for Structs {
    fn visit_item_struct(&mut self, item: &'a ItemStruct) {
        if let Fields::Named(fields) = &item.fields {
            self.0.push(Struct { name: item.ident.to_string(), fields: fields.named.len() });
        }
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
        let text = "pub struct A<T: Into<u8>> where T: Copy { #[a(b = 1)] x: Vec<(u8, T)>, pub y: fn(z: u8) -> Option<u8>, }
            struct B; struct C(u8, u8); fn f() { struct D<F: Fn(u8)> { f: F } }";
        let counted = source(text).structs();
        let expected = [("A", 2), ("D", 1)].map(|(name, fields)| Struct { name: name.into(), fields });
        assert_eq!(counted, expected);
    }

    #[test]
    fn implementations_are_found_by_the_last_part_of_the_trait() {
        let found = source("impl<T> pingora_proxy::ProxyHttp for A<T> {} impl B {} impl Clone for C {}");
        assert!(found.implements("ProxyHttp") && found.implements("Clone") && !found.implements("B"));
    }

    #[test]
    fn paths_in_macros_are_found() {
        let found = source("fn f<'a>(x: &'a str) { vec![crate::a::B, 'x']; }").paths();
        assert_eq!(found, [(["crate", "a", "B"].map(str::to_owned).to_vec(), 1)]);
    }

    #[test]
    fn texts_are_comments_documentation_and_strings() {
        let text = "//! a\nfn f() {\n    // b\n    // c\n    g(\"d\\n\", 'e'); /* h */\n}\n";
        let found = texts(text);
        let expected = [(1, "//! a"), (3, "// b"), (4, "// c"), (5, "\"d\\n\""), (5, "/* h */")];
        assert_eq!(found, expected.map(|(line, text)| (line, text.to_owned())));
    }

    #[test]
    fn files_of_test_modules_are_known() {
        let found = source("#[cfg(test)]\nmod tests;\nmod other;").test_files();
        assert_eq!(found, [PathBuf::from("src/a/tests")]);
    }
}
