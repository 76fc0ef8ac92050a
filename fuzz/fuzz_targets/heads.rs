//! Heads of requests and responses: what is accepted is written so that it is accepted again, means the same, and is
//! written the same way. How the bytes are split changes nothing.
#![no_main]

use evenkeel_core::route::RequestParts;
use evenkeel_http::http1::{AnswerStyle, Body, Buffer, Reader, with_answer, with_request};
use evenkeel_http::message::{Edits, RequestHead, ResponseHead};
use libfuzzer_sys::fuzz_target;

/// Most fields of a request.
const MOST_FIELDS: usize = 100;

/// Most fields of a response, as in the library.
const MOST_ANSWER_FIELDS: usize = 256;

/// So many fields the writer may add.
const ADDED: usize = 3;

fuzz_target!(|input: &[u8]| {
    match input.split_first() {
        Some((kind, bytes)) if kind % 2 == 0 => request(bytes),
        Some((_, bytes)) => answer(bytes),
        None => {}
    }
});

/// What a request means, and how it is written on.
fn read_request(bytes: &[u8], most_fields: usize) -> Option<(usize, Vec<String>, Vec<u8>)> {
    with_request(bytes, &mut 0, most_fields, |request| {
        let facts = request.head.facts;
        let mut out = Buffer::default();
        request.write(&Edits::default(), Reader::Backend, &mut out);
        let meaning = vec![
            request.method().to_owned(),
            request.host().to_owned(),
            request.path().to_owned(),
            format!("{:?}", request.query()),
            request.authority().to_owned(),
            format!("{:?} {}", facts.content_length, facts.chunked),
            facts.head_only.to_string(),
        ];
        (request.head.length, meaning, out.filled().to_vec())
    })
    .ok()
    .flatten()
}

fn request(bytes: &[u8]) {
    let mut searched = 0;
    let slow = (0..=bytes.len()).find_map(|end| {
        match with_request(&bytes[..end], &mut searched, MOST_FIELDS, |request| request.head.length) {
            Ok(None) => None,
            Ok(Some(length)) => Some(Some(length)),
            Err(_) => Some(None),
        }
    });
    let Some((length, meaning, text)) = read_request(bytes, MOST_FIELDS) else {
        assert!(!matches!(slow, Some(Some(length)) if length == bytes.len()), "accepted only byte by byte");
        return;
    };
    assert_eq!(slow, Some(Some(length)), "accepted only at once");
    if meaning[0] == "CONNECT" {
        // Never written on.
        return;
    }
    strict(&text);
    let (again, again_meaning, again_text) =
        read_request(&text, MOST_FIELDS + ADDED).expect("what is written is a request");
    assert_eq!(again, text.len());
    assert_eq!(meaning, again_meaning);
    assert_eq!(text, again_text);
}

fn read_answer(bytes: &[u8]) -> Option<(usize, u16, String, Vec<u8>)> {
    with_answer(bytes, &mut 0, |answer| {
        let mut out = Buffer::default();
        let body = answer.body(false);
        let style = AnswerStyle { chunked: matches!(body, Body::Chunked(_)), connection: None };
        answer.write(&Edits::default(), style, &mut out);
        let body = match body {
            Body::Length(length) => format!("length {length}"),
            Body::Chunked(_) => "chunked".to_owned(),
            Body::UntilClose => "until close".to_owned(),
        };
        (answer.length, answer.status(), body, out.filled().to_vec())
    })
    .ok()
    .flatten()
}

fn answer(bytes: &[u8]) {
    let Some((_, status, body, text)) = read_answer(bytes) else { return };
    strict(&text);
    if text.iter().filter(|byte| **byte == b'\n').count() > MOST_ANSWER_FIELDS {
        // With what was added, there may be too many.
        return;
    }
    let (length, again_status, again_body, again_text) =
        read_answer(&text).expect("what is written is a response");
    assert_eq!(length, text.len());
    assert_eq!((status, body), (again_status, again_body));
    // The framing is written again, after the other fields, and a Date that was missing is present the second time.
    let (.., third_text) = read_answer(&again_text).expect("what is written is a response");
    assert_eq!(again_text, third_text);
}

/// Lines end as they must, and there is one empty line, at the end.
fn strict(text: &[u8]) {
    let text = text.strip_suffix(b"\r\n\r\n").expect("an empty line at the end");
    assert!(!text.windows(4).any(|four| four == b"\r\n\r\n"), "an empty line within");
    for (at, &byte) in text.iter().enumerate() {
        match byte {
            b'\r' => assert_eq!(text.get(at + 1), Some(&b'\n'), "a bare carriage return"),
            b'\n' => assert_eq!(text.get(at.wrapping_sub(1)), Some(&b'\r'), "a bare line feed"),
            byte => assert!(byte >= b' ' || byte == b'\t', "a control character"),
        }
    }
}
