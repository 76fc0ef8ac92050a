//! What is right by itself and would do nothing, because of what stands elsewhere.

use evenkeel_core::route::{PathMatch, normal_path};

use super::Context;
use super::lean::{Lacking, retry_lacks, upstream_lacks};
use crate::yaml::Path;
use crate::{Action, Http2, Listener, PathForm, Route, Scheme, Upstream};

/// Notes what would do nothing. Everything that is given here is right.
pub(super) fn effects(
    has_zone: bool,
    (listeners, routes, upstreams): (&[Listener], &[Route], &[Upstream]),
    context: &mut Context<'_>,
) {
    let root = Path::default();
    let mut backends = upstreams.iter().flat_map(|upstream| &upstream.backends);
    let discovered = upstreams.iter().any(|upstream| upstream.discovery.is_some());
    if has_zone && !discovered && backends.all(|backend| backend.zone.is_none()) {
        context.wrong_key(&root.key("zone"), "has no effect: no backend has a zone");
    }
    let targets: Vec<Vec<usize>> = routes.iter().map(targets).collect();
    // Of each upstream, how many routes lead there, and how many of them have a timeout.
    let mut leading = vec![(0, 0); upstreams.len()];
    for (route, targets) in routes.iter().zip(&targets) {
        for target in targets {
            if let Some((all, timed)) = leading.get_mut(*target) {
                *all += 1;
                *timed += usize::from(route.timeout.is_some());
            }
        }
    }
    for (upstream, leading) in upstreams.iter().zip(leading) {
        let path = root.key("upstreams").key(&upstream.name);
        if upstream.limits.deadline_header.is_some() && matches!(leading, (1.., 0)) {
            let message = "has no effect: no route that leads here has a timeout";
            context.wrong_key(&path.key("deadline_header"), message);
        }
        if needs_pingora(upstream) {
            lacking(upstream_lacks(upstream, &path), context);
        }
    }
    let paths = context.entries(&root.key("routes"), routes.len());
    if listeners.iter().all(|listener| listener.http.paths.matching == PathForm::Normal) {
        for (route, path) in routes.iter().zip(&paths) {
            unmatchable(route, &path.key("match"), context);
        }
    }
    for ((route, targets), path) in routes.iter().zip(&targets).zip(paths) {
        let tls = targets.iter().all(|target| upstreams.get(*target).is_some_and(needs_pingora));
        if let Some(retry) = &route.retry
            && tls
            && !targets.is_empty()
        {
            lacking(retry_lacks(retry, &path.key("retry")), context);
        }
    }
}

/// Notes a path that no request has, since routes see paths in their normal form.
fn unmatchable(route: &Route, path: &Path, context: &mut Context<'_>) {
    let (key, text) = match &route.matches.path {
        Some(PathMatch::Exact(text)) => ("path", text),
        Some(PathMatch::Prefix(text)) => ("path_prefix", text),
        _ => return,
    };
    match normal_path(text) {
        Ok(normal) if *normal == **text => {}
        Ok(normal) => {
            let message = "can never match: routes see paths in their normal form (path_matching: normal): expected that form";
            context.wrong(&path.key(key), text, message).suggestion = Some(normal.into_owned());
        }
        Err(error) => {
            let message = format!("can never match: {error}, and such requests are rejected with 400");
            context.wrong(&path.key(key), text, message);
        }
    }
}

/// The upstreams that a route leads to.
fn targets(route: &Route) -> Vec<usize> {
    match &route.action {
        Action::Upstream(target) => vec![*target],
        Action::Split(targets) => targets.iter().map(|(target, _)| *target).collect(),
        Action::Redirect(_) | Action::Respond(_) => Vec::new(),
    }
}

/// Whether requests go there by Pingora's lane.
fn needs_pingora(upstream: &Upstream) -> bool {
    upstream.http2 == Http2::Always
        || upstream.backends.iter().any(|backend| backend.url.tls)
        || upstream.discovery.as_ref().is_some_and(|discovery| discovery.scheme == Scheme::Https)
}

/// Notes what that lane does not do.
fn lacking(what: Vec<Lacking>, context: &mut Context<'_>) {
    for (path, what) in what {
        context.wrong_key(&path, format!("{what} if a backend is https or speaks HTTP/2"));
    }
}
