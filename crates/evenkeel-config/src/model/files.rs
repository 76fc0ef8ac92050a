//! The files that a configuration names and that are read when it is put in force. It never reads them.

use std::path::PathBuf;

use super::Model;

impl Model {
    /// The files that are read once, when the configuration is put in force: the certificate authorities of upstreams. A change
    /// of one takes effect with the next reload. Not those that are written, nor those that are watched anyway, such as the
    /// files of discovery.
    pub fn files(&self) -> Vec<PathBuf> {
        let authorities = self.upstreams.iter().filter_map(|upstream| upstream.tls.ca.clone());
        authorities.collect()
    }
}
