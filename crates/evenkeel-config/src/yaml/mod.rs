//! Reading YAML: text in, a tree with places out; environment variables put in; a tree read into types.
//!
//! This room never knows which keys a configuration has, or what they mean.

mod de;
mod entries;
mod expand;
mod hints;
mod node;
mod parse;
mod problem;
mod syntax;

pub(crate) use de::{MOST, from_node, read};
pub(crate) use entries::Entries;
pub(crate) use expand::expand;
pub(crate) use hints::{Found, Hints};
pub(crate) use node::{Entry, Kind, Node, Path, Segment};
pub(crate) use parse::{MAX_TEXT, parse, too_large};
pub(crate) use problem::{Problem, any_of, refuse};
pub(crate) use syntax::TEMPLATE;
