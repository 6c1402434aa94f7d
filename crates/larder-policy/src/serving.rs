//! What of a stored response answers a request: the whole, a part, 304 or 416 (RFC 9111 §4.3.2, RFC 9110 §13, §14).

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};

use crate::{
    ByteRange, RequestHead, RequestHeaders, StoredHead, Validator,
    dates::parse_http_date,
    header_names::{
        ACCEPT_RANGES, CACHE_CONTROL, CDN_CACHE_CONTROL, CONTENT_LENGTH, CONTENT_LOCATION, CONTENT_RANGE,
        DATE, ETAG, EXPIRES, LAST_MODIFIED, VARY,
    },
    range::Asked,
    request::{HeaderFlags, members},
    validation::opaque,
};

/// How a stored response answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Serve {
    /// As it is.
    Whole,
    /// This part of the representation, with 206.
    Part(ByteRange),
    /// 304: the client has it.
    NotModified,
    /// 416: the representation has no such bytes.
    NotSatisfiable {
        /// How many it has.
        complete: u64,
    },
    /// Not at all: what is asked for is not in the stored part.
    No,
}

impl StoredHead {
    /// How this response answers the request; `length` is that of the stored body, where it is known.
    pub fn serve<F: RequestHeaders>(&self, request: &RequestHead<'_, F>, length: Option<u64>) -> Serve {
        let conditional = matches!(self.status, StatusCode::OK | StatusCode::PARTIAL_CONTENT);
        if conditional && self.is_not_modified(request) {
            return Serve::NotModified;
        }
        let asked = self.asked(request);
        if let Some(part) = self.part {
            let wanted = part.complete.and_then(|complete| asked.within(complete));
            return match wanted.filter(|wanted| part.covers(wanted)) {
                Some(wanted) => Serve::Part(wanted),
                None => Serve::No,
            };
        }
        let Some(complete) = length.filter(|_| self.status == StatusCode::OK) else { return Serve::Whole };
        match (asked, asked.within(complete)) {
            (Asked::Ignored, _) => Serve::Whole,
            (_, Some(part)) => Serve::Part(part),
            (_, None) => Serve::NotSatisfiable { complete },
        }
    }

    /// Whether what is stored can answer this request at all: a part can only answer for what lies in it.
    pub(crate) fn can_answer<F: RequestHeaders>(&self, request: &RequestHead<'_, F>) -> bool {
        self.part.is_none() || self.serve(request, None) != Serve::No
    }

    /// What `Range` asks for, if it counts: for GET (RFC 9110 §14.2), and only if `If-Range` holds (§13.1.5).
    fn asked<F: RequestHeaders>(&self, request: &RequestHead<'_, F>) -> Asked {
        let Some(range) =
            request.first(HeaderFlags::RANGE, "range").filter(|_| *request.method() == Method::GET)
        else {
            return Asked::Ignored;
        };
        match request.first(HeaderFlags::IF_RANGE, "if-range") {
            Some(condition) if !self.is_in_range_condition(condition) => Asked::Ignored,
            _ => Asked::parse(range),
        }
    }

    /// `If-Range`: the strong comparison of an entity tag, or the exact date if that is a strong validator, at least
    /// a second older than the response (RFC 9110 §13.1.5, §8.8.2.2).
    fn is_in_range_condition(&self, condition: &[u8]) -> bool {
        if condition.starts_with(b"\"") {
            return self.strong_tag() == Some(condition);
        }
        let Some(modified) = self.fields.get(LAST_MODIFIED) else { return false };
        let same = modified.as_bytes().trim_ascii() == condition;
        let modified = parse_http_date(modified.as_bytes(), self.freshness.date);
        same && modified.is_some_and(|modified| self.freshness.date.since(modified).as_secs() >= 1)
    }

    /// §4.3.2: `If-None-Match`, and only without it `If-Modified-Since`.
    fn is_not_modified<F: RequestHeaders>(&self, request: &RequestHead<'_, F>) -> bool {
        if let Some(lines) = request.lines(HeaderFlags::IF_NONE_MATCH, "if-none-match") {
            return matches_any(lines, self.fields.get(ETAG));
        }
        let since = request.first(HeaderFlags::IF_MODIFIED_SINCE, "if-modified-since");
        let Some(since) = since.and_then(|since| parse_http_date(since, self.freshness.response_time)) else {
            return false;
        };
        let modified = self.fields.get(LAST_MODIFIED);
        let modified =
            modified.and_then(|modified| parse_http_date(modified.as_bytes(), self.freshness.date));
        // Without `Last-Modified`, `Date` stands for it, or when the response came (§4.3.2).
        modified.unwrap_or(self.freshness.date) <= since
    }

    /// Status and fields of an answer that is not the stored response as it is; without `Age` and `Cache-Status`.
    pub fn fields_for(&self, serve: Serve) -> (StatusCode, HeaderMap) {
        match serve {
            Serve::NotModified => (StatusCode::NOT_MODIFIED, not_modified_fields(&self.fields)),
            Serve::Part(part) => {
                let mut fields = self.fields.clone();
                fields.remove(CONTENT_LENGTH);
                insert(&mut fields, CONTENT_RANGE, &part.content_range());
                (StatusCode::PARTIAL_CONTENT, fields)
            }
            Serve::NotSatisfiable { complete } => {
                let mut fields = HeaderMap::with_capacity(8);
                copy(&self.fields, &mut fields, &[DATE, ETAG, LAST_MODIFIED, VARY, ACCEPT_RANGES]);
                insert(&mut fields, CONTENT_RANGE, &format!("bytes */{complete}"));
                (StatusCode::RANGE_NOT_SATISFIABLE, fields)
            }
            Serve::Whole | Serve::No => (self.status, self.fields.clone()),
        }
    }
}

fn insert(fields: &mut HeaderMap, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        fields.insert(name, value);
    }
}

fn copy(from: &HeaderMap, to: &mut HeaderMap, names: &[HeaderName]) {
    for name in names {
        for line in from.get_all(name) {
            to.append(name.clone(), line.clone());
        }
    }
}

/// The fields of a 304 for a response with these (RFC 9110 §15.4.5). No `Content-Length`: there is no content, and
/// a client that trusts the field resets the stream.
pub fn not_modified_fields(fields: &HeaderMap) -> HeaderMap {
    let mut kept = HeaderMap::with_capacity(16);
    let names =
        [CACHE_CONTROL, CDN_CACHE_CONTROL, CONTENT_LOCATION, DATE, ETAG, EXPIRES, LAST_MODIFIED, VARY];
    copy(fields, &mut kept, &names);
    // What is about the exchange and not about the representation is of use with a 304, too.
    for (name, value) in fields {
        let name_text = name.as_str();
        let about_content = name_text.starts_with("content-") || *name == ACCEPT_RANGES;
        if !about_content && !kept.contains_key(name) && !names.contains(name) {
            kept.append(name.clone(), value.clone());
        }
    }
    kept
}

/// Whether a client that asked with a condition has what has just come from the origin: it was asked without that
/// condition, so the cache answers it.
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

/// The weak comparison with any of a list, or `*` (RFC 9110 §13.1.2).
fn matches_any<'a>(lines: impl Iterator<Item = &'a [u8]>, tag: Option<&HeaderValue>) -> bool {
    let tag = tag.map(|tag| opaque(tag.as_bytes()));
    members(lines).any(|member| member == b"*" || tag == Some(opaque(member)))
}

impl Validator<'_> {
    /// Whether two responses with this validator have the same bytes (RFC 9110 §8.8.1).
    pub fn is_strong(&self) -> bool {
        matches!(self, Self::Strong(_))
    }
}
