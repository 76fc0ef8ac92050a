//! The parameters of `allow` and `deny`.

use std::borrow::Cow;
use std::fmt;
use std::path::PathBuf;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

/// Networks: a list, or a map with a list, a file or both.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NetworkParams {
    pub(super) networks: Vec<String>,
    /// Whether the parameters are the list itself.
    pub(super) is_list: bool,
    pub(super) file: Option<PathBuf>,
}

/// Networks from a list and a file.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, expecting = "a list of networks, or a map with networks and file")]
#[schemars(inline)]
struct Map {
    /// Networks and addresses.
    networks: Vec<String>,
    /// A file with one network or address on each line. Text after `#` is a comment. It is read again within a second when it
    /// changes. If it is not valid then, the last valid networks stay and a warning is logged.
    file: Option<PathBuf>,
}

// === impl NetworkParams ===

impl<'de> Deserialize<'de> for NetworkParams {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Networks;
        impl<'de> Visitor<'de> for Networks {
            type Value = NetworkParams;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of networks, or a map with networks and file")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<NetworkParams, A::Error> {
                let networks = Deserialize::deserialize(SeqAccessDeserializer::new(list))?;
                Ok(NetworkParams { networks, is_list: true, file: None })
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<NetworkParams, A::Error> {
                let Map { networks, file } = Deserialize::deserialize(MapAccessDeserializer::new(map))?;
                Ok(NetworkParams { networks, is_list: false, file })
            }
        }
        deserializer.deserialize_any(Networks)
    }
}

impl JsonSchema for NetworkParams {
    fn schema_name() -> Cow<'static, str> {
        "networks".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let map = Map::json_schema(generator);
        schemars::json_schema!({ "anyOf": [{ "type": "array", "items": { "type": "string" } }, map] })
    }
}
