//! One TLS connection, as bytes: what came from the peer and what goes to it, in memory that is held only while there are any.
//!
//! rustls is used without its own buffers: an idle connection holds its keys and nothing else.

use std::fmt;
use std::io;

use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{ConnectionState, EncodeError, EncryptError, UnbufferedStatus};
use rustls::{Error, HandshakeKind, ProtocolVersion};

use super::client_certificate::ClientCertificate;
use super::failure::HandshakeFailure;
use super::server::{Chosen, Received, ServerTls, TlsError, take_chosen};
use evenkeel_http::http1::Buffer;

/// One TLS connection with a client.
pub struct Session {
    tls: UnbufferedServerConnection,
    /// Encrypted bytes from the peer that were not processed: at most a part of a record between two calls.
    incoming: Buffer,
    /// Encrypted bytes to the peer that were not sent.
    outgoing: Buffer,
    /// Whether the peer has said that nothing more comes.
    peer_closed: bool,
    /// Whether it has failed: the library must not be called again.
    failed: bool,
    /// What the client asked for, until it is reported.
    chosen: Option<Box<Chosen>>,
}

/// What the two ends of a connection have agreed on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Negotiated {
    /// The version: `TLSv1.2` or `TLSv1.3`.
    pub version: &'static str,
    /// The cipher suite, by its name.
    pub cipher: &'static str,
    /// The name that the client asked for, if any (SNI).
    pub server_name: Option<Box<str>>,
    /// The protocol within TLS, if any (ALPN).
    pub protocol: Option<Box<[u8]>>,
    /// Whether an earlier session was resumed.
    pub resumed: bool,
    /// The client's certificate, if it has shown one.
    pub client: Option<Box<ClientCertificate>>,
    /// The listener's certificate, if it has several.
    received: Option<Received>,
}

/// The result of one step.
enum Step {
    /// There is more to do.
    Again,
    /// More must come from the peer first.
    Done,
}

/// The largest piece of a record, and what a record adds to it at most, with room to spare.
const FRAGMENT: usize = 16 * 1024;
const OVERHEAD: usize = 64;
/// No flight of a handshake is larger, nor a record.
const MOST_INCOMING: usize = 128 * 1024;

// === impl Session ===

impl Session {
    /// A connection that a client has just opened.
    ///
    /// # Errors
    /// When the library cannot begin.
    pub fn accept(tls: &ServerTls) -> Result<Self, TlsError> {
        let tls = UnbufferedServerConnection::new(tls.config.load_full())
            .map_err(|error| TlsError::Library(error.to_string()))?;
        let (incoming, outgoing) = (Buffer::default(), Buffer::default());
        Ok(Self { tls, incoming, outgoing, peer_closed: false, failed: false, chosen: None })
    }

    /// Where encrypted bytes from the peer are put; see [`Session::advance`].
    pub fn incoming(&mut self) -> &mut Buffer {
        &mut self.incoming
    }

    /// The encrypted bytes that the peer must get.
    pub fn outgoing(&mut self) -> &mut Buffer {
        &mut self.outgoing
    }

    /// How many encrypted bytes the peer must get.
    pub fn unsent(&self) -> usize {
        self.outgoing.len()
    }

    /// Whether the handshake is still to be completed.
    pub fn is_handshaking(&self) -> bool {
        self.tls.is_handshaking()
    }

    /// Whether the peer has said that nothing more comes.
    pub fn is_peer_closed(&self) -> bool {
        self.peer_closed
    }

    /// Processes what has come from the peer: goes on with the handshake, or decrypts to `plain`.
    ///
    /// # Errors
    /// Why the handshake failed, or why what came is not valid. The peer must still get what is to be sent: it says so.
    pub fn advance(&mut self, plain: &mut Buffer) -> Result<(), HandshakeFailure> {
        if self.failed {
            return Err(HandshakeFailure::Other);
        }
        let handshaking = self.is_handshaking();
        let step = self.advance_all(plain);
        if handshaking && let Some(chosen) = take_chosen() {
            self.chosen = Some(Box::new(chosen));
        }
        step.map_err(|error| {
            if !matches!(error, Error::AlertReceived(_)) {
                self.collect_alert();
            }
            self.failed = true;
            log::debug!("TLS: {error}");
            HandshakeFailure::from(&error)
        })
    }

    fn advance_all(&mut self, plain: &mut Buffer) -> Result<(), Error> {
        let Self { tls, incoming, outgoing, peer_closed, .. } = self;
        loop {
            let UnbufferedStatus { mut discard, state } = tls.process_tls_records(incoming.filled_mut());
            let step = match state? {
                ConnectionState::ReadTraffic(mut traffic) => {
                    while let Some(record) = traffic.next_record() {
                        let record = record?;
                        discard += record.discard;
                        plain.push(record.payload);
                    }
                    Step::Again
                }
                state => advance_one(state, outgoing, peer_closed)?,
            };
            incoming.consume(discard);
            match step {
                Step::Again => {}
                Step::Done if incoming.len() > MOST_INCOMING => {
                    return Err(Error::PeerMisbehaved(
                        rustls::PeerMisbehaved::MessageInterleavedWithHandshakeMessage,
                    ));
                }
                Step::Done => return Ok(()),
            }
        }
    }

    /// Encrypts bytes for the peer.
    ///
    /// # Errors
    /// When the connection is at its end.
    pub fn encrypt(&mut self, plain: &[u8]) -> io::Result<()> {
        if self.failed {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let most = plain.len() + (plain.len() / FRAGMENT + 1) * OVERHEAD;
        self.write(most, |traffic, room| traffic.encrypt(plain, room))
    }

    /// Says to the peer that nothing more comes.
    pub fn close(&mut self) {
        if !self.is_handshaking() && !self.failed {
            // One that is at its end needs no notice.
            let _ = self.write(OVERHEAD, |traffic, room| traffic.queue_close_notify(room));
        }
    }

    fn write(
        &mut self,
        mut most: usize,
        mut write: impl FnMut(
            &mut rustls::unbuffered::WriteTraffic<'_, rustls::server::ServerConnectionData>,
            &mut [u8],
        ) -> Result<usize, EncryptError>,
    ) -> io::Result<()> {
        let Self { tls, incoming, outgoing, peer_closed, failed, .. } = self;
        loop {
            let UnbufferedStatus { discard, state } = tls.process_tls_records(incoming.filled_mut());
            let state = match state {
                Ok(state) => state,
                Err(error) => {
                    *failed = true;
                    return Err(io::Error::new(io::ErrorKind::InvalidData, error));
                }
            };
            if let ConnectionState::WriteTraffic(mut traffic) = state {
                match write(&mut traffic, outgoing.reserve(most)) {
                    Ok(count) => {
                        outgoing.add(count);
                        return Ok(());
                    }
                    Err(EncryptError::InsufficientSize(needed)) => most = needed.required_size,
                    Err(error) => return Err(io::Error::other(error)),
                }
                continue;
            }
            match advance_one(state, outgoing, peer_closed) {
                Ok(Step::Again) => incoming.consume(discard),
                Ok(Step::Done) | Err(_) => return Err(io::ErrorKind::BrokenPipe.into()),
            }
        }
    }

    /// Puts what the library has to say about an error where it is sent from. It says one thing at most.
    fn collect_alert(&mut self) {
        let Self { tls, incoming, outgoing, peer_closed, .. } = self;
        if let UnbufferedStatus { state: Ok(state @ ConnectionState::EncodeTlsData(_)), .. } =
            tls.process_tls_records(incoming.filled_mut())
        {
            let _ = advance_one(state, outgoing, peer_closed);
        }
    }

    /// What was agreed on, once the handshake is complete.
    pub fn agreed(&mut self) -> Negotiated {
        let version = match self.tls.protocol_version() {
            Some(ProtocolVersion::TLSv1_3) => "TLSv1.3",
            _ => "TLSv1.2",
        };
        let cipher = self.tls.negotiated_cipher_suite().map_or("", |suite| cipher_name(suite.suite()));
        let (server_name, received) = match self.chosen.take() {
            Some(chosen) => (chosen.server_name, chosen.received),
            None => (None, None),
        };
        Negotiated {
            version,
            cipher,
            server_name,
            received,
            protocol: self.tls.alpn_protocol().map(Into::into),
            resumed: self.tls.handshake_kind() == Some(HandshakeKind::Resumed),
            client: self
                .tls
                .peer_certificates()
                .and_then(|chain| ClientCertificate::of(chain.first()?))
                .map(Box::new),
        }
    }
}

impl Negotiated {
    /// Whether a request for this host should have come on another connection (RFC 9110, 7.4): the client asked for a name, and
    /// received a certificate that is not for this host, while another one of the listener is.
    pub fn is_misdirected(&self, host: &str) -> bool {
        self.server_name.is_some()
            && self.received.as_ref().is_some_and(|received| received.is_misdirected(host))
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("peer_closed", &self.peer_closed).finish_non_exhaustive()
    }
}

/// Handles a state that is not about data.
fn advance_one<D>(
    state: ConnectionState<'_, '_, D>,
    outgoing: &mut Buffer,
    peer_closed: &mut bool,
) -> Result<Step, Error> {
    match state {
        ConnectionState::EncodeTlsData(mut data) => {
            let mut most = 4 * 1024;
            loop {
                match data.encode(outgoing.reserve(most)) {
                    Ok(count) => {
                        outgoing.add(count);
                        return Ok(Step::Again);
                    }
                    Err(EncodeError::InsufficientSize(needed)) => most = needed.required_size,
                    Err(EncodeError::AlreadyEncoded) => return Ok(Step::Again),
                }
            }
        }
        ConnectionState::TransmitTlsData(data) => {
            // What is encoded leaves with everything else that is to be sent, in order.
            data.done();
            Ok(Step::Again)
        }
        ConnectionState::PeerClosed => {
            *peer_closed = true;
            Ok(Step::Again)
        }
        ConnectionState::Closed => {
            *peer_closed = true;
            Ok(Step::Done)
        }
        ConnectionState::BlockedHandshake | ConnectionState::WriteTraffic(_) => Ok(Step::Done),
        // Early data is never accepted, and data was read before.
        _ => Err(Error::HandshakeNotComplete),
    }
}

/// The name of a cipher suite as IANA registers it.
fn cipher_name(suite: rustls::CipherSuite) -> &'static str {
    suite.as_str().map_or("", |name| match name {
        "TLS13_AES_256_GCM_SHA384" => "TLS_AES_256_GCM_SHA384",
        "TLS13_AES_128_GCM_SHA256" => "TLS_AES_128_GCM_SHA256",
        "TLS13_CHACHA20_POLY1305_SHA256" => "TLS_CHACHA20_POLY1305_SHA256",
        name => name,
    })
}
