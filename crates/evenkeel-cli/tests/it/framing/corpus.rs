//! The files of `tests/corpus`: what is sent, byte by byte, and the expected results. The format is described in
//! `tests/corpus/README.md`. Knows nothing of how an entry is run. The seeds for fuzzing are made with this file too,
//! so it imports only the standard library.

use std::path::Path;

/// One entry: bytes, and the expected results.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    /// The file and the name.
    pub(super) name: String,
    /// The bytes, in the pieces that they are sent in.
    pub(super) pieces: Vec<Vec<u8>>,
    /// The expected results: a keyword, and its arguments.
    pub(super) expected: Vec<(String, String)>,
}

/// Every entry of every file in a folder of the corpus.
pub(super) fn read(folder: &str) -> Vec<Entry> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus").join(folder);
    let files = std::fs::read_dir(&folder).expect("a folder of the corpus");
    let mut files: Vec<_> = files.map(|file| file.expect("a file").path()).collect();
    files.sort();
    let mut entries = Vec::new();
    for file in files {
        let text = std::fs::read_to_string(&file).expect("a file of text");
        let group = file.file_stem().expect("a name").to_string_lossy().into_owned();
        entries.extend(parse(&group, &text));
    }
    entries
}

fn parse(group: &str, text: &str) -> Vec<Entry> {
    let mut entries = Vec::new();
    let (mut name, mut bytes, mut expected, mut values) = (None, String::new(), Vec::new(), Vec::new());
    for line in text.lines().chain(["== end"]) {
        if let Some(next) = line.strip_prefix("== ") {
            if let Some(name) = name.replace(next.trim()) {
                let name = format!("{group}: {name}");
                entries.extend(expand(&name, &bytes, &expected, &values));
            }
            (bytes, expected, values) = (String::new(), Vec::new(), Vec::new());
        } else if let Some(line) = line.strip_prefix("-- ") {
            expected.push(line.to_owned());
        } else if let Some(value) = line.strip_prefix("| ") {
            values.push(value.to_owned());
        } else if !line.starts_with('#') {
            assert!(name.is_some() || line.is_empty(), "{group}: {line:?} before the first name");
            bytes.push_str(line);
        }
    }
    entries
}

/// The entries that one of the file stands for: one, or one for each value that stands in for `@@`.
fn expand(name: &str, bytes: &str, expected: &[String], values: &[String]) -> Vec<Entry> {
    let blank = bytes.contains("@@");
    assert_eq!(blank, !values.is_empty(), "{name}: values and @@ belong together");
    let one = |name: String, value: &str| {
        let words = expected.iter().map(|line| line.replace("@@", value));
        let expected = words.map(|line| match line.split_once(' ') {
            Some((word, rest)) => (word.to_owned(), rest.to_owned()),
            None => (line, String::new()),
        });
        Entry { pieces: unescape(&bytes.replace("@@", value), &name), expected: expected.collect(), name }
    };
    match values {
        [] => vec![one(name.to_owned(), "")],
        values => values.iter().map(|value| one(format!("{name} [{value}]"), value)).collect(),
    }
}

/// The bytes that a text with escapes stands for, in its pieces.
pub(super) fn unescape(text: &str, name: &str) -> Vec<Vec<u8>> {
    let mut pieces = vec![Vec::new()];
    let mut rest = text;
    while let Some(char) = rest.chars().next() {
        let piece = pieces.last_mut().expect("one at least");
        rest = &rest[char.len_utf8()..];
        if char != '\\' {
            piece.extend(char.to_string().bytes());
            continue;
        }
        let escape = rest.chars().next().unwrap_or_else(|| panic!("{name}: a \\ at the end"));
        rest = &rest[escape.len_utf8()..];
        match escape {
            'r' => piece.push(b'\r'),
            'n' => piece.push(b'\n'),
            't' => piece.push(b'\t'),
            's' => piece.push(b' '),
            '0' => piece.push(0),
            '\\' => piece.push(b'\\'),
            'x' => {
                piece
                    .push(u8::from_str_radix(&rest[..2], 16).unwrap_or_else(|_| panic!("{name}: \\x{rest}")));
                rest = &rest[2..];
            }
            'w' => pieces.push(Vec::new()),
            '{' => {
                let parts =
                    rest.split_once('}').and_then(|(inner, after)| Some((inner.rsplit_once('*')?, after)));
                let ((text, times), after) = parts.unwrap_or_else(|| panic!("{name}: \\{{{rest}"));
                let times = times.parse().unwrap_or_else(|_| panic!("{name}: {times:?} times"));
                piece.extend(unescape(text, name).concat().repeat(times));
                rest = after;
            }
            other => panic!("{name}: \\{other} is no escape"),
        }
    }
    pieces
}

/// The bytes of a text that has no pauses.
pub(super) fn bytes(text: &str, name: &str) -> Vec<u8> {
    unescape(text, name).concat()
}

#[cfg(test)]
mod samples {
    use super::parse;

    #[test]
    fn an_entry_is_bytes_and_expectations() {
        let text =
            "# A comment.\n\n== one\nGET /\\{ab*2} \\x41\\r\\n\n\\r\\n\\wmore\n-- seen GET /\n-- closes\n";
        let entries = parse("group", text);
        assert_eq!(entries.len(), 1);
        assert_eq!(entries[0].name, "group: one");
        assert_eq!(entries[0].pieces, [b"GET /abab A\r\n\r\n".to_vec(), b"more".to_vec()]);
        let expected = [("seen".to_owned(), "GET /".to_owned()), ("closes".to_owned(), String::new())];
        assert_eq!(entries[0].expected, expected);
    }

    #[test]
    fn an_entry_with_values_is_one_for_each() {
        let entries = parse("g", "== length\nL: @@\\r\\n\n-- refused 400\n| +3\n| \\t\n");
        assert_eq!(entries.len(), 2);
        assert_eq!(
            (entries[0].name.as_str(), entries[0].pieces.concat()),
            ("g: length [+3]", b"L: +3\r\n".to_vec())
        );
        assert_eq!(entries[1].pieces.concat(), b"L: \t\r\n");
    }
}
