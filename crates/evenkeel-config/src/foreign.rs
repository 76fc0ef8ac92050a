//! Variables of other products in a value: `$host`, `%[src]`, `{http.request.host}`. They would be sent as they stand, so
//! they are refused, with what to write instead.
//!
//! This file never knows the use of a value: the caller passes the names of ours that are allowed there.

use std::borrow::Cow;
use std::fmt;

/// A variable of another product in a text, and what to write instead.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Foreign {
    /// The variable as it is written: `$host`.
    pub found: String,
    /// What stands for the same here, if anything does: `{host}`.
    pub instead: Option<String>,
    /// How to write the same characters where they are meant as text: `$$host`; `None` where that cannot be meant.
    pub literal: Option<String>,
    /// What is done without asking, or what else helps.
    advice: Option<&'static str>,
    /// The whole text with everything of the kind replaced, if all of it can be.
    meant: Option<String>,
}

/// Which texts are taken for variables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Strictness {
    /// Whatever is written as one: for values in which a `$` has little other use, such as locations and formats.
    Every,
    /// Only those that other products know, and names of ours that have no meaning in this place yet: for values that may
    /// be any text.
    Known,
}

/// Variables of nginx, and what stands for the same here: what there is of several, the first of which all names may be used.
/// Those of others are looked up as the one of nginx that is the same.
const VARIABLES: &[(&str, &[&str])] = &[
    ("args", &["{query}"]),
    ("binary_remote_addr", &["{client_ip}", "{client}"]),
    ("body_bytes_sent", &["{bytes_out}"]),
    ("bytes_sent", &["{bytes_out}"]),
    ("connection", &[]),
    ("content_length", &[]),
    ("content_type", &[]),
    ("document_uri", &["{path}"]),
    ("geoip_country_code", &[]),
    ("host", &["{host}"]),
    ("hostname", &[]),
    ("http_host", &["{authority}", "{host}"]),
    ("http_referer", &["{referer}"]),
    ("http_user_agent", &["{user_agent}"]),
    ("http_x_forwarded_for", &[]),
    ("is_args", &[""]),
    ("msec", &["{time}"]),
    ("proxy_add_x_forwarded_for", &[]),
    ("proxy_host", &["{upstream}"]),
    ("query_string", &["{query}"]),
    ("realip_remote_addr", &[]),
    ("remote_addr", &["{client_ip}", "{client}"]),
    ("remote_port", &["{client_port}"]),
    ("remote_user", &[]),
    ("request", &["{method} {target} {protocol}"]),
    ("request_body", &[]),
    ("request_id", &["{request_id}"]),
    ("request_length", &["{bytes_in}"]),
    ("request_method", &["{method}"]),
    ("request_time", &["{duration_ms}"]),
    ("request_uri", &["{path}{query}", "{target}"]),
    ("scheme", &["{scheme}"]),
    ("server_addr", &[]),
    ("server_name", &["{host}"]),
    ("server_port", &[]),
    ("server_protocol", &["{protocol}"]),
    ("ssl_cipher", &[]),
    ("ssl_client_cert", &[]),
    ("ssl_client_s_dn", &[]),
    ("ssl_client_verify", &[]),
    ("ssl_protocol", &["{tls.version}", "{tls_version}"]),
    ("ssl_server_name", &["{tls.sni}", "{tls_server_name}"]),
    ("status", &["{status}"]),
    ("time_iso8601", &["{time}"]),
    ("time_local", &["{time}"]),
    ("upstream_addr", &["{backend}"]),
    ("upstream_response_time", &["{first_byte_ms}"]),
    ("uri", &["{path}"]),
];

/// What HAProxy's samples are called in nginx.
const SAMPLES: &[(&str, &str)] = &[
    ("src", "remote_addr"),
    ("src_port", "remote_port"),
    ("dst", "server_addr"),
    ("dst_port", "server_port"),
    ("path", "uri"),
    ("query", "args"),
    ("url", "request_uri"),
    ("pathq", "request_uri"),
    ("method", "request_method"),
    ("status", "status"),
    ("unique-id", "request_id"),
    ("ssl_fc_sni", "ssl_server_name"),
    ("ssl_fc_protocol", "ssl_protocol"),
    ("DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT", "remote_addr"),
    ("DOWNSTREAM_REMOTE_ADDRESS", "remote_addr"),
    ("PROTOCOL", "server_protocol"),
    ("RESPONSE_CODE", "status"),
    ("REQ(:METHOD)", "request_method"),
    ("REQ(:PATH)", "request_uri"),
    ("REQ(:AUTHORITY)", "http_host"),
    ("hdr(host)", "http_host"),
    ("req.hdr(host)", "http_host"),
    ("req.hdr(Host)", "http_host"),
];

/// What is done without asking, by nginx's name for it.
const ADVICE: &[(&str, &str)] = &[
    ("remote_addr", "backends get the client's address in X-Forwarded-For"),
    ("proxy_add_x_forwarded_for", "evenkeel always sets X-Forwarded-For: remove this"),
    ("http_x_forwarded_for", "evenkeel always sets X-Forwarded-For: remove this"),
    ("scheme", "backends get the scheme in X-Forwarded-Proto"),
    ("host", "backends get the client's Host unchanged, and in X-Forwarded-Host"),
    ("http_host", "backends get the client's Host unchanged, and in X-Forwarded-Host"),
    ("request_id", "backends get the id in X-Request-Id"),
];

/// Families of variables with a name in them: how another product begins and ends them, and which family is the same here.
const FAMILIES: &[(&str, &str, &str)] = &[
    ("http_", "", "header."),
    ("cookie_", "", "cookie."),
    ("arg_", "", "query."),
    ("hdr(", ")", "header."),
    ("req.hdr(", ")", "header."),
    ("req.fhdr(", ")", "header."),
    ("cook(", ")", "cookie."),
    ("req.cook(", ")", "cookie."),
    ("url_param(", ")", "query."),
    ("urlp(", ")", "query."),
    ("REQ(", ")", "header."),
];

/// Names of ours that some values have, or will have, so that they must not be sent as text meanwhile.
const OURS: &[&str] = &[
    "host",
    "authority",
    "path",
    "query",
    "method",
    "scheme",
    "client_ip",
    "client_port",
    "listener",
    "request_id",
    "route",
    "upstream",
    "backend",
    "tls.sni",
    "tls.version",
];

/// Families of such names: `{header.x-user}`.
const OUR_FAMILIES: &[&str] = &["header.", "cookie.", "query.", "path.", "tls.client.", "http.request."];

/// A text that has no variable of another product; what was escaped (`$$host`, `{{host}}`) stands there as itself. `names` are those
/// of ours that may be used there, without braces.
///
/// # Errors
/// The first variable of another product.
pub fn own_text<'a>(text: &'a str, names: &[&str], strictness: Strictness) -> Result<Cow<'a, str>, Foreign> {
    if !text.contains(['$', '%', '{']) {
        return Ok(Cow::Borrowed(text));
    }
    let mut own = String::with_capacity(text.len());
    let mut found: Option<Foreign> = None;
    // What was probably meant, as long as there is something for everything.
    let mut meant = Some(String::with_capacity(text.len()));
    let mut rest = text;
    let mut before = ' ';
    while let Some(first) = rest.chars().next() {
        let token = Token::at(rest, before, strictness).filter(|token| token.is_foreign(names));
        let escaped = rest.get(1..).filter(|_| matches!(first, '$' | '{'));
        let escaped = escaped.and_then(|after| Token::at(after, first, strictness));
        let escaped = escaped.filter(|token| {
            let end = token.text.len() + 1;
            let closed = rest.get(end..).is_some_and(|after| after.starts_with(token.closing()));
            token.is_foreign(names) && token.sigil() == first && closed
        });
        let length = match (token, escaped) {
            (_, Some(token)) if rest.starts_with(token.escape()) => {
                own.push_str(token.text);
                let length = token.escape().len() + token.text.len() - 1 + token.closing().len();
                push(&mut meant, rest.get(..length));
                length
            }
            (Some(token), _) => {
                push(&mut meant, token.instead(names).as_deref());
                found.get_or_insert_with(|| token.foreign(names));
                token.text.len()
            }
            _ => {
                own.push(first);
                push(&mut meant, rest.get(..first.len_utf8()));
                first.len_utf8()
            }
        };
        before = first;
        rest = rest.get(length..).unwrap_or_default();
    }
    match found {
        Some(foreign) => Err(Foreign { meant, ..foreign }),
        None => Ok(Cow::Owned(own)),
    }
}

fn push(meant: &mut Option<String>, piece: Option<&str>) {
    match piece {
        Some(piece) => meant.iter_mut().for_each(|meant| meant.push_str(piece)),
        None => *meant = None,
    }
}

/// What looks like a variable.
#[derive(Clone, Copy, Debug)]
struct Token<'a> {
    /// As it is written.
    text: &'a str,
    /// What it names, as nginx calls it.
    name: &'a str,
    /// Whether other products are known to have it.
    known: bool,
}

// === impl Token ===

impl<'a> Token<'a> {
    /// The one that a text begins with, if it does.
    fn at(text: &'a str, before: char, strictness: Strictness) -> Option<Self> {
        let token = if let Some(after) = text.strip_prefix("%[") {
            let name = after.split([']', ',']).next()?;
            let end = text.find(']').map_or(text.len(), |at| at + 1);
            Self { text: text.get(..end)?, name: sample(name.trim()), known: true }
        } else if let Some(after) = text.strip_prefix("%{") {
            let end = text.find('}').map_or(text.len(), |at| at + 1);
            Self { text: text.get(..end)?, name: after.split('}').next()?, known: true }
        } else if let Some(after) = text.strip_prefix('%') {
            let (operator, _) = after.split_once('%')?;
            let is_operator = SAMPLES.iter().any(|(known, _)| *known == operator)
                || operator.starts_with("REQ(") && operator.ends_with(')');
            let name = sample(operator);
            is_operator.then_some(Self { text: text.get(..operator.len() + 2)?, name, known: true })?
        } else if let Some(after) = text.strip_prefix("${") {
            let name = after.split('}').next()?;
            Self { text: text.get(..name.len() + 3)?, name, known: is_known(name) }
        } else if let Some(after) = text.strip_prefix('$') {
            Self::after_dollar(text, after, before)?
        } else {
            let inner = text.strip_prefix('{')?.split_once('}')?.0;
            let name = inner.split_once(":-").map_or(inner, |(name, _)| name);
            let ours = OURS.contains(&name) || OUR_FAMILIES.iter().any(|family| name.starts_with(family));
            return ours.then_some(Self { text: text.get(..inner.len() + 2)?, name, known: true });
        };
        (token.known || strictness == Strictness::Every).then_some(token)
    }

    fn after_dollar(text: &'a str, after: &'a str, before: char) -> Option<Self> {
        let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let length = after.find(|c| !word(c)).unwrap_or(after.len());
        let name = after.get(..length).filter(|name| !name.is_empty())?;
        let text = text.get(..=length)?;
        let digit = name.starts_with(|c: char| c.is_ascii_digit());
        // A price or a part of a secret is no group of an expression.
        let amount = after.get(length..).is_some_and(|rest| rest.starts_with(['.', ',']));
        let group = name.len() == 1 && !word(before) && !amount;
        Some(Self { text, name, known: if digit { group } else { is_known(name) } })
    }

    /// Whether it is none of the names that may be used.
    fn is_foreign(&self, names: &[&str]) -> bool {
        let is_of = |known: &&str| known.ends_with('.') && self.name.starts_with(*known);
        self.sigil() != '{' || !names.iter().any(|known| *known == self.name || is_of(known))
    }

    fn sigil(&self) -> char {
        self.text.chars().next().unwrap_or_default()
    }

    /// What it begins with where it is meant as text.
    fn escape(&self) -> &'static str {
        if self.sigil() == '{' { "{{" } else { "$$" }
    }

    /// What it has at its end more, where it is meant as text.
    fn closing(&self) -> &'static str {
        if self.sigil() == '{' { "}" } else { "" }
    }

    /// What stands for the same, made of these names alone.
    fn instead(&self, names: &[&str]) -> Option<String> {
        if let Some((_, candidates)) = VARIABLES.iter().find(|(known, _)| *known == self.name) {
            let found = candidates.iter().find(|candidate| {
                let mut used = candidate.split('{').skip(1).filter_map(|part| part.split('}').next());
                used.all(|name| names.contains(&name)) && (!names.is_empty() || candidate.is_empty())
            });
            return found.map(|found| (*found).to_owned());
        }
        let group = self.name.len() == 1 && self.name.starts_with(|c: char| c.is_ascii_digit());
        if group && names.contains(&"path.") {
            return Some(format!("{{path.{}}}", self.name));
        }
        FAMILIES.iter().find_map(|(begin, end, family)| {
            let name = self.name.strip_prefix(begin)?.strip_suffix(end).filter(|name| !name.is_empty())?;
            let name =
                if *family == "header." { name.replace('_', "-").to_lowercase() } else { name.to_owned() };
            names.contains(family).then(|| format!("{{{family}{name}}}"))
        })
    }

    fn foreign(&self, names: &[&str]) -> Foreign {
        let advice =
            ADVICE.iter().find(|(known, _)| *known == self.name || our_name(known) == Some(self.name));
        let literal = match self.sigil() {
            '$' => Some(format!("${}", self.text)),
            '{' => Some(format!("{{{}}}", self.text)),
            _ => None,
        };
        Foreign {
            found: self.text.to_owned(),
            instead: self.instead(names).filter(|instead| !instead.is_empty()),
            literal,
            advice: advice.map(|(_, advice)| *advice),
            meant: None,
        }
    }
}

fn is_known(name: &str) -> bool {
    VARIABLES.iter().any(|(known, _)| *known == name)
        || ["http_", "cookie_", "arg_", "sent_http_", "upstream_http_"]
            .iter()
            .any(|family| name.strip_prefix(family).is_some_and(|rest| !rest.is_empty()))
}

fn sample(name: &str) -> &str {
    SAMPLES.iter().find(|(known, _)| *known == name).map_or(name, |(_, name)| name)
}

/// The name of ours that a variable of nginx stands for.
fn our_name(variable: &str) -> Option<&'static str> {
    let (_, candidates) = VARIABLES.iter().find(|(known, _)| *known == variable)?;
    candidates.first()?.strip_prefix('{')?.strip_suffix('}')
}

// === impl Foreign ===

impl Foreign {
    /// The whole text with everything of the kind replaced, if all of it can be.
    pub fn suggestion(&self) -> Option<String> {
        self.meant.clone()
    }

    /// What to write instead, for a message that has said what is wrong.
    pub fn remedy(&self) -> String {
        let mut text = match (&self.instead, self.advice) {
            (Some(instead), _) => format!("write {instead}"),
            (None, Some(advice)) => advice.to_owned(),
            (None, None) => "this version has nothing for it in this place yet".to_owned(),
        };
        if let Some(literal) = &self.literal {
            text.push_str(&format!("; for the text itself, write {literal}"));
        }
        text
    }
}

impl fmt::Display for Foreign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.found.starts_with('{') {
            true => "which is not replaced in this value yet",
            false => "which is a variable of another product",
        };
        write!(f, "has {}, {what}: {}", self.found, self.remedy())
    }
}

impl std::error::Error for Foreign {}

#[cfg(test)]
mod tests {
    use super::{Strictness, own_text};

    const LOCATION: &[&str] = &["scheme", "host", "authority", "path", "query"];

    #[test]
    fn variables_of_other_products_are_found_with_ours_beside_them() {
        for (text, found, meant) in [
            ("https://$host$request_uri", "$host", Some("https://{host}{path}{query}")),
            ("https://$http_host/$is_args$args", "$http_host", Some("https://{authority}/{query}")),
            ("https://${host}/x", "${host}", Some("https://{host}/x")),
            ("https://%[req.hdr(host)]%[path]", "%[req.hdr(host)]", Some("https://{authority}{path}")),
            ("https://a%{REQUEST_URI}", "%{REQUEST_URI}", None),
            ("/new/$1", "$1", None),
            ("/new/$my_variable", "$my_variable", None),
            ("/x?{http.request.uri}", "{http.request.uri}", None),
        ] {
            let foreign = own_text(text, LOCATION, Strictness::Every).unwrap_err();
            assert_eq!((&*foreign.found, foreign.suggestion().as_deref()), (found, meant), "{text}");
        }
        for text in
            ["$remote_addr", "x $1 y", "%[src]", "{client_ip}", "a{host}", "${remote_addr}", "$http_x_user"]
        {
            let foreign = own_text(text, &[], Strictness::Known).unwrap_err();
            assert!(text.contains(&foreign.found) && foreign.suggestion().is_none(), "{text}");
        }
    }

    #[test]
    fn other_text_stays_as_it_is_and_what_is_escaped_stands_for_itself() {
        for (text, own) in [
            ("https://{host}{path}?a=$&b=%20$", "https://{host}{path}?a=$&b=%20$"),
            ("/a$$host$$1", "/a$host$1"),
            ("/$$", "/$$"),
            ("/{{path}}", "/{{path}}"),
        ] {
            assert_eq!(own_text(text, LOCATION, Strictness::Every).as_deref(), Ok(own), "{text}");
        }
        for (text, own) in [
            ("costs $5.00, or $12", "costs $5.00, or $12"),
            ("{\"a\": {\"b\": 1}} $('x') $$('y') $el 100%", "{\"a\": {\"b\": 1}} $('x') $$('y') $el 100%"),
            ("pa$1word", "pa$1word"),
            ("$$remote_addr and {{host}} and $$1", "$remote_addr and {host} and $1"),
            ("", ""),
        ] {
            assert_eq!(own_text(text, &[], Strictness::Known).as_deref(), Ok(own), "{text}");
        }
    }
}
