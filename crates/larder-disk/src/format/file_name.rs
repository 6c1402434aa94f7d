//! Builds and parses the names of the store's files. No name contains data that a client or an
//! origin has sent.

use std::fmt;

/// Version of the file layout. Together with the codec's version it names the folder, such as
/// `v2.1`.
pub(crate) const LAYOUT: u16 = 1;

/// Counters that all processes share; see `state_file`.
pub(crate) const STATE: &str = "state";
/// File that is locked during every change; it stays empty.
pub(crate) const LOCK: &str = "lock";
/// The hash table of slots; see `index`.
pub(crate) const INDEX: &str = "index";
/// Sequence numbers of the last removals; see `tombstones`.
pub(crate) const TOMBSTONES: &str = "tombs";
/// Times at which groups were marked stale, in ms.
pub(crate) const STALE: &str = "stale";
/// The table of leases; see `lease_table`.
pub(crate) const LEASES: &str = "leases";

/// Name of a file that is numbered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum FileName {
    /// A segment of records, by its number.
    Segment(u32),
    /// A committed long body: the hash of its key, and the number of its entry.
    Body(u64, u64),
    /// A long body that is being written, by a random number.
    Temp(u64),
    /// A process that holds leases, by a random number. It has locked the file.
    Holder(u64),
}

impl fmt::Display for FileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Segment(number) => write!(f, "s-{number:08x}"),
            Self::Body(hash, entry) => write!(f, "b-{hash:016x}-{entry:016x}"),
            Self::Temp(number) => write!(f, "p-{number:016x}"),
            Self::Holder(number) => write!(f, "h-{number:016x}"),
        }
    }
}

impl FileName {
    /// Parses a file name. Returns `None` for names that [`Display`](fmt::Display) does not
    /// produce.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        let number = |text: &str, digits: usize| {
            let right = text.len() == digits && text.bytes().all(|b| b.is_ascii_hexdigit());
            u64::from_str_radix(text, 16).ok().filter(|_| right)
        };
        match name.split_at_checked(2)? {
            ("s-", rest) => number(rest, 8).and_then(|n| u32::try_from(n).ok()).map(Self::Segment),
            ("p-", rest) => number(rest, 16).map(Self::Temp),
            ("h-", rest) => number(rest, 16).map(Self::Holder),
            ("b-", rest) => {
                let (hash, entry) = rest.split_once('-')?;
                Some(Self::Body(number(hash, 16)?, number(entry, 16)?))
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip() {
        for name in [
            FileName::Segment(7),
            FileName::Segment(u32::MAX),
            FileName::Body(1, u64::MAX),
            FileName::Temp(3),
            FileName::Holder(4),
        ] {
            assert_eq!(FileName::parse(&name.to_string()), Some(name));
        }
        for other in ["", "s-", "s-7", "s-0000000g", "b-1-2", "state", "é-00000000", "s-+0000001"] {
            assert_eq!(FileName::parse(other), None, "{other}");
        }
    }
}
