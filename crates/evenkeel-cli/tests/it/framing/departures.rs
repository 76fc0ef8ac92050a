//! Where Pingora's lane departs from what the corpus says, and why that is borne for now. The list can only shrink: what is on it
//! and departs no longer is a failure.

#![cfg(test)]

use super::jobs::Ran;
use crate::support::Lane;

/// One thing that Pingora's lane does wrong, below us. The lean lane departs nowhere.
struct Departure {
    /// How the names of the entries begin.
    names: &'static [&'static str],
    /// What the fault has in it.
    fault: &'static str,
    /// Whether it shows in each run, and not only in some.
    always: bool,
    /// What is wrong.
    reason: &'static str,
}

/// Those that there are.
const DEPARTURES: &[Departure] = &[
    Departure {
        names: &["hostile: an empty chunk size", "hostile: a chunk size that is none [;x]"],
        fault: "",
        always: true,
        reason: "in a response, an empty chunk size counts as a zero: a part of a body passes for the whole",
    },
    Departure {
        names: &["hostile: a chunk size that does not end as a line ends [;x\\n]"],
        fault: "the client got",
        always: true,
        reason: "in a response, a chunk's extension may hold a line feed",
    },
    Departure {
        names: &["framings: the connection closes after"],
        fault: "",
        always: true,
        reason: "of several Connection fields only the first one is read",
    },
    Departure {
        names: &["interim: one for a client of HTTP/1.0"],
        fault: "",
        always: false,
        reason: "a client of HTTP/1.0 gets a 1xx",
    },
    Departure {
        names: &["framings: HTTP/1.0", "responses: HTTP/1.0"],
        fault: "the version \"HTTP/1.0\"",
        always: true,
        reason: "an HTTP/1.0 response is forwarded as one",
    },
    Departure {
        names: &["framings: an upgrade is required"],
        fault: "Upgrade: ",
        always: true,
        reason: "Connection does not name the Upgrade of a 426",
    },
    Departure {
        names: &[
            "targets: what no URL holds, and some forgive [\"]",
            "targets: what no URL holds, and some forgive [<]",
            "targets: what no URL holds, and some forgive [>]",
            "targets: what no URL holds, and some forgive [`]",
        ],
        fault: "the backend saw",
        always: true,
        reason: "characters that Pingora takes in no target are percent-encoded",
    },
];

/// The faults that are on no list, and what is on the list and no fault.
pub(super) fn sort_out(ran: &[Ran], lane: Lane) -> Vec<String> {
    let mut wrong: Vec<_> = ran
        .iter()
        .filter(|ran| !is_known(ran, lane))
        .filter_map(|ran| Some(format!("{}: {}", ran.name, ran.fault.as_ref()?)))
        .collect();
    for known in known_of(lane).filter(|known| known.always) {
        for name in known.names {
            let mut entries = ran.iter().filter(|ran| ran.name.starts_with(name)).peekable();
            if entries.peek().is_some() && !entries.any(|ran| known.covers(ran)) {
                wrong.push(format!("{name}…: no longer departs; take it off the list: {}", known.reason));
            }
        }
    }
    wrong
}

/// Whether the result of an entry is a departure on the list.
pub(super) fn is_known(ran: &Ran, lane: Lane) -> bool {
    known_of(lane).any(|known| known.covers(ran))
}

fn known_of(lane: Lane) -> impl Iterator<Item = &'static Departure> {
    DEPARTURES.iter().filter(move |_| lane == Lane::Pingora)
}

// === impl Departure ===

impl Departure {
    fn covers(&self, ran: &Ran) -> bool {
        let fault = ran.fault.as_ref().is_some_and(|fault| fault.contains(self.fault));
        fault && self.names.iter().any(|start| ran.name.starts_with(start))
    }
}
