//! Adds to the key of a URL what else a response depends on: headers, cookies, the client, and the
//! content of a query. The form of the URL is decided in [`super::key_rules`].
//!
//! All parts become one digest, so that keys stay short, and no store or log shows a value. It is
//! collision-resistant: a client could otherwise find two contents with one key.

use std::fmt;

use http::Method;
use sha2::{Digest as _, Sha256};

use super::{KeyRules, cookies::cookie_values};
use crate::{RequestHeaders, policy::list_members};

/// Begins the digest: another layout of the parts is another digest.
const LAYOUT: &[u8] = b"larder key parts 1\0";

/// The header fields that determine how the content of a query is read (RFC 10008 §2.7).
const CONTENT_FIELDS: [&str; 3] = ["content-encoding", "content-language", "content-type"];

/// What a request has beside its URL that its response may depend on.
///
/// ```
/// use http::{HeaderMap, HeaderName};
/// use larder_core::adapter::{KeyParts, KeyRules};
///
/// let rules = KeyRules::default()
///     .with_headers([HeaderName::from_static("x-country")])
///     .with_cookies(["currency"])
///     .with_partitioned(true);
/// let url = rules.key_of_url("https://example.com/shop")?;
/// let mut headers = HeaderMap::new();
/// headers.insert("cookie", "session=1; currency=EUR".parse()?);
/// let alice = rules.key_with(&url, &KeyParts::new(&headers).with_partition(b"alice"));
/// headers.insert("cookie", "session=2; currency=EUR".parse()?);
/// assert_eq!(rules.key_with(&url, &KeyParts::new(&headers).with_partition(b"alice")), alice);
/// assert_ne!(rules.key_with(&url, &KeyParts::new(&headers).with_partition(b"bob")), alice);
/// assert_eq!(alice.target(), "https://example.com/shop");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct KeyParts<'a, H> {
    headers: &'a H,
    partition: Option<&'a [u8]>,
    query: Option<(&'a Method, &'a [u8])>,
}

impl<'a, H: RequestHeaders> KeyParts<'a, H> {
    /// Creates the parts of a request with these headers.
    pub fn new(headers: &'a H) -> Self {
        Self { headers, partition: None, query: None }
    }

    /// Sets the partition: the client or group of clients that the response is for, such as the
    /// name of a user or the identity in a client certificate.
    #[must_use]
    pub fn with_partition(mut self, partition: &'a [u8]) -> Self {
        self.partition = Some(partition);
        self
    }

    /// Sets the method and the content of a [query](KeyRules::is_query).
    #[must_use]
    pub fn with_query(mut self, method: &'a Method, content: &'a [u8]) -> Self {
        self.query = Some((method, content));
        self
    }
}

/// Shows no values: they identify users.
impl<H> fmt::Debug for KeyParts<'_, H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyParts")
            .field("partitioned", &self.partition.is_some())
            .field("query", &self.query.is_some())
            .finish_non_exhaustive()
    }
}

/// Returns the digest of the parts that the rules name; `None` if there are none.
pub(super) fn digest<H: RequestHeaders>(rules: &KeyRules, parts: &KeyParts<'_, H>) -> Option<[u8; 32]> {
    let is_plain = rules.headers.is_empty() && rules.cookies.is_empty();
    if is_plain && parts.partition.is_none() && parts.query.is_none() {
        return None;
    }
    let mut digest = PartsDigest::new();
    for name in &*rules.headers {
        digest.header(parts.headers, name.as_str());
    }
    if !rules.cookies.is_empty() {
        digest.connection_option(parts.headers, "cookie");
    }
    for name in &*rules.cookies {
        digest.name(b'c', name);
        cookie_values(parts.headers, name, |value| digest.value(value));
    }
    if let Some(partition) = parts.partition {
        digest.name(b'p', "");
        digest.value(partition);
    }
    if let Some((method, content)) = parts.query {
        digest.name(b'm', method.as_str());
        for name in CONTENT_FIELDS {
            digest.header(parts.headers, name);
        }
        digest.value(content);
    }
    Some(digest.finish())
}

/// A digest of parts, each with its length, so that no two lists of parts are the same bytes.
struct PartsDigest(Sha256);

impl PartsDigest {
    fn new() -> Self {
        Self(Sha256::new_with_prefix(LAYOUT))
    }

    /// Adds the name of a part, after its kind.
    fn name(&mut self, kind: u8, name: &str) {
        self.0.update([kind]);
        self.bytes(name.as_bytes());
    }

    /// Adds one value of the part that was named last.
    fn value(&mut self, value: &[u8]) {
        self.0.update(b"=");
        self.bytes(value);
    }

    /// Adds the lines of a header as one value; only its name if there are none.
    fn header<H: RequestHeaders>(&mut self, headers: &H, name: &str) {
        self.name(b'h', name);
        let lines: Vec<_> = headers.lines(name).map(<[u8]>::trim_ascii).collect();
        if !lines.is_empty() {
            self.value(&lines.join(&b", "[..]));
            self.connection_option(headers, name);
        }
    }

    /// Adds a mark if `Connection` lists a header: it is removed before the request is forwarded,
    /// so that the origin answers as to a request without it.
    fn connection_option<H: RequestHeaders>(&mut self, headers: &H, name: &str) {
        let mut options = list_members(headers.lines("connection"));
        if options.any(|option| option.eq_ignore_ascii_case(name.as_bytes())) {
            self.name(b'x', name);
        }
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.0.update((bytes.len() as u64).to_le_bytes());
        self.0.update(bytes);
    }

    fn finish(self) -> [u8; 32] {
        self.0.finalize().into()
    }
}
