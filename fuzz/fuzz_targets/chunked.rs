//! Chunked bodies: read alike however the bytes come, by the reader of the lean lane and by what grants it to
//! Pingora's; what is written is read as the same.
#![no_main]

use evenkeel_http::http1::{Body, Buffer, Chunked};
use evenkeel::fuzzing::Grant;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Some((&step, bytes)) = input.split_first() else { return };
    let whole = read(bytes, bytes.len().max(1));
    let stepped = read(bytes, usize::from(step).max(1));
    assert_eq!(whole, stepped, "how the bytes come makes a difference");

    let mut grant = Grant::Chunked { head: 0, body: Box::default(), broken: None };
    let mut granted = 0;
    for piece in bytes.chunks(usize::from(step).max(1)) {
        let count = grant.take(piece);
        granted += count;
        if count < piece.len() {
            break;
        }
    }
    let Some(Read { data, end, text }) = whole else {
        assert!(grant.broken().is_some(), "what is no body is granted");
        return;
    };
    assert!(grant.broken().is_none(), "a body is not granted");
    assert_eq!(granted, end.unwrap_or(bytes.len()), "another end is granted");
    assert_eq!(grant.is_spent(), end.is_some());
    let Some(_) = end else { return };

    let again = read(&text, usize::from(step).max(1)).expect("what is written is a body");
    assert_eq!((again.data, again.end), (data, Some(text.len())));
});

#[derive(Debug, PartialEq)]
struct Read {
    data: Vec<u8>,
    /// Where the body ends, if it does.
    end: Option<usize>,
    /// The body as it is written on, once it has ended. Its chunks depend on how the bytes came.
    text: Vec<u8>,
}

/// `None` when the bytes are no chunked body.
fn read(bytes: &[u8], step: usize) -> Option<Read> {
    let mut chunked = Chunked::default();
    let (mut data, mut read) = (Vec::new(), 0);
    'pieces: for piece in bytes.chunks(step) {
        let mut rest = piece;
        while !rest.is_empty() {
            if chunked.is_done() {
                break 'pieces;
            }
            let found = chunked.next(rest).ok()?;
            assert!(found.skip + found.data <= rest.len());
            assert!(found.skip + found.data > 0 || chunked.is_done(), "no progress");
            data.extend_from_slice(&rest[found.skip..][..found.data]);
            read += found.skip + found.data;
            rest = &rest[found.skip + found.data..];
        }
    }
    if !chunked.is_done() {
        return Some(Read { data, end: None, text: Vec::new() });
    }
    let mut out = Buffer::default();
    let mut body = Body::Chunked(Chunked::default());
    let (taken, written) = body.copy(bytes, true, usize::MAX, &mut out).ok()?;
    assert_eq!((taken, written), (read, data.len()));
    Some(Read { data, end: Some(read), text: out.filled().to_vec() })
}
