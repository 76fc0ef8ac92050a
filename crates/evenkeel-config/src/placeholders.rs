//! Templates as a user writes them: what is wrong with one, and what was probably meant.

use std::borrow::Cow;
use std::fmt;

use evenkeel_http::message::{Escape, Phase, Placeholder, Scope, Template, TemplateError};

use crate::foreign::{Strictness, own_text};
use crate::suggest::closest;

/// What is wrong with a template.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TemplateFault {
    /// What is wrong, and what was expected. It follows the text: "has {hots}, which is not a placeholder: …".
    pub message: String,
    /// What was probably meant.
    pub suggestion: Option<String>,
}

/// Compiles a template as a user writes it: with variables of other products rejected. See [`Template::parse`].
///
/// # Errors
/// What is wrong with it.
pub fn template(
    text: &str,
    escape: Escape,
    phase: Phase,
    scope: Scope<'_>,
) -> Result<Template, TemplateFault> {
    let strictness = if escape.is_strict() { Strictness::Every } else { Strictness::Known };
    let names: Vec<&str> = Placeholder::NAMES.iter().chain(Placeholder::FAMILIES).copied().collect();
    let own = own_text(text, &names, strictness).map_err(|foreign| TemplateFault {
        message: foreign.to_string(),
        suggestion: foreign.suggestion(),
    })?;
    Template::parse(&own, escape, phase, scope).map_err(|error| TemplateFault::of(&error, text, phase))
}

/// A key of a limit or a hash in its spelling without braces: `{header.x-user}` is `header x-user`. Other text stays as it is.
pub fn plain_key(text: &str) -> Cow<'_, str> {
    match text.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) {
        Some(name) => name.replacen('.', " ", 1).into(),
        None => text.into(),
    }
}

// === impl TemplateFault ===

impl TemplateFault {
    /// This message, and what was probably meant.
    pub(crate) fn new(message: impl Into<String>, suggestion: Option<String>) -> Self {
        Self { message: message.into(), suggestion }
    }

    fn of(error: &TemplateError, text: &str, phase: Phase) -> Self {
        let TemplateError::Unknown(name) = error else {
            return Self { message: error.to_string(), suggestion: None };
        };
        if let Some(variable) = name.strip_prefix("env.") {
            let instead = format!("${{{variable}}}");
            let message = format!("{error}: write {instead}, which is replaced when the file is read");
            return Self { message, suggestion: Some(text.replace(&format!("{{{name}}}"), &instead)) };
        }
        let known: Vec<&str> = Placeholder::NAMES
            .iter()
            .copied()
            .filter(|known| Placeholder::parse(known, phase, Scope::default()).is_ok())
            .collect();
        let list: Vec<String> = known.iter().map(|known| format!("{{{known}}}")).collect();
        let message = format!(
            "{error}: expected {}, {{header.NAME}}, {{query.NAME}} or {{cookie.NAME}}; for the text itself, write {{{{{name}}}}}",
            list.join(", ")
        );
        let suggestion =
            closest(name, known).map(|known| text.replacen(&format!("{{{name}"), &format!("{{{known}"), 1));
        Self { message, suggestion }
    }

    /// What was expected, for a message that begins with "expected".
    pub fn expected(&self) -> String {
        format!("text and placeholders, but it {}", self.message)
    }
}

impl fmt::Display for TemplateFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for TemplateFault {}

#[cfg(test)]
mod tests {
    use super::{plain_key, template};
    use evenkeel_http::message::{Escape, Phase, Scope};

    #[test]
    fn a_placeholder_is_a_key() {
        for (text, key) in [
            ("{client_ip}", "client_ip"),
            ("{header.x-user}", "header x-user"),
            ("{query.a.b}", "query a.b"),
            ("header x-user", "header x-user"),
            ("{", "{"),
        ] {
            assert_eq!(plain_key(text), key);
        }
    }

    #[test]
    fn a_fault_says_what_to_write() {
        for (text, message, suggestion) in [
            ("a {hots}", "which is not a placeholder: expected {host}, ", Some("a {host}")),
            ("{client-ip:-x}", "", None),
            ("{env.HOME}/x", "write ${HOME}, which is replaced when the file is read", Some("${HOME}/x")),
            ("{tls.client.subject}", "which is not replaced in this value yet", None),
            ("$remote_addr, $http_x_user", "write {client_ip}", Some("{client_ip}, {header.x-user}")),
            ("%[req.hdr(X-User)] %[src]", "write {header.x-user}", Some("{header.x-user} {client_ip}")),
            ("%REQ(X-User)%", "write {header.x-user}", Some("{header.x-user}")),
            ("${arg_q}", "write {query.q}", Some("{query.q}")),
            ("x $1 y", "write {path.1}", Some("x {path.1} y")),
            ("{status}", "which is not known before there is a response", None),
        ] {
            match template(text, Escape::Header, Phase::Request, Scope::default()) {
                Ok(template) => assert_eq!((message, template.as_str()), ("", text)),
                Err(fault) => {
                    assert!(!message.is_empty() && fault.message.contains(message), "{text}: {fault}");
                    assert_eq!(fault.suggestion.as_deref(), suggestion, "{text}");
                }
            }
        }
        for text in ["{\"a\": {\"b\": 1}}", "100%", "$5.00", "{{host}}", "a $$host b"] {
            assert!(template(text, Escape::Header, Phase::Request, Scope::default()).is_ok(), "{text}");
        }
        let escaped = template("$$host {{host}}", Escape::Text, Phase::Request, Scope::default()).unwrap();
        assert_eq!(escaped.constant(), Some(&b"$host {host}"[..]));
    }
}
