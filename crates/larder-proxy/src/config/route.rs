//! The keys of a table `[[route]]`, and their defaults.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use serde::{Deserialize, Serialize};

use super::{
    values::{self, ClientDirectivesConfig},
    when::WhenConfig,
};

/// A route: a table `[[route]]`.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct RouteConfig {
    /// Host to match, without port; `*.example.com` for all names below `example.com`. Default: any
    /// host.
    pub host: Option<String>,
    /// Path prefix to match, in whole segments. Default: `/`.
    #[serde(default = "default_prefix")]
    pub prefix: String,
    /// URLs of servers with the same content, at least one.
    pub origins: Vec<String>,
    /// Which of the healthy origins a request is sent to.
    #[serde(default)]
    pub balance: BalanceConfig,
    /// Whether to send the origin's own name in `Host`. Default: false.
    #[serde(default)]
    pub origin_host: bool,
    /// Whether the origin's own URLs in responses become public ones. Default: true.
    #[serde(default = "default_true")]
    pub map_back: bool,
    /// Longest wait for the head of a response, for each attempt. Default: 60 s.
    #[serde(default, deserialize_with = "values::duration")]
    pub origin_timeout: Option<Duration>,
    /// Longest wait for a connection. Default: 5 s.
    #[serde(default, deserialize_with = "values::duration")]
    pub origin_connect_timeout: Option<Duration>,
    /// Longest pause within a body. Default: 60 s.
    #[serde(default, deserialize_with = "values::duration")]
    pub origin_body_timeout: Option<Duration>,
    /// Longest pause within a stream of events. Default: 1 hour.
    #[serde(default, deserialize_with = "values::duration")]
    pub origin_event_timeout: Option<Duration>,
    /// Longest time of a whole exchange, for each attempt. Default: none.
    #[serde(default, deserialize_with = "values::duration")]
    pub origin_total_timeout: Option<Duration>,
    /// Most connections of a worker to each origin. Default: 1,024.
    pub origin_connections: Option<usize>,
    /// Most requests of a worker that wait for a connection to an origin. Default: 1,024.
    pub origin_waiting: Option<usize>,
    /// Whether to use HTTP/2 without negotiation. Default: false.
    #[serde(default)]
    pub origin_http2: bool,
    /// The authorities that are trusted beside `origin_ca`.
    #[serde(default)]
    pub origin_roots: RootsConfig,
    /// File with further authorities that are trusted, in PEM. Default: none.
    pub origin_ca: Option<PathBuf>,
    /// File with the certificate that connections to the origin show, in PEM. Default: none.
    pub origin_cert: Option<PathBuf>,
    /// File with the private key of `origin_cert`, in PEM. Default: none.
    pub origin_key: Option<PathBuf>,
    /// Shares of the origins, from 1 to 100, in their order. Default: equal.
    #[serde(default)]
    pub weights: Vec<u32>,
    /// How many times a failed request is retried. Default: 2.
    #[serde(default = "default_retries")]
    pub retries: u32,
    /// Whether responses may be stored. Default: true.
    #[serde(default = "default_true")]
    pub cache: bool,
    /// How long responses are fresh, whatever lifetime they specify. Default: their lifetime.
    #[serde(default, deserialize_with = "values::duration")]
    pub freshness: Option<Duration>,
    /// How long responses are fresh if they specify no lifetime. Default: a heuristic lifetime.
    #[serde(default, deserialize_with = "values::duration")]
    pub default_freshness: Option<Duration>,
    /// Default for the directive of this name. Default: not allowed.
    #[serde(default, deserialize_with = "values::duration")]
    pub stale_while_revalidate: Option<Duration>,
    /// Default for the directive of this name. Default: not allowed.
    #[serde(default, deserialize_with = "values::duration")]
    pub stale_if_error: Option<Duration>,
    /// Request headers that select the response, in addition to its `Vary`. Default: none.
    #[serde(default)]
    pub vary: Vec<String>,
    /// Groups of the responses, in addition to their `Cache-Groups`. Default: none.
    #[serde(default)]
    pub groups: Vec<String>,
    /// Query parameters that do not affect the response. Default: none.
    #[serde(default)]
    pub ignore_query: Vec<String>,
    /// What is part of the cache key beside the URL.
    #[serde(default)]
    pub key: KeyConfig,
    /// Languages in which responses exist. Default: none, which leaves `Accept-Language` unchanged.
    #[serde(default)]
    pub languages: Vec<String>,
    /// Other request headers that become one of a few values. Default: none.
    #[serde(default)]
    pub normalize: BTreeMap<String, Vec<String>>,
    /// What to do with `Cache-Control` and `Pragma` of requests. Default: as for all routes.
    pub client_directives: Option<ClientDirectivesConfig>,
    /// Longest body that is stored, in bytes. Default: the limit of the store.
    #[serde(default, deserialize_with = "values::size")]
    pub max_object: Option<u64>,
    /// How requests for ranges of bytes are fetched.
    #[serde(default)]
    pub ranges: RangesConfig,
    /// Whether clients may switch to another protocol, such as WebSocket. Default: true.
    #[serde(default = "default_true")]
    pub upgrades: bool,
    /// Whether to compress responses. Default: as for all routes.
    pub compress: Option<bool>,
    /// Rules for the headers of requests to the origin.
    #[serde(default)]
    pub request_headers: HeadersConfig,
    /// Rules for the headers of responses, before they are stored.
    #[serde(default)]
    pub response_headers: HeadersConfig,
    /// The health checks of the origins. Default: none.
    pub health: Option<HealthConfig>,
    /// Rules for some of the requests, in their order. Default: none.
    #[serde(default)]
    pub when: Vec<WhenConfig>,
}

/// The value of `balance`: which of several healthy origins a request is sent to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum BalanceConfig {
    /// The first healthy one; the others are standbys.
    #[default]
    First,
    /// Each healthy one in turn.
    RoundRobin,
    /// The one with the fewest responses in progress.
    LeastConnections,
}

/// The value of `origin_roots`: the certificate authorities that are trusted beside `origin_ca`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum RootsConfig {
    /// Those of Mozilla.
    #[default]
    Mozilla,
    /// Those of the operating system.
    System,
    /// No others.
    None,
}

/// Header rules: a table `[route.request_headers]` or `[route.response_headers]`. `remove` applies
/// before `set`.
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct HeadersConfig {
    /// Headers to set. Default: none.
    pub set: BTreeMap<String, String>,
    /// Names of headers to remove. Default: none.
    pub remove: Vec<String>,
}

/// What is part of the cache key beside the URL: the table `[route.key]`.
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct KeyConfig {
    /// Names of request headers. Default: none.
    pub headers: Vec<String>,
    /// Names of cookies. Default: none.
    pub cookies: Vec<String>,
    /// Longest content of a query that is part of the key, in bytes. Default: QUERY is not stored.
    #[serde(deserialize_with = "values::size")]
    pub content: Option<u64>,
    /// Whether POST is a query, too. Default: false.
    pub post: bool,
}

/// How requests for ranges of bytes are fetched: the table `[route.ranges]`.
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct RangesConfig {
    /// Longest representation that is fetched whole for a range, in bytes. Default: 8 MiB.
    #[serde(deserialize_with = "values::size")]
    pub whole_limit: Option<u64>,
    /// Size of the slices in which longer ones are fetched, from 64 KiB to 64 MiB. Default: none.
    #[serde(deserialize_with = "values::size")]
    pub slice: Option<u64>,
}

/// The health checks of a route's origins: the table `[route.health]`.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct HealthConfig {
    /// Path to request.
    pub path: String,
    /// Interval between two checks. Default: 5 s.
    #[serde(default, deserialize_with = "values::duration")]
    pub every: Option<Duration>,
    /// Longest wait for the head of the response. Default: 2 s.
    #[serde(default, deserialize_with = "values::duration")]
    pub timeout: Option<Duration>,
    /// Number of failures in a row after which an origin is unhealthy. Default: 2.
    pub unhealthy_after: Option<u32>,
    /// Number of successes in a row after which it is healthy again. Default: 1.
    pub healthy_after: Option<u32>,
}

impl HealthConfig {
    /// Creates the table for checks of a path.
    pub fn new(path: &str) -> Self {
        Self { path: path.to_owned(), every: None, timeout: None, unhealthy_after: None, healthy_after: None }
    }
}

/// Returns the default of `prefix`.
fn default_prefix() -> String {
    "/".to_owned()
}

/// Returns the default of `retries`.
fn default_retries() -> u32 {
    2
}

/// Returns the default of keys that are on unless they are switched off.
fn default_true() -> bool {
    true
}

impl RouteConfig {
    /// Creates a route that matches every request and has one origin, without retries.
    pub fn to(origin: &str) -> Self {
        Self {
            host: None,
            prefix: default_prefix(),
            origins: vec![origin.to_owned()],
            balance: BalanceConfig::First,
            origin_host: false,
            map_back: true,
            origin_timeout: None,
            origin_connect_timeout: None,
            origin_body_timeout: None,
            origin_event_timeout: None,
            origin_total_timeout: None,
            origin_connections: None,
            origin_waiting: None,
            origin_http2: false,
            origin_roots: RootsConfig::Mozilla,
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
            key: KeyConfig::default(),
            languages: Vec::new(),
            normalize: BTreeMap::new(),
            client_directives: None,
            max_object: None,
            ranges: RangesConfig::default(),
            upgrades: true,
            compress: None,
            request_headers: HeadersConfig::default(),
            response_headers: HeadersConfig::default(),
            health: None,
            when: Vec::new(),
        }
    }

    /// Returns the host and prefix, such as `www.example.com/api`, for messages.
    pub(crate) fn name(&self) -> String {
        format!("{}{}", self.host.as_deref().unwrap_or_default(), self.prefix)
    }
}
