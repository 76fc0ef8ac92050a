//! `rewrite_path`: rewrites the path with a regular expression.

use evenkeel_config::{Format, FormatPart};
use evenkeel_http::message::{Escape, Phase, Template};
use regex::{Captures, Regex};
use schemars::JsonSchema;
use serde::Deserialize;

use super::registry::{FilterError, FilterKind};
use super::{BuildContext, Filter, Refusal, Request, Verdict};

/// What to match in the path, and the replacement.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RewritePathParams {
    /// A regular expression (Rust's `regex` syntax) that matches anywhere in the path. The first match is replaced. Use
    /// `^` and `$` to match the whole path.
    pub from: String,
    /// The replacement. `{1}` or `{name}` insert what a group of `from` matched. `$1` is the same as `{1}`. Placeholders
    /// such as `{header.x-tenant}` become one segment of the path (docs/placeholders.md). Write `{{` and
    /// `}}` for literal braces, `$$` for a dollar sign.
    pub to: String,
}

/// Replaces the match of a regular expression in the path, before the request goes to a backend. A path without a match
/// stays unchanged. A result that is not a path (no `/` at its start, or a space, `?` or `#` in it) is rejected with
/// 400.
#[derive(Debug)]
pub struct RewritePath {
    from: Regex,
    to: Vec<Piece>,
}

/// A piece of what takes the place of a match.
#[derive(Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    /// What the group of this number matched.
    Group(usize),
    /// A value of the request.
    Value(Template),
}

impl RewritePath {
    fn rewritten(&self, request: &Request<'_>, groups: &Captures<'_>) -> Option<String> {
        let path = request.path();
        let whole = groups.get(0)?;
        let mut new = path.get(..whole.start())?.to_owned();
        for piece in &self.to {
            match piece {
                Piece::Text(text) => new.push_str(text),
                Piece::Value(template) => new.push_str(&request.text(template)),
                Piece::Group(number) => new.push_str(groups.get(*number).map_or("", |group| group.as_str())),
            }
        }
        new.push_str(path.get(whole.end()..)?);
        Some(new)
    }
}

impl Filter for RewritePath {
    fn on_request(&self, request: &mut Request<'_>) -> Verdict {
        let path = request.path();
        if let Some(path) = self.from.captures(path).and_then(|groups| self.rewritten(request, &groups)) {
            if !path.starts_with('/') || path.contains(|c: char| c <= ' ' || c == '?' || c == '#') {
                return Verdict::Refuse(Refusal::BadRequest("the path cannot be rewritten"));
            }
            request.edits.path = Some(path);
        }
        Verdict::Continue
    }
}

impl FilterKind for RewritePath {
    const NAME: &'static str = "rewrite_path";
    const EXAMPLE: &'static str = "rewrite_path: { from: \"^/users/([0-9]+)$\", to: \"/u/{1}\" }";
    const DOC: &'static str =
        "Replaces the match of a regular expression in the path, before the request goes to a backend.";
    type Params = RewritePathParams;

    fn new(params: RewritePathParams, context: &BuildContext<'_>) -> Result<Self, FilterError> {
        let from = regex::RegexBuilder::new(&params.from).size_limit(1 << 20).build();
        let from = from.map_err(|error| {
            let text = error.to_string();
            let reason = text.lines().last().unwrap_or_default().trim_start_matches("error: ");
            FilterError::new("from", format!("a regular expression: {reason}"))
        })?;
        let to = pieces(&params.to, &from, context).map_err(|expected| FilterError::new("to", expected))?;
        Ok(Self { from, to })
    }
}

/// What takes the place of a match; otherwise what was expected.
fn pieces(text: &str, from: &Regex, context: &BuildContext<'_>) -> Result<Vec<Piece>, String> {
    let names: Vec<String> = from
        .capture_names()
        .enumerate()
        .flat_map(|(number, name)| [Some(number.to_string()), name.map(str::to_owned)])
        .flatten()
        .collect();
    let value =
        |name: &str| context.template("to", &format!("{{{name}}}"), Escape::Path, Phase::Request).ok();
    let mut known: Vec<&str> = names.iter().map(String::as_str).collect();
    let braces = text.split('{').skip(1).filter_map(|rest| Some(rest.split_once('}')?.0));
    known.extend(braces.filter(|name| value(name).is_some()));
    let number = |name: &str| {
        let named = from.capture_names().position(|known| known == Some(name));
        named.or_else(|| name.parse().ok().filter(|number| *number < from.captures_len()))
    };
    let format = Format::parse(text, &known)
        .map_err(|error| format!("a path and groups of `from` in braces, like /u/{{1}}, but it {error}"))?;
    let mut pieces = Vec::new();
    let mut parts = format.parts().iter().peekable();
    while let Some(part) = parts.next() {
        match part {
            FormatPart::Name(name) => {
                let piece = number(name).map(Piece::Group);
                pieces.extend(piece.or_else(|| value(name).map(Piece::Value)));
            }
            FormatPart::Text(text) => {
                if let (Some(_), Some(FormatPart::Name(name))) = (text.strip_suffix('$'), parts.peek())
                    && !text.ends_with("$$")
                {
                    return Err(format!("{{{name}}} for that group, not ${{{name}}}"));
                }
                dollars(text, &number, &mut pieces)?;
            }
        }
    }
    Ok(pieces)
}

/// Takes a text apart that may have groups as `$1`.
fn dollars(
    text: &str,
    number: &impl Fn(&str) -> Option<usize>,
    pieces: &mut Vec<Piece>,
) -> Result<(), String> {
    let mut literal = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        literal.push_str(before);
        rest = after;
        if let Some(after) = after.strip_prefix('$') {
            literal.push('$');
            rest = after;
            continue;
        }
        let end = after.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(after.len());
        let (name, after) = after.split_at(end);
        if name.is_empty() {
            literal.push('$');
            continue;
        }
        match number(name) {
            Some(group) if name.bytes().all(|byte| byte.is_ascii_digit()) => {
                if !literal.is_empty() {
                    pieces.push(Piece::Text(std::mem::take(&mut literal)));
                }
                pieces.push(Piece::Group(group));
            }
            known => {
                let digits = name.bytes().take_while(u8::is_ascii_digit).count();
                let group = name.get(..digits).filter(|digits| number(digits).is_some());
                return Err(match (known, group) {
                    (Some(_), _) => format!("{{{name}}} for that group, not ${name}"),
                    (None, Some(digits)) => {
                        let tail = name.get(digits.len()..).unwrap_or_default();
                        format!("{{{digits}}}{tail} for that group and this text, not ${name}")
                    }
                    (None, None) => {
                        format!(
                            "a group of `from`, like {{1}}, and found ${name}; for the text itself, write $${name}"
                        )
                    }
                });
            }
        }
        rest = after;
    }
    literal.push_str(rest);
    if !literal.is_empty() {
        pieces.push(Piece::Text(literal));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{BuildContext, Piece, RewritePath, RewritePathParams};
    use crate::filter::registry::{FilterError, FilterKind};

    fn made(from: &str, to: &str) -> Result<RewritePath, FilterError> {
        let params = RewritePathParams { from: from.to_owned(), to: to.to_owned() };
        RewritePath::new(params, &BuildContext::new("all", 1))
    }

    #[test]
    fn a_bad_expression_says_why() {
        let error = made("(", "").unwrap_err();
        assert_eq!(
            (error.path.as_str(), error.expected.as_str()),
            ("from", "a regular expression: unclosed group")
        );
    }

    #[test]
    fn groups_stand_in_braces_or_behind_a_dollar() {
        let text = |text: &str| Piece::Text(text.to_owned());
        for (to, pieces) in [
            ("/u/{1}", vec![text("/u/"), Piece::Group(1)]),
            ("/{id}_y/{2}", vec![text("/"), Piece::Group(2), text("_y/"), Piece::Group(2)]),
            ("/$1/x$2", vec![text("/"), Piece::Group(1), text("/x"), Piece::Group(2)]),
            ("/{0}$", vec![text("/"), Piece::Group(0), text("$")]),
            ("/$$1/{{1}}", vec![text("/$1/{1}")]),
            ("", vec![]),
        ] {
            assert_eq!(made("^/(a)/(?<id>b)", to).unwrap().to, pieces, "{to}");
        }
    }

    #[test]
    fn what_is_no_group_is_refused_with_what_to_write() {
        for (to, expected) in [
            ("/$1_y", "{1}_y for that group and this text, not $1_y"),
            ("/$3", "a group of `from`, like {1}, and found $3; for the text itself, write $$3"),
            ("/$id", "{id} for that group, not $id"),
            ("/${id}", "{id} for that group, not ${id}"),
            ("/$uri", "a group of `from`, like {1}, and found $uri; for the text itself, write $$uri"),
            ("/{3}", "has an unknown name {3}: expected {0}, {1}, {2} or {id}"),
            ("/{path.1}", "has an unknown name {path.1}"),
            ("/{1", "has a \"{\" without its \"}\""),
        ] {
            let error = made("^/(a)/(?<id>b)", to).unwrap_err();
            assert_eq!(error.path, "to");
            assert!(error.expected.contains(expected), "{to}: {}", error.expected);
        }
    }
}
