//! Defines [`Purged`], the result of a purge.

use std::{fmt, iter::Sum, ops::Add};

/// How many entries a purge has reached: in all, and in each store of tiers.
///
/// ```
/// use larder_core::Purged;
///
/// let page = Purged::from(2);
/// assert_eq!(page.to_string(), "2 entries");
/// let tiered = Purged::of_tiers(Purged::from(1), Purged::from(3));
/// assert_eq!(tiered.entries, Some(3));
/// assert_eq!((page + tiered).to_string(), "5 entries");
/// assert_eq!(tiered.to_string(), "3 entries (near store: 1, far store: 3)");
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Purged {
    /// Number of entries, not of keys. An entry in both stores of tiers is counted once; if either
    /// number is larger, it is that one. `None` if the store does not know it.
    pub entries: Option<u64>,
    /// Number of entries in the near store of tiers. `None` if it does not know it, and without
    /// tiers.
    pub near: Option<u64>,
    /// Number of entries in the far store of tiers. `None` if it does not know it, and without
    /// tiers.
    pub far: Option<u64>,
    /// Number of processes with near copies that have confirmed that they removed theirs.
    pub acknowledged: u64,
    /// Number of processes with near copies that have not confirmed it in time. They serve none
    /// until they have received the removal.
    pub unacknowledged: u64,
}

impl Purged {
    /// A purge of which the store does not know how many entries it has reached.
    pub const UNKNOWN: Self =
        Self { entries: None, near: None, far: None, acknowledged: 0, unacknowledged: 0 };

    /// Returns the result of a purge of tiers, from those of its stores.
    ///
    /// The number is unknown if the far store does not know it: the near store has a part of the
    /// entries only.
    pub fn of_tiers(near: Self, far: Self) -> Self {
        let entries = far.entries.map(|far| far.max(near.entries.unwrap_or(0)));
        Self { entries, near: near.entries, far: far.entries, ..far }
    }

    /// Sets how many processes with near copies have confirmed the purge
    /// ([`acknowledged`](Self::acknowledged)) and how many have not
    /// ([`unacknowledged`](Self::unacknowledged)).
    #[must_use]
    pub fn with_nodes(self, acknowledged: u64, unacknowledged: u64) -> Self {
        Self { acknowledged, unacknowledged, ..self }
    }
}

impl From<u64> for Purged {
    fn from(entries: u64) -> Self {
        Self { entries: Some(entries), ..Self::UNKNOWN }
    }
}

impl Add for Purged {
    type Output = Self;

    /// Adds the numbers of two purges. What one of them does not know, the sum does not know.
    fn add(self, other: Self) -> Self {
        let sum = |one: Option<u64>, other: Option<u64>| one.zip(other).map(|(a, b)| a.saturating_add(b));
        Self {
            entries: sum(self.entries, other.entries),
            near: sum(self.near, other.near),
            far: sum(self.far, other.far),
            // The purges of several scopes reach the same processes.
            acknowledged: self.acknowledged.max(other.acknowledged),
            unacknowledged: self.unacknowledged.max(other.unacknowledged),
        }
    }
}

impl Sum for Purged {
    fn sum<I: Iterator<Item = Self>>(purges: I) -> Self {
        purges.reduce(Add::add).unwrap_or(Self::from(0))
    }
}

impl fmt::Display for Purged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.entries {
            None => f.write_str("an unknown number of entries")?,
            Some(1) => f.write_str("1 entry")?,
            Some(entries) => write!(f, "{entries} entries")?,
        }
        match (self.near, self.far) {
            (Some(near), Some(far)) => write!(f, " (near store: {near}, far store: {far})")?,
            (Some(near), None) => write!(f, " (near store: {near})")?,
            (None, Some(far)) => write!(f, " (far store: {far})")?,
            (None, None) => {}
        }
        let nodes = self.acknowledged + self.unacknowledged;
        if self.unacknowledged > 0 {
            write!(f, "; {} of {nodes} processes have not confirmed it", self.unacknowledged)?;
        }
        Ok(())
    }
}
