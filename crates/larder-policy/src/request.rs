//! Header fields as the rules read them, whichever library holds them.
//!
//! A request's names are read through once, and a bit is set for each field that matters to caching. Each later
//! question looks at a field only where its bit is set, so that a plain request costs one short loop.

use http::{HeaderMap, Method};

/// Header fields, whichever library holds them: `http`'s map, or a framework's own.
pub trait RequestHeaders {
    /// Calls `each` with every field name, lower case; once or more for a name with several lines.
    fn names(&self, each: impl FnMut(&str));

    /// The values of every field line called `name` (lower case), in order.
    fn lines<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> + 'a;
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
}

/// Which of the fields that matter to caching a request has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct HeaderFlags(u16);

impl HeaderFlags {
    pub(crate) const CACHE_CONTROL: Self = Self(1);
    pub(crate) const PRAGMA: Self = Self(1 << 1);
    pub(crate) const AUTHORIZATION: Self = Self(1 << 2);
    pub(crate) const RANGE: Self = Self(1 << 3);
    pub(crate) const IF_RANGE: Self = Self(1 << 4);
    pub(crate) const IF_NONE_MATCH: Self = Self(1 << 5);
    pub(crate) const IF_MODIFIED_SINCE: Self = Self(1 << 6);
    /// `If-Match` or `If-Unmodified-Since`: conditions that only the origin may evaluate (RFC 9111 §4.3.2).
    pub(crate) const FOR_ORIGIN: Self = Self(1 << 7);

    /// Decided by length first: most names need no comparison at all.
    fn of(name: &str) -> Self {
        match (name.len(), name) {
            (5, "range") => Self::RANGE,
            (6, "pragma") => Self::PRAGMA,
            (8, "if-range") => Self::IF_RANGE,
            (8, "if-match") | (19, "if-unmodified-since") => Self::FOR_ORIGIN,
            (13, "cache-control") => Self::CACHE_CONTROL,
            (13, "authorization") => Self::AUTHORIZATION,
            (13, "if-none-match") => Self::IF_NONE_MATCH,
            (17, "if-modified-since") => Self::IF_MODIFIED_SINCE,
            _ => Self(0),
        }
    }

    const fn has_any(self, of: u16) -> bool {
        self.0 & of != 0
    }
}

/// A request's method and fields, read through once.
#[derive(Debug)]
pub struct RequestHead<'a, F = HeaderMap> {
    method: &'a Method,
    fields: &'a F,
    marks: HeaderFlags,
}

impl<'a, F: RequestHeaders> RequestHead<'a, F> {
    /// Reads the names.
    pub fn new(method: &'a Method, fields: &'a F) -> Self {
        let mut marks = 0;
        fields.names(|name| marks |= HeaderFlags::of(name).0);
        Self { method, fields, marks: HeaderFlags(marks) }
    }

    /// The method.
    pub fn method(&self) -> &'a Method {
        self.method
    }

    /// The fields.
    pub fn fields(&self) -> &'a F {
        self.fields
    }

    /// Whether a stored response may answer at all: GET and HEAD.
    pub fn may_reuse(&self) -> bool {
        *self.method == Method::GET || *self.method == Method::HEAD
    }

    /// Whether the whole of the response is asked for, without conditions: then nothing has to be asked of
    /// [`StoredHead::serve`](crate::StoredHead::serve).
    pub fn is_plain(&self) -> bool {
        const NOT_PLAIN: u16 = HeaderFlags::RANGE.0
            | HeaderFlags::IF_RANGE.0
            | HeaderFlags::IF_NONE_MATCH.0
            | HeaderFlags::IF_MODIFIED_SINCE.0
            | HeaderFlags::FOR_ORIGIN.0;
        !self.marks.has_any(NOT_PLAIN)
    }

    /// Whether the request says anything that changes how a stored response may be reused.
    pub(crate) fn has_directives(&self) -> bool {
        self.marks.has_any(HeaderFlags::CACHE_CONTROL.0 | HeaderFlags::PRAGMA.0)
    }

    pub(crate) fn has(&self, mark: HeaderFlags) -> bool {
        self.marks.has_any(mark.0)
    }

    /// The lines of a field, if its bit is set.
    pub(crate) fn lines(
        &self,
        mark: HeaderFlags,
        name: &'static str,
    ) -> Option<impl Iterator<Item = &'a [u8]>> {
        let fields = self.fields;
        self.has(mark).then(|| fields.lines(name))
    }

    /// The first line of a field, without the white space around it.
    pub(crate) fn first(&self, mark: HeaderFlags, name: &'static str) -> Option<&'a [u8]> {
        self.lines(mark, name)?.next().map(<[u8]>::trim_ascii)
    }
}

/// The members of a comma-separated list over several lines (RFC 9110 §5.6.1), with commas in quoted strings kept.
/// Empty members are left out.
pub(crate) fn members<'a>(lines: impl Iterator<Item = &'a [u8]>) -> impl Iterator<Item = &'a [u8]> {
    lines.flat_map(|line| Members { rest: line })
}

/// The members of a field of a map.
pub(crate) fn members_of<'a>(
    fields: &'a HeaderMap,
    name: &http::HeaderName,
) -> impl Iterator<Item = &'a [u8]> {
    members(fields.get_all(name).iter().map(http::HeaderValue::as_bytes))
}

struct Members<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Members<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        loop {
            if self.rest.is_empty() {
                return None;
            }
            let end = end_of_member(self.rest);
            let member = self.rest[..end].trim_ascii();
            self.rest = self.rest.get(end + 1..).unwrap_or_default();
            if !member.is_empty() {
                return Some(member);
            }
        }
    }
}

fn end_of_member(text: &[u8]) -> usize {
    let mut quoted = false;
    let mut escaped = false;
    for (index, byte) in text.iter().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b',' if !quoted => return index,
            _ => {}
        }
    }
    text.len()
}
