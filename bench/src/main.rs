//! What the balancer is measured against.
fn main() {}
