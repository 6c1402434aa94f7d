//! Decides how a stored response is served: whole, in part, as 304 or as 416 (RFC 9111 §4.3.2,
//! RFC 9110 §13, §14). `reuse` has selected the response, `range` parses the requested range.

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use crate::{
    ByteRange, RequestHead, RequestHeaders, StoredHead,
    dates::parse_http_date,
    header_names::{ACCEPT_RANGES, CONTENT_LENGTH, CONTENT_RANGE, DATE, ETAG, LAST_MODIFIED, VARY},
    list::entity_tags,
    range::{RequestedRanges, SelectedRanges},
    request::HeaderFlags,
    validation::{strong_tag, without_weak_prefix},
};

/// The form in which a stored response is served.
///
/// The enum is exhaustive, so that no match misses a new variant: adding one is a breaking change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Serve {
    /// The response as it is stored.
    Whole,
    /// A range of the representation, as 206.
    Part(ByteRange),
    /// Several ranges of the representation, as 206 with a [`Multipart`](crate::Multipart) body.
    /// They neither overlap nor touch, and stand in the order of the request.
    Parts(Box<[ByteRange]>),
    /// A 304, since the client's copy is current.
    NotModified,
    /// A 416, since the representation has none of the requested bytes.
    NotSatisfiable {
        /// Length of the complete representation in bytes.
        complete: u64,
    },
    /// Not at all: the stored part does not contain the requested bytes.
    NotInPart,
}

/// Returns the form in which a stored response is served for a request. Conditions are evaluated
/// before the range. [`StoredHead::serve`] describes the arguments.
pub(crate) fn serve<F: RequestHeaders>(
    stored: &StoredHead,
    request: &RequestHead<'_, F>,
    length: Option<u64>,
) -> Serve {
    let conditional = matches!(stored.status, StatusCode::OK | StatusCode::PARTIAL_CONTENT);
    if conditional && is_not_modified(stored, request) {
        return Serve::NotModified;
    }
    let requested = requested_ranges(&stored.fields, stored.freshness.date, request);
    if let Some(part) = stored.part {
        let within = part.complete.zip(requested).map(|(complete, ranges)| ranges.within(complete));
        return match within {
            Some(SelectedRanges::One(range)) if part.covers(&range) => Serve::Part(range),
            Some(SelectedRanges::Several(ranges)) if ranges.iter().all(|range| part.covers(range)) => {
                Serve::Parts(ranges)
            }
            _ => Serve::NotInPart,
        };
    }
    in_ranges(stored.status, requested, length)
}

/// Returns the form of a complete response in which the requested ranges are served. Ranges only
/// apply to a 200 of known length (RFC 9110 §14.2).
fn in_ranges(status: StatusCode, requested: Option<RequestedRanges>, length: Option<u64>) -> Serve {
    let applies = requested.zip(length).filter(|_| status == StatusCode::OK);
    let Some((requested, complete)) = applies else { return Serve::Whole };
    match requested.within(complete) {
        SelectedRanges::One(part) => Serve::Part(part),
        SelectedRanges::Several(parts) => Serve::Parts(parts),
        SelectedRanges::None => Serve::NotSatisfiable { complete },
    }
}

/// Returns the form in which a response that has just arrived from the origin is served, if the
/// cache did not forward the conditions and the range of the request.
///
/// `length` is the length of the body in bytes, if it is known. Without it, the response is served
/// whole, or as 304.
///
/// ```
/// use http::{HeaderMap, HeaderValue, Method, StatusCode};
/// use larder_policy::{RequestHead, Serve, serve_arrived};
///
/// let mut request = HeaderMap::new();
/// request.insert("range", HeaderValue::from_static("bytes=2-"));
/// let request = RequestHead::new(&Method::GET, &request);
/// let serve = serve_arrived(&request, StatusCode::OK, &HeaderMap::new(), Some(10));
/// assert!(matches!(serve, Serve::Part(part) if part.length() == 8));
/// ```
pub fn serve_arrived<F: RequestHeaders>(
    request: &RequestHead<'_, F>,
    status: StatusCode,
    fields: &HeaderMap,
    length: Option<u64>,
) -> Serve {
    if not_modified(request, status, fields) {
        return Serve::NotModified;
    }
    let date = |date: &HeaderValue| parse_http_date(date.as_bytes(), crate::Timestamp::default());
    let date = fields.get(DATE).and_then(date).unwrap_or_default();
    in_ranges(status, requested_ranges(fields, date, request), length)
}

/// Returns the status code and header fields for a form of a response with these. Those of
/// [`Serve::Parts`] lack what [`Multipart`](crate::Multipart) adds.
pub fn fields_in_form(status: StatusCode, fields: &HeaderMap, serve: &Serve) -> (StatusCode, HeaderMap) {
    match serve {
        Serve::NotModified => (StatusCode::NOT_MODIFIED, not_modified_fields(fields)),
        Serve::Part(part) => {
            let mut fields = fields.clone();
            fields.remove(CONTENT_LENGTH);
            set_field(&mut fields, CONTENT_RANGE, &part.content_range());
            (StatusCode::PARTIAL_CONTENT, fields)
        }
        Serve::Parts(_) => {
            let mut fields = fields.clone();
            fields.remove(CONTENT_LENGTH);
            fields.remove(CONTENT_RANGE);
            (StatusCode::PARTIAL_CONTENT, fields)
        }
        Serve::NotSatisfiable { complete } => {
            let mut reduced = HeaderMap::with_capacity(8);
            copy_fields(fields, &mut reduced, &[DATE, ETAG, LAST_MODIFIED, VARY, ACCEPT_RANGES]);
            set_field(&mut reduced, CONTENT_RANGE, &format!("bytes */{complete}"));
            (StatusCode::RANGE_NOT_SATISFIABLE, reduced)
        }
        Serve::Whole | Serve::NotInPart => (status, fields.clone()),
    }
}

/// Returns whether a stored response can be served for the request at all. A partial response can
/// only be served for ranges that it contains.
pub(crate) fn can_be_served<F: RequestHeaders>(stored: &StoredHead, request: &RequestHead<'_, F>) -> bool {
    stored.part.is_none() || serve(stored, request, None) != Serve::NotInPart
}

/// Returns the ranges that the request's `Range` selects from a response with these fields. They
/// count only for GET (RFC 9110 §14.2), and only if `If-Range` matches (§13.1.5).
fn requested_ranges<F: RequestHeaders>(
    fields: &HeaderMap,
    date: crate::Timestamp,
    request: &RequestHead<'_, F>,
) -> Option<RequestedRanges> {
    let range = request.range()?;
    match request.first(HeaderFlags::IF_RANGE, "if-range") {
        Some(condition) if !satisfies_if_range(fields, date, condition) => None,
        _ => RequestedRanges::parse(range),
    }
}

/// Returns whether the condition of `If-Range` is true (RFC 9110 §13.1.5). Entity tags are
/// compared strongly. A date must equal `Last-Modified` and be at least one second older than
/// `Date`, which makes it a strong validator (§8.8.2.2).
fn satisfies_if_range(fields: &HeaderMap, date: crate::Timestamp, condition: &[u8]) -> bool {
    if condition.starts_with(b"\"") {
        return strong_tag(fields) == Some(condition);
    }
    let Some(modified) = fields.get(LAST_MODIFIED) else { return false };
    let same = modified.as_bytes().trim_ascii() == condition;
    let modified = parse_http_date(modified.as_bytes(), date);
    same && modified.is_some_and(|modified| date.since(modified).as_secs() >= 1)
}

/// Returns whether the client's copy is current (§4.3.2). `If-Modified-Since` counts only
/// without `If-None-Match`.
fn is_not_modified<F: RequestHeaders>(stored: &StoredHead, request: &RequestHead<'_, F>) -> bool {
    if let Some(lines) = request.lines(HeaderFlags::IF_NONE_MATCH, "if-none-match") {
        return matches_any(lines, stored.fields.get(ETAG));
    }
    let since = request.first(HeaderFlags::IF_MODIFIED_SINCE, "if-modified-since");
    let Some(since) = since.and_then(|since| parse_http_date(since, stored.freshness.response_time)) else {
        return false;
    };
    let modified = stored.fields.get(LAST_MODIFIED);
    let modified = modified.and_then(|modified| parse_http_date(modified.as_bytes(), stored.freshness.date));
    // Without `Last-Modified`, the time in `Date` or the arrival time is compared (§4.3.2).
    modified.unwrap_or(stored.freshness.date) <= since
}

/// Sets a field to a value, unless the value is invalid.
fn set_field(fields: &mut HeaderMap, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        fields.insert(name, value);
    }
}

/// Copies all lines of the named fields.
fn copy_fields(from: &HeaderMap, to: &mut HeaderMap, names: &[HeaderName]) {
    for name in names {
        for line in from.get_all(name) {
            to.append(name.clone(), line.clone());
        }
    }
}

/// Returns the header fields of a 304 that replaces a response with these fields
/// (RFC 9110 §15.4.5): all lines of each field, since the client replaces all lines that it has
/// (RFC 9111 §3.2).
///
/// A 304 must have `Content-Location`, `Date`, `ETag`, `Vary`, `Cache-Control` and `Expires` if the
/// response has them. Fields that describe the content, such as `Content-Type`, ought not to be
/// sent. A 304 has no content, and a client that relies on `Content-Length` resets the stream. All
/// other fields are sent, because they guide the update of what the client has stored.
pub fn not_modified_fields(fields: &HeaderMap) -> HeaderMap {
    let mut reduced = HeaderMap::with_capacity(fields.len());
    for (name, value) in fields {
        if !describes_content(name) {
            reduced.append(name.clone(), value.clone());
        }
    }
    reduced
}

/// Returns whether a field describes the content, and is of no use without it. That a name begins
/// with `Content-` does not show it (RFC 9111 §3.2), as `Content-Security-Policy` does.
fn describes_content(name: &HeaderName) -> bool {
    *name == ACCEPT_RANGES
        || name.as_str().strip_prefix("content-").is_some_and(|rest| {
            matches!(
                rest,
                "digest" | "disposition" | "encoding" | "language" | "length" | "md5" | "range" | "type"
            )
        })
}

/// Returns whether the client's copy is current, given a response that has just arrived from the
/// origin (RFC 9110 §13). Always false except for a 200 to GET or HEAD.
///
/// The cache removes the client's conditions before it forwards a request, so it evaluates them
/// against the response.
pub fn not_modified<F: RequestHeaders>(
    request: &RequestHead<'_, F>,
    status: StatusCode,
    fields: &HeaderMap,
) -> bool {
    if status != StatusCode::OK || !request.may_reuse() {
        return false;
    }
    if let Some(lines) = request.lines(HeaderFlags::IF_NONE_MATCH, "if-none-match") {
        return matches_any(lines, fields.get(ETAG));
    }
    let date = |value: &[u8]| parse_http_date(value, crate::Timestamp::default());
    let since = request.first(HeaderFlags::IF_MODIFIED_SINCE, "if-modified-since").and_then(date);
    let modified = fields.get(LAST_MODIFIED).and_then(|modified| date(modified.as_bytes()));
    since.zip(modified).is_some_and(|(since, modified)| modified <= since)
}

/// Returns whether any member of a list of entity tags matches, by weak comparison or as `*`
/// (RFC 9110 §13.1.2).
fn matches_any<'a>(lines: impl Iterator<Item = &'a [u8]>, tag: Option<&HeaderValue>) -> bool {
    let tag = tag.map(|tag| without_weak_prefix(tag.as_bytes()));
    entity_tags(lines).any(|member| member == b"*" || tag == Some(without_weak_prefix(member)))
}
