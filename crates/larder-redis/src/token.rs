//! Creates random identifiers that are unique across processes: tokens that order writes and
//! removals, lease holders, senders of invalidations and entry ids.

use std::fmt::Write as _;

/// A random value that is compared for equality only: an epoch, or the token of a key or a group.
pub(crate) type Nonce = [u8; 8];

/// Creates a nonce from the system's random number generator.
pub(crate) fn nonce() -> Nonce {
    Token::number().to_le_bytes()
}

/// 128 random bits, as 32 hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Token(String);

impl Token {
    /// Creates a token from the system's random number generator.
    pub(crate) fn new() -> Self {
        let mut bytes = [0; 16];
        // No guarantee of this store holds without system randomness, and TLS would fail as well.
        getrandom::fill(&mut bytes).expect("the system's random number generator works");
        let mut text = String::with_capacity(32);
        for byte in bytes {
            let _ = write!(text, "{byte:02x}");
        }
        Self(text)
    }

    /// Returns the hexadecimal digits.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns a random 64-bit number that is never zero, for an [`EntryId`](larder_core::EntryId).
    pub(crate) fn number() -> u64 {
        let mut bytes = [0; 8];
        getrandom::fill(&mut bytes).expect("the system's random number generator works");
        u64::from_le_bytes(bytes).max(1)
    }
}
