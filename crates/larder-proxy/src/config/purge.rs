//! The keys of the table `[purge]`.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Which clients may purge by requests with the methods `PURGE`, `BAN` and `PURGEKEYS`: the table
/// `[purge]`. A client needs one of both.
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct PurgeConfig {
    /// Networks of the clients that may purge; `private` for loopback and private networks.
    /// Default: none.
    pub from: Vec<String>,
    /// File with the token that clients of other networks send. Default: none.
    pub token_file: Option<PathBuf>,
}
