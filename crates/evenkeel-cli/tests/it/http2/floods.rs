//! Floods: what a hostile client sends to make work or to hold memory. Each ends with its connection, and other clients are
//! served meanwhile.

use std::time::{Duration, Instant};

use super::{balancer, configured};
use crate::support::http2::{END_HEADERS, END_STREAM, Frames, Http2, frame, get_head, kind, literal};
use crate::support::{Backend, PATIENCE, Reply};

const WINDOW: u32 = 65_535;

/// Sends these frames again and again. The connection must end, and another client be served while it lasts.
async fn ends(what: &str, http: &str, most: u32, frames: impl FnMut(u32) -> Vec<u8> + Send + 'static) {
    let backend = Backend::saying("fine").await;
    let balancer = balancer(&backend, http).await;
    let hostile = Frames::connect(balancer.address(), WINDOW).await;
    let flood = tokio::spawn(hostile.flood(most, frames));
    let mut other = Http2::connect(balancer.address()).await;
    for _ in 0..20 {
        assert_eq!(other.get("/").await.text(), "fine", "{what}");
    }
    let begun = Instant::now();
    assert!(tokio::time::timeout(PATIENCE, flood).await.expect(what).expect("no panic"), "{what}");
    assert!(begun.elapsed() < PATIENCE, "{what}");
    assert_eq!(other.get("/").await.text(), "fine", "{what}");
}

fn head(stream: u32, flags: u8) -> Vec<u8> {
    frame(kind::HEADERS, END_HEADERS | flags, stream, &get_head())
}

#[tokio::test]
async fn of_resets() {
    ends("CVE-2023-44487", "", u32::MAX, |round| {
        let stream = 2 * round + 1;
        let mut bytes = head(stream, END_STREAM);
        bytes.extend(frame(kind::RST_STREAM, 0, stream, &8_u32.to_be_bytes()));
        bytes
    })
    .await;
}

#[tokio::test]
async fn of_resets_that_we_are_made_to_send() {
    ends("CVE-2025-8671", "", u32::MAX, |round| {
        let stream = 2 * round + 1;
        let mut bytes = head(stream, 0);
        // No window grows by nothing (RFC 9113, 6.9).
        bytes.extend(frame(kind::WINDOW_UPDATE, 0, stream, &0_u32.to_be_bytes()));
        bytes
    })
    .await;
}

#[tokio::test]
async fn of_continuations() {
    ends("CONTINUATION", "", u32::MAX, |round| match round {
        0 => frame(kind::HEADERS, END_STREAM, 1, &get_head()),
        _ => frame(kind::CONTINUATION, 0, 1, &literal(0, "")[..0]),
    })
    .await;
}

#[tokio::test]
async fn of_empty_data() {
    ends("empty DATA", "", u32::MAX, |round| match round {
        0 => head(1, 0),
        _ => frame(kind::DATA, 0, 1, &[]),
    })
    .await;
}

#[tokio::test]
async fn of_malformed_requests() {
    ends("no host", "", u32::MAX, |round| {
        frame(kind::HEADERS, END_HEADERS | END_STREAM, 2 * round + 1, &[0x82, 0x86, 0x84])
    })
    .await;
}

/// They are neither requests nor part of one: a connection that has only those is idle.
#[tokio::test]
async fn of_frames_without_a_request() {
    let ping = |_| frame(kind::PING, 0, 0, &[0; 8]).repeat(10);
    ends("PING", "idle_timeout: 500ms", u32::MAX, ping).await;
    let settings = |_| frame(kind::SETTINGS, 0, 0, &[]).repeat(10);
    ends("SETTINGS", "idle_timeout: 500ms", u32::MAX, settings).await;
    let priority = |_| frame(kind::PRIORITY, 0, 1, &[0, 0, 0, 0, 16]).repeat(10);
    ends("PRIORITY", "idle_timeout: 500ms", u32::MAX, priority).await;
}

/// Many streams whose responses wait for a window that never opens.
#[tokio::test]
async fn of_streams_with_a_window_of_nothing() {
    let backend = Backend::start(|_| {
        Reply::new().read_body().send("HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n").fill(1_000_000)
    })
    .await;
    let balancer = balancer(&backend, "send_timeout: 500ms").await;
    let mut hostile = Frames::connect(balancer.address(), 0).await;
    for stream in 0..100 {
        assert!(hostile.send(&head(2 * stream + 1, END_STREAM)).await);
    }
    hostile.closed().await;
    let records = balancer.log_lines(100).await;
    assert!(records.iter().all(|record| record["end"] == "timeout=send"), "{records:#?}");
}

/// CVE-2026-49975: a field that is sent once and named by one byte after that, so that a few bytes become many fields.
#[tokio::test]
async fn of_fields_that_are_only_named() {
    let backend = Backend::saying("fine").await;
    let balancer = configured(&backend.url(), "", "").await;
    for (what, value) in [("long", "x".repeat(100)), ("short", String::new())] {
        let mut hostile = Frames::connect(balancer.address(), WINDOW).await;
        // Remembered as the first of the dynamic table: `cookie` is 32 in the static one.
        let mut block = get_head();
        block.extend([0x40 | 32, value.len() as u8]);
        block.extend(value.as_bytes());
        block.extend([0x80 | 62; 12_000]);
        assert!(hostile.send(&frame(kind::HEADERS, END_HEADERS | END_STREAM, 1, &block)).await, "{what}");
        let begun = Instant::now();
        let mut rejected = false;
        while let Some(next) = hostile.next().await {
            // 431 or the end of the stream or of the connection: no request.
            rejected |= matches!(next.kind, kind::HEADERS | kind::RST_STREAM | kind::GOAWAY);
            if rejected {
                break;
            }
        }
        assert!(rejected, "{what}");
        assert!(begun.elapsed() < Duration::from_secs(5), "{what}");
    }
    assert_eq!(backend.count(), 0);
    let mut other = Http2::connect(balancer.address()).await;
    assert_eq!(other.get("/").await.text(), "fine");
}
