//! Keys of filters that look at credentials, or that tell browsers something.

use serde_json::{Value, json};

use super::row::{Row, Seen, row};
use super::world::{World, received, status_of};

pub(super) fn rows() -> Vec<Row> {
    let mut rows = cors();
    rows.extend(security_headers());
    rows.extend(basic_auth());
    rows
}

/// Looks at a field of the response to a request of a page of `https://a.test`.
fn of_page(
    request: &'static str,
    field: &'static str,
) -> impl for<'a> Fn(&'a World) -> Seen<'a> + Send + Sync {
    move |world| {
        Box::pin(async move {
            let response = world
                .send(&format!(
                    "{request} / HTTP/1.1\r\nHost: test\r\nOrigin: https://a.test\r\nAccess-Control-Request-Method: GET\r\n\r\n"
                ))
                .await;
            response.header(field).unwrap_or("none").to_owned()
        })
    }
}

fn cors() -> Vec<Row> {
    let cors = |key, from: Value, to: Value, request, field| {
        row(key, from, to, of_page(request, field))
            .with("routes[].filters[].cors.allow_origins", json!(["https://a.test"]))
    };
    vec![
        row(
            "routes[].filters[].cors.allow_origins",
            json!(["https://b.test"]),
            json!(["https://a.test"]),
            of_page("GET", "access-control-allow-origin"),
        )
        .shows("none", "https://a.test"),
        cors(
            "routes[].filters[].cors.allow_methods",
            json!(["GET"]),
            json!(["PUT"]),
            "OPTIONS",
            "access-control-allow-methods",
        )
        .shows("GET", "PUT"),
        cors(
            "routes[].filters[].cors.allow_headers",
            json!(["x-a"]),
            json!(["x-b"]),
            "OPTIONS",
            "access-control-allow-headers",
        )
        .shows("x-a", "x-b"),
        cors(
            "routes[].filters[].cors.expose_headers",
            json!(["x-a"]),
            json!(["x-b"]),
            "GET",
            "access-control-expose-headers",
        )
        .shows("x-a", "x-b"),
        cors(
            "routes[].filters[].cors.allow_credentials",
            json!(false),
            json!(true),
            "GET",
            "access-control-allow-credentials",
        )
        .shows("none", "true"),
        cors(
            "routes[].filters[].cors.max_age",
            json!("5s"),
            json!("1m"),
            "OPTIONS",
            "access-control-max-age",
        )
        .shows("5", "60"),
    ]
}

fn security_headers() -> Vec<Row> {
    let header = |key, field, from: &'static str, to: &'static str| {
        row(key, from, to, received("/", field)).shows(if from == "off" { "none" } else { from }, to)
    };
    vec![
        header(
            "routes[].filters[].security_headers.content_type_options",
            "x-content-type-options",
            "off",
            "nosniff",
        ),
        header("routes[].filters[].security_headers.frame_options", "x-frame-options", "off", "DENY"),
        header("routes[].filters[].security_headers.referrer_policy", "referrer-policy", "off", "origin"),
        header(
            "routes[].filters[].security_headers.content_security_policy",
            "content-security-policy",
            "off",
            "none",
        ),
        header(
            "routes[].filters[].security_headers.permissions_policy",
            "permissions-policy",
            "off",
            "camera=()",
        ),
        header(
            "routes[].filters[].security_headers.cross_origin_opener_policy",
            "cross-origin-opener-policy",
            "off",
            "same-origin",
        ),
        header(
            "routes[].filters[].security_headers.cross_origin_embedder_policy",
            "cross-origin-embedder-policy",
            "off",
            "require-corp",
        ),
        header(
            "routes[].filters[].security_headers.cross_origin_resource_policy",
            "cross-origin-resource-policy",
            "off",
            "same-site",
        ),
        row(
            "routes[].filters[].security_headers.overwrite",
            false,
            true,
            received("/framed", "x-frame-options"),
        )
        .shows("DENY", "SAMEORIGIN"),
    ]
}

/// What ann gets with her password.
const ANN: &str =
    "GET / HTTP/1.1\r\nHost: test\r\nX-Sent: yes\r\nAuthorization: Basic YW5uOnNlY3JldA==\r\n\r\n";
const HASH: &str = "$5$rounds=1000$evenkeel$g2ovHQpqC3JxjW7IjvE./Uc0h4XwuBjTwFOH4GsPVc3";

/// Looks at a field of the request that a backend gets of ann.
fn of_ann(field: &'static str) -> impl for<'a> Fn(&'a World) -> Seen<'a> + Send + Sync {
    move |world| {
        Box::pin(async move {
            assert_eq!(world.send(ANN).await.status(), 200);
            world.seen().header(field).unwrap_or("none").to_owned()
        })
    }
}

fn basic_auth() -> Vec<Row> {
    let file = |row: Row| row.with("routes[].filters[].basic_auth.file", "OWN-FOLDER/users");
    vec![
        row("routes[].filters[].basic_auth.file", "OWN-FOLDER/others", "OWN-FOLDER/users", status_of(ANN))
            .shows("401", "200"),
        row(
            "routes[].filters[].basic_auth.users",
            json!({ "bob": HASH }),
            json!({ "ann": HASH }),
            status_of(ANN),
        )
        .shows("401", "200"),
        file(row("routes[].filters[].basic_auth.realm", "a", "b", received("/", "www-authenticate")))
            .shows("Basic realm=\"a\", charset=\"UTF-8\"", "Basic realm=\"b\", charset=\"UTF-8\""),
        file(row("routes[].filters[].basic_auth.user_header", "x-other", "x-sent", of_ann("x-sent")))
            .shows("yes", "ann"),
        file(row("routes[].filters[].basic_auth.forward_credentials", true, false, of_ann("authorization")))
            .shows("Basic YW5uOnNlY3JldA==", "none"),
    ]
}
