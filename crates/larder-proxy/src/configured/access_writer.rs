//! The access log, with one line of text or JSON per request, and the HTTP metrics of `/metrics`.
//!
//! A separate thread writes the log. If the disk is slow or a pipe is full, lines are lost, but no
//! request waits.

use std::{
    fmt,
    fs::{File, OpenOptions},
    io::{self, Write as _},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, SystemTime},
};

use larder_core::{Clock as _, SystemClock, Timestamp, policy::format_http_date};
use metrics::{Counter, Histogram, counter, describe_counter, describe_histogram, histogram};
use tracing_appender::non_blocking::{NonBlocking, WorkerGuard};

use crate::{
    Access, AccessLog,
    config::{AccessLogFormat, ConfigError, LogConfig},
};

/// The classes of status codes. Each has a counter.
const STATUS_CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

/// Writes the access log, updates the HTTP metrics, or both.
pub(super) struct AccessWriter {
    log: Option<(AccessLogFormat, NonBlocking)>,
    metrics: Option<HttpMetrics>,
}

/// The handles of the HTTP metrics.
struct HttpMetrics {
    requests: [Counter; STATUS_CLASSES.len()],
    duration: Histogram,
}

/// An open access log, and what belongs to it.
pub(super) struct OpenLog {
    /// `None` without a log and without metrics.
    pub(super) writer: Option<Arc<AccessWriter>>,
    /// Makes the writer open its file again.
    pub(super) reopen: Reopen,
    /// Writes the lines that are still queued when it is dropped.
    pub(super) guard: Option<WorkerGuard>,
}

/// Makes a log open its file again, after the file was renamed.
#[derive(Debug, Clone, Default)]
pub(super) struct Reopen(Arc<AtomicBool>);

impl Reopen {
    /// Makes the log open its file again before the next line.
    pub(super) fn request(&self) {
        self.0.store(true, Ordering::Release);
    }
}

impl AccessWriter {
    /// Opens the access log, and registers the HTTP metrics if `metrics` is set.
    pub(super) fn open(log: Option<&LogConfig>, metrics: bool) -> Result<OpenLog, ConfigError> {
        let reopen = Reopen::default();
        let (log, guard) = match log {
            Some(log) => {
                let output: Box<dyn io::Write + Send> = match &log.file {
                    Some(path) => Box::new(LogFile::open(path, reopen.clone())?),
                    None => Box::new(io::stderr()),
                };
                let (writer, guard) = tracing_appender::non_blocking(output);
                (Some((log.access, writer)), Some(guard))
            }
            None => (None, None),
        };
        let enabled = log.is_some() || metrics;
        let writer = enabled.then(|| Arc::new(Self { log, metrics: metrics.then(HttpMetrics::new) }));
        Ok(OpenLog { writer, reopen, guard })
    }
}

/// The file of the log.
struct LogFile {
    file: File,
    path: PathBuf,
    reopen: Reopen,
}

impl LogFile {
    /// Opens the file for appending, and creates it if it does not exist.
    fn open(path: &Path, reopen: Reopen) -> Result<Self, ConfigError> {
        let message = |error| format!("can't open the access log {}: {error}", path.display());
        let file = append_to(path).map_err(|error| ConfigError::io("log.file", message(error)))?;
        Ok(Self { file, path: path.to_owned(), reopen })
    }
}

impl io::Write for LogFile {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.reopen.0.swap(false, Ordering::Acquire) {
            match append_to(&self.path) {
                Ok(file) => self.file = file,
                Err(error) => {
                    tracing::warn!(%error, path = %self.path.display(), "can't reopen the access log");
                }
            }
        }
        self.file.write(line)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// Opens a file for appending, and creates it if it does not exist.
fn append_to(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
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

impl AccessLog for AccessWriter {
    fn on_response_end(&self, access: &Access<'_>) {
        if let Some(metrics) = &self.metrics {
            if let Some(class) = metrics.requests.get(usize::from(access.status / 100).saturating_sub(1)) {
                class.increment(1);
            }
            metrics.duration.record(access.duration);
        }
        if let Some((format, writer)) = &self.log {
            let mut line = match format {
                AccessLogFormat::Text => text(access, SystemClock.now()),
                AccessLogFormat::Extended => extended(access, SystemClock.now()),
                AccessLogFormat::Json => json(access, SystemClock.now()),
            };
            line.push('\n');
            // A log that can't be written must not fail a request.
            let _ = writer.clone().write_all(line.as_bytes());
        }
    }
}

impl fmt::Debug for AccessWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AccessWriter")
    }
}

/// Formats a line of text: the "combined" format of web servers, then `Cache-Status` and the
/// duration in seconds.
fn text(access: &Access<'_>, now: Timestamp) -> String {
    let peer = access.peer().map_or_else(|| "-".to_owned(), |peer| peer.to_string());
    let header = |name| escape(access.header(name).unwrap_or("-"));
    format!(
        "{peer} - - [{}] \"{} {} {}\" {} {} \"{}\" \"{}\" \"{}\" {:.6}",
        log_date(now),
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

/// Formats a line of text with the origin: its URL, and how long the head of its response took in
/// seconds.
fn extended(access: &Access<'_>, now: Timestamp) -> String {
    let origin = escape(access.origin.unwrap_or("-"));
    let seconds = access.origin_duration.map(|time| format!("{:.6}", time.as_secs_f64()));
    format!("{} \"{origin}\" {}", text(access, now), seconds.as_deref().unwrap_or("-"))
}

/// Formats a line of JSON.
fn json(access: &Access<'_>, now: Timestamp) -> String {
    serde_json::json!({
        "time": rfc3339(now),
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
        "origin": access.origin,
        "origin_seconds": access.origin_duration.map(|time| time.as_secs_f64()),
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

/// Formats a time as RFC 3339, in UTC with milliseconds.
fn rfc3339(time: Timestamp) -> String {
    let time = SystemTime::UNIX_EPOCH + Duration::from_millis(time.as_millis());
    humantime::format_rfc3339_millis(time).to_string()
}

/// Formats a time as the "common log format" does, in UTC: `06/Nov/1994:08:49:37 +0000`.
fn log_date(time: Timestamp) -> String {
    let date = format_http_date(time);
    let mut parts = date.split(' ').skip(1);
    let [day, month, year, time] = [(); 4].map(|()| parts.next().unwrap_or_default());
    format!("{day}/{month}/{year}:{time} +0000")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_have_the_common_form() {
        let time = Timestamp::from_millis(784_111_777_123);
        assert_eq!(log_date(time), "06/Nov/1994:08:49:37 +0000");
        assert_eq!(rfc3339(time), "1994-11-06T08:49:37.123Z");
    }

    #[test]
    fn requests_cannot_forge_log_lines() {
        assert_eq!(escape("/a\"b\\c\r\n1.2.3.4\u{1b}[31m"), "/a\\\"b\\\\c\\r\\n1.2.3.4\\u{1b}[31m");
    }
}
