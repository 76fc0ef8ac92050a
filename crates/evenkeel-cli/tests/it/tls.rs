//! Backends behind `https`: verified by the system's authorities or by those that are named, unless told otherwise.

#![cfg(test)]

use crate::support::{Balancer, Reply, Secure};

#[tokio::test]
async fn a_backend_is_who_its_certificate_says_or_is_not_asked() {
    let backend = Secure::start("api.internal", |_| Reply::ok("ok")).await;
    let (port, ca) = (backend.address().port(), backend.authority.display().to_string());
    for (host, tls, status) in [
        // No authority that the system trusts has signed it.
        ("127.0.0.1", String::new(), 502),
        ("127.0.0.1", format!("{{ ca: {ca}, server_name: api.internal }}"), 200),
        ("127.0.0.1", format!("{{ ca: {ca}, server_name: other.internal }}"), 502),
        // Without a name of its own, the URL's host is what the certificate must carry.
        ("127.0.0.1", format!("{{ ca: {ca} }}"), 502),
        ("127.0.0.1", "{ danger_accept_invalid_certificates: true }".to_owned(), 200),
    ] {
        let tls = if tls.is_empty() { tls } else { format!(", tls: {tls}") };
        let yaml = format!("upstreams: {{ web: {{ backends: [\"https://{host}:{port}\"]{tls} }} }}");
        let balancer = Balancer::start(&yaml).await;
        for _ in 0..2 {
            assert_eq!(balancer.get("/").await.status(), status, "{yaml}");
        }
        // Only Pingora's lane speaks TLS to backends, whatever the lane of this run.
        for record in balancer.log_lines(2).await {
            assert_eq!(record["lane"], "pingora", "{yaml}");
        }
    }
}

#[tokio::test]
async fn two_upstreams_with_one_address_share_no_connection() {
    let backend = Secure::start("api.internal", |_| Reply::ok("ok")).await;
    let (address, ca) = (backend.address(), backend.authority.display());
    let balancer = Balancer::start(&format!(
        "routes:\n\
         - {{ name: lax, match: {{ path: /lax }}, upstream: lax }}\n\
         - {{ name: strict, upstream: strict }}\n\
         upstreams:\n  \
           lax: {{ backends: [\"https://{address}\"], tls: {{ danger_accept_invalid_certificates: true }} }}\n  \
           strict: {{ backends: [\"https://{address}\"], tls: {{ ca: {ca}, server_name: other.internal }} }}\n"
    ))
    .await;
    // A connection that was not verified is kept, and must not serve those who ask for verification.
    for _ in 0..4 {
        assert_eq!(balancer.get("/lax").await.status(), 200);
        assert_eq!(balancer.get("/").await.status(), 502);
    }
}
