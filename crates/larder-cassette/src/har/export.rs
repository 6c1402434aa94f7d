//! Writes exchanges as a HAR.

use std::sync::Arc;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{
    HeaderMap, HeaderValue,
    header::{CONTENT_ENCODING, CONTENT_TYPE, COOKIE},
};
use larder_core::policy::header_names::{LOCATION, SET_COOKIE};
use serde_json::{Map, Value, json};

use crate::{RecordedExchange, RecordedRequest, RecordedResponse, format::version};

/// The comment in place of a body that was left out.
const TOO_LONG: &str = "The body was too long to be kept.";

/// Returns a HAR of these exchanges, with a line for each member.
pub(crate) fn export(exchanges: &[Arc<RecordedExchange>]) -> String {
    let har = json!({
        "log": {
            "version": "1.2",
            "creator": { "name": "Larder", "version": env!("CARGO_PKG_VERSION") },
            "entries": exchanges.iter().map(|exchange| entry(exchange)).collect::<Vec<_>>(),
        }
    });
    // The alternate form of a value has a line for each member.
    format!("{har:#}\n")
}

fn entry(exchange: &RecordedExchange) -> Value {
    let RecordedExchange { recorded, duration, request, response } = exchange;
    let millis = recorded.and_then(|at| i64::try_from(at.as_millis()).ok()).unwrap_or(0);
    let started = jiff::Timestamp::from_millisecond(millis).unwrap_or_default();
    let time = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    json!({
        "startedDateTime": format!("{started:.3}"),
        "time": time,
        "request": self::request(request, version(response.version)),
        "response": self::response(response),
        "cache": {},
        // Only the whole time is known.
        "timings": { "send": 0, "wait": time, "receive": 0 },
    })
}

fn request(request: &RecordedRequest, version: &str) -> Value {
    let query = request.url.query().unwrap_or_default();
    let pairs = query.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        json!({ "name": name, "value": value })
    });
    let mut value = json!({
        "method": request.method.as_str(),
        "url": request.url.to_string(),
        "httpVersion": version,
        "cookies": cookies(&request.headers, &COOKIE),
        "headers": headers(&request.headers),
        "queryString": pairs.collect::<Vec<_>>(),
        "headersSize": -1,
        "bodySize": request.omitted.unwrap_or(request.body.len() as u64),
    });
    if request.omitted.is_some() || !request.body.is_empty() {
        let mut posted = Map::new();
        posted.insert("mimeType".to_owned(), mime_type(&request.headers));
        posted.insert("params".to_owned(), json!([]));
        content(&mut posted, &request.body, "_encoding");
        if request.omitted.is_some() {
            posted.insert("comment".to_owned(), TOO_LONG.into());
        }
        value["postData"] = posted.into();
    }
    value
}

fn response(response: &RecordedResponse) -> Value {
    let length = response.omitted.unwrap_or(response.body.len() as u64);
    let mut body = Map::new();
    body.insert("size".to_owned(), length.into());
    body.insert("mimeType".to_owned(), mime_type(&response.headers));
    if response.omitted.is_some() {
        body.insert("comment".to_owned(), TOO_LONG.into());
    } else if !response.body.is_empty() {
        content(&mut body, &response.body, "encoding");
    }
    if response.headers.contains_key(CONTENT_ENCODING) {
        // Other tools write what they have decoded.
        body.insert("_encoded".to_owned(), true.into());
    }
    let location = response.headers.get(LOCATION).map(text).unwrap_or_default();
    json!({
        "status": response.status.as_u16(),
        "statusText": response.status.canonical_reason().unwrap_or_default(),
        "httpVersion": version(response.version),
        "cookies": cookies(&response.headers, &SET_COOKIE),
        "headers": headers(&response.headers),
        "content": body,
        "redirectURL": location,
        "headersSize": -1,
        "bodySize": length,
    })
}

/// Adds a body as text, or in Base64 if it is none. `encoding` is the name of the member that has
/// the encoding: that of a request's body is not in the standard.
fn content(value: &mut Map<String, Value>, body: &[u8], encoding: &str) {
    match std::str::from_utf8(body) {
        Ok(text) if !text.contains('\0') => drop(value.insert("text".to_owned(), text.into())),
        _ => {
            value.insert("text".to_owned(), STANDARD.encode(body).into());
            value.insert(encoding.to_owned(), "base64".into());
        }
    }
}

fn mime_type(headers: &HeaderMap) -> Value {
    headers.get(CONTENT_TYPE).map(text).unwrap_or_default().into()
}

fn text(value: &HeaderValue) -> String {
    String::from_utf8_lossy(value.as_bytes()).into_owned()
}

fn headers(headers: &HeaderMap) -> Vec<Value> {
    headers.iter().map(|(name, value)| json!({ "name": name.as_str(), "value": text(value) })).collect()
}

/// Returns the names and values of cookies.
fn cookies(headers: &HeaderMap, field: &http::HeaderName) -> Vec<Value> {
    let lines = headers.get_all(field).iter().map(text);
    let pairs = lines.flat_map(|line| {
        let count = if *field == SET_COOKIE { 1 } else { usize::MAX };
        line.split(';').take(count).map(|pair| pair.trim().to_owned()).collect::<Vec<_>>()
    });
    let cookie = |pair: String| {
        let (name, value) = pair.split_once('=').unwrap_or(("", &pair));
        json!({ "name": name, "value": value })
    };
    pairs.map(cookie).collect()
}
