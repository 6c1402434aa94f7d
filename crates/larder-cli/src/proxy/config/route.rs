//! The keys of a table `[[route]]`, and their defaults.

use std::{collections::BTreeMap, path::PathBuf};

use serde::Deserialize;

use super::values::{ClientDirectives, Size, Time};

/// A table `[[route]]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Route {
    pub(crate) host: Option<String>,
    #[serde(default = "default_prefix")]
    pub(crate) prefix: String,
    pub(crate) origins: Vec<String>,
    #[serde(default)]
    pub(crate) balance: Balance,
    #[serde(default)]
    pub(crate) origin_host: bool,
    pub(crate) origin_timeout: Option<Time>,
    pub(crate) origin_connect_timeout: Option<Time>,
    pub(crate) origin_body_timeout: Option<Time>,
    pub(crate) origin_event_timeout: Option<Time>,
    pub(crate) origin_total_timeout: Option<Time>,
    pub(crate) origin_connections: Option<usize>,
    pub(crate) origin_waiting: Option<usize>,
    #[serde(default)]
    pub(crate) origin_http2: bool,
    #[serde(default)]
    pub(crate) origin_roots: Roots,
    pub(crate) origin_ca: Option<PathBuf>,
    pub(crate) origin_cert: Option<PathBuf>,
    pub(crate) origin_key: Option<PathBuf>,
    #[serde(default)]
    pub(crate) weights: Vec<u32>,
    #[serde(default = "default_retries")]
    pub(crate) retries: u32,
    #[serde(default = "default_cache")]
    pub(crate) cache: bool,
    pub(crate) freshness: Option<Time>,
    pub(crate) default_freshness: Option<Time>,
    pub(crate) stale_while_revalidate: Option<Time>,
    pub(crate) stale_if_error: Option<Time>,
    #[serde(default)]
    pub(crate) vary: Vec<String>,
    #[serde(default)]
    pub(crate) groups: Vec<String>,
    #[serde(default)]
    pub(crate) ignore_query: Vec<String>,
    #[serde(default)]
    pub(crate) key: Key,
    #[serde(default)]
    pub(crate) languages: Vec<String>,
    #[serde(default)]
    pub(crate) normalize: BTreeMap<String, Vec<String>>,
    pub(crate) client_directives: Option<ClientDirectives>,
    pub(crate) max_object: Option<Size>,
    pub(crate) compress: Option<bool>,
    #[serde(default)]
    pub(crate) request_headers: Headers,
    #[serde(default)]
    pub(crate) response_headers: Headers,
    pub(crate) health: Option<Health>,
}

/// Which of several healthy origins a request goes to.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Balance {
    #[default]
    First,
    RoundRobin,
    LeastConnections,
}

/// Which certificate authorities are trusted beside `origin_ca`.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Roots {
    #[default]
    Mozilla,
    System,
    None,
}

/// Header rules: `remove` applies before `set`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Headers {
    pub(crate) set: BTreeMap<String, String>,
    pub(crate) remove: Vec<String>,
}

/// The table `[route.key]`: what is part of the cache key beside the URL.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Key {
    pub(crate) headers: Vec<String>,
    pub(crate) cookies: Vec<String>,
    pub(crate) content: Option<Size>,
    pub(crate) post: bool,
}

/// The table `[route.health]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Health {
    pub(crate) path: String,
    pub(crate) every: Option<Time>,
    pub(crate) timeout: Option<Time>,
    pub(crate) unhealthy_after: Option<u32>,
    pub(crate) healthy_after: Option<u32>,
}

/// Returns the default of `prefix`.
fn default_prefix() -> String {
    "/".to_owned()
}

/// Returns the default of `retries`.
fn default_retries() -> u32 {
    2
}

/// Returns the default of `cache`.
fn default_cache() -> bool {
    true
}

impl Route {
    /// Creates the route of `--origin`: it matches every request and has no retries.
    pub(crate) fn to(origin: &str) -> Self {
        Self {
            host: None,
            prefix: default_prefix(),
            origins: vec![origin.to_owned()],
            balance: Balance::First,
            origin_host: false,
            origin_timeout: None,
            origin_connect_timeout: None,
            origin_body_timeout: None,
            origin_event_timeout: None,
            origin_total_timeout: None,
            origin_connections: None,
            origin_waiting: None,
            origin_http2: false,
            origin_roots: Roots::Mozilla,
            origin_ca: None,
            origin_cert: None,
            origin_key: None,
            weights: Vec::new(),
            retries: 0,
            cache: true,
            freshness: None,
            default_freshness: None,
            stale_while_revalidate: None,
            stale_if_error: None,
            vary: Vec::new(),
            groups: Vec::new(),
            ignore_query: Vec::new(),
            key: Key::default(),
            languages: Vec::new(),
            normalize: BTreeMap::new(),
            client_directives: None,
            max_object: None,
            compress: None,
            request_headers: Headers::default(),
            response_headers: Headers::default(),
            health: None,
        }
    }
}
