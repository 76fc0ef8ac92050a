//! The builder gives the model that a file with the same content gives, and says the same when something is wrong.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::time::Duration;

use evenkeel_config::{Config, ConfigBuilder, Lanes, ListenerBuilder, RouteBuilder, UpstreamBuilder};
use evenkeel_core::balance::LoadBalancingAlgorithm;
use serde_json::json;

fn of_file(text: &str) -> String {
    let config = Config::from_yaml(text, "same.yaml", &|_| None).unwrap();
    format!("{:#?}", config.model().unwrap())
}

fn of_builder(builder: ConfigBuilder) -> String {
    format!("{:#?}", builder.try_build().unwrap().model().unwrap())
}

fn errors(builder: ConfigBuilder) -> Vec<String> {
    let error = builder.clone().try_build().unwrap_err();
    assert_eq!(builder.build().model().unwrap_err(), &error);
    error.diagnostics().iter().map(ToString::to_string).collect()
}

#[test]
fn the_founding_program_gives_what_the_smallest_file_gives() {
    let upstream_servers = vec!["http://127.0.0.1:8081", "http://127.0.0.1:8082"];
    let builder = ConfigBuilder::new()
        .listen_address("127.0.0.1:8080")
        .upstream_servers(upstream_servers)
        .load_balancing_algorithm(LoadBalancingAlgorithm::RoundRobin);
    let file = "
        listeners: [{ address: 127.0.0.1:8080 }]
        upstreams:
          default: { backends: ['http://127.0.0.1:8081', 'http://127.0.0.1:8082'] }
    ";
    assert_eq!(of_builder(builder.clone()), of_file(file));
    assert_eq!(builder.build().model().unwrap().upstreams[0].backends.len(), 2);
}

fn listener() -> ListenerBuilder {
    ListenerBuilder::new("0.0.0.0:8080")
        .max_connections(10_000)
        .max_connections_per_client(100)
        .header_timeout(Duration::from_secs(5))
        .idle_timeout(Duration::from_secs(120))
        .body_timeout(Duration::from_secs(20))
        .send_timeout(Duration::from_millis(500))
        .max_header_size(64 << 10)
        .max_header_fields(200)
        .max_body_size(1 << 30)
}

fn api_upstream() -> UpstreamBuilder {
    UpstreamBuilder::new("api")
        .algorithm(LoadBalancingAlgorithm::LeastConnections)
        .backend("https://10.0.0.1:8443")
        .weighted_backend("https://[2001:db8::2]", 2)
        .weighted_backend("https://api.internal", 0)
        .max_attempts(2)
        .connect_timeout(Duration::from_secs(1))
        .first_byte_timeout(Duration::from_secs(10))
        .idle_timeout(Duration::from_secs(30))
        .upgraded_idle_timeout(Duration::from_secs(7200))
        .pool_idle_timeout(Duration::from_secs(10))
        .pool_max_idle(16)
        .tls_ca("internal.pem")
        .tls_server_name("api.internal")
        .danger_accept_invalid_certificates(false)
}

#[test]
fn everything_that_a_file_reaches_the_builder_reaches() {
    let api = RouteBuilder::new("api")
        .host("api.example.com")
        .host("*.api.example.com")
        .path_prefix("/v1/")
        .method("GET")
        .method("POST")
        .header("x-beta", "1")
        .header("X-Any", "*")
        .query("q", "a b")
        .filter("strip_prefix", "/v1")
        .filter("request_headers", json!({ "set": { "x-proxy": "evenkeel" }, "remove": ["x-internal"] }))
        .upstream("api")
        .timeout(Duration::from_secs(30));
    let teapot = RouteBuilder::new("teapot").path_regex("/tea/[0-9]+").respond(418, "short and stout");
    let canary = UpstreamBuilder::new("canary")
        .algorithm(LoadBalancingAlgorithm::PowerOfTwoChoices)
        .backend("http+unix:/run/canary.sock");
    let builder = ConfigBuilder::new()
        .trusted_proxies(["10.0.0.0/8", "192.168.1.1", "fd00::/8"])
        .pre_stop(Duration::from_secs(5))
        .drain_timeout(Duration::from_secs(90))
        .listener(listener())
        .listener(ListenerBuilder::new("[::1]:0").max_body_size(None))
        .listen_address("unix:/run/evenkeel.sock")
        .route(api)
        .route(RouteBuilder::new("exact").path("/healthz").respond(204, ""))
        .route(teapot.respond_header("X-Kind", "teapot").respond_header("content-type", "text/html"))
        .route(
            RouteBuilder::new("old")
                .host("old.example.com")
                .redirect("https://new.example.com{path}{query}", 308),
        )
        .route(RouteBuilder::new("rest").split([("api", 95), ("canary", 5)]))
        .upstream(api_upstream())
        .upstream(canary)
        .upstream(UpstreamBuilder::new("unused").backends(["http://127.0.0.1:1"]))
        .forwarded(true)
        .via("edge")
        .admin("0.0.0.0:9900")
        .admin_token("0123456789abcdef-secret")
        .access_log("/var/log/evenkeel.log", "{client} \"{method} {target}\" {status}")
        .workers(4)
        .lanes(Lanes::Pingora);
    let file = include_str!("golden/ok/full.yaml").replace("${TOKEN}", "0123456789abcdef-secret");
    assert_eq!(of_builder(builder), of_file(&file));
}

#[test]
fn there_is_no_access_log_unless_asked_for() {
    let builder = ConfigBuilder::new().listen_address("127.0.0.1:1").upstream_servers(["http://a"]);
    assert!(builder.clone().build().model().unwrap().access_log.is_none());
    assert!(builder.access_log("stdout", "json").build().model().unwrap().access_log.is_some());
}

#[test]
fn what_is_wrong_is_carried_along_and_said_without_a_place() {
    let builder = ConfigBuilder::new()
        .listen_address("localhost:8080")
        .upstream_servers(["127.0.0.1:8081"])
        .upstream(UpstreamBuilder::new("a").weighted_backend("http://a", 70_000))
        .upstream(UpstreamBuilder::new("a").backend("http://a").connect_timeout(Duration::ZERO))
        .route(RouteBuilder::new("r").upstream("b"))
        .drain_timeout(Duration::MAX)
        .admin_token("x");
    assert_eq!(
        errors(builder),
        [
            "error: admin.token: has no effect without the admin address",
            "error: listeners[0].address: \"localhost:8080\" is not an address to listen on: expected ip:port, [ipv6]:port or \
             unix:/path\n  did you mean \"127.0.0.1:8080\"?",
            "error: upstreams.default.backends[0]: \"127.0.0.1:8081\" is not a URL: expected http://host:port or \
             https://host:port\n  did you mean \"http://127.0.0.1:8081\"?",
            "error: upstreams.a.backends[0]: \"70000\" has too large a weight: expected at most 65535",
            "error: upstreams.a: is given twice",
            "error: upstreams.a.timeouts.connect: \"0s\" is too short: expected at least 1ms",
            "error: routes[0].upstream: \"b\" is not an upstream: expected default, a or a",
            "error: shutdown.drain_timeout: \"18446744073709551615999999us\" is too long: expected at most 365d",
        ]
    );
    assert_eq!(errors(ConfigBuilder::new()).len(), 2);
    assert_eq!(
        errors(ConfigBuilder::new().load_balancing_algorithm(LoadBalancingAlgorithm::Random)).len(),
        3
    );
}

#[test]
fn a_users_own_algorithm_reaches_the_model() {
    let own = LoadBalancingAlgorithm::Custom(LoadBalancingAlgorithm::Random.balancer());
    let config = ConfigBuilder::new()
        .listen_address("127.0.0.1:1")
        .upstream_servers(["http://a"])
        .load_balancing_algorithm(own.clone())
        .build();
    assert_eq!(config.model().unwrap().upstreams[0].algorithm, own);
}

#[test]
fn parameters_that_are_no_data_are_refused() {
    let params = std::collections::BTreeMap::from([((1, 2), 3)]);
    let route = RouteBuilder::new("r").respond(200, "").filter("mine", params);
    let found = errors(ConfigBuilder::new().listen_address("127.0.0.1:1").route(route));
    assert!(
        found[0].contains("routes[0].filters[0].mine: has parameters that cannot be written as JSON"),
        "{found:?}"
    );
}
