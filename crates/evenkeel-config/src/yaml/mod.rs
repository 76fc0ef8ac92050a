//! Reading YAML: text in, a tree with places out; environment variables put in; a tree read into types.
//!
//! This room never knows which keys a configuration has, or what they mean.

mod de;
mod entries;
mod expand;
mod node;
mod parse;
mod problem;

pub(crate) use de::{MOST, from_node, read};
pub(crate) use entries::Entries;
pub(crate) use expand::expand;
pub(crate) use node::{Entry, Kind, Node, Path, Segment};
pub(crate) use parse::{MAX_TEXT, parse, too_large};
pub(crate) use problem::{Hints, Problem, any_of, refuse};
