//! Decides which requests are equal.

use std::{borrow::Cow, fmt, sync::Arc};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Uri, header::CONTENT_TYPE};
use larder_core::policy::header_names::{
    IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE, IF_UNMODIFIED_SINCE, RANGE,
};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::{RecordedRequest, exchange::Change, pointer, redaction};

/// Which requests are equal, so that the recording of one answers the other.
///
/// By default, these have to be equal, after [redaction](crate::Redaction):
///
/// - the method;
/// - `Range`, and which conditions there are, such as `If-None-Match`: a 304 is no answer to a
///   request without a condition. The values of conditions may differ;
/// - the URL; parameters of the query may have another order;
/// - the body. JSON (by `Content-Type`) may have other white space and another order of members, a
///   form another order of fields, and a multipart body another boundary.
///
/// Other headers are not compared. Recordings are compared each time they are loaded: rules can be
/// changed without recording again.
///
/// ```
/// use larder_cassette::MatchRules;
///
/// let rules = MatchRules::default()
///     .with_header("accept-language")
///     .with_ignored_parameter("timestamp")
///     .with_ignored_json("/request_id");
/// # drop(rules);
/// ```
#[derive(Clone, Default)]
pub struct MatchRules {
    headers: Vec<String>,
    ignored_parameters: Vec<String>,
    ignored_json: Vec<Vec<String>>,
    ignores_body: bool,
    exact: bool,
    normalize: Vec<Change<RecordedRequest>>,
}

impl fmt::Debug for MatchRules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MatchRules")
            .field("headers", &self.headers)
            .field("ignored_parameters", &self.ignored_parameters)
            .field("ignored_json", &self.ignored_json)
            .field("ignores_body", &self.ignores_body)
            .finish_non_exhaustive()
    }
}

/// The parts of a request that are compared, in their normal forms.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Compared {
    pub(crate) method: String,
    pub(crate) url: String,
    /// Name and values: which conditions there are, the range, and the fields of the rules.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Bytes,
}

impl MatchRules {
    /// Adds a header field that has to be equal. Case of the name does not matter.
    #[must_use]
    pub fn with_header(mut self, name: &str) -> Self {
        self.headers.push(name.to_ascii_lowercase());
        self
    }

    /// Ignores a parameter of the query, such as a time. Case matters.
    #[must_use]
    pub fn with_ignored_parameter(mut self, name: &str) -> Self {
        self.ignored_parameters.push(name.to_owned());
        self
    }

    /// Ignores a value in JSON, as a JSON pointer (RFC 6901) with `*` for any segment.
    #[must_use]
    pub fn with_ignored_json(mut self, pointer: &str) -> Self {
        self.ignored_json.push(pointer::parse(pointer));
        self
    }

    /// Ignores the bodies of requests.
    #[must_use]
    pub fn with_ignored_body(mut self) -> Self {
        self.ignores_body = true;
        self
    }

    /// Compares the query and the body byte by byte.
    #[must_use]
    pub fn with_exact_bytes(mut self) -> Self {
        self.exact = true;
        self
    }

    /// Adds a function that changes a copy of each request before it is compared, for example one
    /// that removes a random identifier from its path. What is written does not change.
    ///
    /// ```
    /// use larder_cassette::MatchRules;
    ///
    /// // Each run uploads to another path.
    /// let rules = MatchRules::default().with_normal_form(|request| {
    ///     if request.url.path().starts_with("/uploads/") {
    ///         request.url = http::Uri::from_static("https://api.example.com/uploads/any");
    ///     }
    /// });
    /// # drop(rules);
    /// ```
    #[must_use]
    pub fn with_normal_form(mut self, change: impl Fn(&mut RecordedRequest) + Send + Sync + 'static) -> Self {
        self.normalize.push(Arc::new(change));
        self
    }

    /// Returns what is compared of a request without secrets.
    pub(crate) fn compared(&self, request: &RecordedRequest) -> Compared {
        let mut request = Cow::Borrowed(request);
        for change in &self.normalize {
            change(request.to_mut());
        }
        let conditions = [IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE, IF_UNMODIFIED_SINCE];
        let conditions = conditions.iter().map(HeaderName::as_str);
        let conditions: Vec<_> = conditions.filter(|name| request.headers.contains_key(*name)).collect();
        let condition = ("condition".to_owned(), conditions.join(", "));
        let added = self.headers.iter().map(String::as_str);
        let headers = [RANGE.as_str()].into_iter().chain(added).map(|name| {
            let values = request.headers.get_all(name).iter();
            let values: Vec<_> = values.map(|value| String::from_utf8_lossy(value.as_bytes())).collect();
            (name.to_owned(), without_boundary(&values.join(", "), &request.headers))
        });
        Compared {
            method: request.method.to_string(),
            url: self.url(&request.url),
            headers: std::iter::once(condition).chain(headers).collect(),
            body: if self.ignores_body { Bytes::new() } else { self.body(&request.headers, &request.body) },
        }
    }

    fn url(&self, url: &Uri) -> String {
        let scheme = url.scheme_str().unwrap_or("http");
        let authority = url.authority().map_or("", http::uri::Authority::as_str).to_ascii_lowercase();
        let port = if scheme.eq_ignore_ascii_case("https") { ":443" } else { ":80" };
        let authority = authority.strip_suffix(port).unwrap_or(&authority);
        let path = if url.path().is_empty() { "/" } else { url.path() };
        let mut text = format!("{scheme}://{authority}{path}");
        let query = url.query().map(|query| {
            let mut pairs: Vec<&str> = query.split('&').filter(|pair| !self.is_ignored(pair)).collect();
            if !self.exact {
                sort_by_name(&mut pairs);
            }
            pairs.join("&")
        });
        if let Some(query) = query.filter(|query| !query.is_empty()) {
            text.push('?');
            text.push_str(&query);
        }
        text
    }

    fn is_ignored(&self, pair: &str) -> bool {
        let name = pair.split('=').next().unwrap_or_default();
        self.ignored_parameters.iter().any(|ignored| ignored == name)
    }

    fn body(&self, headers: &HeaderMap, body: &Bytes) -> Bytes {
        let essence = redaction::essence(headers);
        if self.exact || body.is_empty() {
            return body.clone();
        }
        if redaction::is_json(&essence) {
            return self.json(body).unwrap_or_else(|| body.clone());
        }
        if essence == "application/x-www-form-urlencoded"
            && let Ok(form) = std::str::from_utf8(body)
        {
            let mut pairs: Vec<&str> = form.split('&').collect();
            sort_by_name(&mut pairs);
            return pairs.join("&").into();
        }
        match boundary(headers) {
            Some(boundary) => replace(body, boundary.as_bytes(), b"boundary").into(),
            None => body.clone(),
        }
    }

    /// Returns JSON with members in the order of their names and without the ignored values.
    fn json(&self, body: &Bytes) -> Option<Bytes> {
        let mut value: Value = serde_json::from_slice(body).ok()?;
        for pointer in &self.ignored_json {
            remove(&mut value, pointer);
        }
        value.sort_all_objects();
        serde_json::to_vec(&value).ok().map(Bytes::from)
    }
}

impl Compared {
    /// Returns a digest of 12 hexadecimal digits, for the name of a file.
    pub(crate) fn digest(&self) -> String {
        let mut hasher = Sha256::new();
        let headers = self.headers.iter().flat_map(|(name, value)| [name.as_bytes(), value.as_bytes()]);
        for part in [self.method.as_bytes(), self.url.as_bytes()].into_iter().chain(headers) {
            hasher.update((part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
        hasher.update(&self.body);
        hasher.finalize().iter().take(6).map(|byte| format!("{byte:02x}")).collect()
    }
}

/// Sorts parameters by name. Those of one name keep their order, which can have a meaning.
fn sort_by_name(pairs: &mut [&str]) {
    pairs.sort_by_key(|pair| pair.split('=').next());
}

/// Removes the values that a pointer selects.
fn remove(value: &mut Value, pointer: &[String]) {
    let Some((first, rest)) = pointer.split_first() else { return };
    match value {
        Value::Object(members) if rest.is_empty() => members.retain(|name, _| first != "*" && first != name),
        Value::Object(members) => {
            let selected = members.iter_mut().filter(|(name, _)| first == "*" || first == *name);
            selected.for_each(|(_, value)| remove(value, rest));
        }
        Value::Array(elements) => {
            for (index, element) in elements.iter_mut().enumerate() {
                if first == "*" || *first == index.to_string() {
                    // An element is emptied and not removed, so that the indices stay.
                    if rest.is_empty() { *element = Value::Null } else { remove(element, rest) }
                }
            }
        }
        _ => {}
    }
}

/// Returns the boundary of a multipart body.
fn boundary(headers: &HeaderMap) -> Option<String> {
    if !redaction::essence(headers).starts_with("multipart/") {
        return None;
    }
    let value = headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes)?;
    let value = std::str::from_utf8(value).ok()?;
    let boundary = value.split(';').find_map(|parameter| {
        let (name, value) = parameter.trim().split_once('=')?;
        name.eq_ignore_ascii_case("boundary").then(|| value.trim_matches('"').to_owned())
    });
    boundary.filter(|boundary| !boundary.is_empty())
}

/// Returns a field's value without the boundary of a multipart body.
fn without_boundary(value: &str, headers: &HeaderMap) -> String {
    boundary(headers).map_or_else(|| value.to_owned(), |boundary| value.replace(&boundary, "boundary"))
}

/// Returns the bytes with each occurrence of `from` replaced.
fn replace(bytes: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let (mut out, mut rest) = (Vec::with_capacity(bytes.len()), bytes);
    while !rest.is_empty() {
        if rest.starts_with(from) {
            out.extend_from_slice(to);
            rest = &rest[from.len()..];
        } else {
            out.push(rest[0]);
            rest = &rest[1..];
        }
    }
    out
}
