//! The keys of the table `[limits]`.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::values;

/// Limits on clients and their connections: the table `[limits]`. Their meaning and defaults are
/// those of [`ServerOptions`](crate::ServerOptions) and [`ProxyOptions`](crate::ProxyOptions).
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct LimitsConfig {
    /// Largest head of a request, in bytes, from 8 KiB to 16 MiB. Default: 64 KiB.
    #[serde(deserialize_with = "values::size")]
    pub max_header_bytes: Option<u64>,
    /// Most header fields of a request, 1 to 10,000. Default: 100.
    pub max_headers: Option<usize>,
    /// Longest content of a request, in bytes. Default: none.
    #[serde(deserialize_with = "values::size")]
    pub max_content: Option<u64>,
    /// Most requests in flight on one HTTP/2 connection, at least 1. Default: 128.
    pub max_concurrent_streams: Option<u32>,
    /// Most connections of clients to all workers together, at least 1. Default: 25,000 for each
    /// worker.
    pub max_connections: Option<usize>,
    /// Most connections of one client, at least 1. Default: 1,024.
    pub max_connections_per_client: Option<usize>,
    /// Most responses that are encoded while they are sent, at the same time. Default: 64.
    pub max_encoders: Option<usize>,
    /// Open files that connections of clients leave to others. Default: a quarter of the limit.
    pub reserved_files: Option<usize>,
    /// Connections of each worker that wait to be accepted. Default: 4,096.
    pub backlog: Option<u32>,
    /// Longest time for the head of a request, and for a TLS handshake. Default: 10 s.
    #[serde(deserialize_with = "values::duration")]
    pub request_timeout: Option<Duration>,
    /// Longest pause within the content of a request. Default: 60 s.
    #[serde(deserialize_with = "values::duration")]
    pub content_timeout: Option<Duration>,
    /// Longest time in which a client takes nothing of a response. Default: 60 s.
    #[serde(deserialize_with = "values::duration")]
    pub send_timeout: Option<Duration>,
    /// Longest silence after a switch of protocols, such as to WebSocket. Default: 1 hour.
    #[serde(deserialize_with = "values::duration")]
    pub upgrade_timeout: Option<Duration>,
    /// Time for requests in flight to end at a shutdown. Default: 30 s.
    #[serde(deserialize_with = "values::duration")]
    pub shutdown_timeout: Option<Duration>,
    /// Time between two checks whether files of certificates have changed. Default: 60 s.
    #[serde(deserialize_with = "values::duration")]
    pub certificate_interval: Option<Duration>,
}
