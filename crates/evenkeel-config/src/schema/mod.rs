//! What may be written, for editors and readers: a JSON Schema, and the reference in Markdown, both from the wire types.
//!
//! Filters belong to an upper crate, which passes what it knows of them. This room reads no configuration.

mod reference;

pub use reference::reference;

use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use crate::wire::File;

/// What an upper crate says about one of its filters.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct FilterSchema {
    /// The kind, as written in `filters`.
    pub name: String,
    /// What it does.
    pub doc: String,
    /// The JSON Schema (draft 2020-12) of its parameters.
    pub schema: Value,
    /// A step as written in a file: `strip_prefix: /v1`.
    pub example: String,
}

/// Where a schema keeps the types that it refers to.
const DEFS: &str = "$defs";

/// What a value may be instead, wherever it stands: an environment variable.
const VARIABLE: &str = r"\$\{";

// === impl FilterSchema ===

impl FilterSchema {
    /// A filter; what it does is the schema's `description`, which is the doc comment of its parameters' type.
    pub fn new(name: impl Into<String>, schema: Value, example: impl Into<String>) -> Self {
        let doc = schema.get("description").and_then(Value::as_str).unwrap_or_default().to_owned();
        Self { name: name.into(), doc, schema, example: example.into() }
    }

    /// With other words about what it does, for parameters whose type has none, like a string.
    #[must_use]
    pub fn doc(mut self, doc: impl Into<String>) -> Self {
        self.doc = doc.into();
        self
    }
}

/// The JSON Schema (draft 2020-12) of a configuration file with these filters.
///
/// It is for editors, which see the file before environment variables are put in: wherever a number or a truth value
/// stands, `${NAME}` may stand. It accepts no more keys than the loader does; what depends on other values (names of
/// upstreams, addresses taken twice) only the loader can say.
pub fn json_schema(filters: &[FilterSchema]) -> Value {
    let mut schema = raw(filters);
    visit(&mut schema, &mut |object| {
        without_null(object);
        or_variable(object);
    });
    if let Some(root) = schema.as_object_mut() {
        root.insert("title".to_owned(), json!("evenkeel configuration"));
    }
    schema
}

/// The schema of the file with its filters, before it is made fit for editors.
fn raw(filters: &[FilterSchema]) -> Value {
    let generator = SchemaSettings::draft2020_12().into_generator();
    let mut schema = generator.into_root_schema_for::<File>().to_value();
    // Serde would read a file without listeners; what it means is refused later.
    if let Some(root) = schema.as_object_mut() {
        root.insert("required".to_owned(), json!(["listeners"]));
    }
    if let Some(listeners) = schema.pointer_mut("/properties/listeners").and_then(Value::as_object_mut) {
        listeners.remove("default");
        listeners.insert("minItems".to_owned(), json!(1));
    }
    let mut kinds = Vec::new();
    for filter in filters {
        let mut parameters = filter.schema.clone();
        let types = extract_types(&mut parameters, &filter.name);
        if let Some(definitions) = schema.get_mut(DEFS).and_then(Value::as_object_mut) {
            definitions.extend(types);
        }
        kinds.push(json!({
            "type": "object",
            "description": filter.doc,
            "properties": { (&filter.name): parameters },
            "required": [&filter.name],
            "additionalProperties": false,
        }));
    }
    if !kinds.is_empty() {
        kinds.push(json!({
            "type": "object",
            "description": "The filter with this name in the top-level `filters`.",
            "properties": { "use": { "type": "string" } },
            "required": ["use"],
            "additionalProperties": false,
        }));
    }
    if let (false, Some(step)) =
        (kinds.is_empty(), schema.pointer_mut("/$defs/filter").and_then(Value::as_object_mut))
    {
        step.insert("oneOf".to_owned(), Value::Array(kinds));
    }
    schema
}

/// Takes the types out of a filter's schema, under names that no other has, and points its references there.
fn extract_types(schema: &mut Value, filter: &str) -> Map<String, Value> {
    let Some(object) = schema.as_object_mut() else { return Map::new() };
    object.remove("$schema");
    object.remove("title");
    let types = match object.remove(DEFS) {
        Some(Value::Object(types)) => types,
        _ => Map::new(),
    };
    let mut point = |object: &mut Map<String, Value>| {
        if let Some(Value::String(target)) = object.get_mut("$ref")
            && let Some(name) = target.strip_prefix("#/$defs/")
        {
            *target = format!("#/$defs/{filter}.{name}");
        }
    };
    visit(schema, &mut point);
    let mut renamed = Map::new();
    for (name, mut schema) in types {
        visit(&mut schema, &mut point);
        renamed.insert(format!("{filter}.{name}"), schema);
    }
    renamed
}

/// Visits every schema within a schema, the inner ones first. Keys that hold data are left alone.
fn visit(value: &mut Value, change: &mut impl FnMut(&mut Map<String, Value>)) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(|item| visit(item, change)),
        Value::Object(object) => {
            for (key, value) in object.iter_mut() {
                match key.as_str() {
                    "default" | "enum" | "const" | "examples" | "required" => {}
                    // Here the keys are names, not words of the schema.
                    "properties" | "$defs" => {
                        if let Value::Object(named) = value {
                            named.values_mut().for_each(|value| visit(value, change));
                        }
                    }
                    _ => visit(value, change),
                }
            }
            change(object);
        }
        _ => {}
    }
}

/// What may be left out may not be empty: a key that is there has a value.
fn without_null(object: &mut Map<String, Value>) {
    match object.get_mut("default") {
        Some(Value::Null) => {
            object.remove("default");
        }
        Some(Value::Object(default)) => default.retain(|_, value| !value.is_null()),
        _ => {}
    }
    if let Some(Value::Array(words)) = object.get_mut("enum") {
        words.retain(|word| !word.is_null());
    }
    object.remove("format");
    if let Some(Value::Array(types)) = object.get_mut("type") {
        types.retain(|name| name != "null");
        if let [only] = types.as_slice() {
            let only = only.clone();
            object.insert("type".to_owned(), only);
        }
    }
    let Some(Value::Array(options)) = object.get_mut("anyOf") else { return };
    options.retain(|option| option.get("type").is_none_or(|name| name != "null"));
    if let [only] = options.as_slice() {
        let only = only.clone();
        object.remove("anyOf");
        if let Value::Object(only) = only {
            object.extend(only);
        }
    }
}

/// Numbers, truth values and words may come from the environment.
fn or_variable(object: &mut Map<String, Value>) {
    let written = match object.get("type").and_then(Value::as_str) {
        Some("integer") => Some(("integer", "^[0-9]+$")),
        Some("number") => Some(("number", r"^[0-9]+(\.[0-9]+)?$")),
        Some("boolean") => Some(("boolean", "^(true|false)$")),
        _ => None,
    };
    if let Some((name, pattern)) = written {
        object.insert("type".to_owned(), json!([name, "string"]));
        object.insert("pattern".to_owned(), json!(format!("{pattern}|{VARIABLE}")));
    }
    if let Some(words) = object.remove("enum") {
        let variable = json!({ "type": "string", "pattern": VARIABLE });
        object.insert("anyOf".to_owned(), json!([{ "enum": words }, variable]));
    }
}

#[cfg(test)]
mod tests;
