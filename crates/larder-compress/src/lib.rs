#![doc = include_str!("../README.md")]

mod coders;
mod coding;
mod compression;
mod convert;
mod origin;
mod response;
mod tags;
mod zstd_frame;

pub use coding::{Coding, Negotiated};
pub use compression::Compression;
pub use origin::CompressingOrigin;
