//! Encodes and decodes stored entries: the format in which stores keep a response outside this
//! process's memory.
//!
//! `FORMAT.md` describes the format byte by byte. This module decides which bytes are an entry:
//! anything else is the value [`NotAnEntry`], which means a miss. Where the bytes are located
//! (files, an index, Redis), in which order they are made durable, and when an entry becomes
//! visible are decisions of the stores. FORMAT.md states what stores may rely on.
//!
//! An entry has two records, which share an [`EntryId`](crate::EntryId):
//!
//! - the *head*: the key, [`FreshnessInfo`](crate::policy::FreshnessInfo) as numbers, and the header block
//!   as text ([`encode_head`], [`decode_head`]);
//! - the *body*: its bytes unchanged, then a *trailer* with a checksum for each block of 64 KiB
//!   ([`BodyChecksum`], [`Trailer`]). [`BlockReader`] reads it.
//!
//! A store that holds both in one place writes the body record after the head ([`encode_whole`],
//! [`decode_whole`]).
//!
//! ```
//! use bytes::Bytes;
//! use larder_core::{CacheKey, EntryId, StoredHead, codec};
//!
//! fn save(key: &CacheKey, head: &StoredHead, body: &[u8]) -> Option<Vec<u8>> {
//!     let mut out = Vec::new();
//!     codec::encode_whole(key, head, EntryId(0x5EED), body, &mut out).ok()?;
//!     Some(out)
//! }
//!
//! fn load(stored: Bytes, key: &CacheKey) -> Option<(StoredHead, Bytes)> {
//!     let (decoded, body) = codec::decode_whole(&stored, key).ok()?; // any error is a miss
//!     Some((decoded.head, body))
//! }
//! ```

mod block_reader;
mod body;
mod decode;
mod encode;
mod error;
mod layout;

pub use block_reader::BlockReader;
pub use body::{BodyChecksum, Trailer};
pub use decode::{DecodedHead, decode_head, decode_whole, head_length, stored_key};
pub use encode::{encode_head, encode_whole};
pub use error::{NotAnEntry, NotEncodable};
pub use layout::{BLOCK, MAX_BODY, MAX_HEAD, PREFIX, VERSION};
