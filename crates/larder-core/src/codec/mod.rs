//! The stored entry: the one format in which stores keep a response outside this process's memory.
//!
//! It is described byte by byte in `FORMAT.md`. Here are its encoder and its decoder, which decide what is an entry and
//! what is not: wrong bytes are a value, [`NotAnEntry`], and mean a miss. Where the bytes lie (files, an index, Redis),
//! in which order they are made durable, and when an entry becomes visible is left to the stores; FORMAT.md says what
//! they may rely on.
//!
//! An entry has two records, bound to each other by an [`EntryId`](crate::EntryId):
//!
//! - the *head*: key, [`FreshnessInfo`](crate::FreshnessInfo) as numbers, and the header block as text ([`encode_head`],
//!   [`decode_head`]);
//! - the *body*: its bytes as they are, then a *trailer* with a checksum for each block of 64 KiB ([`BodyChecksum`],
//!   [`Trailer`]).
//!
//! A store that keeps both in one place writes one behind the other ([`encode_whole`], [`decode_whole`]).
//!
//! ```
//! use bytes::Bytes;
//! use larder_core::{CacheKey, EntryId, StoredHead, codec};
//!
//! fn keep(key: &CacheKey, head: &StoredHead, body: &[u8]) -> Option<Vec<u8>> {
//!     let mut out = Vec::new();
//!     codec::encode_whole(key, head, EntryId(0x5EED), body, &mut out).ok()?;
//!     Some(out)
//! }
//!
//! fn recall(stored: Bytes, key: &CacheKey) -> Option<(StoredHead, Bytes)> {
//!     let (decoded, body) = codec::decode_whole(&stored, key).ok()?; // whatever is wrong with it: a miss
//!     Some((decoded.head, body))
//! }
//! ```

mod body;
mod decode;
mod encode;
mod error;
mod layout;

pub use body::{BodyChecksum, Trailer};
pub use decode::{DecodedHead, decode_head, decode_whole, head_length, stored_key};
pub use encode::{encode_head, encode_whole};
pub use error::{NotAnEntry, NotEncodable};
pub use layout::{BLOCK, MAX_BODY, MAX_HEAD, PREFIX, VERSION};
