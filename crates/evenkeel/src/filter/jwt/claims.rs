//! The values of claims: as text for a header, and whether they are what a route requires.

use serde_json::Value;

use super::verify::Claims;

/// The claim of this name, or at this path: `realm_access.roles`.
pub(super) fn find<'a>(claims: &'a Claims, path: &str) -> Option<&'a Value> {
    // Names of claims are often URLs, with dots.
    if let Some(value) = claims.get(path) {
        return Some(value);
    }
    let (first, rest) = path.split_once('.')?;
    rest.split('.').try_fold(claims.get(first)?, |value, key| value.get(key))
}

/// A claim as the value of a header: the values of a list are separated by commas.
pub(super) fn text(value: &Value) -> Option<String> {
    match value {
        Value::Array(values) => {
            let texts = values.iter().map(|value| scalar(value).filter(|text| !text.contains(',')));
            Some(texts.collect::<Option<Vec<_>>>()?.join(","))
        }
        value => scalar(value),
    }
}

/// Whether a claim has one of these values. Of text, each word counts, as in `scope`.
pub(super) fn has_one_of(value: &Value, wanted: &[String]) -> bool {
    let is_wanted = |text: &str| wanted.iter().any(|wanted| wanted == text);
    match value {
        Value::Array(values) => values.iter().filter_map(scalar).any(|text| is_wanted(&text)),
        Value::String(text) => is_wanted(text) || text.split(' ').any(is_wanted),
        value => scalar(value).is_some_and(|text| is_wanted(&text)),
    }
}

fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(truth) => Some(truth.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::{find, has_one_of, text};
    use serde_json::{Value, json};

    #[test]
    fn claims_are_found_by_name_and_by_path() {
        let Value::Object(claims) = json!({
            "sub": "ann", "realm_access": { "roles": ["a", "b"] }, "https://x.test/y": 7, "a": { "b": {} },
        }) else {
            panic!("a map")
        };
        let found = |path: &str| find(&claims, path).and_then(text);
        assert_eq!(found("sub").as_deref(), Some("ann"));
        assert_eq!(found("realm_access.roles").as_deref(), Some("a,b"));
        assert_eq!(found("https://x.test/y").as_deref(), Some("7"));
        for none in ["a", "a.b", "a.b.c", "sub.x", "other", ""] {
            assert_eq!(found(none), None, "{none}");
        }
    }

    #[test]
    fn a_value_of_a_list_cannot_look_like_two() {
        assert_eq!(text(&json!(["user", "x,admin"])), None);
    }

    #[test]
    fn one_of_the_values_is_enough() {
        let wanted = ["admin".to_owned(), "7".to_owned()];
        for (value, expected) in [
            (json!("admin"), true),
            (json!("read admin write"), true),
            (json!("administrator"), false),
            (json!(["user", "admin"]), true),
            (json!(["user"]), false),
            (json!(7), true),
            (json!({ "admin": true }), false),
            (json!(null), false),
        ] {
            assert_eq!(has_one_of(&value, &wanted), expected, "{value}");
        }
    }
}
