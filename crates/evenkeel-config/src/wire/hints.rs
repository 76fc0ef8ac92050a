//! What messages say of keys that are none, of those that come later, and of values of the wrong shape.

use crate::yaml::Hints;

/// What else messages say about keys.
pub(crate) const HINTS: Hints = Hints {
    later: &[
        "acme",
        "h2c",
        "proxy_protocol",
        "tracing",
        "rate_limits",
        "http2",
        "http3",
        "compression",
        "mirror",
    ],
    instead: &[
        ("rate_limit", FILTER),
        ("compress", FILTER),
        ("cors", FILTER),
        ("error_pages", FILTER),
        ("basic_auth", FILTER),
        ("jwt", FILTER),
        ("forward_auth", FILTER),
        ("maintenance", FILTER),
        ("gzip", "unknown key: write filters: [{ compress: {} }] in a route"),
        ("auth_request", "unknown key: write filters: [{ forward_auth: { url: … } }] in a route"),
        ("max_attempts", "unknown key: write retry: { attempts: … }"),
        ("round_robin", NAME_ALONE),
        ("random", NAME_ALONE),
        ("least_connections", NAME_ALONE),
        ("power_of_two_choices", NAME_ALONE),
        ("source_ip_hash", NAME_ALONE),
        ("algorithm.name", "unknown key: write the name alone, like algorithm: round_robin"),
        ("servers", BACKENDS),
        ("server", BACKENDS),
        ("endpoints", BACKENDS),
        ("targets", BACKENDS),
        ("nodes", BACKENDS),
        (
            "proxy_pass",
            "unknown key: write upstream: NAME, and the URL among the backends of the upstream NAME",
        ),
        ("keepalive", "unknown key: write pool: { max_idle: 32 }"),
        ("load_balancing", ALGORITHM),
        ("balance", ALGORITHM),
        ("policy", ALGORITHM),
        ("lb_policy", ALGORITHM),
        ("strategy", ALGORITHM),
        ("log", "unknown key: write access_log: { to: /var/log/evenkeel/access.log }"),
        ("logging", "unknown key: write access_log: { to: /var/log/evenkeel/access.log }"),
        ("access_log.level", "unknown key: the access log has no levels: remove it"),
        ("websocket", "unknown key: WebSockets are passed on without it: remove it"),
        ("websockets", "unknown key: WebSockets are passed on without it: remove it"),
        (
            "weight",
            "unknown key: a backend has a weight: write backends: [{ url: \"http://10.0.0.1:8080\", weight: 3 }]",
        ),
        (
            "evenkeel",
            "unknown key: the keys of a configuration are at the top level: remove this line and indent less",
        ),
        ("listeners.path", "unknown key: a listener has no path: write match: { path_prefix: … } in a route"),
        ("health_check.path", "unknown key: write health_check: { http: { path: /healthz } }"),
        ("match.client", CLIENTS),
        ("match.client_ip", CLIENTS),
        ("match.source_ip", CLIENTS),
        ("match.listener", "unknown key: write listeners: [NAME], with the name of a listener"),
        ("match.entrypoint", "unknown key: write listeners: [NAME], with the name of a listener"),
        ("match.server_name", "unknown key: write hosts: [api.example.com], or sni for the name in TLS"),
        ("ssl", CERTIFICATES),
        ("ssl_certificate", CERTIFICATES),
        ("ssl_certificate_key", CERTIFICATES),
        ("listeners.cert", CERTIFICATES),
        ("listeners.key", CERTIFICATES),
        ("listeners.certificates", CERTIFICATES),
        ("tls.cert", CERTIFICATES),
        ("tls.key", CERTIFICATES),
        ("match.host", "unknown key: write hosts: [api.example.com]"),
        ("match.method", "unknown key: write methods: [GET]"),
    ],
    required: &[
        ("address", "ip:port: write address: 127.0.0.1:8080"),
        ("backends", "a list of URLs: write backends: [\"http://127.0.0.1:8081\"]"),
        ("name", "a name for logs and metrics: write name: …"),
        ("cert", "the PEM file of a certificate: write cert: cert.pem"),
        ("certificates.key", "the PEM file of the private key: write key: key.pem"),
        ("key", "what is looked up: write key: \"{host}\""),
        ("certificates", "a list: write certificates: [{ cert: cert.pem, key: key.pem }]"),
        ("to", "a location, like https://{host}{path}{query}"),
        ("url", "a URL, like http://127.0.0.1:8081"),
    ],
    shapes: &[
        ("listeners", "[{ address: 127.0.0.1:8080 }]"),
        ("backends", "[\"http://127.0.0.1:8081\"]"),
        ("routes", "[{ name: all, upstream: web }]"),
        ("upstreams", "{ web: { backends: [\"http://127.0.0.1:8081\"] } }"),
        ("admin", "{ address: VALUE }"),
        ("shutdown", "{ drain_timeout: VALUE }"),
        ("redirect", "{ to: \"VALUE\" }"),
        ("respond", "{ status: VALUE }"),
        ("sticky", "{ cookie: evenkeel }"),
        ("timeouts", "{ first_byte: VALUE }"),
        ("queue", "{ max_pending: VALUE }"),
        ("pool", "{ max_idle: VALUE }"),
        ("retry", "{ attempts: VALUE }"),
        ("circuit_breaker", "{ max_in_flight: VALUE }"),
        ("hedge", "{ after: VALUE }"),
        ("discovery", "{ file: { path: VALUE } }"),
        ("file", "{ path: VALUE }"),
        ("dns", "{ name: VALUE }"),
        ("consul", "{ service: VALUE }"),
        ("match", "{ path_prefix: VALUE }"),
        ("client_auth", "{ mode: required, ca: clients.pem }"),
        ("listeners.tls", "{ certificates: [{ cert: cert.pem, key: key.pem }] }"),
        ("tls", "{ ca: VALUE }"),
        ("tcp", "{ upstream: VALUE }"),
        ("split", "{ web: 90, canary: 10 }"),
        ("headers", "{ x-name: \"*\" }"),
        ("query", "{ name: \"*\" }"),
        ("not", "[{ path_prefix: /admin }]"),
        ("any_of", "[{ path_prefix: /a }, { path_prefix: /b }]"),
        ("syslog", "{ facility: local0 }"),
    ],
};

/// What is said of the name of a filter in another place.
const FILTER: &str = "unknown key: this is a filter: write it in the filters of a route";

/// What is said of an algorithm without parameters that is given some.
const NAME_ALONE: &str = "takes no parameters: write the name alone, like algorithm: round_robin";

const CERTIFICATES: &str =
    "unknown key: write tls: { certificates: [{ cert: cert.pem, key: key.pem }] } in the listener";

const CLIENTS: &str = "unknown key: write clients: [10.0.0.0/8]";

const BACKENDS: &str = "unknown key: write backends: [\"http://10.0.0.1:8080\"]";

const ALGORITHM: &str = "unknown key: write algorithm: round_robin, or the name of another one";
