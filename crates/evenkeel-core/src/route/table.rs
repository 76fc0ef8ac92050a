//! All routes at once: an index over their hosts and paths that gives the same result as trying one after the other.
//!
//! Never knows what a host or a path means: [`HostPattern`] and [`PathMatch`] do. A client cannot slow it down by
//! collisions, since the table is built from the configuration and never changed; that is why its hash needs no secret.

use std::collections::HashMap;

use foldhash::fast::FixedState;

use super::host::Folded;
use super::path::ends_segment;
use super::{HostPattern, PathMatch, RequestParts, RouteMatch};

/// Up to so many routes of a host are tried one after the other: that is quicker than looking them up.
const FEW: usize = 4;

/// The routes of a configuration, in order, ready to be matched.
///
/// # Cost
/// [`find`](Self::find) takes a lookup by the host and one for each length of the `*.` patterns that fits the host;
/// in each set of routes found, a lookup by the path and one for each length of the prefixes that ends with one of the
/// path's segments. So the cost does not grow with the number of routes, except for those that share a host and a path
/// and differ in methods, headers or query, and for the regular expressions of a host: these are tried in order, until
/// one matches. Nothing is allocated (except by a regular expression, see [`TextRegex`](super::TextRegex)), and no lock
/// is taken.
///
/// Memory is linear: about 330 bytes a route with one host and one path.
#[derive(Clone, Debug, Default)]
pub struct RouteTable {
    routes: Box<[RouteMatch]>,
    exact: ByText<Group>,
    suffixes: ByText<Group>,
    /// The lengths of the keys of `suffixes`, ascending: where in a host to look.
    suffix_lengths: Box<[usize]>,
    any: Group,
}

/// A route that no request can reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Shadowed {
    /// The route, by its place in the order.
    pub route: usize,
    /// The first earlier route that takes every request that it would.
    pub by: usize,
}

type ByText<T> = HashMap<Box<[u8]>, T, FixedState>;

/// The routes that share a host.
#[derive(Clone, Debug)]
enum Group {
    Few(Candidates),
    Many(Box<PathIndex>),
}

/// The routes that share a host, by path. Every list in it is ascending.
#[derive(Clone, Debug)]
struct PathIndex {
    first: u32,
    exact: ByText<Candidates>,
    prefixes: ByText<Candidates>,
    /// The lengths of the keys of `prefixes`, ascending.
    prefix_lengths: Box<[usize]>,
    /// The routes with a regular expression, or with no condition on the path.
    others: Candidates,
}

/// Usually there is one; it is stored inline to save a memory access.
#[derive(Clone, Debug)]
enum Candidates {
    One(Candidate),
    List(Box<[Candidate]>),
}

#[derive(Clone, Copy, Debug)]
struct Candidate {
    route: u32,
    remaining: Remaining,
}

/// What is left to ask of a request when the index has led to a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Remaining {
    Nothing,
    Rest,
    PathAndRest,
}

/// The lowest acceptable route so far.
struct Search<F> {
    /// Only routes below it are of interest.
    bound: u32,
    found: bool,
    accept: F,
}

// === impl RouteTable ===

impl RouteTable {
    /// Indexes the routes. Earlier ones win.
    pub fn new(routes: impl IntoIterator<Item = RouteMatch>) -> Self {
        let routes: Box<[RouteMatch]> = routes.into_iter().collect();
        let mut exact = ByText::<Vec<u32>>::default();
        let mut suffixes = ByText::<Vec<u32>>::default();
        let mut any = Vec::new();
        for (index, route) in numbered(&routes) {
            if route.hosts.is_empty() {
                any.push(index);
            }
            for pattern in &route.hosts {
                let group = match pattern {
                    HostPattern::Any => &mut any,
                    HostPattern::Exact(name) => exact.entry(folded(name)).or_default(),
                    HostPattern::Suffix(parent) => suffixes.entry(folded(parent)).or_default(),
                };
                if group.last() != Some(&index) {
                    group.push(index);
                }
            }
        }
        Self {
            suffix_lengths: lengths(&suffixes),
            exact: mapped(exact, |group| Group::new(&routes, &group)),
            suffixes: mapped(suffixes, |group| Group::new(&routes, &group)),
            any: Group::new(&routes, &any),
            routes,
        }
    }

    /// The first route that matches, by its place in the order; `None` when none does.
    #[inline]
    pub fn find(&self, request: &(impl RequestParts + ?Sized)) -> Option<usize> {
        let host = Folded::new(request.host());
        let path = request.path();
        self.lowest(host.as_bytes(), path.as_bytes(), u32::MAX, |candidate| {
            candidate.remaining == Remaining::Nothing
                || self.routes.get(candidate.route as usize).is_some_and(|route| {
                    (candidate.remaining == Remaining::Rest || route.matches_path(path))
                        && route.matches_rest(request)
                })
        })
    }

    /// The routes, in order.
    pub fn routes(&self) -> &[RouteMatch] {
        &self.routes
    }

    /// The routes that can never match, because one earlier route takes every request that they would; in order.
    ///
    /// Each one reported is truly unreachable. Not every unreachable one is reported: not one that only several earlier
    /// routes cover together, and not one whose regular expression is covered by another that is written differently.
    ///
    /// # Cost
    /// As for finding each route once; quadratic in the routes that share a host and a path.
    pub fn unreachable(&self) -> Vec<Shadowed> {
        numbered(&self.routes)
            .filter_map(|(index, route)| {
                let by = self.first_cover(route, index)?;
                Some(Shadowed { route: index as usize, by })
            })
            .collect()
    }

    /// The first route below the bound that covers this one.
    ///
    /// What covers a pattern is found as what takes a request is: under the same text, or a shorter tail or prefix of it.
    /// What covers all hosts of a route covers its first.
    fn first_cover(&self, route: &RouteMatch, bound: u32) -> Option<usize> {
        let host = match route.hosts.first() {
            Some(HostPattern::Exact(name)) => folded(name),
            // A star is in no exact host, and stands for the label that a host below the parent has.
            Some(HostPattern::Suffix(parent)) => folded(&format!("*.{parent}")),
            Some(HostPattern::Any) | None => Box::default(),
        };
        let path = match &route.path {
            Some(PathMatch::Exact(path) | PathMatch::Prefix(path)) => path,
            Some(PathMatch::Regex(_)) | None => "",
        };
        self.lowest(&host, path.as_bytes(), bound, |candidate| {
            self.routes.get(candidate.route as usize).is_some_and(|earlier| earlier.covers(route))
        })
    }

    /// The lowest acceptable route below the bound, among those that the index has for this host and path.
    #[inline]
    fn lowest(
        &self,
        host: &[u8],
        path: &[u8],
        bound: u32,
        accept: impl FnMut(Candidate) -> bool,
    ) -> Option<usize> {
        let mut search = Search { bound, found: false, accept };
        if !host.is_empty() {
            if let Some(group) = self.exact.get(host) {
                group.search(path, &mut search);
            }
            for &length in &self.suffix_lengths {
                // One label and a dot at least.
                let Some(dot) = host.len().checked_sub(length + 1).filter(|&dot| dot > 0) else { break };
                if let Some((b'.', parent)) = host.get(dot..).and_then(<[u8]>::split_first)
                    && let Some(group) = self.suffixes.get(parent)
                {
                    group.search(path, &mut search);
                }
            }
        }
        self.any.search(path, &mut search);
        search.found.then_some(search.bound as usize)
    }
}

// === impl Group ===

impl Group {
    fn new(routes: &[RouteMatch], members: &[u32]) -> Self {
        let members = members.iter().filter_map(|&index| Some((index, routes.get(index as usize)?)));
        if members.clone().count() > FEW {
            return Self::Many(Box::new(PathIndex::new(members)));
        }
        Self::Few(Candidates::new(members.map(|(index, route)| Candidate::untried(index, route)).collect()))
    }

    #[inline]
    fn search(&self, path: &[u8], search: &mut Search<impl FnMut(Candidate) -> bool>) {
        match self {
            Self::Few(candidates) => search.consider(candidates),
            Self::Many(index) if index.first < search.bound => index.search(path, search),
            Self::Many(_) => {}
        }
    }
}

impl Default for Group {
    fn default() -> Self {
        Self::Few(Candidates::new(Vec::new()))
    }
}

// === impl PathIndex ===

impl PathIndex {
    fn new<'a>(members: impl Iterator<Item = (u32, &'a RouteMatch)>) -> Self {
        let mut exact = ByText::<Vec<Candidate>>::default();
        let mut prefixes = ByText::<Vec<Candidate>>::default();
        let mut others = Vec::new();
        let mut first = u32::MAX;
        for (index, route) in members {
            first = first.min(index);
            match &route.path {
                Some(PathMatch::Exact(path)) => {
                    exact.entry(path.as_bytes().into()).or_default().push(Candidate::found(index, route));
                }
                Some(PathMatch::Prefix(path)) => {
                    prefixes.entry(path.as_bytes().into()).or_default().push(Candidate::found(index, route));
                }
                Some(PathMatch::Regex(_)) | None => others.push(Candidate::untried(index, route)),
            }
        }
        Self {
            first,
            exact: mapped(exact, Candidates::new),
            prefix_lengths: lengths(&prefixes),
            prefixes: mapped(prefixes, Candidates::new),
            others: Candidates::new(others),
        }
    }

    #[inline]
    fn search(&self, path: &[u8], search: &mut Search<impl FnMut(Candidate) -> bool>) {
        if let Some(candidates) = self.exact.get(path) {
            search.consider(candidates);
        }
        for &length in &self.prefix_lengths {
            let Some(prefix) = path.get(..length) else { break };
            if ends_segment(path, length)
                && let Some(candidates) = self.prefixes.get(prefix)
            {
                search.consider(candidates);
            }
        }
        search.consider(&self.others);
    }
}

// === impl Candidates ===

impl Candidates {
    fn new(list: Vec<Candidate>) -> Self {
        match *list {
            [one] => Self::One(one),
            _ => Self::List(list.into()),
        }
    }

    #[inline]
    fn as_slice(&self) -> &[Candidate] {
        match self {
            Self::One(one) => std::slice::from_ref(one),
            Self::List(list) => list,
        }
    }
}

// === impl Candidate ===

impl Candidate {
    /// A route that was found by its path.
    fn found(route: u32, conditions: &RouteMatch) -> Self {
        let remaining = if conditions.asks_no_more() { Remaining::Nothing } else { Remaining::Rest };
        Self { route, remaining }
    }

    /// A route whose path, if it asks for one, is still to be tried.
    fn untried(route: u32, conditions: &RouteMatch) -> Self {
        match conditions.path {
            Some(_) => Self { route, remaining: Remaining::PathAndRest },
            None => Self::found(route, conditions),
        }
    }
}

// === impl Search ===

impl<F: FnMut(Candidate) -> bool> Search<F> {
    #[inline]
    fn consider(&mut self, candidates: &Candidates) {
        for &candidate in candidates.as_slice() {
            if candidate.route >= self.bound {
                return;
            }
            if (self.accept)(candidate) {
                self.bound = candidate.route;
                self.found = true;
                return;
            }
        }
    }
}

/// The routes with their places. Half the width of a pointer is enough: four thousand million routes fit in no memory.
fn numbered(routes: &[RouteMatch]) -> impl Iterator<Item = (u32, &RouteMatch)> {
    (0..u32::MAX).zip(routes)
}

/// In the form that [`Folded`] gives the host of a request.
fn folded(host: &str) -> Box<[u8]> {
    host.to_ascii_lowercase().into_bytes().into()
}

fn mapped<T, U>(map: ByText<T>, mut change: impl FnMut(T) -> U) -> ByText<U> {
    map.into_iter().map(|(text, value)| (text, change(value))).collect()
}

fn lengths<T>(map: &ByText<T>) -> Box<[usize]> {
    let mut lengths: Vec<usize> = map.keys().map(|text| text.len()).collect();
    lengths.sort_unstable();
    lengths.dedup();
    lengths.into()
}
