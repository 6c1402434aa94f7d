//! Reads a HAR as browsers and other tools write it: with parts missing, and with fields of their
//! own.

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version,
    header::{CONTENT_ENCODING, CONTENT_TYPE},
};
use larder_core::{Timestamp, policy::strip_hop_by_hop};
use serde_json::Value;

use super::SkippedEntry;
use crate::{
    CassetteError, CassetteErrorKind, RecordedExchange, RecordedRequest, RecordedResponse, message,
    redaction::{essence, follow_length},
};

/// Returns the exchanges of a HAR in the order of their beginnings, and the entries that are no
/// exchange.
pub(crate) fn import(har: &[u8]) -> Result<(Vec<RecordedExchange>, Vec<SkippedEntry>), CassetteError> {
    let invalid = |text: String| CassetteError::new(CassetteErrorKind::Har, text);
    let har = har.strip_prefix("\u{feff}".as_bytes()).unwrap_or(har);
    let value: Value = serde_json::from_slice(har)
        .map_err(|error| invalid(format!("the HAR is not valid JSON: {error}")))?;
    let entries = value["log"]["entries"].as_array();
    let entries = entries.ok_or_else(|| invalid("the HAR has no list `log.entries`".to_owned()))?;
    let (mut exchanges, mut skipped) = (Vec::new(), Vec::new());
    for (index, entry) in entries.iter().enumerate() {
        match exchange(entry) {
            Ok(exchange) => exchanges.push(exchange),
            Err(reason) => {
                let request = &entry["request"];
                // Without the query, which can have secrets.
                let url = text(request, "url").split(['?', '#']).next().unwrap_or_default();
                let request =
                    format!("{} {}", text(request, "method"), url.chars().take(100).collect::<String>());
                skipped.push(SkippedEntry { index, request, reason });
            }
        }
    }
    exchanges.sort_by_key(|exchange| exchange.recorded);
    Ok((exchanges, skipped))
}

/// Returns a member that is text, or an empty text.
fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or_default()
}

/// Returns the exchange of an entry, or why it is none.
fn exchange(entry: &Value) -> Result<RecordedExchange, String> {
    let request = request(&entry["request"])?;
    if text(entry, "_resourceType") == "websocket" {
        return Err("a WebSocket cannot be replayed".to_owned());
    }
    let response = response(&entry["response"], &request.method).map_err(|reason| {
        match text(&entry["response"], "_error") {
            "" => reason,
            error => format!("{reason} ({error})"),
        }
    })?;
    let mut exchange = RecordedExchange::new(request, response);
    let started: Option<jiff::Timestamp> = text(entry, "startedDateTime").parse().ok();
    let millis = started.and_then(|started| u64::try_from(started.as_millisecond()).ok());
    exchange.recorded = millis.map(Timestamp::from_millis);
    // In milliseconds, and only beside the time, as in a file.
    let duration = entry["time"].as_f64().filter(|time| millis.is_some() && (0.0..1e12).contains(time));
    exchange.duration = Duration::from_secs_f64(duration.unwrap_or(0.0).round() / 1000.0);
    Ok(exchange)
}

fn request(value: &Value) -> Result<RecordedRequest, String> {
    let method = text(value, "method").parse().map_err(|_| "the request has no valid method".to_owned())?;
    let url = text(value, "url");
    if !["http://", "https://"]
        .iter()
        .any(|scheme| url.get(..scheme.len()).is_some_and(|s| s.eq_ignore_ascii_case(scheme)))
    {
        return Err("the URL is not one of HTTP".to_owned());
    }
    let url = url.split('#').next().unwrap_or_default();
    let url = message::visible(url).parse().map_err(|_| "the URL is not valid".to_owned())?;
    let mut request = RecordedRequest::new(method, url);
    request.headers = headers(&value["headers"]);
    request.body = posted(&value["postData"])?;
    if request.body.is_empty() && value["bodySize"].as_i64().unwrap_or(0) > 0 {
        return Err("the HAR does not have the body of the request".to_owned());
    }
    follow_length(&mut request.headers, request.body.len());
    Ok(request)
}

/// Returns the body of a request: its text, or its form fields.
fn posted(value: &Value) -> Result<Bytes, String> {
    let is_base64 = [text(value, "encoding"), text(value, "_encoding")].contains(&"base64");
    if let Some(content) = value["text"].as_str().filter(|content| !content.is_empty()) {
        return decoded(content, is_base64);
    }
    let Some(fields) = value["params"].as_array().filter(|fields| !fields.is_empty()) else {
        return Ok(Bytes::new());
    };
    if text(value, "mimeType").starts_with("multipart/") {
        return Err("the HAR does not have the multipart body of the request".to_owned());
    }
    let pairs =
        fields.iter().map(|field| format!("{}={}", form(text(field, "name")), form(text(field, "value"))));
    Ok(pairs.collect::<Vec<_>>().join("&").into())
}

/// Returns a name or value in the encoding of forms.
fn form(text: &str) -> String {
    let bytes = text.bytes().map(|byte| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'*' | b'-' | b'.' | b'_' => char::from(byte).to_string(),
        b' ' => "+".to_owned(),
        byte => format!("%{byte:02X}"),
    });
    bytes.collect()
}

fn decoded(content: &str, is_base64: bool) -> Result<Bytes, String> {
    if !is_base64 {
        return Ok(Bytes::copy_from_slice(content.as_bytes()));
    }
    STANDARD
        .decode(content)
        .map(Bytes::from)
        .map_err(|error| format!("the content is not valid Base64: {error}"))
}

/// Returns header fields, without the pseudo-fields of HTTP/2. Some tools join lines of one name
/// with a line feed.
fn headers(value: &Value) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for field in value.as_array().into_iter().flatten() {
        let Ok(name) = HeaderName::try_from(text(field, "name")) else { continue };
        for line in text(field, "value").split('\n') {
            if let Ok(value) = HeaderValue::from_bytes(line.trim().as_bytes()) {
                // A field too many is left out.
                let _ = headers.try_append(name.clone(), value);
            }
        }
    }
    strip_hop_by_hop(&mut headers);
    headers
}

fn response(value: &Value, method: &Method) -> Result<RecordedResponse, String> {
    let status = value["status"].as_u64().and_then(|status| u16::try_from(status).ok());
    let status = status.and_then(|status| StatusCode::from_u16(status).ok());
    let status = status.ok_or_else(|| "there was no response".to_owned())?;
    if status.is_informational() {
        return Err("the response is not a final one".to_owned());
    }
    let mut response = RecordedResponse::new(status);
    response.version = version(text(value, "httpVersion"));
    response.headers = headers(&value["headers"]);
    let content = &value["content"];
    let is_bodiless = *method == Method::HEAD
        || [StatusCode::NO_CONTENT, StatusCode::NOT_MODIFIED, StatusCode::RESET_CONTENT].contains(&status);
    if is_bodiless {
        return Ok(response);
    }
    let is_base64 = text(content, "encoding") == "base64";
    match content["text"].as_str() {
        Some(text) => response.body = decoded(text, is_base64)?,
        None if content["size"].as_i64().unwrap_or(0) > 0 => {
            return Err("the HAR does not have the content of the response".to_owned());
        }
        None => {}
    }
    // Tools decode a content coding, and the charset of text.
    if content["_encoded"].as_bool() != Some(true) {
        response.headers.remove(CONTENT_ENCODING);
    }
    if !is_base64 && !response.body.is_ascii() {
        set_utf8(&mut response.headers);
    }
    follow_length(&mut response.headers, response.body.len());
    Ok(response)
}

/// Sets the charset of a content type that has another one.
fn set_utf8(headers: &mut HeaderMap) {
    let value = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let value = value.to_ascii_lowercase();
    if value.contains("charset")
        && !value.contains("utf-8")
        && let Ok(value) = HeaderValue::try_from(format!("{}; charset=utf-8", essence(headers)))
    {
        headers.insert(CONTENT_TYPE, value);
    }
}

/// Returns the version of HTTP, which tools write as `HTTP/1.1`, `h2`, `http/2.0`, `h3` and others.
fn version(text: &str) -> Version {
    let text = text.to_ascii_lowercase();
    let number = text.trim_start_matches("http/").trim_start_matches('h');
    match number.chars().next() {
        Some('3') => Version::HTTP_3,
        Some('2') if text.contains("quic") => Version::HTTP_3,
        Some('2') => Version::HTTP_2,
        _ if number == "1.0" => Version::HTTP_10,
        _ => Version::HTTP_11,
    }
}
