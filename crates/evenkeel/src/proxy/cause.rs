//! What Pingora's errors mean: it tells some of it only in chains of causes, and some only in its texts.

use std::io;

use evenkeel_http::http1::malformed;
use evenkeel_http::message::Malformed;
use pingora_core::{Error, ErrorType};

use crate::dial::DialError;
use crate::upstream::{Break, BrokenConnection, ConnectError, Failure, TlsError};

/// Why connecting failed.
pub(super) fn connecting(error: &Error) -> Failure {
    if let Some(dialed) = cause::<DialError>(error) {
        return Failure::from(dialed);
    }
    match error.etype() {
        ErrorType::ConnectTimedout if is_handshake_timeout(error) => Failure::TlsTimeout,
        // Without the system's error it is Pingora's timer, which is ours.
        ErrorType::ConnectTimedout if cause::<io::Error>(error).is_none() => Failure::ConnectTimeout,
        ErrorType::TLSHandshakeTimedout => Failure::TlsTimeout,
        ErrorType::TLSHandshakeFailure | ErrorType::InvalidCert => Failure::Tls(handshake(error)),
        ErrorType::ConnectRefused => Failure::Connect(ConnectError::Refused),
        _ => Failure::Connect(cause(error).map_or(ConnectError::Other, ConnectError::of)),
    }
}

/// What is wrong with a response, if that is why passing it on failed.
pub(super) fn response(error: &Error) -> Option<Malformed> {
    match error.etype() {
        ErrorType::InvalidHTTPHeader | ErrorType::H1Error => Some(match cause::<httparse::Error>(error) {
            Some(error) => malformed(*error),
            None if says(error, "Response header larger") => Malformed::HeadTooLarge,
            None if says(error, "ontent-") => Malformed::ContentLength,
            None => Malformed::Head,
        }),
        ErrorType::Custom("InvalidChunk") => Some(Malformed::Chunk),
        ErrorType::Custom("InvalidTrailerEnd") => Some(Malformed::Trailer),
        _ => None,
    }
}

/// How a backend's connection broke.
pub(super) fn broken(error: &Error) -> Break {
    match (error.etype(), cause(error)) {
        (_, Some(error)) => Break::of(error),
        (ErrorType::ConnectionClosed | ErrorType::Custom("PrematureBodyEnd"), None) => Break::Closed,
        _ => Break::Other,
    }
}

/// A connection that broke before the head of a response.
pub(super) fn broke(error: &Error, reused: bool, repeatable: bool) -> BrokenConnection {
    let (silent, unsent) = (!has_begun_to_answer(error), is_of_request_head(error));
    BrokenConnection { how: broken(error), reused, silent, unsent, repeatable }
}

/// Whether some bytes of a response arrived before its head was broken off. Pingora reports this only in its error
/// texts.
fn has_begun_to_answer(error: &Error) -> bool {
    let context = error.context.as_ref().map(|context| context.as_str()).unwrap_or_default();
    context.split_once("bytes already read: ").is_some_and(|(_, read)| !read.starts_with('0'))
}

/// Whether a backend that speaks HTTP/2 said that it has not processed the request, or will not on this connection (RFC 9113,
/// 8.7): it can be sent again, whatever its method. Pingora finds that out, and marks its error.
pub(super) fn is_unprocessed(error: &Error) -> bool {
    matches!(error.etype(), ErrorType::H2Error | ErrorType::H2Downgrade) && error.retry()
}

/// Whether the request's head could not be written in full, so that the backend cannot have worked on the request. Pingora writes
/// the body after that, and reports only in its texts what it was writing.
fn is_of_request_head(error: &Error) -> bool {
    let context = error.context.as_ref().map(|context| context.as_str()).unwrap_or_default();
    *error.etype() == ErrorType::WriteError
        && matches!(context, "while writing request headers" | "flushing request header")
}

/// What the listener found wrong with a request's body.
pub(super) fn request_body(error: &Error) -> Option<Malformed> {
    let error = cause::<io::Error>(error)?;
    error.get_ref()?.downcast_ref().copied()
}

/// Why the handshake failed. Pingora passes on the text of rustls, and nothing else.
fn handshake(error: &Error) -> TlsError {
    const TEXTS: [(&str, TlsError); 12] = [
        ("certificate expired", TlsError::Expired),
        ("not valid for name", TlsError::WrongName),
        ("NotValidForName", TlsError::WrongName),
        ("not valid yet", TlsError::NotYetValid),
        ("NotValidYet", TlsError::NotYetValid),
        ("Expired", TlsError::Expired),
        ("UnknownIssuer", TlsError::UnknownAuthority),
        ("BadSignature", TlsError::BadSignature),
        ("invalid peer certificate", TlsError::Certificate),
        ("fatal alert", TlsError::Alert),
        ("corrupt message", TlsError::NotTls),
        ("eof", TlsError::Closed),
    ];
    let found = TEXTS.into_iter().find(|(text, _)| says(error, text));
    found.map_or(TlsError::Other, |(_, meaning)| meaning)
}

/// Whether TCP was connected, and the TLS handshake took too long. Pingora tells only in its texts: that for TCP begins with
/// the word timeout, those for TLS and for both together do not (and [`peer`](super::peer) sees that both together are later
/// than TCP).
fn is_handshake_timeout(error: &Error) -> bool {
    error.context.as_ref().is_some_and(|context| context.as_str().starts_with("connecting to server"))
}

/// Whether an error's text, or that of what caused it, has these words.
fn says(error: &Error, words: &str) -> bool {
    error.to_string().contains(words)
}

/// The cause of this type, however deep.
fn cause<T: std::error::Error + 'static>(error: &Error) -> Option<&T> {
    let mut next: Option<&(dyn std::error::Error + 'static)> =
        error.cause.as_deref().map(|cause| cause as &(dyn std::error::Error + 'static));
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref::<T>() {
            return Some(found);
        }
        next = match error.downcast_ref::<Box<Error>>() {
            Some(pingora) => {
                pingora.cause.as_deref().map(|cause| cause as &(dyn std::error::Error + 'static))
            }
            None => error.source(),
        };
    }
    None
}

#[cfg(test)]
mod tests {
    use std::io;

    use pingora_core::protocols::http::v1::client::HttpSession;
    use pingora_http::RequestHeader;
    use tokio::net::{TcpListener, TcpStream};

    use super::{Break, broken, is_of_request_head};

    /// By Pingora's own session, so that another text in a later version is noticed.
    #[tokio::test]
    async fn a_head_that_cannot_be_written_is_recognised() -> io::Result<()> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let near = TcpStream::connect(listener.local_addr()?).await?;
        let (far, _) = listener.accept().await?;
        far.set_zero_linger()?;
        drop(far);
        near.readable().await?;
        // The reset has arrived: what is written now goes nowhere.
        let mut session = HttpSession::new(Box::new(pingora_core::protocols::l4::stream::Stream::from(near)));
        let request = RequestHeader::build("POST", b"/", None).expect("a request");
        let error =
            session.write_request_header(Box::new(request)).await.expect_err("the connection is reset");
        assert!(is_of_request_head(&error), "{error}");
        assert_ne!(broken(&error), Break::Other);
        Ok(())
    }
}
