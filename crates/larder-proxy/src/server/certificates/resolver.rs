//! Chooses the certificate for a handshake by the name that the client requests (SNI, RFC 6066 §3).

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock},
    time::SystemTime,
};

use rustls::{
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};

/// A certificate chain with its key.
#[derive(Debug, Clone)]
pub(super) struct Certified {
    pub(super) key: Arc<CertifiedKey>,
    /// The DNS names of the certificate, in lower case. `*.example.com` stands for one label.
    pub(super) names: Vec<String>,
    pub(super) not_after: Option<SystemTime>,
}

/// The certificates of a listener by name. The first is the default.
#[derive(Debug)]
pub(super) struct CertificateTable {
    certified: Vec<Certified>,
    /// Positions of the certificates with each name.
    exact: HashMap<String, Vec<usize>>,
    /// Positions of the certificates with each name that begins with `*.`, without that.
    wildcard: HashMap<String, Vec<usize>>,
}

impl CertificateTable {
    /// Creates the table. `certified` is not empty.
    pub(super) fn new(certified: Vec<Certified>) -> Self {
        let (mut exact, mut wildcard) = (HashMap::<_, Vec<_>>::new(), HashMap::<_, Vec<_>>::new());
        for (position, certified) in certified.iter().enumerate() {
            for name in &certified.names {
                match name.strip_prefix("*.") {
                    Some(parent) => wildcard.entry(parent.to_owned()).or_default().push(position),
                    None => exact.entry(name.clone()).or_default().push(position),
                }
            }
        }
        Self { certified, exact, wildcard }
    }

    /// Returns the certificates in the order of their files.
    pub(super) fn certified(&self) -> &[Certified] {
        &self.certified
    }

    /// Returns the certificates for a name in lower case: those with the name itself, or else with
    /// a wildcard for its last labels.
    fn candidates(&self, name: &str) -> &[usize] {
        let of_parent = || self.wildcard.get(name.split_once('.')?.1);
        self.exact.get(name).or_else(of_parent).map_or(&[], Vec::as_slice)
    }

    /// Returns the certificate for a name, or else the default. Of several, the first with a key
    /// that the client supports.
    fn choose(&self, name: Option<&str>, is_supported: impl Fn(&CertifiedKey) -> bool) -> &Certified {
        let name = name.map(str::to_ascii_lowercase);
        let candidates = name.as_deref().map_or(&[][..], |name| self.candidates(name));
        let mut certified = candidates.iter().map(|position| &self.certified[*position]);
        let first = candidates.first().map_or(0, |position| *position);
        certified.find(|certified| is_supported(&certified.key)).unwrap_or(&self.certified[first])
    }
}

/// Chooses certificates from a table that can be replaced.
#[derive(Debug)]
pub(super) struct Resolver(RwLock<Arc<CertificateTable>>);

impl Resolver {
    pub(super) fn new(table: CertificateTable) -> Self {
        Self(RwLock::new(Arc::new(table)))
    }

    /// Returns the current table.
    pub(super) fn table(&self) -> Arc<CertificateTable> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Replaces the table. Handshakes that have chosen a certificate continue with it.
    pub(super) fn replace(&self, table: Arc<CertificateTable>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = table;
    }
}

impl ResolvesServerCert for Resolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let table = self.table();
        let is_supported = |key: &CertifiedKey| key.key.choose_scheme(hello.signature_schemes()).is_some();
        Some(Arc::clone(&table.choose(hello.server_name(), is_supported).key))
    }
}
