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

/// Most ranges that a `Range` field may request. A field with more is ignored (RFC 9110 §14.2).
const MAX_RANGES: usize = 32;

/// One range that a `Range` field requests (RFC 9110 §14.1.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum RangeSpec {
    /// The bytes from the first position to the second, or to the end without a second.
    From(u64, Option<u64>),
    /// This many bytes at the end.
    Suffix(u64),
}

/// The ranges that a `Range` field requests (RFC 9110 §14.2), in the order of the field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RequestedRanges(Specs);

/// Most fields request one range, which takes no allocation.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Specs {
    One(RangeSpec),
    Several(Vec<RangeSpec>),
}

/// The kind of range that a request has.
///
/// The enum is exhaustive, so that no match misses a new variant: adding one is a breaking change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RangeKind {
    /// Nothing: there is no `Range`, or the method is not GET.
    None,
    /// The complete representation: `bytes=0-`.
    Everything,
    /// Another single range of bytes.
    Single,
    /// Several ranges of bytes.
    Several,
    /// A unit that is not understood, invalid syntax, or more ranges than are served.
    Unknown,
}

impl RangeKind {
    /// Returns the kind of a `Range` field.
    pub(crate) fn of(value: &[u8]) -> Self {
        match RequestedRanges::parse(value).map(|ranges| ranges.0) {
            None => Self::Unknown,
            Some(Specs::One(RangeSpec::From(0, None))) => Self::Everything,
            Some(Specs::One(_)) => Self::Single,
            Some(Specs::Several(_)) => Self::Several,
        }
    }
}

/// The bytes of a representation that a request selects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum SelectedRanges {
    /// The representation has none of the requested bytes.
    None,
    /// One range: one was requested, or the others have no bytes or overlap.
    One(ByteRange),
    /// Two or more ranges, which neither overlap nor touch.
    Several(Box<[ByteRange]>),
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

impl RequestedRanges {
    /// Parses a `Range` field. Returns `None` if it is to be ignored, which every recipient may do
    /// (RFC 9110 §14.2): it has another unit, invalid syntax, or more than 32 ranges.
    pub(crate) fn parse(value: &[u8]) -> Option<Self> {
        let (unit, set) = split_once(value.trim_ascii(), b'=')?;
        if !unit.eq_ignore_ascii_case(b"bytes") {
            return None;
        }
        let mut members = set.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
        let mut members = members.by_ref().filter(|member| !member.is_empty());
        let first = RangeSpec::parse(members.next()?)?;
        let Some(second) = members.next() else { return Some(Self(Specs::One(first))) };
        let mut all = vec![first, RangeSpec::parse(second)?];
        for member in members {
            if all.len() == MAX_RANGES {
                return None;
            }
            all.push(RangeSpec::parse(member)?);
        }
        Some(Self(Specs::Several(all)))
    }

    /// Returns the requested bytes of a representation of `complete` bytes.
    ///
    /// Ranges without bytes are left out. Those that overlap or touch become one, at the place of
    /// the first of them (RFC 9110 §15.3.7.2). The ranges together are never longer than the
    /// representation.
    pub(crate) fn within(&self, complete: u64) -> SelectedRanges {
        let specs = match &self.0 {
            Specs::One(spec) => std::slice::from_ref(spec),
            Specs::Several(specs) => specs,
        };
        let mut ranges = specs.iter().filter_map(|spec| spec.within(complete));
        let Some(first) = ranges.next() else { return SelectedRanges::None };
        let Some(second) = ranges.next() else { return SelectedRanges::One(first) };
        let mut disjoint = vec![first];
        for range in std::iter::once(second).chain(ranges) {
            insert_disjoint(&mut disjoint, range);
        }
        match *disjoint {
            [one] => SelectedRanges::One(one),
            _ => SelectedRanges::Several(disjoint.into()),
        }
    }
}

impl RangeSpec {
    /// Parses one range of bytes. Returns `None` if it is invalid.
    fn parse(spec: &[u8]) -> Option<Self> {
        let (first, last) = split_once(spec, b'-')?;
        if first.is_empty() {
            return Some(Self::Suffix(position(last)?));
        }
        let first = position(first)?;
        let last = if last.is_empty() { None } else { Some(position(last)?) };
        last.is_none_or(|last| first <= last).then_some(Self::From(first, last))
    }

    /// Returns the requested bytes of a representation of `complete` bytes. Returns `None` if it
    /// has none of them.
    fn within(self, complete: u64) -> Option<ByteRange> {
        let end = complete.checked_sub(1)?;
        let (first, last) = match self {
            Self::From(first, last) => (first, last.unwrap_or(end).min(end)),
            Self::Suffix(0) => return None,
            Self::Suffix(length) => (complete.saturating_sub(length), end),
        };
        ByteRange::new(first, last, Some(complete))
    }
}

/// Adds a range to ranges that neither overlap nor touch. It becomes one with those that it
/// overlaps or touches.
fn insert_disjoint(disjoint: &mut Vec<ByteRange>, mut range: ByteRange) {
    let mut place = disjoint.len();
    let mut index = 0;
    while let Some(other) = disjoint.get(index).copied() {
        if range.first > other.last + 1 || other.first > range.last + 1 {
            index += 1;
            continue;
        }
        range.first = range.first.min(other.first);
        range.last = range.last.max(other.last);
        disjoint.remove(index);
        place = place.min(index);
        // The longer range may now touch an earlier one.
        index = 0;
    }
    disjoint.insert(place.min(disjoint.len()), range);
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
