//! Filters: those that have a name and are shared, and the steps of routes and listeners.

use super::Context;
use super::general::label;
use crate::FilterSpec;
use crate::suggest::closest;
use crate::wire::{self, Named};
use crate::yaml::{Node, Path, any_of};

/// The kind of a step that is a filter with a name.
const USE: &str = "use";

/// Every filter with a name that is right.
pub(super) fn shared(filters: &Named<wire::Step>, path: &Path, context: &mut Context<'_>) -> Vec<FilterSpec> {
    let mut resolved: Vec<FilterSpec> = Vec::new();
    for (name, step) in &filters.0 {
        let path = path.key(name);
        label(name, &path, context);
        if resolved.iter().any(|one| one.name() == Some(name)) {
            context.wrong_key(&path, "is given twice");
        }
        let Some(spec) = written(step, &path, context) else { continue };
        if spec.kind() == USE {
            context.wrong_key(
                &path.key(USE),
                "cannot be used here: expected a filter, like { rate_limit: { rate: 100/s } }",
            );
        } else {
            resolved.push(spec.named(name));
        }
    }
    resolved
}

/// The filters of a route or a listener; `use` stands for one that is shared.
pub(super) fn steps(
    steps: &[wire::Step],
    shared: &[FilterSpec],
    path: &Path,
    context: &mut Context<'_>,
) -> Option<Vec<FilterSpec>> {
    let paths = context.entries(path, steps.len());
    let mut resolved = Vec::new();
    for (step, path) in steps.iter().zip(paths) {
        let spec = written(step, &path, context);
        resolved.push(match spec {
            Some(spec) if spec.kind() == USE => used(&spec, shared, &path.key(USE), context),
            spec => spec,
        });
    }
    resolved.into_iter().collect()
}

/// The shared filter that a step names.
fn used(
    step: &FilterSpec,
    shared: &[FilterSpec],
    path: &Path,
    context: &mut Context<'_>,
) -> Option<FilterSpec> {
    let Ok(name) = step.params().parse::<String>() else {
        context.wrong_key(path, "is not the name of a filter: expected a name, like use: api-limit");
        return None;
    };
    let found = shared.iter().find(|filter| filter.name() == Some(&name));
    // It may be missing because it was refused.
    let filters = Path::default().key("filters");
    if found.is_none() && !context.was_removed(&filters.key(&name)) && !context.is_damaged(&filters) {
        let names: Vec<&str> = shared.iter().filter_map(FilterSpec::name).collect();
        let message = match names.as_slice() {
            [] => {
                "is not a filter: there are none with a name: name it under the top-level filters".to_owned()
            }
            names => format!("is not a filter with a name: expected {}", any_of(names)),
        };
        context.wrong(path, &name, message).suggestion = closest(&name, names).map(str::to_owned);
    }
    found.cloned()
}

fn written(step: &wire::Step, path: &Path, context: &mut Context<'_>) -> Option<FilterSpec> {
    let spec = match context.node(path) {
        Some(node) => FilterSpec::from_node(node, path.clone()),
        None => FilterSpec::from_node(&Node::from_json(step.0.clone()), path.clone())
            .map(|spec| spec.with_value(step.1.clone())),
    };
    if spec.is_none() {
        context.wrong_key(path, "is not a filter: expected a map of one key, like { strip_prefix: /v1 }");
    }
    spec
}
