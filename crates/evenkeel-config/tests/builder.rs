//! The builder gives the model that a file with the same content gives, and says the same when something is wrong.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::num::NonZeroU32;
use std::time::Duration;

use evenkeel_config::{
    BackendBuilder, Config, ConfigBuilder, DiscoveryBuilder, HealthCheckBuilder, HedgeAfter, Http2, Lanes,
    ListenerBuilder, PathForm, ProxyProtocolMode, RetryBuilder, RouteBuilder, SpoofedHeaders,
    UpstreamBuilder,
};
use evenkeel_core::balance::{
    ConsistentHashOptions, HashKey, HashOptions, LoadBalancingAlgorithm, PeakEwmaOptions, PrequalOptions,
};
use evenkeel_core::health::{OutlierOptions, Start, WhenAllDown};
use evenkeel_core::limit::{CircuitBreakerOptions, QueueOptions, Rate, RetryBudgetOptions};
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
        .proxy_protocol(ProxyProtocolMode::Required, ["10.0.0.0/8", "192.0.2.1"])
        .proxy_protocol_timeout(Duration::from_secs(2))
        .header_timeout(Duration::from_secs(5))
        .idle_timeout(Duration::from_secs(120))
        .body_timeout(Duration::from_secs(20))
        .send_timeout(Duration::from_millis(500))
        .min_body_rate(std::num::NonZeroU64::new(500).unwrap())
        .min_send_rate(std::num::NonZeroU64::new(1024).unwrap())
        .max_header_size(64 << 10)
        .max_header_fields(200)
        .h2c(true)
        .max_body_size(1 << 30)
        .max_connection_rate_per_client(
            Rate::new(NonZeroU32::new(20).unwrap(), Duration::from_secs(1)).unwrap(),
        )
        .use_filter("everyone")
        .filter("deny", json!(["192.0.2.0/24"]))
}

fn api_upstream() -> UpstreamBuilder {
    UpstreamBuilder::new("api")
        .http2(Http2::Auto)
        .algorithm(LoadBalancingAlgorithm::LeastConnections)
        .backend("https://10.0.0.1:8443")
        .weighted_backend("https://[2001:db8::2]", 2)
        .weighted_backend("https://api.internal", 0)
        .retry(RetryBuilder::new().attempts(2))
        .connect_timeout(Duration::from_secs(1))
        .first_byte_timeout(Duration::from_secs(10))
        .idle_timeout(Duration::from_secs(30))
        .upgraded_idle_timeout(Duration::from_secs(7200))
        .pool_idle_timeout(Duration::from_secs(10))
        .tls_ca("internal.pem")
        .tls_server_name("api.internal")
        .danger_accept_invalid_certificates(false)
}

fn canary_upstream() -> UpstreamBuilder {
    UpstreamBuilder::new("canary")
        .algorithm(LoadBalancingAlgorithm::PowerOfTwoChoices)
        .pool_max_idle(16)
        .backend("http+unix:/run/canary.sock")
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
    let builder = ConfigBuilder::new()
        .trusted_proxies(["10.0.0.0/8", "192.168.1.1", "fd00::/8"])
        .pre_stop(Duration::from_secs(5))
        .drain_timeout(Duration::from_secs(90))
        .max_memory(2 << 30)
        .max_descriptors(0.9)
        .shared_filter("everyone", "rate_limit", json!({ "rate": "1000/s" }))
        .listener(listener())
        .listener(
            ListenerBuilder::new("[::1]:0")
                .max_body_size(None)
                .path_matching(PathForm::Normal)
                .forward_path(PathForm::Normal)
                .spoofed_headers(SpoofedHeaders::Reject),
        )
        .listener(
            ListenerBuilder::new("unix:/run/evenkeel.sock")
                .unix_socket_mode(0o660)
                .unix_socket_user("www-data")
                .unix_socket_group("33"),
        )
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
        .upstream(canary_upstream())
        .upstream(UpstreamBuilder::new("unused").backends(["http://127.0.0.1:1"]))
        .forwarded(true)
        .via("edge")
        .admin("0.0.0.0:9900")
        .admin_token("0123456789abcdef-secret")
        .admin_read_only_token_file("/run/monitoring-token")
        .access_log("/var/log/evenkeel.log", "{client} \"{method} {target}\" {status}")
        .workers(4)
        .lanes(Lanes::Pingora);
    let file = include_str!("golden/ok/full.yaml").replace("${TOKEN}", "0123456789abcdef-secret");
    assert_eq!(of_builder(builder), of_file(&file));
}

#[test]
fn every_source_of_backends_that_a_file_reaches_the_builder_reaches() {
    let upstream = |name: &str, discovery| UpstreamBuilder::new(name).discovery(discovery);
    let second = Duration::from_secs(1);
    let file = DiscoveryBuilder::file("/etc/evenkeel/web.yaml")
        .allow_empty(true)
        .debounce(second)
        .start_timeout(Duration::ZERO);
    let dns = DiscoveryBuilder::dns("api.internal", 8443)
        .server("10.0.0.53")
        .server("[::1]:5353")
        .tcp(true)
        .ttl(2 * second, 300 * second)
        .tls(true);
    let http = DiscoveryBuilder::http("http://sd.internal:8000/v1/web?dc=eu")
        .interval(second)
        .token("0123456789abcdef-secret");
    let consul = DiscoveryBuilder::consul("web")
        .tag("v1")
        .datacenter("eu")
        .passing_only(false)
        .token_file("/run/secrets/consul");
    let names = ["file", "dns", "srv", "http", "consul", "custom"];
    let builder = ConfigBuilder::new()
        .listen_address("127.0.0.1:8080")
        .upstream(upstream("file", file))
        .upstream(upstream("dns", dns).backend("http://10.0.0.1:80").tls_server_name("api.internal"))
        .upstream(upstream("srv", DiscoveryBuilder::dns_srv("_http._tcp.api.internal.")))
        .upstream(upstream("http", http))
        .upstream(upstream("consul", consul))
        .upstream(upstream("custom", DiscoveryBuilder::custom("mine")))
        .route(RouteBuilder::new("all").split(names.map(|name| (name, 1))));
    let file = include_str!("golden/ok/discovery.yaml").replace("${TOKEN}", "0123456789abcdef-secret");
    assert_eq!(of_builder(builder), of_file(&file));
}

fn resilient_upstream() -> UpstreamBuilder {
    let second = BackendBuilder::new("http://10.0.0.2:8443").zone("eu-2").weight(2);
    let retry = RetryBuilder::new()
        .attempts(4)
        .on(["connect_failure", "reset", "timeout", "502", "503"])
        .per_try_timeout(Duration::from_secs(2))
        .backoff(Duration::from_millis(50))
        .budget(RetryBudgetOptions { ratio: 0.1, min_per_second: 3 })
        .max_body(1 << 20);
    let check = HealthCheckBuilder::http("/healthz?deep=1")
        .method("POST")
        .host("health.internal:8443")
        .header("X-Probe", "1")
        .header("accept", "text/plain")
        .expect_status(["200-299", "304", "401"])
        .expect_body("OK")
        .interval(Duration::from_secs(1))
        .timeout(Duration::from_millis(500))
        .rise(1)
        .fall(5)
        .start(Start::Down)
        .port(8081);
    let outliers = OutlierOptions {
        consecutive_failures: None,
        failure_rate: Some(0.5),
        latency_factor: Some(3.0),
        min_requests: 20,
        interval: Duration::from_secs(10),
        ejection_time: Duration::from_secs(600),
        max_ejection_time: Duration::from_secs(3600),
        max_ejected: 0.333,
    };
    let peak_ewma = PeakEwmaOptions { decay: Duration::from_secs(2), retest: Duration::from_secs(10) };
    UpstreamBuilder::new("api")
        .algorithm(LoadBalancingAlgorithm::PeakEwma(peak_ewma))
        .backend(BackendBuilder::new("http://10.0.0.1:8443").zone("eu-1"))
        .backend(second)
        .backup_backend("http://10.0.0.3:8443")
        .backend(BackendBuilder::new("http://10.0.0.4:8443").priority(7))
        .retry(retry)
        .hedge(HedgeAfter::Quantile(0.999), 0.005)
        .health_check(check)
        .outlier_detection(outliers)
        .slow_start(Duration::from_secs(30))
        .sticky("backend")
        .sticky_ttl(Duration::from_secs(3600))
        .sticky_secret("0123456789abcdef-secret")
        .max_connections(100)
        .queue(QueueOptions { max_pending: 10, timeout: Duration::from_millis(250) })
        .circuit_breaker(CircuitBreakerOptions { max_in_flight: Some(1000), max_retries: Some(50) })
        .when_all_down(WhenAllDown::Refuse)
        .panic_threshold(0.3)
        .deadline_header("X-Deadline-Ms")
}

/// The upstreams other than [`resilient_upstream`].
fn other_upstreams() -> Vec<UpstreamBuilder> {
    let key = HashKey::Header("X-User".into());
    let ring = ConsistentHashOptions { key, bounded_load: Some(1.25) };
    let prequal = PrequalOptions {
        probe_path: Some("/load?v=1".into()),
        probes_per_request: 0.5,
        pool_size: 32,
        max_age: Duration::from_millis(500),
        hot_quantile: 0.75,
    };
    let long = OutlierOptions {
        ejection_time: Duration::from_secs(600),
        max_ejection_time: Duration::from_secs(600),
        ..OutlierOptions::default()
    };
    vec![
        UpstreamBuilder::new("cache")
            .algorithm(LoadBalancingAlgorithm::ConsistentHash(ring))
            .backend("http://10.0.1.1")
            .hedge(HedgeAfter::Time(Duration::from_millis(50)), 0.05)
            .health_check(HealthCheckBuilder::grpc("cache.Cache").interval(Duration::from_secs(1)))
            .outlier_detection(None)
            .max_connections(1),
        UpstreamBuilder::new("table")
            .algorithm(LoadBalancingAlgorithm::Maglev(HashOptions { key: HashKey::Cookie("session".into()) }))
            .backend("https://10.0.2.1")
            .health_check(HealthCheckBuilder::tls())
            .tls_server_name("table.internal")
            .outlier_detection(long)
            .sticky("evenkeel"),
        UpstreamBuilder::new("probed")
            .algorithm(LoadBalancingAlgorithm::Prequal(prequal))
            .backend("http://10.0.3.1")
            .health_check(HealthCheckBuilder::custom("mine"))
            .circuit_breaker(CircuitBreakerOptions { max_in_flight: None, max_retries: Some(5) }),
        UpstreamBuilder::new("words")
            .algorithm(LoadBalancingAlgorithm::Rendezvous(HashOptions {
                key: HashKey::Query("user id".into()),
            }))
            .backend("http+unix:/run/words.sock")
            .health_check(HealthCheckBuilder::tcp())
            .hedge(HedgeAfter::Quantile(0.95), 0.05),
        UpstreamBuilder::new("bare")
            .algorithm(LoadBalancingAlgorithm::SourceIpHash)
            .backend("http://10.0.4.1")
            .health_check(HealthCheckBuilder::tcp()),
    ]
}

#[test]
fn what_keeps_upstreams_well_the_builder_reaches_as_a_file_does() {
    let retry = RetryBuilder::new()
        .attempts(5)
        .on(["timeout"])
        .per_try_timeout(Duration::from_millis(1500))
        .backoff(Duration::from_millis(20))
        .wait_for_backend(Duration::from_secs(2))
        .max_body(0);
    let writes = RouteBuilder::new("writes")
        .method("POST")
        .method("PUT")
        .upstream("api")
        .timeout(Duration::from_secs(10))
        .retry(retry)
        .explain(true);
    let names = ["api", "cache", "table", "probed", "words", "bare"];
    let mut builder = ConfigBuilder::new()
        .listen_address("127.0.0.1:8080")
        .zone("eu-1")
        .route(writes)
        .route(RouteBuilder::new("all").split(names.map(|name| (name, 1))))
        .upstream(resilient_upstream());
    for upstream in other_upstreams() {
        builder = builder.upstream(upstream);
    }
    let file = include_str!("golden/ok/resilience.yaml").replace("${TOKEN}", "0123456789abcdef-secret");
    assert_eq!(of_builder(builder), of_file(&file));
}

#[test]
fn the_one_upstream_of_a_short_program_can_be_checked() {
    let builder = ConfigBuilder::new()
        .listen_address("127.0.0.1:8080")
        .upstream_servers(["http://127.0.0.1:8081"])
        .health_check(HealthCheckBuilder::http("/healthz"));
    let file = "
        listeners: [{ address: 127.0.0.1:8080 }]
        upstreams:
          default: { backends: ['http://127.0.0.1:8081'], health_check: { http: { path: /healthz } } }
    ";
    assert_eq!(of_builder(builder), of_file(file));
}

/// What is wrong with an upstream of one backend.
fn errors_with(change: impl FnOnce(UpstreamBuilder) -> UpstreamBuilder) -> Vec<String> {
    let upstream = change(UpstreamBuilder::new("a").backend("http://a"));
    errors(ConfigBuilder::new().listen_address("127.0.0.1:1").upstream(upstream))
}

fn errors_with_outliers(change: impl FnOnce(&mut OutlierOptions)) -> Vec<String> {
    let mut options = OutlierOptions::default();
    change(&mut options);
    errors_with(|a| a.outlier_detection(options))
}

/// Asserts that the messages are as many as expected, and that each holds its part.
fn assert_said(found: &[String], expected: &[&str]) {
    assert_eq!(found.len(), expected.len(), "{found:#?}");
    for (found, expected) in found.iter().zip(expected) {
        assert!(found.contains(expected), "{expected} is not in {found}");
    }
}

/// What text cannot say the builder can, and must not pass either.
#[test]
fn algorithms_that_only_the_builder_can_get_wrong_are_refused_as_well() {
    let ring = ConsistentHashOptions { key: HashKey::Header("".into()), bounded_load: Some(f64::NAN) };
    assert_said(
        &errors_with(|a| a.algorithm(LoadBalancingAlgorithm::ConsistentHash(ring))),
        &["consistent_hash.key: \"header \" has no name", "bounded_load: \"NaN\" is out of range"],
    );
    let prequal = PrequalOptions { hot_quantile: 84.0, max_age: Duration::MAX, ..PrequalOptions::default() };
    assert_said(
        &errors_with(|a| a.algorithm(LoadBalancingAlgorithm::Prequal(prequal))),
        &["max_age: \"18446744073709551615999999us\" is too long", "hot_quantile: \"8400%\" is out of range"],
    );
}

#[test]
fn shares_that_only_the_builder_can_get_wrong_are_refused_as_well() {
    for (found, expected) in [
        (
            errors_with(|a| a.panic_threshold(30.0)),
            "panic_threshold: \"3000%\" is out of range: expected 0% to 100%",
        ),
        (errors_with(|a| a.panic_threshold(f64::NAN)), "a.panic_threshold: \"NaN%\" is out of range"),
        (
            errors_with(|a| a.hedge(HedgeAfter::Quantile(95.0), 0.05)),
            "hedge.after: \"p9500\" is out of range",
        ),
        (
            errors_with(|a| a.hedge(HedgeAfter::Quantile(0.95), -0.5)),
            "hedge.budget: \"-50.00%\" is out of range",
        ),
        (errors_with_outliers(|o| o.max_ejected = f64::INFINITY), "max_ejected: \"inf%\" is out of range"),
        (errors_with_outliers(|o| o.failure_rate = Some(2.0)), "failure_rate: \"200%\" is out of range"),
    ] {
        assert_said(&found, &[expected]);
    }
}

#[test]
fn parts_that_do_not_fit_together_are_refused_from_the_builder_as_well() {
    let second = BackendBuilder::new("http://b").backup(true).priority(0);
    for (found, expected) in [
        (errors_with(|a| a.hedge(HedgeAfter::Time(Duration::ZERO), 0.5)), "hedge.after: \"0s\" is too short"),
        (errors_with_outliers(|o| o.max_ejection_time = Duration::from_secs(1)), "\"1s\" is shorter"),
        (errors_with(|a| a.backend(second)), "backends[1].priority: cannot be combined with backup"),
        (errors_with(|a| a.queue(QueueOptions::default())), "a.queue: has no effect without max_connections"),
    ] {
        assert_said(&found, &[expected]);
    }
    assert_said(
        &errors_with(|a| a.health_check(HealthCheckBuilder::tcp().rise(0).expect_body("ok"))),
        &["health_check.http: cannot be combined with tcp", "health_check.rise: \"0\" is out of range"],
    );
    let no_servers =
        ConfigBuilder::new().listen_address("127.0.0.1:1").health_check(HealthCheckBuilder::tcp());
    assert!(errors(no_servers)[0].contains("health_check: has no effect without upstream_servers"));
}

#[test]
fn no_message_no_model_and_no_builder_shows_a_secret() {
    let upstream = |secret: &str| UpstreamBuilder::new("a").backend("http://a").sticky_secret(secret);
    let builder = |secret| ConfigBuilder::new().listen_address("127.0.0.1:1").upstream(upstream(secret));
    let found = errors(builder("hush"));
    assert!(found[0].contains("sticky.secret: is too short") && !found[0].contains("hush"), "{found:?}");
    let builder = builder("hush, a longer secret").admin("127.0.0.1:0").admin_token("hush-another-secret");
    let builder = builder.admin_read_only_token("hush-a-third-secret");
    assert!(!format!("{builder:?}").contains("hush"));
    assert!(!of_builder(builder).contains("hush"));
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
            "error: upstreams.default.backends[0]: \"127.0.0.1:8081\" is not a URL: expected http://host:port, \
             https://host:port or tcp://host:port\n  did you mean \"http://127.0.0.1:8081\"?",
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
    let own = LoadBalancingAlgorithm::Custom(LoadBalancingAlgorithm::Random.balancer().unwrap());
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
