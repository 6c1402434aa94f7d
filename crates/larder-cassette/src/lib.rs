#![doc = include_str!("../README.md")]

// Where to change what:
//
// - what a test sees: `cassette`, `options`, `mode`, `error`; adapters: `origin`, `middleware`,
//   `service`
// - which recording answers, what is missing or unused: `state`; which requests are equal:
//   `matching`; what is shown of differences: `difference`
// - how a response is recorded while it is read: `recording`; messages: `message`
// - what is removed: `redaction`, with `json_text` and `pointer`; dates of a replay: `dates`
// - the text of a file: `format`; names, reading and writing: `files`; HAR: `har`

mod cassette;
mod dates;
mod difference;
mod error;
mod exchange;
mod files;
mod format;
mod har;
mod json_text;
mod matching;
mod message;
#[cfg(feature = "reqwest-middleware")]
mod middleware;
mod mode;
mod options;
mod origin;
mod pointer;
mod recording;
mod redaction;
#[cfg(feature = "tower")]
mod service;
mod shared;
mod state;

pub use cassette::{Cassette, Played};
pub use error::{CassetteError, CassetteErrorKind};
pub use exchange::{RecordedExchange, RecordedRequest, RecordedResponse};
pub use format::FormatError;
pub use har::{HarImport, SkippedEntry};
pub use matching::MatchRules;
#[cfg(feature = "reqwest-middleware")]
pub use middleware::CassetteMiddleware;
pub use mode::{Mode, UnknownMode};
pub use options::CassetteOptions;
pub use origin::CassetteOrigin;
pub use recording::Recorder;
pub use redaction::Redaction;
#[cfg(feature = "tower")]
pub use service::{CassetteLayer, CassetteService};
