//! The tokens and counters that order writes and removals, as values: `barrier` and `groups` read
//! them from the server.

use crate::token::Nonce;

/// The state of the barrier.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Removals {
    /// The barrier's token. Another one means that a prefix or everything was removed, or that the
    /// counter was lost.
    pub(crate) token: Nonce,
    /// Number of group removals since the barrier was created.
    pub(crate) groups: u64,
}

/// The state at the time of a lookup, before a validation.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ticket {
    pub(crate) epoch: Nonce,
    pub(crate) removals: Removals,
}

/// Parses the barrier in a reply.
pub(crate) fn removals_of(token: &[u8], groups: &[u8]) -> Option<Removals> {
    Some(Removals { token: token_of(token)?, groups: number_of(groups)? })
}

/// Parses a token. `None` if it is missing.
pub(crate) fn token_of(bytes: &[u8]) -> Option<Nonce> {
    bytes.try_into().ok()
}

/// Parses a decimal number.
pub(crate) fn number_of(bytes: &[u8]) -> Option<u64> {
    std::str::from_utf8(bytes).ok()?.parse().ok()
}
