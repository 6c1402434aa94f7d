#![doc = include_str!("../README.md")]

mod coders;
mod coding;
mod compression;
mod convert;
mod decoder;
mod decoding;
mod decoding_origin;
mod origin;
mod response;
mod tags;
mod zstd_frame;

pub use coding::{Coding, Negotiated};
pub use compression::Compression;
pub use decoding::Decoding;
pub use decoding_origin::DecodingOrigin;
pub use origin::CompressingOrigin;
