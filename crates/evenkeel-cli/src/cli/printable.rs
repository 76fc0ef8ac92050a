//! Text from outside (logs, files, remote admin addresses) in a form that is safe on a terminal.
//!
//! Control characters can move the cursor, change the title or fake a line; bidirectional overrides can reorder what is
//! read. All are shown as escapes. It never knows where the text comes from or goes to.

use std::borrow::Cow;
use std::fmt::Write;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// Columns of a table are padded to at most this width. Longer cells are shown in full and move what follows them.
const WIDEST: usize = 100;

/// The text with everything escaped but what is visible, spaces, line ends and tabs.
pub(super) fn printable(text: &str) -> Cow<'_, str> {
    escaped(text, |c| c != '\n' && c != '\t' && is_hidden(c))
}

/// The same for what must stay on its line.
pub(super) fn one_line(text: &str) -> Cow<'_, str> {
    escaped(text, is_hidden)
}

/// JSON text, indented or not, with the same characters as `\uXXXX`: for programs it is the same JSON.
pub(super) fn printable_json(text: &str) -> Cow<'_, str> {
    let hidden = |c: char| c != '\n' && is_hidden(c);
    if !text.contains(hidden) {
        return text.into();
    }
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match hidden(c) {
            true => c.encode_utf16(&mut [0; 2]).iter().for_each(|unit| {
                let _ = write!(out, "\\u{unit:04x}");
            }),
            false => out.push(c),
        }
    }
    out.into()
}

/// The same value with each of its texts on one line; `None` if it is not the same type afterwards.
pub(super) fn one_line_each<T: Serialize + DeserializeOwned>(value: &T) -> Option<T> {
    let mut json = serde_json::to_value(value).ok()?;
    clean(&mut json);
    serde_json::from_value(json).ok()
}

/// The width of a column with these cells.
pub(super) fn width<'a>(cells: impl Iterator<Item = &'a str>) -> usize {
    cells.map(|cell| cell.chars().count()).max().unwrap_or_default().min(WIDEST)
}

fn clean(value: &mut Value) {
    match value {
        Value::String(text) => {
            if let Cow::Owned(new) = one_line(text) {
                *text = new;
            }
        }
        Value::Array(values) => values.iter_mut().for_each(clean),
        Value::Object(fields) => fields.values_mut().for_each(clean),
        _ => {}
    }
}

fn escaped(text: &str, hidden: impl Fn(char) -> bool) -> Cow<'_, str> {
    if !text.contains(&hidden) {
        return text.into();
    }
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match hidden(c) {
            true => out.extend(c.escape_default()),
            false => out.push(c),
        }
    }
    out.into()
}

/// Control characters, line and paragraph separators, and marks that change the direction of text (Unicode, UAX 9).
fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOSTILE: &str = "a\u{1b}]0;owned\u{7}\r\u{9b}2J\u{202e}é\u{2028}\u{7f}";

    #[test]
    fn what_is_hidden_is_escaped_and_the_rest_is_left_alone() {
        let shown = "a\\u{1b}]0;owned\\u{7}\\r\\u{9b}2J\\u{202e}é\\u{2028}\\u{7f}";
        assert_eq!((printable(HOSTILE), one_line(HOSTILE)), (shown.into(), shown.into()));
        let calm = "│ é 日本 ▁█ …\n\tb";
        assert!(matches!(printable(calm), Cow::Borrowed(text) if text == calm));
        assert_eq!(one_line(calm), "│ é 日本 ▁█ …\\n\\tb");
    }

    #[test]
    fn json_stays_the_same_json() {
        let value = serde_json::json!({ "name": HOSTILE, "list": ["\n", 1] });
        let text = serde_json::to_string_pretty(&value).unwrap();
        let shown = printable_json(&text);
        assert!(!shown.contains(|c| c != '\n' && is_hidden(c)), "{shown}");
        assert_eq!(serde_json::from_str::<Value>(&shown).unwrap(), value);
        assert_eq!(one_line_each(&value).unwrap()["list"][0], "\\n");
    }

    #[test]
    fn a_wide_cell_pads_nothing() {
        assert_eq!(width(["abc", "é"].into_iter()), 3);
        assert_eq!(width([&*"x".repeat(70_000)].into_iter()), WIDEST);
    }
}
