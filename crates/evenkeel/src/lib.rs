//! A load balancer for HTTP on Cloudflare's Pingora, as a library.
//!
//! ```no_run
//! use evenkeel::prelude::*;
//!
//! #[tokio::main]
//! async fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let config = ConfigBuilder::new()
//!         .listen_address("127.0.0.1:8080")
//!         .upstream_servers(["http://127.0.0.1:8081", "http://127.0.0.1:8082"])
//!         .load_balancing_algorithm(LoadBalancingAlgorithm::LeastConnections)
//!         .build();
//!     Server::new(config).run().await?;
//!     Ok(())
//! }
//! ```
//!
//! # Layout
//! * [`Server`] runs what a [`Config`](config::Config) says; [`config`] and [`core`] are the floors below.
//! * [`filter`]: a step on a request's path; yours and ours by the same trait.
//! * [`discovery`] finds backends: a trait for sources of your own.
//! * [`probe`] asks backends how they are; [`dial`] connects to them.
//! * [`exchange`] decides, [`upstream`] picks backends, [`lane`] and [`proxy`] carry, [`listen`] accepts, [`control`] runs, [`admin`] shows, [`observe`] counts.

pub mod admin;
pub mod control;
pub mod dial;
pub mod discovery;
pub mod exchange;
pub mod filter;
mod handle;
pub mod lane;
pub mod listen;
pub mod observe;
pub mod prelude;
pub mod probe;
pub mod proxy;
mod server;
pub mod stream;
pub mod tls;
pub mod upstream;

pub use evenkeel_config as config;
pub use evenkeel_core as core;
pub use handle::{Handle, ReloadError};
pub use server::{Server, ServerError};
