//! Reads an exchange from text. Text that is no exchange, or not a whole one, is an error with its
//! line.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, Version};
use larder_core::Timestamp;

use super::{FIRST_LINE, FormatError, content, content::Form, is_section};
use crate::{RecordedExchange, RecordedRequest, RecordedResponse};

/// Returns the exchange of a file.
pub(crate) fn parse(bytes: &[u8]) -> Result<RecordedExchange, FormatError> {
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let line = bytes[..error.valid_up_to()].iter().filter(|byte| **byte == b'\n').count() + 1;
        FormatError::new(line, "this line is not UTF-8")
    })?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    // Written with LF. git or an editor may have changed all line breaks to CRLF; bodies with CR
    // have another form, so this is never ambiguous.
    let is_crlf = text.split('\n').next().is_some_and(|first| first.ends_with('\r'));
    let mut lines = Lines { lines: Vec::new(), next: 0 };
    for (index, line) in text.split('\n').enumerate() {
        let line = if is_crlf { line.strip_suffix('\r').unwrap_or(line) } else { line };
        if line.contains('\r') {
            return Err(FormatError::new(
                index + 1,
                "the line has a carriage return, and the first line has none",
            ));
        }
        if line.starts_with("<<<<<<< ") || line.starts_with(">>>>>>> ") {
            return Err(FormatError::new(index + 1, "the file has an unresolved merge conflict"));
        }
        lines.lines.push(line);
    }
    exchange(&mut lines)
}

/// The lines of a file, and the next one to read.
struct Lines<'a> {
    lines: Vec<&'a str>,
    next: usize,
}

impl<'a> Lines<'a> {
    /// Returns the number of the next line.
    fn number(&self) -> usize {
        self.next + 1
    }

    fn error<T>(&self, reason: impl Into<String>) -> Result<T, FormatError> {
        Err(FormatError::new(self.number().min(self.lines.len().max(1)), reason))
    }

    fn next(&mut self) -> Option<&'a str> {
        let line = self.lines.get(self.next).copied();
        self.next += 1;
        line
    }

    /// Returns the lines up to the next section.
    fn section(&mut self) -> &[&'a str] {
        let from = self.next.min(self.lines.len());
        let length = self.lines[from..].iter().take_while(|line| !is_section(line)).count();
        self.next = from + length;
        &self.lines[from..from + length]
    }

    /// Reads the line of a section, if it is this one, and returns what follows its name.
    fn take_section(&mut self, name: &str) -> Option<&'a str> {
        let line = self.lines.get(self.next)?.strip_prefix("=== ")?.trim_ascii_end();
        let rest = line.strip_prefix(name)?;
        let rest = if rest.is_empty() { rest } else { rest.strip_prefix(' ')? };
        self.next += 1;
        Some(rest)
    }

    /// Reads the line of a section that has to follow.
    fn expect_section(&mut self, name: &str) -> Result<(), FormatError> {
        if self.take_section(name).is_some_and(str::is_empty) {
            return Ok(());
        }
        match self.lines.get(self.next) {
            Some(found) => self.error(format!("expected `=== {name}`, found `{}`", shortened(found))),
            None => self.error(format!("the file is not whole: it ends before `=== {name}`")),
        }
    }
}

fn exchange(lines: &mut Lines<'_>) -> Result<RecordedExchange, FormatError> {
    if lines.lines.first().map(|line| line.trim_ascii_end()) != Some(FIRST_LINE) {
        return Err(FormatError::new(
            1,
            format!("the file is no recording: its first line is not `{FIRST_LINE}`"),
        ));
    }
    lines.next();
    let (recorded, duration) = preamble(lines)?;
    lines.expect_section("request")?;
    let (method, url) = request_line(lines)?;
    let mut request = RecordedRequest::new(method, url);
    request.headers = fields(lines)?;
    request.body = body(lines, "request body")?;
    lines.expect_section("response")?;
    let (version, status) = status_line(lines)?;
    let mut response = RecordedResponse::new(status);
    response.version = version;
    response.headers = fields(lines)?;
    response.body = body(lines, "response body")?;
    if lines.take_section("response trailers").is_some() {
        response.trailers = Some(fields(lines)?);
    }
    lines.expect_section("end")?;
    if lines.lines[lines.next..].iter().any(|line| !line.trim_ascii().is_empty()) {
        return lines.error("something follows `=== end`");
    }
    Ok(RecordedExchange { recorded, duration, request, response })
}

/// Reads the lines before the request: when the exchange was recorded, comments, and empty lines.
fn preamble(lines: &mut Lines<'_>) -> Result<(Option<Timestamp>, Duration), FormatError> {
    let (mut recorded, mut duration) = (None, Duration::ZERO);
    let first = lines.number();
    for (index, line) in lines.section().iter().enumerate() {
        let line = line.trim_ascii();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let parsed = line.strip_prefix("recorded:").and_then(|rest| {
            let (time, rest) = rest.trim_ascii().split_once(" (").unwrap_or((rest.trim_ascii(), ""));
            let time: jiff::Timestamp = time.trim_ascii().parse().ok()?;
            let millis = rest.strip_suffix(" ms)").and_then(|millis| millis.parse().ok());
            let at = Timestamp::from_millis(u64::try_from(time.as_millisecond()).ok()?);
            Some((at, Duration::from_millis(millis.unwrap_or(0))))
        });
        let Some((at, length)) = parsed else {
            let example = "expected `recorded: 2026-01-31T12:00:00.000Z (12 ms)`, a comment after `#`, or `=== request`";
            return Err(FormatError::new(first + index, example));
        };
        (recorded, duration) = (Some(at), length);
    }
    Ok((recorded, duration))
}

fn request_line(lines: &mut Lines<'_>) -> Result<(Method, Uri), FormatError> {
    let number = lines.number();
    let parsed = lines.next().and_then(|line| {
        let (method, url) = line.trim_ascii_end().split_once(' ')?;
        let url: Uri = url.parse().ok()?;
        let is_absolute = url.scheme().is_some() && url.authority().is_some();
        Some((Method::from_bytes(method.as_bytes()).ok()?, url)).filter(|_| is_absolute)
    });
    parsed.ok_or_else(|| {
        FormatError::new(number, "expected a method and an absolute URL, such as `GET https://example.com/`")
    })
}

fn status_line(lines: &mut Lines<'_>) -> Result<(Version, StatusCode), FormatError> {
    let number = lines.number();
    let parsed = lines.next().and_then(|line| {
        let mut words = line.split_ascii_whitespace();
        let version = match words.next()? {
            "HTTP/0.9" => Version::HTTP_09,
            "HTTP/1.0" => Version::HTTP_10,
            "HTTP/1.1" => Version::HTTP_11,
            "HTTP/2" | "HTTP/2.0" => Version::HTTP_2,
            "HTTP/3" | "HTTP/3.0" => Version::HTTP_3,
            _ => return None,
        };
        Some((version, words.next()?.parse().ok()?))
    });
    parsed
        .ok_or_else(|| FormatError::new(number, "expected a version and a status, such as `HTTP/1.1 200 OK`"))
}

fn fields(lines: &mut Lines<'_>) -> Result<HeaderMap, FormatError> {
    let first = lines.number();
    let mut fields = HeaderMap::new();
    for (index, line) in lines.section().iter().enumerate() {
        if line.trim_ascii().is_empty() {
            continue;
        }
        let number = first + index;
        let (name, value) = line.split_once(':').unwrap_or((line, ""));
        let value = match value.strip_prefix(':') {
            Some(escaped) => content::unescape(escaped.trim_ascii(), number)?,
            None => value.trim_ascii().as_bytes().to_vec(),
        };
        let field = HeaderName::try_from(name).ok().zip(HeaderValue::try_from(value).ok());
        let is_added = match field {
            Some((name, value)) if line.contains(':') => fields.try_append(name, value).is_ok(),
            _ => false,
        };
        if !is_added {
            let reason =
                format!("expected a header field, such as `accept: */*`, found `{}`", shortened(line));
            return Err(FormatError::new(number, reason));
        }
    }
    Ok(fields)
}

fn body(lines: &mut Lines<'_>, name: &str) -> Result<Bytes, FormatError> {
    let number = lines.number();
    let Some(form) = lines.take_section(name) else { return Ok(Bytes::new()) };
    let Some(form) = Form::of_name(form) else {
        return Err(FormatError::new(number, format!("`{}` is no form of a body", shortened(form))));
    };
    content::decode(form, &lines.section().join("\n"), number + 1)
}

/// Returns the beginning of a line, for an error.
fn shortened(line: &str) -> String {
    let short: String = line.chars().take(60).collect();
    if short.len() < line.len() { short + "…" } else { short }
}
