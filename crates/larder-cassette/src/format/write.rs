//! Writes an exchange as text.

use http::{HeaderMap, Version};

use super::{FIRST_LINE, content};
use crate::RecordedExchange;

/// Returns the text of an exchange.
pub(crate) fn write(exchange: &RecordedExchange) -> String {
    let RecordedExchange { recorded, duration, request, response } = exchange;
    let mut out = format!("{FIRST_LINE}\n");
    let time =
        recorded.and_then(|at| jiff::Timestamp::from_millisecond(i64::try_from(at.as_millis()).ok()?).ok());
    if let Some(time) = time {
        out.push_str(&format!("recorded: {time:.3} ({} ms)\n", duration.as_millis()));
    }
    out.push_str(&format!("\n=== request\n{} {}\n", request.method, request.url));
    fields(&mut out, &request.headers);
    body(&mut out, "request", &request.body);
    let reason = response.status.canonical_reason().map(|reason| format!(" {reason}")).unwrap_or_default();
    let version = version(response.version);
    out.push_str(&format!("=== response\n{version} {}{reason}\n", response.status.as_str()));
    fields(&mut out, &response.headers);
    body(&mut out, "response", &response.body);
    if let Some(trailers) = &response.trailers {
        out.push_str("=== response trailers\n");
        fields(&mut out, trailers);
    }
    out.push_str("=== end\n");
    out
}

/// Writes header fields. A value with other characters than visible ones is escaped, after `::`.
fn fields(out: &mut String, fields: &HeaderMap) {
    for (name, value) in fields {
        let bytes = value.as_bytes();
        let is_plain = bytes.iter().all(|byte| matches!(byte, b' '..=b'~')) && bytes.trim_ascii() == bytes;
        let line = match (is_plain, std::str::from_utf8(bytes)) {
            (true, Ok("")) => format!("{name}:"),
            (true, Ok(text)) => format!("{name}: {text}"),
            _ => format!("{name}:: {}", escaped(bytes)),
        };
        out.push_str(&line);
        out.push('\n');
    }
}

/// Returns a value with escapes, also for a space at its beginning.
fn escaped(bytes: &[u8]) -> String {
    let text = content::escape(bytes, false);
    match text.strip_prefix(' ') {
        Some(rest) => format!("\\x20{rest}"),
        None => text.replace('\t', "\\x09"),
    }
}

/// Writes the section of a body, unless it is empty.
fn body(out: &mut String, of: &str, body: &[u8]) {
    if body.is_empty() {
        return;
    }
    let (form, text) = content::encode(body);
    let header = format!("=== {of} body {}", form.name());
    out.push_str(header.trim_end());
    out.push('\n');
    out.push_str(&text);
    out.push('\n');
}

/// Returns the name of a version of HTTP.
pub(crate) fn version(version: Version) -> &'static str {
    match version {
        Version::HTTP_09 => "HTTP/0.9",
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_2 => "HTTP/2",
        Version::HTTP_3 => "HTTP/3",
        _ => "HTTP/1.1",
    }
}
