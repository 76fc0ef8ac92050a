//! The error log stays quiet whatever strangers send; the access log has one record for each that said anything.

#![cfg(test)]

use super::program::Program;
use super::support::samples::Samples;
use super::support::{Client, PATIENCE, eventually, get, in_time};

/// The start of a TLS 1.2 handshake, as a scanner sends it to every port.
const CLIENT_HELLO: &[u8] = b"\x16\x03\x01\x00\x3d\x01\x00\x00\x39\x03\x03\x0a\x00\x0d\x0a\x01\x02\x03\x04\x05\x06\x07\x08\
    \x09\x10\x11\x12\x13\x14\x15\x16\x17\x18\x19\x20\x21\x22\x23\x24\x25\x26\x27\x28\x00\x00\x04\x13\x01\x13\x02\x01\x00\
    \x00\x0c\x00\x0a\x00\x04\x00\x02\x00\x1d\x00\x17";

/// What a scanner says. Nothing is a connection that is closed without a word.
fn probes() -> Vec<Vec<u8>> {
    let mut probes: Vec<Vec<u8>> = [
        b"".as_slice(),
        CLIENT_HELLO,
        b"SSH-2.0-scanner\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET / HT",
        b"GET / HTTP/1.1\r\nHost: test\r\n",
        b"GET / HTTP/1.1\r\nHost: test\r\nContent-Length: x\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"GET /\xff\xfe HTTP/1.1\r\nHost: test\r\n\r\n",
        b"\0\0\0\0\0\0\0\0",
        b"CONNECT mail.test:25 HTTP/1.1\r\nHost: mail.test:25\r\n\r\n",
        b"\x03\x00\x00\x13\x0e\xe0\x00\x00\x00\x00\x00\x01\x00\x08\x00\x03\x00\x00\x00",
        b"*1\r\n$4\r\nPING\r\n",
        b"HELP\r\n\r\n",
        b"\r\nHELP\r\n\r\nand more unsolicited bytes",
    ]
    .into_iter()
    .map(<[u8]>::to_vec)
    .collect();
    let mut state = 0x5ca_u32;
    for length in 1..40 {
        let mut noise: Vec<u8> = (0..length)
            .map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                state.to_be_bytes()[0]
            })
            .collect();
        // Empty lines alone are no request.
        noise[0] |= 0x80;
        probes.push(noise);
    }
    probes
}

#[tokio::test]
async fn a_scanner_fills_no_error_log_and_leaves_one_record_each() {
    // All that the program and everything in it has to say from `warn` up, Pingora included.
    let program = Program::run_logging(
        "listeners: [{ address: 127.0.0.1:0, http: { header_timeout: 400ms, idle_timeout: 400ms } }]\n\
         upstreams: { web: { backends: [\"http://127.0.0.1:1\"] } }\n",
        "warn",
    )
    .await;
    let before = program.said().len();
    let mut with_bytes = 0;
    let mut waiting = Vec::new();
    for round in 0..8 {
        for probe in probes() {
            let mut client = Client::connect(program.address()).await;
            client.send(&probe).await;
            with_bytes += usize::from(!probe.is_empty());
            // Some leave at once, some wait for what will come.
            if round % 2 == 0 {
                waiting.push(client);
            }
        }
    }
    for mut client in waiting {
        client.closed().await;
    }
    in_time("records", eventually(PATIENCE, || program.records().len() >= with_bytes)).await;
    assert_eq!(get(program.address(), "/").await.status(), 502);
    eventually(PATIENCE, || program.records().len() > with_bytes).await;
    let records = program.records();
    assert_eq!(records.len(), with_bytes + 1, "records, and connections on which bytes came");
    let samples = Samples::parse(&get(program.admin(), "/metrics").await.text());
    assert_eq!(samples.requests(), records.len());

    // The error log was asked for warnings and errors only. Those of the last request are about the backend; every other line
    // is one too many.
    let said = program.kill().await;
    let about_strangers: Vec<&String> =
        said[before..].iter().filter(|line| !line.ends_with("connection refused")).collect();
    assert_eq!(about_strangers, [""; 0], "the error log");
    assert_eq!(said[before..].len(), 2, "one line about the backend, one about the request: {said:#?}");
}
