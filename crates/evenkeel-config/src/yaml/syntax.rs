//! Text that is not YAML: what is wrong with it, where it began to be, and what to write instead.
//!
//! The scanner says what it missed and where it noticed; this file looks at the text around that place.

/// A mistake in the text: its line and column, from 1, if they are others than where the scanner noticed it; and what is wrong.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Explained {
    pub(super) place: Option<(usize, usize)>,
    pub(super) message: String,
}

/// Explains what the scanner said of a place in the text.
pub(super) fn explain(text: &str, (line, column): (usize, usize), said: &str) -> Explained {
    let source = text.lines().nth(line.saturating_sub(1)).unwrap_or_default();
    let at: String = source.chars().skip(column.saturating_sub(1)).collect();
    let before: String = source.chars().take(column.saturating_sub(1)).collect();
    let here = |message: String| Explained { place: None, message };
    if said.contains("tab") || source.chars().take_while(|c| c.is_whitespace()).any(|c| c == '\t') {
        return here("has a tab: YAML is indented by spaces: write two spaces for each level".to_owned());
    }
    if source.contains("{{") {
        return here(TEMPLATE.to_owned());
    }
    if said.contains("unknown escape") {
        return here(escape(&before, &at));
    }
    if said.contains("unknown anchor") {
        let name: String = at.chars().take_while(|c| !matches!(c, ',' | ']' | '}' | ' ')).collect();
        return here(format!(
            "{name} is not known: * begins the name of an anchor: for text, write \"{name}\" in quotes"
        ));
    }
    if said.contains("quoted scalar") {
        let quote = at.chars().next().filter(|c| matches!(c, '"' | '\'')).unwrap_or('"');
        return here(format!(
            "the quote ({quote}) that begins here has no end: write another {quote} after the text"
        ));
    }
    if let Some(explained) = brackets(text) {
        return explained;
    }
    if let Some(sign) = at.chars().next().filter(|c| matches!(c, '@' | '`' | '%')) {
        return here(format!("{sign} cannot begin a text without quotes: put the text in quotes"));
    }
    if said.contains("mapping values are not allowed") {
        return here(
            "a text with \": \" in it, or a key that does not fit its indentation: put the text in quotes, or give all \
             keys of a map the same indentation"
                .to_owned(),
        );
    }
    if said.contains("block") || said.contains("indent") {
        let spaces = source.chars().take_while(|c| *c == ' ').count();
        return here(format!(
            "the indentation of this line ({spaces} spaces) matches no map or list above: indent it like the other keys or \
             entries of its map or list"
        ));
    }
    here(format!("is not valid YAML: {said}"))
}

/// What is said of `{{ … }}`, unless it is in quotes.
pub(crate) const TEMPLATE: &str = "{{ … }} is the syntax of a template language: render the template first, or write ${NAME} for an \
                                   environment variable; for text, put it in quotes";

/// What is said of `"\."`: the scanner points at the quote that begins the text, or at the backslash.
fn escape(before: &str, at: &str) -> String {
    const KNOWN: &str = "0abt\tnvfre \"/\\N_LPxuU";
    let begun = if at.starts_with('"') { "" } else { before.rsplit('"').next().unwrap_or_default() };
    let rest = at.strip_prefix('"').unwrap_or(at);
    let whole = format!("{begun}{}", rest.split('"').next().unwrap_or_default());
    let mut signs = whole.split('\\').skip(1).filter_map(|after| after.chars().next());
    let sign = signs.find(|sign| !KNOWN.contains(*sign)).unwrap_or('…');
    format!(
        "\\{sign} is not known in double quotes: use single quotes, in which \\ is a literal character: write '{whole}'"
    )
}

/// A bracket without its counterpart, if there is one. Quotes and comments are passed over.
fn brackets(text: &str) -> Option<Explained> {
    let mut open: Vec<(char, usize, usize)> = Vec::new();
    let mut quote: Option<char> = None;
    for (row, line) in text.lines().enumerate() {
        let mut before = ' ';
        let mut escaped = false;
        for (column, c) in line.chars().enumerate() {
            let place = Some((row + 1, column + 1));
            match (quote, c) {
                (Some('"'), _) if escaped => escaped = false,
                (Some('"'), '\\') => escaped = true,
                (Some(begun), _) if c == begun => quote = None,
                (Some(_), _) => {}
                (None, '#') if before.is_whitespace() => break,
                (None, '"' | '\'') if matches!(before, ' ' | '[' | '{' | ',' | ':') => quote = Some(c),
                // Outside of brackets, one within a text is no bracket.
                (None, '[' | '{') if !open.is_empty() || matches!(before, ' ') => {
                    open.push((c, row + 1, column + 1))
                }
                (None, ']' | '}') => {
                    let Some((begun, row, column)) = open.pop() else {
                        before = c;
                        continue;
                    };
                    let expected = closing(begun);
                    if c != expected {
                        let message = format!(
                            "the {begun} at {row}:{column} is not closed before this {c}: write {expected} before it"
                        );
                        return Some(Explained { place, message });
                    }
                }
                _ => {}
            }
            before = c;
        }
    }
    let (begun, row, column) = open.pop()?;
    let message =
        format!("the {begun} that begins here has no end: write {} after its last entry", closing(begun));
    Some(Explained { place: Some((row, column)), message })
}

fn closing(bracket: char) -> char {
    if bracket == '[' { ']' } else { '}' }
}
