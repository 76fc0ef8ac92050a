//! The cryptography: aws-lc-rs, with what a configuration allows of it.

use std::sync::Arc;

use evenkeel_config::{CipherSuite, KeyExchangeGroup, TlsVersion};
use rustls::crypto::aws_lc_rs::{cipher_suite, default_provider, kx_group};
use rustls::crypto::{CryptoProvider, SupportedKxGroup};
use rustls::{SupportedCipherSuite, SupportedProtocolVersion, version};

/// Makes this the provider of everything in the process that does not bring its own: Pingora would choose another one. Does
/// nothing if the program has chosen one already.
pub fn install_provider() {
    let _ = CryptoProvider::install_default(default_provider());
}

/// All of it.
pub(super) fn whole() -> Arc<CryptoProvider> {
    Arc::new(default_provider())
}

/// What is allowed of it, groups in order of preference.
pub(super) fn limited(suites: &[CipherSuite], groups: &[KeyExchangeGroup]) -> Arc<CryptoProvider> {
    Arc::new(CryptoProvider {
        cipher_suites: suites.iter().map(|suite| suite_of(*suite)).collect(),
        kx_groups: groups.iter().map(|group| group_of(*group)).collect(),
        ..default_provider()
    })
}

/// The versions from one to another.
pub(super) fn versions(min: TlsVersion, max: TlsVersion) -> Vec<&'static SupportedProtocolVersion> {
    let all = [(TlsVersion::Tls13, &version::TLS13), (TlsVersion::Tls12, &version::TLS12)];
    all.into_iter().filter(|(version, _)| (min..=max).contains(version)).map(|(_, version)| version).collect()
}

fn suite_of(suite: CipherSuite) -> SupportedCipherSuite {
    match suite {
        CipherSuite::Aes256Gcm => cipher_suite::TLS13_AES_256_GCM_SHA384,
        CipherSuite::Aes128Gcm => cipher_suite::TLS13_AES_128_GCM_SHA256,
        CipherSuite::ChaCha20 => cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
        CipherSuite::EcdsaAes256Gcm => cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
        CipherSuite::EcdsaAes128Gcm => cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
        CipherSuite::EcdsaChaCha20 => cipher_suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
        CipherSuite::RsaAes256Gcm => cipher_suite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
        CipherSuite::RsaAes128Gcm => cipher_suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
        // The last one, and what this version of the model does not have.
        _ => cipher_suite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
    }
}

fn group_of(group: KeyExchangeGroup) -> &'static dyn SupportedKxGroup {
    match group {
        KeyExchangeGroup::X25519MlKem768 => kx_group::X25519MLKEM768,
        KeyExchangeGroup::Secp256r1 => kx_group::SECP256R1,
        KeyExchangeGroup::Secp384r1 => kx_group::SECP384R1,
        KeyExchangeGroup::Secp256r1MlKem768 => kx_group::SECP256R1MLKEM768,
        // And what this version of the model does not have.
        _ => kx_group::X25519,
    }
}

#[cfg(test)]
mod tests {
    use super::{group_of, suite_of};
    use evenkeel_config::{CipherSuite, KeyExchangeGroup, TlsVersion};

    #[test]
    fn names_stand_for_what_they_say() {
        for suite in CipherSuite::ALL {
            let found = format!("{:?}", suite_of(*suite).suite());
            let prefix = if suite.version() == TlsVersion::Tls13 { "TLS13_" } else { "TLS_" };
            assert_eq!(found, suite.name().replacen("TLS_", prefix, 1));
        }
        for group in KeyExchangeGroup::ALL {
            let found = format!("{:?}", group_of(*group).name());
            assert!(found.eq_ignore_ascii_case(group.name()), "{found} {group:?}");
        }
    }
}
