//! Keys of TLS on listeners.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio_rustls::rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use tokio_rustls::rustls::crypto::aws_lc_rs::default_provider;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::rustls::{
    ClientConnection, DigitallySignedStruct, Error, SignatureScheme, SupportedProtocolVersion, version,
};

use super::row::{Row, Seen, rejected, row};
use super::world::World;
use crate::support::{Client, TlsClient};

const BOTH: &[&SupportedProtocolVersion] = &[&version::TLS13, &version::TLS12];
const OLD: &[&SupportedProtocolVersion] = &[&version::TLS12];
const NEW: &[&SupportedProtocolVersion] = &[&version::TLS13];

pub(super) fn rows() -> Vec<Row> {
    let chacha = json!(["TLS_CHACHA20_POLY1305_SHA256", "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256"]);
    let suite = |tls: &ClientConnection| format!("{:?}", tls.negotiated_cipher_suite().expect("TLS").suite());
    let group =
        |tls: &ClientConnection| format!("{:?}", tls.negotiated_key_exchange_group().expect("TLS").name());
    let mut rows = vec![
        row("listeners[].tls.certificates[].cert", "CERT-ONE", "CERT-TWO", handshake("two.test", BOTH))
            .shows("the certificate is not accepted", "complete"),
        rejected(
            "listeners[].tls.certificates[].key",
            "KEY-ONE",
            "KEY-OTHER",
            "does not belong to the certificate",
        ),
        row("listeners[].tls.certificates[].ocsp", Value::Null, "OCSP-FILE", |world| {
            Box::pin(async move {
                let stapled = Stapled::default();
                let client = client(world, BOTH).with(|config| {
                    config.dangerous().set_certificate_verifier(Arc::new(stapled.clone()));
                });
                client.handshake(world.balancer.address(), "one.test").await.expect("TLS");
                format!("{:02x?}", stapled.0.lock().expect("a lock"))
            })
        })
        .shows("[]", "[30, 03, 0a, 01, 00]"),
        row("listeners[].tls.min_version", "1.2", "1.3", handshake("one.test", OLD))
            .shows("complete", "alert"),
        row("listeners[].tls.max_version", "1.3", "1.2", handshake("one.test", NEW))
            .shows("complete", "alert"),
        row("listeners[].tls.cipher_suites", Value::Null, chacha, agreed(suite))
            .shows("TLS13_AES_256_GCM_SHA384", "TLS13_CHACHA20_POLY1305_SHA256"),
        row("listeners[].tls.groups", Value::Null, json!(["secp256r1"]), agreed(group))
            .shows("X25519", "secp256r1"),
        row("listeners[].tls.strict_sni", false, true, handshake("three.test", BOTH))
            .shows("the certificate is not accepted", "alert"),
    ];
    rows.extend(rows_of_connections());
    let certificates = json!([{ "cert": "CERT-ONE", "key": "KEY-ONE" }]);
    let given = |row: Row| match row.key() {
        "listeners[].tls.certificates[].cert" => row.with("listeners[].tls.certificates[].key", "KEY-ONE"),
        "listeners[].tls.certificates[].key" => row.with("listeners[].tls.certificates[].cert", "CERT-ONE"),
        _ => row.with("listeners[].tls.certificates", certificates.clone()),
    };
    rows.into_iter().map(given).collect()
}

fn rows_of_connections() -> Vec<Row> {
    vec![
        row("listeners[].tls.http2", true, false, |world| {
            Box::pin(async move {
                let client = client(world, BOTH).with(|config| {
                    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
                });
                let stream = client.handshake(world.balancer.address(), "one.test").await.expect("TLS");
                let protocol = stream.get_ref().1.alpn_protocol().expect("a protocol");
                String::from_utf8_lossy(protocol).into_owned()
            })
        })
        .shows("h2", "http/1.1"),
        row("listeners[].tls.client_auth.mode", "off", "required", request())
            .with("listeners[].tls.client_auth.ca", "CA-FILE")
            .shows("200", "rejected"),
        row("listeners[].tls.client_auth.ca", "CA-FILE", "CERT-TWO", request_showing("one"))
            .shows("200", "rejected"),
        row("listeners[].tls.client_auth.crl", Value::Null, "CRL-OF-ONE", request_showing("one"))
            .with("listeners[].tls.client_auth.ca", "CA-FILE")
            .shows("200", "rejected"),
        rejected("listeners[].tls.ticket_keys", Value::Null, "CERT-ONE", "has no key in line 1"),
        row("listeners[].tls.handshake_timeout", "1h", "100ms", |world| {
            Box::pin(async move {
                let stream = TcpStream::connect(world.balancer.address()).await.expect("a connection");
                assert_eq!(Client::over(Box::new(stream)).closed().await, b"");
                "closed".to_owned()
            })
        })
        .shows_then("closed"),
        row("listeners[].http.hsts", Value::Null, "365d", |world| {
            Box::pin(async move {
                let mut client = client(world, BOTH).connect(world.balancer.address(), "one.test").await;
                let response = client.get("/").await;
                response.header("strict-transport-security").unwrap_or_default().to_owned()
            })
        })
        .shows("", "max-age=31536000"),
        row("listeners[].tls.max_handshakes", 1000, 1, |world| Box::pin(second_handshake(world)))
            .shows("complete", "waits"),
    ]
}

fn client(world: &World, versions: &[&'static SupportedProtocolVersion]) -> TlsClient {
    TlsClient::trusting_of(&world.folder.path().join("authority.pem"), versions)
}

/// Accepts every certificate, and keeps the OCSP response that came with it.
#[derive(Clone, Debug, Default)]
struct Stapled(Arc<Mutex<Vec<u8>>>);

impl ServerCertVerifier for Stapled {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        ocsp_response: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        *self.0.lock().expect("a lock") = ocsp_response.to_vec();
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        default_provider().signature_verification_algorithms.supported_schemes()
    }
}

/// How a handshake ends that asks for this name.
fn handshake(
    name: &'static str,
    versions: &'static [&'static SupportedProtocolVersion],
) -> impl for<'a> Fn(&'a World) -> Seen<'a> + Send + Sync + 'static {
    move |world| {
        Box::pin(async move {
            match client(world, versions).handshake(world.balancer.address(), name).await {
                Ok(_) => "complete".to_owned(),
                Err(error) if error.to_string().contains("alert") => "alert".to_owned(),
                Err(error) if error.to_string().contains("certificate") => {
                    "the certificate is not accepted".to_owned()
                }
                Err(error) => error.to_string(),
            }
        })
    }
}

/// What a handshake agrees on.
fn agreed(
    look: impl Fn(&ClientConnection) -> String + Copy + Send + Sync + 'static,
) -> impl for<'a> Fn(&'a World) -> Seen<'a> + Send + Sync + 'static {
    move |world| {
        Box::pin(async move {
            let stream = client(world, BOTH).handshake(world.balancer.address(), "one.test").await;
            look(stream.expect("a handshake").get_ref().1)
        })
    }
}

/// What a request gets without a certificate.
fn request() -> impl for<'a> Fn(&'a World) -> Seen<'a> + Send + Sync + 'static {
    |world| Box::pin(async move { requested(world, client(world, BOTH)).await })
}

/// What a request gets with this certificate.
fn request_showing(name: &'static str) -> impl for<'a> Fn(&'a World) -> Seen<'a> + Send + Sync + 'static {
    move |world| {
        Box::pin(
            async move { requested(world, client(world, BOTH).showing(world.folder.path(), name)).await },
        )
    }
}

async fn requested(world: &World, client: TlsClient) -> String {
    let Ok(stream) = client.handshake(world.balancer.address(), "one.test").await else {
        return "rejected".to_owned();
    };
    let mut client = Client::over(Box::new(stream));
    // In TLS 1.3 a client learns only now that its certificate is not accepted.
    let sent = client.try_send("GET / HTTP/1.1\r\nHost: test\r\n\r\n").await;
    match (sent, client.try_response_to("GET").await) {
        (Ok(()), Ok(response)) => response.status().to_string(),
        _ => "rejected".to_owned(),
    }
}

/// What becomes of a handshake while another one has begun.
async fn second_handshake(world: &World) -> String {
    let address = world.balancer.address();
    let mut slow = TcpStream::connect(address).await.expect("a connection");
    slow.write_all(&[22, 3, 1, 2, 0, 1]).await.expect("taken");
    let client = client(world, BOTH);
    // The worker takes up connections in their order.
    match tokio::time::timeout(Duration::from_millis(500), client.handshake(address, "one.test")).await {
        Ok(handshake) => handshake.map_or_else(|error| error.to_string(), |_| "complete".to_owned()),
        Err(_) => "waits".to_owned(),
    }
}
