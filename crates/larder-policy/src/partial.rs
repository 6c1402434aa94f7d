//! Combines partial responses (RFC 9111 §3.3, §3.4): decides when two ranges of one representation
//! become one, and what a part states of the whole.

use http::{HeaderMap, HeaderValue, StatusCode};

use crate::{
    ByteRange, StoredHead,
    header_names::{CONTENT_LENGTH, CONTENT_RANGE},
    validation::strong_tag,
};

/// The source of a section of a combined body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PartSource {
    /// Bytes of the stored body, counted from the start of that body.
    Stored {
        /// Offset of the first byte.
        from: u64,
        /// Offset after the last byte.
        to: u64,
    },
    /// The complete body of the response that has just arrived.
    Received,
}

/// Two partial responses combined into one.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Combined {
    /// Head of the combined response: a 200 if no byte is missing, otherwise a 206 with a longer
    /// range.
    pub head: StoredHead,
    /// Sections of the combined body, in order.
    pub sources: Vec<PartSource>,
}

impl Combined {
    /// Returns the combination of a stored partial response and one that has just arrived (§3.4).
    ///
    /// The header fields are those of the new response. Returns `None` unless both responses have
    /// the same *strong* validator, the same selecting header values and the same known total
    /// length, and no byte is missing between them. Also returns `None` if the new range contains
    /// the whole stored one, since then the stored one adds nothing.
    pub fn combine(stored: &StoredHead, arrived: &StoredHead) -> Option<Self> {
        let (old, new) = (stored.part?, arrived.part?);
        strong_tag(&stored.fields).filter(|tag| strong_tag(&arrived.fields) == Some(tag))?;
        let same_whole = old.complete.is_some() && old.complete == new.complete;
        let touching = new.first <= old.last + 1 && old.first <= new.last + 1;
        if !same_whole || !touching || stored.selecting != arrived.selecting || new.covers(&old) {
            return None;
        }
        let mut sources = Vec::with_capacity(3);
        if old.first < new.first {
            sources.push(PartSource::Stored { from: 0, to: new.first - old.first });
        }
        sources.push(PartSource::Received);
        if old.last > new.last {
            sources.push(PartSource::Stored { from: new.last + 1 - old.first, to: old.length() });
        }
        let part = ByteRange::new(old.first.min(new.first), old.last.max(new.last), old.complete)?;
        let mut head = arrived.clone();
        set_part(&mut head, part);
        Some(Self { head, sources })
    }
}

/// Returns whether a response with these fields contains exactly `part` of the representation with
/// the strong entity tag `tag`.
///
/// ```
/// use http::{HeaderMap, HeaderValue, StatusCode};
/// use larder_policy::{ByteRange, is_part_of};
///
/// let mut fields = HeaderMap::new();
/// fields.insert("etag", HeaderValue::from_static("\"a\""));
/// fields.insert("content-range", HeaderValue::from_static("bytes 0-4/10"));
/// let part = ByteRange::new(0, 4, Some(10)).expect("a range");
/// assert!(is_part_of(StatusCode::PARTIAL_CONTENT, &fields, &part, b"\"a\""));
/// assert!(!is_part_of(StatusCode::PARTIAL_CONTENT, &fields, &part, b"\"b\""));
/// ```
pub fn is_part_of(status: StatusCode, fields: &HeaderMap, part: &ByteRange, tag: &[u8]) -> bool {
    status == StatusCode::PARTIAL_CONTENT
        && only_range(fields) == Some(*part)
        && strong_tag(fields) == Some(tag)
}

/// Returns the range that `Content-Range` states, if there is one such field.
pub(crate) fn only_range(fields: &HeaderMap) -> Option<ByteRange> {
    let mut lines = fields.get_all(CONTENT_RANGE).iter();
    let range = lines.next().filter(|_| lines.next().is_none())?;
    ByteRange::parse_content_range(range.as_bytes())
}

/// Returns the head of the whole representation for that of a part.
/// [`StoredHead::of_whole`] describes it.
pub(crate) fn head_of_whole(part: &StoredHead) -> Option<StoredHead> {
    let complete = part.part?.complete?;
    strong_tag(&part.fields)?;
    let mut head = part.clone();
    set_part(&mut head, ByteRange::new(0, complete.checked_sub(1)?, Some(complete))?);
    head.fields.insert(CONTENT_LENGTH, complete.into());
    Some(head)
}

/// Sets the range that the body now contains, with the status code and fields that it requires.
fn set_part(head: &mut StoredHead, part: ByteRange) {
    head.fields.remove(CONTENT_LENGTH);
    head.fields.remove(CONTENT_RANGE);
    if part.first == 0 && part.complete == Some(part.length()) {
        head.status = StatusCode::OK;
        head.part = None;
    } else {
        head.part = Some(part);
        if let Ok(value) = HeaderValue::from_str(&part.content_range()) {
            head.fields.insert(CONTENT_RANGE, value);
        }
    }
}
