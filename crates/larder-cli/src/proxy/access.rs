//! The access log, with one line of text or JSON per request, and the HTTP metrics of `/metrics`.
//!
//! A separate thread writes the log. If the disk is slow or a pipe is full, lines are lost, but no
//! request waits.

use std::{
    fmt,
    io::{self, Write as _},
    path::Path,
    sync::Arc,
    time::SystemTime,
};

use anyhow::Context as _;
use larder::proxy::{Access, AccessLog};
use metrics::{Counter, Histogram, counter, describe_counter, describe_histogram, histogram};
use tracing_appender::non_blocking::{NonBlocking, WorkerGuard};

use super::config::{Format, Log};

/// The classes of status codes. Each has a counter.
const STATUS_CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

/// Writes the access log, updates the HTTP metrics, or both.
pub(crate) struct AccessLogger {
    log: Option<(Format, NonBlocking)>,
    metrics: Option<HttpMetrics>,
}

/// The handles of the HTTP metrics.
struct HttpMetrics {
    requests: [Counter; STATUS_CLASSES.len()],
    duration: Histogram,
}

impl AccessLogger {
    /// Opens the access log, and registers the HTTP metrics if `metrics` is set. Returns `None`
    /// without either.
    ///
    /// Dropping the guard writes the lines that are still queued.
    pub(crate) fn new(
        log: Option<&Log>,
        metrics: bool,
    ) -> anyhow::Result<(Option<Arc<Self>>, Option<WorkerGuard>)> {
        let (log, guard) = match log {
            Some(log) => {
                let (writer, guard) = tracing_appender::non_blocking(open_log(log.file.as_deref())?);
                (Some((log.access, writer)), Some(guard))
            }
            None => (None, None),
        };
        let enabled = log.is_some() || metrics;
        let logger = enabled.then(|| Arc::new(Self { log, metrics: metrics.then(HttpMetrics::new) }));
        Ok((logger, guard))
    }
}

/// Opens the file of the access log for appending, or standard error if there is none.
fn open_log(file: Option<&Path>) -> anyhow::Result<Box<dyn io::Write + Send>> {
    let Some(path) = file else { return Ok(Box::new(io::stderr())) };
    let opened = std::fs::OpenOptions::new().create(true).append(true).open(path);
    Ok(Box::new(opened.with_context(|| format!("can't open the access log {}", path.display()))?))
}

impl HttpMetrics {
    /// Registers the metrics with the installed recorder.
    fn new() -> Self {
        describe_counter!(
            "larder_http_requests_total",
            "Requests that were answered, by class of status code."
        );
        describe_histogram!(
            "larder_http_request_duration_seconds",
            "Time from the head of a request to the end of its response, in seconds."
        );
        Self {
            requests: STATUS_CLASSES.map(|class| counter!("larder_http_requests_total", "status" => class)),
            duration: histogram!("larder_http_request_duration_seconds"),
        }
    }
}

impl AccessLog for AccessLogger {
    fn on_response_end(&self, access: &Access<'_>) {
        if let Some(metrics) = &self.metrics {
            if let Some(class) = metrics.requests.get(usize::from(access.status / 100).saturating_sub(1)) {
                class.increment(1);
            }
            metrics.duration.record(access.duration);
        }
        if let Some((format, writer)) = &self.log {
            let mut line = match format {
                Format::Text => text(access),
                Format::Json => json(access),
            };
            line.push('\n');
            // A log that can't be written must not fail a request.
            let _ = writer.clone().write_all(line.as_bytes());
        }
    }
}

impl fmt::Debug for AccessLogger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AccessLogger")
    }
}

/// Formats a line of text: the "combined" format of web servers, then `Cache-Status` and the
/// duration in seconds.
fn text(access: &Access<'_>) -> String {
    let peer = access.peer().map_or_else(|| "-".to_owned(), |peer| peer.to_string());
    let header = |name| escape(access.header(name).unwrap_or("-"));
    format!(
        "{peer} - - [{}] \"{} {} {}\" {} {} \"{}\" \"{}\" \"{}\" {:.6}",
        now(),
        access.method(),
        escape(access.target()),
        access.version(),
        access.status,
        access.bytes,
        header("referer"),
        header("user-agent"),
        escape(access.cache_status),
        access.duration.as_secs_f64(),
    )
}

/// Formats a line of JSON.
fn json(access: &Access<'_>) -> String {
    serde_json::json!({
        "time": now(),
        "peer": access.peer(),
        "method": access.method(),
        "host": access.host(),
        "target": access.target(),
        "version": access.version(),
        "status": access.status,
        "bytes": access.bytes,
        "complete": access.complete,
        "seconds": access.duration.as_secs_f64(),
        "cache_status": access.cache_status,
        "trace_id": access.trace.map(|trace| format!("{trace:032x}")),
        "user_agent": access.header("user-agent"),
        "referer": access.header("referer"),
    })
    .to_string()
}

/// Escapes quotes, backslashes and control characters, so that no request can end a line or forge
/// another one.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c.is_control() => out.extend(c.escape_default()),
            c => out.push(c),
        }
    }
    out
}

/// Formats the current time as RFC 3339, in UTC with milliseconds.
fn now() -> String {
    humantime::format_rfc3339_millis(SystemTime::from(jiff::Timestamp::now())).to_string()
}

#[cfg(test)]
mod tests {
    use super::escape;

    #[test]
    fn requests_cannot_forge_log_lines() {
        assert_eq!(escape("/a\"b\\c\r\n1.2.3.4\u{1b}[31m"), "/a\\\"b\\\\c\\r\\n1.2.3.4\\u{1b}[31m");
    }
}
