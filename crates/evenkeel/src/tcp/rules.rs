//! Where a listener sends its connections: by the name and the protocols that a client of TLS asks for, or all to one upstream.

use std::sync::Arc;
use std::time::Duration;

use evenkeel_config::Tcp;
use evenkeel_core::route::HostPattern;

use crate::tls::Hello;
use crate::upstream::Upstream;

/// Where a listener sends its connections, and how long they may take.
#[derive(Debug)]
pub struct Rules {
    routes: Vec<Rule>,
    upstream: Option<Arc<Upstream>>,
    pub(super) idle_timeout: Duration,
    pub(super) client_hello_timeout: Duration,
}

#[derive(Debug)]
struct Rule {
    server_names: Vec<HostPattern>,
    alpn: Vec<String>,
    upstream: Arc<Upstream>,
}

// === impl Rules ===

impl Rules {
    /// What a listener says, with the upstreams of its model in their order.
    pub fn new(tcp: &Tcp, upstreams: &[Arc<Upstream>]) -> Self {
        let routes = tcp.routes.iter().filter_map(|route| {
            Some(Rule {
                server_names: route.server_names.clone(),
                alpn: route.alpn.clone(),
                upstream: upstreams.get(route.upstream)?.clone(),
            })
        });
        Self {
            routes: routes.collect(),
            upstream: tcp.upstream.and_then(|index| upstreams.get(index)).cloned(),
            idle_timeout: tcp.idle_timeout,
            client_hello_timeout: tcp.client_hello_timeout,
        }
    }

    /// Whether it matters what a client says first.
    pub(super) fn needs_hello(&self) -> bool {
        !self.routes.is_empty()
    }

    /// Where a connection goes whose client began with this; `None` for another beginning. `None` if it goes nowhere.
    pub(super) fn pick(&self, hello: Option<&Hello>) -> Option<&Arc<Upstream>> {
        let ruled = hello.and_then(|hello| self.routes.iter().find(|rule| rule.matches(hello)));
        ruled.map(|rule| &rule.upstream).or(self.upstream.as_ref())
    }
}

// === impl Rule ===

impl Rule {
    fn matches(&self, hello: &Hello) -> bool {
        let name = hello.server_name.as_deref().unwrap_or_default();
        let named = self.server_names.is_empty() || self.server_names.iter().any(|one| one.matches(name));
        let offers = |wanted: &String| hello.protocols.iter().any(|offered| **offered == *wanted.as_bytes());
        named && (self.alpn.is_empty() || self.alpn.iter().any(offers))
    }
}

#[cfg(test)]
mod tests {
    use evenkeel_config::{ConfigBuilder, ListenerBuilder, TcpBuilder, UpstreamBuilder};

    use super::{Arc, Hello, Rules};
    use crate::upstream::Upstream;
    use crate::upstream::testing::upstream_of;

    fn hello(name: &str, protocols: &[&str]) -> Hello {
        Hello {
            server_name: (!name.is_empty()).then(|| name.into()),
            protocols: protocols.iter().map(|protocol| protocol.as_bytes().into()).collect(),
        }
    }

    fn rules(tcp: TcpBuilder) -> (Rules, Vec<Arc<Upstream>>) {
        let names = ["one", "two", "rest"];
        let upstreams = names.map(|name| UpstreamBuilder::new(name).backend("tcp://127.0.0.1:1"));
        let listener = ListenerBuilder::new("127.0.0.1:0").tcp(tcp);
        let builder = ConfigBuilder::new().listener(listener);
        let config = upstreams.into_iter().fold(builder, ConfigBuilder::upstream).try_build().unwrap();
        let upstreams: Vec<_> = names.into_iter().map(upstream_of).collect();
        (Rules::new(config.model().unwrap().listeners[0].tcp.as_ref().unwrap(), &upstreams), upstreams)
    }

    #[test]
    fn the_first_rule_that_matches_wins() {
        let tcp = TcpBuilder::new()
            .server_name("db.example.com", "one")
            .route(["*.example.com"], ["mqtt", "h2"], "two")
            .upstream("rest");
        let (rules, _) = rules(tcp);
        let picked = |hello: Option<Hello>| rules.pick(hello.as_ref()).map(|one| one.name.to_string());
        assert_eq!(picked(Some(hello("db.example.com", &["mqtt"]))).as_deref(), Some("one"));
        assert_eq!(picked(Some(hello("a.example.com", &["http/1.1", "h2"]))).as_deref(), Some("two"));
        assert_eq!(picked(Some(hello("a.example.com", &[]))).as_deref(), Some("rest"));
        assert_eq!(picked(Some(hello("", &["h2"]))).as_deref(), Some("rest"));
        assert_eq!(picked(None).as_deref(), Some("rest"));
    }

    #[test]
    fn what_no_rule_takes_goes_nowhere_if_there_is_no_upstream_for_it() {
        let (rules, _) = rules(TcpBuilder::new().route(["*"], [""; 0], "one"));
        assert!(rules.pick(None).is_none());
        assert!(rules.pick(Some(&hello("", &[]))).is_some(), "a star stands for no name too");
    }
}
