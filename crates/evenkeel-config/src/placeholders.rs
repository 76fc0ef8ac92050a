//! Templates as a user writes them: what is wrong with one, and what was probably meant.

use std::fmt;

use evenkeel_core::route::PathRegex;
use evenkeel_http::message::{Escape, Phase, Placeholder, Template, TemplateError};

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
    path_regex: Option<&PathRegex>,
) -> Result<Template, TemplateFault> {
    let strictness = if escape.is_strict() { Strictness::Every } else { Strictness::Known };
    let names: Vec<&str> = Placeholder::NAMES.iter().chain(Placeholder::FAMILIES).copied().collect();
    let own = own_text(text, &names, strictness).map_err(|foreign| TemplateFault {
        message: foreign.to_string(),
        suggestion: foreign.suggestion(),
    })?;
    Template::parse(&own, escape, phase, path_regex).map_err(|error| TemplateFault::of(&error, text, phase))
}

// === impl TemplateFault ===

impl TemplateFault {
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
            .filter(|known| Placeholder::parse(known, phase, None).is_ok())
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
    use super::template;
    use evenkeel_http::message::{Escape, Phase};

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
            match template(text, Escape::Header, Phase::Request, None) {
                Ok(template) => assert_eq!((message, template.as_str()), ("", text)),
                Err(fault) => {
                    assert!(!message.is_empty() && fault.message.contains(message), "{text}: {fault}");
                    assert_eq!(fault.suggestion.as_deref(), suggestion, "{text}");
                }
            }
        }
        for text in ["{\"a\": {\"b\": 1}}", "100%", "$5.00", "{{host}}", "a $$host b"] {
            assert!(template(text, Escape::Header, Phase::Request, None).is_ok(), "{text}");
        }
        let escaped = template("$$host {{host}}", Escape::Text, Phase::Request, None).unwrap();
        assert_eq!(escaped.constant(), Some(&b"$host {host}"[..]));
    }
}
