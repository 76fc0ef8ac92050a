//! The one integration binary: real sockets, real backends in process, the real program for what only the program does.

mod aging;
mod architecture;
mod balancing;
mod bodies;
mod caps;
mod cli;
mod client_address;
mod docs;
mod filters;
mod life;
mod limits;
mod memory;
mod metrics;
mod program;
mod proxying;
mod quiet;
mod records;
mod refusals;
mod retries;
mod routes;
mod size;
mod smuggling;
mod support;
mod timeouts;
mod tls;
mod upgrade;
