//! Byte ranges (RFC 9110 §14).

/// A range of bytes of a representation: first and last position, both included, and the length of the whole where
/// it is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct ByteRange {
    /// The first byte's position.
    pub first: u64,
    /// The last byte's position.
    pub last: u64,
    /// The length of the whole representation.
    pub complete: Option<u64>,
}

/// What a `Range` field asks for (RFC 9110 §14.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asked {
    /// From this position, to this one if it is given.
    From(u64, Option<u64>),
    /// This many bytes at the end.
    Suffix(u64),
    /// Nothing that is understood, or several ranges: the field is ignored, as anyone may (RFC 9110 §14.2).
    Ignored,
}

impl ByteRange {
    /// A range; `None` if it is not one.
    pub fn new(first: u64, last: u64, complete: Option<u64>) -> Option<Self> {
        let valid = first <= last && last < u64::MAX && complete.is_none_or(|complete| last < complete);
        valid.then_some(Self { first, last, complete })
    }

    /// How many bytes it has.
    pub fn length(&self) -> u64 {
        self.last - self.first + 1
    }

    /// Whether `other` lies within it.
    pub fn covers(&self, other: &Self) -> bool {
        self.first <= other.first && other.last <= self.last
    }

    /// The value of `Content-Range` (RFC 9110 §14.4) of a part; `None` for anything else.
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

    /// The same, to be sent.
    pub(crate) fn content_range(&self) -> String {
        match self.complete {
            Some(complete) => format!("bytes {}-{}/{complete}", self.first, self.last),
            None => format!("bytes {}-{}/*", self.first, self.last),
        }
    }
}

impl Asked {
    /// Reads a `Range` field.
    pub(crate) fn parse(value: &[u8]) -> Self {
        Self::parse_one(value.trim_ascii()).unwrap_or(Self::Ignored)
    }

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

    /// The bytes that are meant, in a representation of `complete` bytes; `None` if it has none of them.
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

/// Digits and nothing else. Too many of them are no position.
fn position(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(digits).ok()?.parse().ok()
}

fn split_once(text: &[u8], at: u8) -> Option<(&[u8], &[u8])> {
    let index = text.iter().position(|byte| *byte == at)?;
    Some((&text[..index], &text[index + 1..]))
}
