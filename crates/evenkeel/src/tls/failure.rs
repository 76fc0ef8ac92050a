//! Why a handshake failed, as few kinds of causes that can be counted.

use std::io;

use rustls::{AlertDescription, CertificateError, Error, InvalidMessage, PeerIncompatible};

/// Why a handshake with a client failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HandshakeFailure {
    /// It was not complete in time.
    Timeout,
    /// The client closed the connection.
    ClientDisconnected,
    /// What came is not TLS.
    NotTls,
    /// The client supports no version of TLS that is enabled.
    Version,
    /// The client supports no cipher suite, group or kind of signature that is enabled.
    Cipher,
    /// The client speaks no protocol within TLS that is offered (ALPN).
    Protocol,
    /// There is no certificate for the name that the client asked for.
    ServerName,
    /// The client does not accept the certificate.
    CertificateRejected,
    /// The client's certificate is missing or is not accepted.
    ClientCertificate,
    /// Anything else, such as a malformed message.
    Other,
}

/// Why a backend is no good peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PeerFailure {
    /// Its certificate is not accepted, and why.
    Certificate(String),
    /// It does not speak TLS.
    NotTls,
    /// Anything else.
    Other(String),
}

// === impl HandshakeFailure ===

impl HandshakeFailure {
    /// What metrics call it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Timeout => "timeout",
            Self::ClientDisconnected => "client_left",
            Self::NotTls => "not_tls",
            Self::Version => "version",
            Self::Cipher => "cipher",
            Self::Protocol => "protocol",
            Self::ServerName => "server_name",
            Self::CertificateRejected => "certificate_rejected",
            Self::ClientCertificate => "client_certificate",
            Self::Other => "other",
        }
    }
}

impl From<&Error> for HandshakeFailure {
    fn from(error: &Error) -> Self {
        match error {
            Error::InvalidMessage(
                InvalidMessage::InvalidContentType
                | InvalidMessage::UnknownProtocolVersion
                | InvalidMessage::MessageTooLarge
                | InvalidMessage::InvalidEmptyPayload,
            ) => Self::NotTls,
            Error::PeerIncompatible(
                PeerIncompatible::SupportedVersionsExtensionRequired
                | PeerIncompatible::Tls12NotOffered
                | PeerIncompatible::Tls12NotOfferedOrEnabled
                | PeerIncompatible::Tls13RequiredForQuic
                | PeerIncompatible::ServerDoesNotSupportTls12Or13,
            ) => Self::Version,
            Error::PeerIncompatible(_) => Self::Cipher,
            Error::NoApplicationProtocol => Self::Protocol,
            Error::InvalidCertificate(_)
            | Error::NoCertificatesPresented
            | Error::InvalidCertRevocationList(_) => Self::ClientCertificate,
            // The only error of this kind in a handshake of a server is that no certificate was found.
            Error::General(_) => Self::ServerName,
            Error::AlertReceived(alert) => match alert {
                AlertDescription::BadCertificate
                | AlertDescription::UnsupportedCertificate
                | AlertDescription::CertificateRevoked
                | AlertDescription::CertificateExpired
                | AlertDescription::CertificateUnknown
                | AlertDescription::UnknownCA
                | AlertDescription::AccessDenied
                | AlertDescription::BadCertificateStatusResponse => Self::CertificateRejected,
                AlertDescription::ProtocolVersion => Self::Version,
                AlertDescription::UserCanceled | AlertDescription::CloseNotify => Self::ClientDisconnected,
                _ => Self::Other,
            },
            _ => Self::Other,
        }
    }
}

// === impl PeerFailure ===

impl PeerFailure {
    /// What an error of a connection means, if it is about TLS.
    pub fn of(error: &io::Error) -> Option<Self> {
        let error = error.get_ref()?.downcast_ref::<Error>()?;
        Some(match error {
            Error::InvalidCertificate(error) => Self::Certificate(match error {
                CertificateError::NotValidForNameContext { expected, .. } => {
                    format!("not valid for name {}", expected.to_str())
                }
                CertificateError::NotValidForName => "not valid for the name".to_owned(),
                CertificateError::BadSignature => "not signed by the authority it names".to_owned(),
                CertificateError::UnknownIssuer => "unknown authority".to_owned(),
                CertificateError::Expired | CertificateError::ExpiredContext { .. } => "expired".to_owned(),
                CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                    "not valid yet".to_owned()
                }
                other => other.to_string(),
            }),
            Error::InvalidMessage(_) => Self::NotTls,
            Error::AlertReceived(alert) => Self::Other(format!("alert {alert:?}")),
            other => Self::Other(other.to_string()),
        })
    }
}
