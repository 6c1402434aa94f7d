//! Parses and formats byte ranges (RFC 9110 §14). The `serving` module applies them to a stored
//! response.

/// A range of bytes of a representation, with its first and last position, both inclusive, and the
/// total length if it is known.
///
/// ```
/// use larder_policy::ByteRange;
///
/// let range = ByteRange::new(0, 499, Some(1000)).unwrap();
/// assert_eq!(range.length(), 500);
/// assert!(range.covers(&ByteRange::new(100, 199, Some(1000)).unwrap()));
/// assert_eq!(ByteRange::new(500, 1000, Some(1000)), None);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct ByteRange {
    /// Position of the first byte.
    pub first: u64,
    /// Position of the last byte.
    pub last: u64,
    /// Length of the complete representation in bytes, or `None` if it is unknown.
    pub complete: Option<u64>,
}

/// The range that a `Range` field requests (RFC 9110 §14.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RequestedRange {
    /// The bytes from the first position to the second, or to the end without a second.
    From(u64, Option<u64>),
    /// This many bytes at the end.
    Suffix(u64),
    /// A range unit that is not understood, invalid syntax, or several ranges. The field is
    /// ignored, which every recipient may do (RFC 9110 §14.2).
    Ignored,
}

impl ByteRange {
    /// Creates a range. Returns `None` if `first` is after `last` or `last` is not within
    /// `complete`.
    pub fn new(first: u64, last: u64, complete: Option<u64>) -> Option<Self> {
        let valid = first <= last && last < u64::MAX && complete.is_none_or(|complete| last < complete);
        valid.then_some(Self { first, last, complete })
    }

    /// Returns the number of bytes.
    pub fn length(&self) -> u64 {
        self.last - self.first + 1
    }

    /// Returns whether `other` lies within this range.
    pub fn covers(&self, other: &Self) -> bool {
        self.first <= other.first && other.last <= self.last
    }

    /// Parses a `Content-Range` with a range of bytes (RFC 9110 §14.4). Returns `None` for anything
    /// else.
    pub(crate) fn parse_content_range(value: &[u8]) -> Option<Self> {
        let (unit, rest) = value.trim_ascii().split_at_checked(6)?;
        if !unit.eq_ignore_ascii_case(b"bytes ") {
            return None;
        }
        let (positions, complete) = split_once(rest, b'/')?;
        let (first, last) = split_once(positions, b'-')?;
        let complete = if complete == b"*" { None } else { Some(position(complete)?) };
        Self::new(position(first)?, position(last)?, complete)
    }

    /// Returns the range as a value of `Content-Range`.
    pub(crate) fn content_range(&self) -> String {
        match self.complete {
            Some(complete) => format!("bytes {}-{}/{complete}", self.first, self.last),
            None => format!("bytes {}-{}/*", self.first, self.last),
        }
    }
}

impl RequestedRange {
    /// Parses a `Range` field.
    pub(crate) fn parse(value: &[u8]) -> Self {
        Self::parse_one(value.trim_ascii()).unwrap_or(Self::Ignored)
    }

    /// Parses a `Range` field with one range of bytes. Returns `None` for anything else.
    fn parse_one(value: &[u8]) -> Option<Self> {
        let (unit, set) = split_once(value, b'=')?;
        if !unit.eq_ignore_ascii_case(b"bytes") || set.contains(&b',') {
            return None;
        }
        let (first, last) = split_once(set.trim_ascii(), b'-')?;
        if first.is_empty() {
            return Some(Self::Suffix(position(last)?));
        }
        let first = position(first)?;
        let last = if last.is_empty() { None } else { Some(position(last)?) };
        last.is_none_or(|last| first <= last).then_some(Self::From(first, last))
    }

    /// Returns the requested bytes of a representation of `complete` bytes. Returns `None` if it
    /// has none of them.
    pub(crate) fn within(self, complete: u64) -> Option<ByteRange> {
        let end = complete.checked_sub(1)?;
        let (first, last) = match self {
            Self::From(first, last) => (first, last.unwrap_or(end).min(end)),
            Self::Suffix(0) | Self::Ignored => return None,
            Self::Suffix(length) => (complete.saturating_sub(length), end),
        };
        ByteRange::new(first, last, Some(complete))
    }
}

/// Parses a position, which consists of digits only. Returns `None` if it does not fit into 64
/// bits.
fn position(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// Splits text at the first occurrence of a byte, which neither half contains.
fn split_once(text: &[u8], at: u8) -> Option<(&[u8], &[u8])> {
    let index = text.iter().position(|byte| *byte == at)?;
    Some((&text[..index], &text[index + 1..]))
}
