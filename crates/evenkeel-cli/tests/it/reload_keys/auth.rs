//! Keys of `jwt` and `forward_auth`.

use serde_json::{Value, json};

use super::row::{Row, Seen, rejected, row};
use super::world::World;
use crate::support::tokens::ISSUER;

pub(super) fn rows() -> Vec<Row> {
    let mut rows = keys();
    rows.extend(jwt());
    rows.extend(forward_auth());
    rows.extend(headers_of_forward_auth());
    rows
}

/// Looks at the status of the response to a request with a token with these claims.
fn status(claims: Value) -> impl for<'a> Fn(&'a World) -> Seen<'a> + Send + Sync {
    move |world| {
        let token = ISSUER.token(&claims);
        Box::pin(async move {
            ask(world, &format!("Authorization: Bearer {token}\r\n")).await.status().to_string()
        })
    }
}

async fn ask(world: &World, fields: &str) -> crate::support::Message {
    world.send(&format!("GET / HTTP/1.1\r\nHost: test\r\nX-Sent: yes\r\n{fields}\r\n")).await
}

/// Looks at a field of the request that a backend gets with a token.
fn sent(field: &'static str) -> impl for<'a> Fn(&'a World) -> Seen<'a> + Send + Sync {
    move |world| {
        Box::pin(async move {
            let token = ISSUER.token(&json!({ "email": "ann@test" }));
            assert_eq!(ask(world, &format!("Authorization: Bearer {token}\r\n")).await.status(), 200);
            let seen = world.seen();
            let value = seen.header(field).unwrap_or("none");
            if value.starts_with("Bearer ") { "the token" } else { value }.to_owned()
        })
    }
}

fn keys() -> Vec<Row> {
    let key = |name: &'static str, from: Value, to: Value| row(name, from, to, status(json!({})));
    let url = |row: Row| row.with("routes[].filters[].jwt.keys.url", "HOLE-URL/jwks");
    vec![
        key("routes[].filters[].jwt.keys.url", json!("ONE-URL/no-jwks"), json!("ONE-URL/jwks"))
            .with("routes[].filters[].jwt.keys.timeout", "3s")
            .shows("503", "200"),
        key("routes[].filters[].jwt.keys.file", json!("OWN-FOLDER/no-jwks"), json!("OWN-FOLDER/jwks"))
            .shows("401", "200"),
        key("routes[].filters[].jwt.keys.inline", json!(NO_KEYS), json!(ISSUER.keys())).shows("401", "200"),
        rejected("routes[].filters[].jwt.keys.ca", Value::Null, "OWN-FOLDER/near", "the URL is not https")
            .with("routes[].filters[].jwt.keys.url", "ONE-URL/jwks"),
        rejected("routes[].filters[].jwt.keys.refresh", "1h", "1s", "at least 2s")
            .with("routes[].filters[].jwt.keys.url", "ONE-URL/jwks"),
        url(row("routes[].filters[].jwt.keys.timeout", "1h", "100ms", status(json!({})))).shows_then("503"),
    ]
}

/// The public key of another issuer.
pub(super) const NO_KEYS: &str = r#"{"keys":[{"kty":"EC","crv":"P-256","kid":"other","alg":"ES256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}]}"#;

fn jwt() -> Vec<Row> {
    let file = |row: Row| row.with("routes[].filters[].jwt.keys.file", "OWN-FOLDER/jwks");
    let now = jsonwebtoken::get_current_timestamp();
    let rows = [
        row("routes[].filters[].jwt.issuer", "b", "a", status(json!({ "iss": "a" }))).shows("401", "200"),
        row("routes[].filters[].jwt.audiences", json!(["b"]), json!(["a"]), status(json!({ "aud": "a" })))
            .shows("401", "200"),
        row("routes[].filters[].jwt.algorithms", json!(["RS256"]), json!(["ES256"]), status(json!({})))
            .shows("401", "200"),
        row("routes[].filters[].jwt.leeway", "1s", "10h", status(json!({ "exp": now - 1000 })))
            .shows("401", "200"),
        row(
            "routes[].filters[].jwt.from",
            json!(["cookie a"]),
            json!(["header authorization"]),
            status(json!({})),
        )
        .shows("401", "200"),
        row(
            "routes[].filters[].jwt.headers",
            json!({ "x-sent": "sub" }),
            json!({ "x-sent": "email" }),
            sent("x-sent"),
        )
        .shows("ann", "ann@test"),
        row(
            "routes[].filters[].jwt.require",
            json!({ "sub": ["bob"] }),
            json!({ "sub": ["ann"] }),
            status(json!({})),
        )
        .shows("403", "200"),
        row("routes[].filters[].jwt.allow_missing", false, true, |world| {
            Box::pin(async move { ask(world, "").await.status().to_string() })
        })
        .shows("401", "200"),
        row("routes[].filters[].jwt.forward_token", true, false, sent("authorization"))
            .shows("the token", "none"),
        row("routes[].filters[].jwt.realm", "a", "b", |world| {
            Box::pin(
                async move { ask(world, "").await.header("www-authenticate").unwrap_or("none").to_owned() },
            )
        })
        .shows("Bearer realm=\"a\"", "Bearer realm=\"b\""),
    ];
    rows.into_iter().map(file).collect()
}

/// Looks at the status.
fn plain(world: &World) -> Seen<'_> {
    Box::pin(async move { ask(world, "Cookie: a=b\r\n").await.status().to_string() })
}

fn forward_auth() -> Vec<Row> {
    vec![
        row("routes[].filters[].forward_auth.url", "TWO-URL/status/401", "TWO-URL/status/204", plain)
            .shows("401", "200"),
        rejected(
            "routes[].filters[].forward_auth.ca",
            Value::Null,
            "OWN-FOLDER/near",
            "the URL is not https",
        )
        .with("routes[].filters[].forward_auth.url", "TWO-URL/status/204"),
        row("routes[].filters[].forward_auth.timeout", "1h", "50ms", plain)
            .with("routes[].filters[].forward_auth.url", "TWO-URL/silence")
            .shows_then("503"),
        row("routes[].filters[].forward_auth.on_failure", "reject", "allow", plain)
            .with("routes[].filters[].forward_auth.url", "TWO-URL/status/500")
            .shows("503", "200"),
        row(
            "routes[].filters[].forward_auth.cache_by",
            json!(["cookie other"]),
            json!(["cookie a"]),
            questions,
        )
        .with("routes[].filters[].forward_auth.url", "TWO-URL/status/204")
        .shows("2", "1"),
        row("routes[].filters[].forward_auth.cache_for", "1us", "1h", questions)
            .with("routes[].filters[].forward_auth.url", "TWO-URL/status/204")
            .with("routes[].filters[].forward_auth.cache_by", json!(["cookie a"]))
            .shows("2", "1"),
    ]
}

/// Looks at how many requests the service receives for two of a client.
fn questions(world: &World) -> Seen<'_> {
    Box::pin(async move {
        let before = world.two.count();
        for _ in 0..2 {
            assert_eq!(ask(world, "Cookie: a=b\r\n").await.status(), 200);
        }
        (world.two.count() - before).to_string()
    })
}

fn headers_of_forward_auth() -> Vec<Row> {
    let row = |key, from: Value, to: Value, look: fn(&World) -> Seen<'_>| {
        row(key, from, to, look).with("routes[].filters[].forward_auth.url", "TWO-URL/named")
    };
    vec![
        row("routes[].filters[].forward_auth.send_headers", json!([]), json!(["x-sent"]), |world| {
            Box::pin(async move {
                ask(world, "").await;
                world.two.last_request().header("x-sent").unwrap_or("none").to_owned()
            })
        })
        .shows("none", "yes"),
        row("routes[].filters[].forward_auth.upstream_headers", json!([]), json!(["x-name"]), |world| {
            Box::pin(async move {
                ask(world, "").await;
                world.seen().header("x-name").unwrap_or("none").to_owned()
            })
        })
        .shows("none", "two"),
        row("routes[].filters[].forward_auth.client_headers", json!([]), json!(["x-name"]), |world| {
            Box::pin(async move { ask(world, "").await.all("x-name").join(" ") })
        })
        .shows("one", "one two"),
    ]
}
