//! Effects that show only after a minute. Tests start in the order of their names: this one first, and all others run
//! in parallel.

#![cfg(test)]

use std::time::Duration;

use crate::support::{Backend, Balancer, Reply};

/// The only test that takes long: there is a limit of 60 s in what lies below, and it must not be seen.
#[tokio::test]
async fn an_upgraded_connection_lives_as_long_as_it_is_let() {
    let switching = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n";
    let backend = Backend::start(move |_| Reply::new().send(switching).echo()).await;
    let yaml = format!(
        "upstreams: {{ web: {{ backends: [\"{}\"], timeouts: {{ upgraded_idle: 2m, idle: 1s, first_byte: 1s }} }} }}",
        backend.url()
    );
    let balancer = Balancer::start(&yaml).await;
    let mut client = balancer.client().await;
    let request = "GET / HTTP/1.1\r\nHost: test\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n";
    assert_eq!(client.ask(request).await.status(), 101);
    for (text, silence) in [("before", Duration::from_secs(65)), ("after", Duration::from_millis(10))] {
        client.send(text).await;
        assert_eq!(client.bytes(text.len()).await, text.as_bytes());
        assert!(client.is_quiet_for(silence).await, "closed, or sent something");
    }
    assert_eq!(backend.open(), 1);
}
