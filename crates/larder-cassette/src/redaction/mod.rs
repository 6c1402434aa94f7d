//! Removes secrets before anything is matched or written.
//!
//! `names` knows the names of secrets, `fields` replaces values.

mod fields;
mod names;

use std::{fmt, sync::Arc};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, header::CONTENT_TYPE};
use larder_core::policy::header_names::CONTENT_LENGTH;

use crate::{RecordedRequest, RecordedResponse, exchange::Change};

/// What is removed from exchanges before they are matched, shown and written.
///
/// The default replaces with `REDACTED`:
///
/// - `Authorization`, `Proxy-Authorization` (all but the scheme), `Cookie` and `Set-Cookie` (all
///   but names and attributes), and each header of which the name ends like that of a secret:
///   `X-Api-Key`, `X-Auth-Token`, `X-Amz-Signature`, …
/// - header values that the client has marked as [sensitive](HeaderValue::set_sensitive);
/// - query parameters and form fields with such names, in the URL, in bodies of
///   `application/x-www-form-urlencoded`, in `Location`, `Content-Location` and `Referer`;
///   and user and password in a URL;
/// - members with such names in JSON, if their value is a string: `access_token`, `client_secret`,
///   `password`, … The rest of the JSON keeps its bytes. JSON with more than 128 levels is replaced
///   as a whole, by a text that states this.
///
/// The client itself gets the response of the server unchanged while it is recorded, and without
/// the secrets when it is replayed. Requests are matched without secrets, so a replay needs none.
///
/// Nothing is found in a body with a content coding, such as gzip; see
/// [`CassetteOptions::content_codings`](crate::CassetteOptions::content_codings).
///
/// ```
/// use larder_cassette::Redaction;
///
/// let redaction = Redaction::default()
///     .with_header("x-tenant")
///     .with_parameter("email")
///     .with_json("/users/*/phone")
///     .with_kept("x-csrf-token");
/// # drop(redaction);
/// ```
#[derive(Clone, Default)]
pub struct Redaction {
    nothing_by_name: bool,
    headers: Vec<String>,
    parameters: Vec<String>,
    pointers: Vec<Vec<String>>,
    kept: Vec<String>,
    requests: Vec<Change<RecordedRequest>>,
    responses: Vec<Change<RecordedResponse>>,
}

impl fmt::Debug for Redaction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Redaction")
            .field("headers", &self.headers)
            .field("parameters", &self.parameters)
            .field("pointers", &self.pointers)
            .field("kept", &self.kept)
            .finish_non_exhaustive()
    }
}

impl Redaction {
    /// Creates a redaction that replaces only what is added to it, and header values that are
    /// marked as sensitive. Use it for servers without secrets.
    pub fn none() -> Self {
        Self { nothing_by_name: true, ..Self::default() }
    }

    /// Adds a header field, of requests and responses. Case does not matter.
    #[must_use]
    pub fn with_header(mut self, name: &str) -> Self {
        self.headers.push(name.to_ascii_lowercase());
        self
    }

    /// Adds a parameter of the query and of forms. Case does not matter.
    #[must_use]
    pub fn with_parameter(mut self, name: &str) -> Self {
        self.parameters.push(name.to_ascii_lowercase());
        self
    }

    /// Adds a value in the JSON of requests and responses, as a JSON pointer (RFC 6901): its text
    /// begins with `/`. A segment `*` stands for each member or element.
    ///
    /// ```
    /// let redaction = larder_cassette::Redaction::default().with_json("/users/*/email");
    /// # drop(redaction);
    /// ```
    #[must_use]
    pub fn with_json(mut self, pointer: &str) -> Self {
        self.pointers.push(crate::pointer::parse(pointer));
        self
    }

    /// Keeps the header field, parameter or member of JSON with this name, which would be replaced
    /// by its name. Case does not matter.
    #[must_use]
    pub fn with_kept(mut self, name: &str) -> Self {
        self.kept.push(name.to_ascii_lowercase());
        self
    }

    /// Adds a function that changes each request after the other replacements, before it is matched
    /// and written. It must give the same result for the same request: requests that are replayed
    /// pass through it, too.
    ///
    /// ```
    /// use larder_cassette::Redaction;
    ///
    /// // The number of the account is in the path.
    /// let redaction = Redaction::default().with_request(|request| {
    ///     let url = request.url.to_string().replace("/accounts/4711/", "/accounts/1/");
    ///     if let Ok(url) = url.parse() {
    ///         request.url = url;
    ///     }
    /// });
    /// # drop(redaction);
    /// ```
    #[must_use]
    pub fn with_request(mut self, change: impl Fn(&mut RecordedRequest) + Send + Sync + 'static) -> Self {
        self.requests.push(Arc::new(change));
        self
    }

    /// Adds a function that changes each response after the other replacements, before it is
    /// written. `Content-Length` follows the body.
    #[must_use]
    pub fn with_response(mut self, change: impl Fn(&mut RecordedResponse) + Send + Sync + 'static) -> Self {
        self.responses.push(Arc::new(change));
        self
    }

    /// Removes the secrets of a request.
    pub(crate) fn request(&self, request: &mut RecordedRequest) {
        self.headers(&mut request.headers);
        if let Some(url) = fields::url(&request.url, &|name, value| self.is_secret_parameter(name, value)) {
            request.url = url;
        }
        let length = request.body.len();
        self.body(&request.headers, &mut request.body);
        for change in &self.requests {
            change(request);
        }
        if request.body.len() != length {
            follow_length(&mut request.headers, request.body.len());
        }
    }

    /// Removes the secrets of a response.
    pub(crate) fn response(&self, response: &mut RecordedResponse) {
        self.headers(&mut response.headers);
        if let Some(trailers) = &mut response.trailers {
            self.headers(trailers);
        }
        let length = response.body.len();
        self.body(&response.headers, &mut response.body);
        for change in &self.responses {
            change(response);
        }
        if response.body.len() != length {
            follow_length(&mut response.headers, response.body.len());
        }
    }

    fn headers(&self, headers: &mut HeaderMap) {
        let is_secret = |name: &HeaderName| self.is_secret(name.as_str(), &self.headers, names::is_secret);
        fields::headers(headers, is_secret, &|name, value| self.is_secret_parameter(name, value));
    }

    fn body(&self, headers: &HeaderMap, body: &mut Bytes) {
        let essence = essence(headers);
        let redacted = if essence == "application/x-www-form-urlencoded" {
            let is_secret = |name: &str, value: &str| self.is_secret_parameter(name, value);
            std::str::from_utf8(body)
                .ok()
                .map(|form| Bytes::from(fields::parameters(form, &is_secret).into_owned()))
        } else if is_json(&essence) && self.has_json() {
            fields::json(body, |path, token| self.is_secret_value(path, token))
        } else {
            None
        };
        if let Some(redacted) = redacted {
            *body = redacted;
        }
    }

    /// Returns whether anything can be a secret in JSON.
    fn has_json(&self) -> bool {
        !self.nothing_by_name || !self.pointers.is_empty()
    }

    fn is_secret_parameter(&self, name: &str, value: &str) -> bool {
        self.is_secret(name, &self.parameters, |name| names::is_secret_parameter(name, value))
    }

    fn is_secret_value(&self, path: &[String], token: &str) -> bool {
        if self.pointers.iter().any(|pointer| crate::pointer::matches(pointer, path)) {
            return true;
        }
        let Some(name) = path.last() else { return false };
        // By its name, only a string is replaced. An empty one, too: a replay may have no secret.
        token.starts_with('"')
            && self.is_secret(name, &[], |name| names::is_secret_member(name, token.trim_matches('"')))
    }

    /// Returns whether a name was added, or is that of a secret and not kept.
    fn is_secret(&self, name: &str, added: &[String], by_name: impl Fn(&str) -> bool) -> bool {
        let is_in = |names: &[String]| names.iter().any(|listed| listed.eq_ignore_ascii_case(name));
        is_in(added) || !self.nothing_by_name && !is_in(&self.kept) && by_name(name)
    }
}

/// Returns the media type in lower case, without parameters.
pub(crate) fn essence(headers: &HeaderMap) -> String {
    let value = headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
    let essence = value.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
    String::from_utf8_lossy(essence).to_ascii_lowercase()
}

/// Returns whether the media type is JSON.
pub(crate) fn is_json(essence: &str) -> bool {
    essence == "application/json" || essence == "text/json" || essence.ends_with("+json")
}

/// Sets `Content-Length`, if there is one, to the length of a body that was changed.
pub(crate) fn follow_length(headers: &mut HeaderMap, length: usize) {
    if headers.contains_key(CONTENT_LENGTH) {
        headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
}
