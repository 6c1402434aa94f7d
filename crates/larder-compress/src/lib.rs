#![doc = include_str!("../README.md")]

mod coding;
mod convert;
mod origin;
mod response;
mod tags;

pub use coding::{Coding, Negotiated};
pub use origin::CompressingOrigin;

/// What is compressed, and how hard. The default suits responses that are made once and served often.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Compression {
    /// Content shorter than this many bytes is left as it is. Default: 256.
    pub min_length: u64,
    /// The codings that may be made, the one that is liked best first: of those that a client likes equally, it gets that.
    /// Default: `br`, `zstd`, `gzip`, which is their order by what is left of a page at the levels below.
    pub codings: Vec<Coding>,
    /// The quality of Brotli, 0 to 11. Default: 5.
    pub brotli: u8,
    /// The level of Zstandard, 1 to 22. Default: 9.
    pub zstd: u8,
    /// The level of gzip, 1 to 9. Default: 6.
    pub gzip: u8,
}

impl Default for Compression {
    fn default() -> Self {
        let codings = vec![Coding::Brotli, Coding::Zstd, Coding::Gzip];
        Self { min_length: 256, codings, brotli: 5, zstd: 9, gzip: 6 }
    }
}
