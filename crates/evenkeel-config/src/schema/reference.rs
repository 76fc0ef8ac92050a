//! The reference of the file in Markdown: a section for each object, a line for each key.

use std::fmt::Write;

use serde_json::{Map, Value};

use super::{DEFS, FilterSchema, raw, visit, without_null};

/// The reference of the configuration file with these filters, in Markdown.
pub fn reference(filters: &[FilterSchema]) -> String {
    let mut schema = raw(filters);
    visit(&mut schema, &mut without_null);
    let writer = Writer { types: schema.get(DEFS).and_then(Value::as_object) };
    let mut out = String::from(HEAD);
    let mut seen = Vec::new();
    writer.order(&schema, &mut seen);
    writer.section(&mut out, "The file", &schema);
    let mut values = Vec::new();
    for name in seen {
        let Some(schema) = writer.named(&name) else { continue };
        match name.as_str() {
            "filter" => filters_section(&writer, &mut out, filters),
            _ if schema.get("properties").is_some() => writer.section(&mut out, &format!("`{name}`"), schema),
            // Types that filters use and that are not objects are described where they are used.
            _ if !name.contains('.') => values.push((name, schema)),
            _ => {}
        }
    }
    out.push_str("\n## Values\n\n| type | written | examples |\n| --- | --- | --- |\n");
    for (name, schema) in values {
        let known =
            schema.get("enum").map(words).map(|known| format!(" One of {known}.")).unwrap_or_default();
        let examples = schema.get("examples").map(words).unwrap_or_default();
        let _ = writeln!(out, "| <a id=\"{name}\"></a>{name} | {}{known} | {examples} |", text(schema));
    }
    out
}

const HEAD: &str = "# Configuration\n\n\
    One YAML file. This page is generated from the source; `evenkeel schema` prints the same as a JSON Schema, for editors.\n\n\
    The smallest file:\n\n\
    ```yaml\n\
    listeners: [{ address: 127.0.0.1:8080 }]\n\
    upstreams:\n  \
      web: { backends: [\"http://127.0.0.1:8081\", \"http://127.0.0.1:8082\"] }\n\
    ```\n";

fn filters_section(writer: &Writer<'_>, out: &mut String, filters: &[FilterSchema]) {
    out.push_str("\n## `filter`\n\nA filter: a map with one key, the filter's kind; or `use: NAME`, the filter with this name \
         in the top-level `filters`.\n");
    for filter in filters {
        let _ =
            write!(out, "\n### `{}`\n\n{}\n\n```yaml\n- {}\n```\n", filter.name, filter.doc, filter.example);
        // The schema as part of the file's schema, so that its types are found by their names there.
        let placed = writer.named("filter").and_then(|step| step.get("oneOf")).and_then(Value::as_array);
        let parameters = placed.into_iter().flatten().find_map(|kind| {
            kind.pointer(&format!("/properties/{}", filter.name.replace('~', "~0").replace('/', "~1")))
        });
        match parameters {
            Some(schema) if schema.get("properties").is_some() => writer.keys(out, schema),
            Some(schema) => {
                let _ = writeln!(out, "\nParameters: {}.", writer.kind(schema));
            }
            None => {}
        }
    }
}

struct Writer<'a> {
    types: Option<&'a Map<String, Value>>,
}

// === impl Writer ===

impl Writer<'_> {
    fn named(&self, name: &str) -> Option<&Value> {
        self.types?.get(name)
    }

    /// The types that a schema refers to, in the order in which a reader meets them.
    fn order(&self, schema: &Value, seen: &mut Vec<String>) {
        match schema {
            Value::Array(items) => items.iter().for_each(|item| self.order(item, seen)),
            Value::Object(object) => {
                if let Some(name) = target(schema)
                    && !seen.iter().any(|known| known == name)
                {
                    seen.push(name.to_owned());
                    if let Some(schema) = self.named(name) {
                        self.order(schema, seen);
                    }
                }
                for (key, value) in object {
                    if !matches!(key.as_str(), "$defs" | "default" | "examples") {
                        self.order(value, seen);
                    }
                }
            }
            _ => {}
        }
    }

    fn section(&self, out: &mut String, title: &str, schema: &Value) {
        let _ = write!(out, "\n## {title}\n\n{}\n", text(schema));
        self.keys(out, schema);
    }

    fn keys(&self, out: &mut String, schema: &Value) {
        let required = |key: &str| {
            let list = schema.get("required").and_then(Value::as_array);
            list.is_some_and(|list| list.iter().any(|entry| entry == key))
        };
        let Some(properties) = schema.get("properties").and_then(Value::as_object) else { return };
        out.push_str("\n| key | type | default | |\n| --- | --- | --- | --- |\n");
        for (key, schema) in properties {
            let default = if required(key) { "required".to_owned() } else { default(schema) };
            let _ = writeln!(out, "| `{key}` | {} | {default} | {} |", self.kind(schema), text(schema));
        }
    }

    /// A type as text.
    fn kind(&self, schema: &Value) -> String {
        if let Some(name) = target(schema) {
            let anchor = name.replace('.', "").to_lowercase();
            return format!("[{name}](#{anchor})");
        }
        if let Some(options) = schema.get("anyOf").or_else(|| schema.get("oneOf")).and_then(Value::as_array) {
            let options: Vec<String> = options.iter().map(|option| self.kind(option)).collect();
            return options.join(" or ");
        }
        if let Some(value) = schema.get("const") {
            return word(value);
        }
        if let Some(list) = schema.get("enum") {
            return words(list);
        }
        let kind = schema.get("type").and_then(Value::as_str).unwrap_or("any");
        match kind {
            "array" => format!(
                "list of {}",
                schema.get("items").map_or("anything".to_owned(), |items| self.kind(items))
            ),
            "object" => match schema.get("additionalProperties").filter(|inner| inner.is_object()) {
                Some(inner) => format!("map of names to {}", self.kind(inner)),
                None => "map".to_owned(),
            },
            "integer" => "number".to_owned(),
            "string" => "text".to_owned(),
            "boolean" => "`true` or `false`".to_owned(),
            other => other.to_owned(),
        }
    }
}

/// The name of the type that a schema refers to.
fn target(schema: &Value) -> Option<&str> {
    schema.get("$ref")?.as_str()?.strip_prefix("#/$defs/")
}

/// A description, on one line and fit for a table.
fn text(schema: &Value) -> String {
    let text = schema.get("description").and_then(Value::as_str).unwrap_or_default();
    text.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "\\|")
}

/// A default, unless it only says what the type's own section says.
fn default(schema: &Value) -> String {
    match schema.get("default") {
        None => String::new(),
        Some(Value::Object(object)) if object.is_empty() => "`{}`".to_owned(),
        Some(Value::Object(_)) => "see there".to_owned(),
        Some(Value::String(text)) if text.is_empty() => "empty".to_owned(),
        Some(value) => word(value),
    }
}

fn word(value: &Value) -> String {
    match value {
        Value::String(text) => format!("`{text}`"),
        other => format!("`{other}`"),
    }
}

fn words(list: &Value) -> String {
    list.as_array().map(|list| list.iter().map(word).collect::<Vec<_>>().join(", ")).unwrap_or_default()
}
