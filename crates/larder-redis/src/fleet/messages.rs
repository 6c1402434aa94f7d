//! Defines the messages that announce invalidations to the other processes of a cache. The scripts
//! and `shared` publish them; `invalidations` receives them.
//!
//! A message consists of the sender's token (32 bytes), a tag and data: `k` and the key, `g` and
//! the group, or `a` for everything. A process ignores its own messages. After a removal, `s` and a
//! number follow, which each node acknowledges, also that of the sender.

use larder_core::{CacheGroup, CacheKey, Invalidation, Scope};

use crate::token::Token;

/// Bytes of the sender's token at the beginning of a message.
const SENDER_BYTES: usize = 32;

/// A decoded message.
#[derive(Debug)]
pub(crate) enum Message {
    Invalidation(Invalidation),
    /// A number to acknowledge once everything before it has been applied.
    Number(u64),
}

/// Encodes and decodes messages. The token identifies the messages that this store has sent.
#[derive(Debug)]
pub(crate) struct Sender(Token);

impl Sender {
    /// Creates a sender with a random token.
    pub(crate) fn new() -> Self {
        Self(Token::new())
    }

    /// Returns the message that a key was removed or its entries were replaced.
    pub(crate) fn key(&self, key: &[u8]) -> Vec<u8> {
        self.message(b'k', &[key])
    }

    /// Returns the message that a group was removed or marked stale.
    pub(crate) fn group(&self, group: &CacheGroup) -> Vec<u8> {
        self.message(b'g', &[group.origin().as_bytes(), b"\n", group.name().as_bytes()])
    }

    /// Returns the message that any entry may have been removed or marked stale.
    pub(crate) fn everything(&self) -> Vec<u8> {
        self.message(b'a', &[])
    }

    /// Returns the message that a scope was removed or marked stale.
    pub(crate) fn of_scope(&self, scope: Scope<'_>) -> Vec<u8> {
        match scope {
            Scope::Key(key) => self.key(key.as_bytes()),
            Scope::Group(group) => self.group(group),
            Scope::Prefix(_) | Scope::All => self.everything(),
        }
    }

    /// Returns the beginning of the message with a number to acknowledge.
    pub(crate) fn number_prefix(&self) -> Vec<u8> {
        self.message(b's', &[])
    }

    /// Builds a message from its tag and data.
    fn message(&self, tag: u8, parts: &[&[u8]]) -> Vec<u8> {
        let mut message = self.0.as_str().as_bytes().to_vec();
        message.push(tag);
        parts.iter().for_each(|part| message.extend_from_slice(part));
        message
    }

    /// Decodes a message. Returns `None` if this store has sent it or it is too short.
    pub(crate) fn decode(&self, message: &[u8]) -> Option<Message> {
        let (sender, rest) = message.split_at_checked(SENDER_BYTES)?;
        let (tag, data) = rest.split_first()?;
        if *tag == b's' {
            return std::str::from_utf8(data).ok()?.parse().ok().map(Message::Number);
        }
        if sender == self.0.as_str().as_bytes() {
            return None;
        }
        Some(Message::Invalidation(match tag {
            b'k' => CacheKey::from_bytes(data).map_or(Invalidation::Everything, Invalidation::Key),
            b'g' => {
                let group = std::str::from_utf8(data).ok().and_then(|data| data.split_once('\n'));
                group.map_or(Invalidation::Everything, |(origin, name)| {
                    Invalidation::Group(CacheGroup::new(origin, name))
                })
            }
            // `a`, and tags that later versions may add.
            _ => Invalidation::Everything,
        }))
    }
}
