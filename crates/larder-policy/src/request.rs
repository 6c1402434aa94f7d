//! Reads the header fields of a request, through a trait that any HTTP library can implement.
//!
//! The names are read once, when a [`RequestHead`] is created, and a flag is set for each field
//! that concerns caching. Later steps read a field only if its flag is set, so that a request
//! without such fields costs one short loop.

use http::{HeaderMap, HeaderName, Method};

use crate::{ClientDirectives, directives::RequestDirectives, range::RangeKind};

/// Read access to header fields, whichever HTTP library stores them.
pub trait RequestHeaders {
    /// Calls `each` with every field name in lower case. A name with several lines may be repeated.
    fn names(&self, each: impl FnMut(&str));

    /// Returns the values of all field lines called `name` (lower case), in order.
    fn lines<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> + 'a;

    /// Returns the values of all field lines of this name, in order. The default calls
    /// [`lines`](Self::lines); a map with names of this type can find them without parsing the
    /// name.
    fn lines_of<'a>(&'a self, name: &'a HeaderName) -> impl Iterator<Item = &'a [u8]> + 'a {
        self.lines(name.as_str())
    }
}

impl RequestHeaders for HeaderMap {
    fn names(&self, mut each: impl FnMut(&str)) {
        for name in self.keys() {
            each(name.as_str());
        }
    }

    fn lines<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> + 'a {
        self.get_all(name).iter().map(http::HeaderValue::as_bytes)
    }

    fn lines_of<'a>(&'a self, name: &'a HeaderName) -> impl Iterator<Item = &'a [u8]> + 'a {
        self.get_all(name).iter().map(http::HeaderValue::as_bytes)
    }
}

/// The fields concerning caching that a request has, as bit flags.
///
/// [`RequestHead::with_flags`] creates a head without reading the names again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeaderFlags(u16);

impl HeaderFlags {
    pub(crate) const CACHE_CONTROL: Self = Self(1);
    pub(crate) const PRAGMA: Self = Self(1 << 1);
    pub(crate) const AUTHORIZATION: Self = Self(1 << 2);
    pub(crate) const RANGE: Self = Self(1 << 3);
    pub(crate) const IF_RANGE: Self = Self(1 << 4);
    pub(crate) const IF_NONE_MATCH: Self = Self(1 << 5);
    pub(crate) const IF_MODIFIED_SINCE: Self = Self(1 << 6);
    /// `If-Match` or `If-Unmodified-Since`: preconditions that only the origin may evaluate
    /// (RFC 9111 §4.3.2).
    pub(crate) const ORIGIN_PRECONDITION: Self = Self(1 << 7);

    /// Reads the names of a request's header fields.
    pub fn of_fields<F: RequestHeaders>(fields: &F) -> Self {
        let mut flags = 0;
        fields.names(|name| flags |= Self::of(name).0);
        Self(flags)
    }

    /// Returns the flag of a field name. The length is compared first, so that most names need no
    /// string comparison.
    fn of(name: &str) -> Self {
        match (name.len(), name) {
            (5, "range") => Self::RANGE,
            (6, "pragma") => Self::PRAGMA,
            (8, "if-range") => Self::IF_RANGE,
            (8, "if-match") | (19, "if-unmodified-since") => Self::ORIGIN_PRECONDITION,
            (13, "cache-control") => Self::CACHE_CONTROL,
            (13, "authorization") => Self::AUTHORIZATION,
            (13, "if-none-match") => Self::IF_NONE_MATCH,
            (17, "if-modified-since") => Self::IF_MODIFIED_SINCE,
            _ => Self(0),
        }
    }

    /// Returns whether any of these flags is set.
    const fn has_any(self, flags: u16) -> bool {
        self.0 & flags != 0
    }
}

/// A request's method and header fields, with the fields that concern caching already identified.
///
/// ```
/// use http::{HeaderMap, Method};
/// use larder_policy::RequestHead;
///
/// let fields = HeaderMap::new();
/// let request = RequestHead::new(&Method::GET, &fields);
/// assert!(request.may_reuse() && request.is_plain());
/// ```
#[derive(Debug)]
pub struct RequestHead<'a, F = HeaderMap> {
    method: &'a Method,
    fields: &'a F,
    flags: HeaderFlags,
    client_directives: ClientDirectives,
}

impl<'a, F: RequestHeaders> RequestHead<'a, F> {
    /// Creates the head and reads the field names.
    pub fn new(method: &'a Method, fields: &'a F) -> Self {
        Self::with_flags(method, fields, HeaderFlags::of_fields(fields))
    }

    /// Creates the head with the flags of these fields, which the caller has kept. A field without
    /// its flag is ignored.
    ///
    /// ```
    /// use http::{HeaderMap, HeaderValue, Method};
    /// use larder_policy::{HeaderFlags, RequestHead};
    ///
    /// let mut fields = HeaderMap::new();
    /// fields.insert("if-none-match", HeaderValue::from_static("\"1\""));
    /// let flags = HeaderFlags::of_fields(&fields);
    /// assert!(RequestHead::with_flags(&Method::GET, &fields, flags).has_conditions());
    /// ```
    pub fn with_flags(method: &'a Method, fields: &'a F, flags: HeaderFlags) -> Self {
        Self { method, fields, flags, client_directives: ClientDirectives::Honor }
    }

    /// Sets what the cache does with the caching directives of this request. Default:
    /// [`ClientDirectives::Honor`].
    ///
    /// ```
    /// use http::{HeaderMap, HeaderValue, Method};
    /// use larder_policy::{ClientDirectives, RequestHead};
    ///
    /// let mut fields = HeaderMap::new();
    /// fields.insert("cache-control", HeaderValue::from_static("no-cache"));
    /// let request = RequestHead::new(&Method::GET, &fields);
    /// let request = request.with_client_directives(ClientDirectives::Ignore);
    /// assert_eq!(request.client_directives(), ClientDirectives::Ignore);
    /// ```
    #[must_use]
    pub fn with_client_directives(mut self, client_directives: ClientDirectives) -> Self {
        self.client_directives = client_directives;
        self
    }

    /// Returns what the cache does with the caching directives of this request.
    pub fn client_directives(&self) -> ClientDirectives {
        self.client_directives
    }

    /// Returns the method.
    pub fn method(&self) -> &'a Method {
        self.method
    }

    /// Returns the header fields.
    pub fn fields(&self) -> &'a F {
        self.fields
    }

    /// Returns whether the method allows a stored response to be used: GET and HEAD.
    pub fn may_reuse(&self) -> bool {
        *self.method == Method::GET || *self.method == Method::HEAD
    }

    /// Returns whether the request has neither a range nor conditions. A stored response is then
    /// served whole, without a call of [`StoredHead::serve`](crate::StoredHead::serve).
    pub fn is_plain(&self) -> bool {
        const NOT_PLAIN: u16 = HeaderFlags::RANGE.0
            | HeaderFlags::IF_RANGE.0
            | HeaderFlags::IF_NONE_MATCH.0
            | HeaderFlags::IF_MODIFIED_SINCE.0
            | HeaderFlags::ORIGIN_PRECONDITION.0;
        !self.flags.has_any(NOT_PLAIN)
    }

    /// Returns whether the request has `Cache-Control` or `Pragma`, which may change how a stored
    /// response is reused, and the cache does not ignore them.
    pub(crate) fn has_directives(&self) -> bool {
        self.flags.has_any(HeaderFlags::CACHE_CONTROL.0 | HeaderFlags::PRAGMA.0)
            && self.client_directives != ClientDirectives::Ignore
    }

    /// Returns the directives of `Cache-Control`, or `None` without that field, or if the cache
    /// ignores them.
    pub(crate) fn cache_control(&self) -> Option<RequestDirectives> {
        if !self.has_directives() {
            return None;
        }
        self.lines(HeaderFlags::CACHE_CONTROL, "cache-control").map(RequestDirectives::parse)
    }

    /// Returns whether the request forbids storing its response (`no-store`, RFC 9111 §5.2.1.5).
    pub fn forbids_storing(&self) -> bool {
        self.cache_control().is_some_and(|directives| directives.no_store)
    }

    /// Returns the kind of range that is requested.
    ///
    /// ```
    /// use http::{HeaderMap, HeaderValue, Method};
    /// use larder_policy::{RangeKind, RequestHead};
    ///
    /// let mut fields = HeaderMap::new();
    /// fields.insert("range", HeaderValue::from_static("bytes=0-"));
    /// assert_eq!(RequestHead::new(&Method::GET, &fields).range_kind(), RangeKind::Everything);
    /// ```
    pub fn range_kind(&self) -> RangeKind {
        self.range().map_or(RangeKind::None, RangeKind::of)
    }

    /// Returns the value of `Range`, if it counts.
    pub fn range_value(&self) -> Option<&'a [u8]> {
        self.range()
    }

    /// Returns the `Range` of the request, if it counts: only GET has ranges (RFC 9110 §14.2).
    pub(crate) fn range(&self) -> Option<&'a [u8]> {
        self.first(HeaderFlags::RANGE, "range").filter(|_| *self.method == Method::GET)
    }

    /// Returns whether the request has a condition that may lead to a 304 or a 412. `If-Range` is
    /// none of them.
    pub fn has_conditions(&self) -> bool {
        const CONDITIONS: u16 = HeaderFlags::IF_NONE_MATCH.0
            | HeaderFlags::IF_MODIFIED_SINCE.0
            | HeaderFlags::ORIGIN_PRECONDITION.0;
        self.flags.has_any(CONDITIONS)
    }

    /// Returns whether the request has a precondition that only the origin may evaluate: `If-Match`
    /// or `If-Unmodified-Since` (RFC 9111 §4.3.2).
    pub fn has_origin_precondition(&self) -> bool {
        self.has(HeaderFlags::ORIGIN_PRECONDITION)
    }

    /// Returns whether any of these flags is set.
    pub(crate) fn has(&self, flag: HeaderFlags) -> bool {
        self.flags.has_any(flag.0)
    }

    /// Returns the lines of a field, or `None` if its flag is not set.
    pub(crate) fn lines(
        &self,
        flag: HeaderFlags,
        name: &'static str,
    ) -> Option<impl Iterator<Item = &'a [u8]>> {
        let fields = self.fields;
        self.has(flag).then(|| fields.lines(name))
    }

    /// Returns the first line of a field without surrounding white space, or `None` if its flag is
    /// not set.
    pub(crate) fn first(&self, flag: HeaderFlags, name: &'static str) -> Option<&'a [u8]> {
        self.lines(flag, name)?.next().map(<[u8]>::trim_ascii)
    }
}
