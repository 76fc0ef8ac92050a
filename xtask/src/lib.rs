//! The workbench: what the command `cargo xtask` does, and what the crate `load` shares with it.
//!
//! It installs what the other crates need before they can build, so it must never depend on any of them, nor on Pingora.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "a command for people: it prints, reads its environment, and waits for the processes that it starts"
)]
#![expect(
    clippy::missing_errors_doc,
    reason = "unpublished; every failure is text for the person who ran the task"
)]

pub mod bench;
pub mod chart;
pub mod failure;
pub mod process;
pub mod shell;
mod steps;
pub mod tools;
pub mod verify;
pub mod workspace;
