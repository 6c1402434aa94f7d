//! The access log: a line for each request, as text for people or JSON for programs. Written by a thread of its own: a slow disk
//! or a full pipe costs lines, and no request waits for it.

use std::{
    fmt,
    io::{self, Write as _},
    path::Path,
    sync::Arc,
    time::SystemTime,
};

use anyhow::Context as _;
use larder::actix::{Access, AccessLog};
use metrics::{Counter, Histogram, counter, describe_counter, describe_histogram, histogram};
use tracing_appender::non_blocking::{NonBlocking, WorkerGuard};

use super::config::{Format, Log};

/// The classes of status codes, each with its counter.
const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

/// Writes lines, and counts for `/metrics`; each if it is wanted.
pub(crate) struct AccessLogger {
    lines: Option<(Format, NonBlocking)>,
    counted: Option<Counted>,
}

struct Counted {
    classes: [Counter; CLASSES.len()],
    seconds: Histogram,
}

impl AccessLogger {
    /// What is wanted, if anything is. The guard writes what waits when it is dropped.
    pub(crate) fn new(
        log: Option<&Log>,
        count: bool,
    ) -> anyhow::Result<(Option<Arc<Self>>, Option<WorkerGuard>)> {
        let (lines, guard) = match log {
            Some(log) => {
                let (writer, guard) = tracing_appender::non_blocking(writer(log.file.as_deref())?);
                (Some((log.access, writer)), Some(guard))
            }
            None => (None, None),
        };
        let wanted = lines.is_some() || count;
        let this = wanted.then(|| Arc::new(Self { lines, counted: count.then(Counted::new) }));
        Ok((this, guard))
    }
}

fn writer(file: Option<&Path>) -> anyhow::Result<Box<dyn io::Write + Send>> {
    let Some(path) = file else { return Ok(Box::new(io::stderr())) };
    let opened = std::fs::OpenOptions::new().create(true).append(true).open(path);
    Ok(Box::new(opened.with_context(|| format!("can't write the access log {}", path.display()))?))
}

impl Counted {
    fn new() -> Self {
        describe_counter!(
            "larder_http_requests_total",
            "Requests that were answered, by class of status code."
        );
        describe_histogram!(
            "larder_http_request_duration_seconds",
            "From a request's head to its answer's end."
        );
        Self {
            classes: CLASSES.map(|class| counter!("larder_http_requests_total", "status" => class)),
            seconds: histogram!("larder_http_request_duration_seconds"),
        }
    }
}

impl AccessLog for AccessLogger {
    fn answered(&self, access: &Access<'_>) {
        if let Some(counted) = &self.counted {
            if let Some(class) = counted.classes.get(usize::from(access.status / 100).saturating_sub(1)) {
                class.increment(1);
            }
            counted.seconds.record(access.duration);
        }
        if let Some((format, writer)) = &self.lines {
            let mut line = match format {
                Format::Text => text(access),
                Format::Json => json(access),
            };
            line.push('\n');
            // What can't be written is not worth a request.
            let _ = writer.clone().write_all(line.as_bytes());
        }
    }
}

impl fmt::Debug for AccessLogger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Exchanges")
    }
}

/// As web servers write it (the "combined" form), and what the cache did, and how long it took.
fn text(access: &Access<'_>) -> String {
    let peer = access.peer().map_or_else(|| "-".to_owned(), |peer| peer.to_string());
    let field = |name| quoted(access.field(name).unwrap_or("-"));
    format!(
        "{peer} - - [{}] \"{} {} {}\" {} {} \"{}\" \"{}\" \"{}\" {:.6}",
        now(),
        access.method(),
        quoted(access.target()),
        access.version(),
        access.status,
        access.bytes,
        field("referer"),
        field("user-agent"),
        quoted(access.cache_status),
        access.duration.as_secs_f64(),
    )
}

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
        "user_agent": access.field("user-agent"),
        "referer": access.field("referer"),
    })
    .to_string()
}

/// What a client has sent must not end a line, nor begin one of its own making.
fn quoted(text: &str) -> String {
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

fn now() -> String {
    humantime::format_rfc3339_millis(SystemTime::from(jiff::Timestamp::now())).to_string()
}

#[cfg(test)]
mod tests {
    use super::quoted;

    #[test]
    fn no_client_writes_a_line() {
        assert_eq!(quoted("/a\"b\\c\r\n1.2.3.4\u{1b}[31m"), "/a\\\"b\\\\c\\r\\n1.2.3.4\\u{1b}[31m");
    }
}
