//! Checks the table `[limits]`, and converts it to the options of the server and of the proxy.

use crate::{
    ProxyOptions, ServerOptions,
    config::{Config, ConfigError, LimitsConfig},
};

/// Keys that a reload applies. The others concern connections and sockets that are there already.
pub(super) const APPLIED: [&str; 3] = ["content_timeout", "max_content", "max_encoders"];

/// Checks the limits of a configuration.
pub(super) fn check(limits: &LimitsConfig) -> Result<(), ConfigError> {
    let outside = |key: &str, is_within: bool, range: &str| {
        if is_within { Ok(()) } else { Err(ConfigError::new(key, format!("the value is not {range}"))) }
    };
    let header_bytes = limits.max_header_bytes.unwrap_or(8192);
    outside("max_header_bytes", (8192..=16 << 20).contains(&header_bytes), "from 8KiB to 16MiB")?;
    outside("max_headers", (1..=10_000).contains(&limits.max_headers.unwrap_or(1)), "from 1 to 10000")?;
    outside("max_concurrent_streams", limits.max_concurrent_streams != Some(0), "at least 1")?;
    outside("max_connections", limits.max_connections != Some(0), "at least 1")?;
    outside("max_connections_per_client", limits.max_connections_per_client != Some(0), "at least 1")?;
    outside("backlog", limits.backlog != Some(0), "at least 1")
}

/// Returns the options of the server.
pub(super) fn server_options(config: &Config) -> ServerOptions {
    let LimitsConfig {
        max_header_bytes,
        max_headers,
        max_concurrent_streams,
        max_connections,
        max_connections_per_client,
        reserved_files,
        backlog,
        request_timeout,
        send_timeout,
        upgrade_timeout,
        shutdown_timeout,
        certificate_interval,
        max_content: _,
        content_timeout: _,
        max_encoders: _,
    } = config.limits;
    let mut options = ServerOptions::default();
    options.workers = config.workers.map(usize::from);
    options.keep_alive = config.keep_alive.unwrap_or(options.keep_alive);
    let header_bytes = max_header_bytes.and_then(|bytes| usize::try_from(bytes).ok());
    options.max_header_bytes = header_bytes.unwrap_or(options.max_header_bytes);
    options.max_headers = max_headers.unwrap_or(options.max_headers);
    options.max_concurrent_streams = max_concurrent_streams.unwrap_or(options.max_concurrent_streams);
    if let Some(all) = max_connections {
        options.max_connections = all.div_ceil(options.worker_count());
    }
    options.max_connections_per_client =
        max_connections_per_client.unwrap_or(options.max_connections_per_client);
    options.reserved_files = reserved_files;
    options.backlog = backlog.unwrap_or(options.backlog);
    options.request_timeout = request_timeout.unwrap_or(options.request_timeout);
    options.send_timeout = send_timeout.unwrap_or(options.send_timeout);
    options.upgrade_timeout = upgrade_timeout.unwrap_or(options.upgrade_timeout);
    options.shutdown_timeout = shutdown_timeout.unwrap_or(options.shutdown_timeout);
    options.certificate_interval = certificate_interval.unwrap_or(options.certificate_interval);
    options
}

/// Sets the limits on the content of requests.
pub(super) fn limit_content(mut options: ProxyOptions, limits: &LimitsConfig) -> ProxyOptions {
    options.content_timeout = limits.content_timeout.unwrap_or(options.content_timeout);
    options.max_content = limits.max_content;
    options
}
