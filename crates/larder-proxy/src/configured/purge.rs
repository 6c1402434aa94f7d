//! Checks which clients may purge by requests on the listeners of the proxy: the table `[purge]`.

use std::net::IpAddr;

use http::{
    HeaderValue,
    header::{AUTHORIZATION, FORWARDED, VIA},
    request::Parts,
};
use larder_core::adapter::TrustedProxies;
use subtle::ConstantTimeEq as _;

use super::{admin::admin_token, validate::networks};
use crate::config::{ConfigError, PurgeConfig};

/// The clients that may purge.
#[derive(Clone)]
pub(super) struct PurgeClients {
    networks: TrustedProxies,
    token: Option<String>,
}

impl std::fmt::Debug for PurgeClients {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PurgeClients").field("networks", &self.networks).finish_non_exhaustive()
    }
}

impl PurgeClients {
    /// Reads the table.
    pub(super) fn new(purge: &PurgeConfig) -> Result<Self, ConfigError> {
        if purge.from.is_empty() && purge.token_file.is_none() {
            return Err(ConfigError::new("", "no client may purge: set from, token_file or both"));
        }
        let token = purge.token_file.as_deref().map(admin_token).transpose();
        let token = token.map_err(|error| error.within("token_file"))?;
        Ok(Self { networks: networks("from", &purge.from)?, token })
    }

    /// Returns whether a request may purge.
    ///
    /// A request that has come through another proxy has the address of that, so it needs the
    /// token.
    pub(super) fn permit(&self, head: &Parts, peer: Option<IpAddr>) -> bool {
        let is_direct = !head.headers.contains_key("x-forwarded-for")
            && !head.headers.contains_key(FORWARDED)
            && !head.headers.contains_key(VIA);
        is_direct && peer.is_some_and(|peer| self.networks.contains(peer)) || self.has_token(head)
    }

    /// Returns whether the request has the token. The comparison takes constant time.
    fn has_token(&self, head: &Parts) -> bool {
        let Some(token) = &self.token else { return false };
        let given = head.headers.get(AUTHORIZATION).map(HeaderValue::as_bytes);
        let given = given.and_then(|value| value.strip_prefix(b"Bearer ")).unwrap_or_default();
        bool::from(given.ct_eq(token.as_bytes()))
    }
}
