//! Lists of backends outside of the configuration.

use super::general::label;
use super::{Context, address, upstream};
use crate::values::Weight;
use crate::wire::{Group, Item, OrText};
use crate::yaml::Path;
use crate::{Backend, BackendUrl, Scheme};

/// The labels of a group that say something about its backends. The others are metadata.
const MEANT: [&str; 4] = ["weight", "priority", "zone", "__scheme__"];

/// A backend's URL.
pub(crate) fn backend_url(text: &str) -> Result<BackendUrl, String> {
    address::backend(text).map_err(|refused| refused.message)
}

/// The backends of a list in this product's own format.
pub(crate) fn listed(items: &[OrText<Item>], context: &mut Context<'_>) -> Vec<Backend> {
    let root = Path::default();
    let paths = context.entries(&root, items.len());
    let mut backends = Vec::with_capacity(items.len());
    for (OrText(item), path) in items.iter().zip(paths) {
        let long = path.key("url");
        let place = if context.node(&long).is_some() { long } else { path.clone() };
        upstream::weight(item.weight, &path.key("weight"), context);
        if let Some(zone) = &item.zone {
            label(zone, &path.key("zone"), context);
        }
        let Some(url) = url(&item.url, &place, context) else { continue };
        backends.push(Backend {
            weight: item.weight.0,
            priority: item.priority.unwrap_or(item.backup.into()),
            zone: item.zone.clone(),
            metadata: item.metadata.0.iter().cloned().collect(),
            ..Backend::new(url)
        });
    }
    backends
}

/// The backends of Prometheus' target groups. Targets are `host:port`; `scheme` says how they are reached unless the label
/// `__scheme__` does.
pub(crate) fn groups(groups: &[Group], scheme: Scheme, context: &mut Context<'_>) -> Vec<Backend> {
    let root = Path::default();
    let paths = context.entries(&root, groups.len());
    let mut backends = Vec::new();
    for (group, path) in groups.iter().zip(paths) {
        let labels = path.key("labels");
        let value =
            |name: &str| group.labels.0.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
        let scheme = match value("__scheme__") {
            None => scheme,
            Some("http") => Scheme::Http,
            Some("https") => Scheme::Https,
            Some("tcp") => Scheme::Tcp,
            Some(other) => {
                context.wrong(
                    &labels.key("__scheme__"),
                    other,
                    "is not a scheme: expected http, https or tcp",
                );
                continue;
            }
        };
        let weight = number(value("weight"), Weight::MAX, &labels.key("weight"), context);
        let priority = number(value("priority"), u8::MAX.into(), &labels.key("priority"), context);
        let metadata =
            group.labels.0.iter().filter(|(key, _)| !MEANT.contains(&key.as_str())).cloned().collect();
        let template = |url| Backend {
            weight: weight.unwrap_or(1),
            priority: u8::try_from(priority.unwrap_or(0)).unwrap_or(u8::MAX),
            zone: value("zone").filter(|zone| !zone.is_empty()).map(str::to_owned),
            metadata: std::collections::BTreeMap::clone(&metadata),
            ..Backend::new(url)
        };
        let targets = path.key("targets");
        let places = context.entries(&targets, group.targets.len());
        for (target, place) in group.targets.iter().zip(places) {
            let whole = match target.contains("://") {
                true => target.clone(),
                false => format!("{}://{target}", scheme.as_str()),
            };
            backends.extend(url(&whole, &place, context).map(&template));
        }
    }
    backends
}

fn url(text: &str, path: &Path, context: &mut Context<'_>) -> Option<BackendUrl> {
    match address::backend(text) {
        Ok(url) => Some(url),
        Err(refused) => {
            context.wrong(path, text, refused.message).suggestion = refused.suggestion;
            None
        }
    }
}

fn number(text: Option<&str>, most: u32, path: &Path, context: &mut Context<'_>) -> Option<u32> {
    let text = text?;
    let number = text.parse().ok().filter(|number| *number <= most);
    if number.is_none() {
        context.wrong(path, text, format!("is not a number from 0 to {most}"));
    }
    number
}
