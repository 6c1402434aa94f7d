//! Numbers that nobody else has drawn.

use std::fmt::Write as _;

/// 128 random bits, as text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Token(String);

impl Token {
    pub(crate) fn new() -> Self {
        let mut bytes = [0; 16];
        // Without randomness from the system nothing here is safe; TLS has failed long before.
        getrandom::fill(&mut bytes).expect("the system has random numbers");
        let mut text = String::with_capacity(32);
        for byte in bytes {
            let _ = write!(text, "{byte:02x}");
        }
        Self(text)
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// 64 of the bits; never zero.
    pub(crate) fn number() -> u64 {
        let mut bytes = [0; 8];
        getrandom::fill(&mut bytes).expect("the system has random numbers");
        u64::from_le_bytes(bytes).max(1)
    }
}
