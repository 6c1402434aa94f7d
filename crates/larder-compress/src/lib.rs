#![doc = include_str!("../README.md")]

mod coding;
mod compression;
mod convert;
mod origin;
mod response;
mod tags;

pub use coding::{Coding, Negotiated};
pub use compression::Compression;
pub use origin::CompressingOrigin;
