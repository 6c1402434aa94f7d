//! Checks a whole configuration: everything that can be wrong with it before a socket is opened.

use std::path::Path;

use http::HeaderName;
use larder_core::adapter::TrustedProxies;

use super::{
    admin, limits,
    listeners::CheckedListeners,
    origins::RouteTable,
    purge::PurgeClients,
    shared::Current,
    validate::{tag_fields, trusted_proxies},
};
use crate::config::{Config, ConfigError};

/// A configuration that has been checked, with what was read for it.
#[derive(Debug)]
pub(super) struct Checked {
    pub(super) current: Current,
    /// The token of the admin listener.
    pub(super) token: Option<String>,
    /// The clients that may purge by requests.
    pub(super) purge_clients: Option<PurgeClients>,
    /// The fields in which responses list their tags.
    pub(super) tag_fields: Vec<HeaderName>,
    pub(super) listeners: CheckedListeners,
}

impl Checked {
    /// Checks a configuration. Its errors have the line, if it has a text.
    pub(super) fn new(config: Config) -> Result<Self, ConfigError> {
        match check(&config) {
            Ok(parts) => Ok(parts.with(config)),
            Err(error) => Err(config.locate(error)),
        }
    }
}

/// What is read and built from a configuration.
struct Parts {
    table: RouteTable,
    trusted_proxies: TrustedProxies,
    token: Option<String>,
    purge_clients: Option<PurgeClients>,
    tag_fields: Vec<HeaderName>,
    listeners: CheckedListeners,
}

impl Parts {
    /// Adds the configuration that they are from.
    fn with(self, config: Config) -> Checked {
        let Self { table, trusted_proxies, token, purge_clients, tag_fields, listeners } = self;
        let current = Current { config, table, trusted_proxies };
        Checked { current, token, purge_clients, tag_fields, listeners }
    }
}

/// Checks each part of a configuration.
fn check(config: &Config) -> Result<Parts, ConfigError> {
    if let Some(workers) = config.workers.filter(|workers| !(1..=512).contains(workers)) {
        return Err(ConfigError::new("workers", format!("{workers} is not a number from 1 to 512")));
    }
    if config.route.is_empty() {
        return Err(ConfigError::new("", "there is no [[route]]"));
    }
    let table = RouteTable::new(config)?;
    let trusted_proxies = trusted_proxies(config)?;
    let token = config.admin.as_ref().map(admin::token).transpose();
    let token = token.map_err(|error| error.within("admin"))?.flatten();
    let purge_clients = config.purge.as_ref().map(PurgeClients::new).transpose();
    let purge_clients = purge_clients.map_err(|error| error.within("purge"))?;
    let tag_fields = tag_fields(config)?;
    limits::check(&config.limits).map_err(|error| error.within("limits"))?;
    let listeners = CheckedListeners::new(config)?;
    if let Some(path) = config.log.as_ref().and_then(|log| log.file.as_deref()) {
        check_log(path)?;
    }
    Ok(Parts { table, trusted_proxies, token, purge_clients, tag_fields, listeners })
}

/// Checks that the file of the access log can be created, or is there and can be written to.
fn check_log(path: &Path) -> Result<(), ConfigError> {
    let result = match std::fs::metadata(path) {
        Ok(_) => std::fs::OpenOptions::new().append(true).open(path).map(drop),
        Err(_) => {
            let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
            std::fs::metadata(folder.unwrap_or(Path::new("."))).map(drop)
        }
    };
    let message = |error| format!("can't open the access log {}: {error}", path.display());
    result.map_err(|error| ConfigError::io("log.file", message(error)))
}
