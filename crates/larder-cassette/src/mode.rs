//! Defines [`Mode`]: which requests reach the network.

use std::{error::Error, fmt, str::FromStr};

/// Which requests of a [`Cassette`](crate::Cassette) reach the network.
///
/// The mode is parsed from `replay`, `record` and `record-missing`, so that a test can take it from
/// an environment variable. Without the variable, it should replay:
///
/// ```
/// use larder_cassette::Mode;
///
/// fn mode() -> Mode {
///     match std::env::var("CASSETTE") {
///         Ok(mode) => mode.parse().expect("CASSETTE is replay, record or record-missing"),
///         Err(_) => Mode::Replay,
///     }
/// }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Mode {
    /// No request reaches the network. A request without a recording fails. The default.
    #[default]
    Replay,
    /// Each request reaches the network, and replaces its recording.
    /// [`Cassette::finish`](crate::Cassette::finish) removes the recordings that were not replaced.
    Record,
    /// Requests without a recording reach the network and are recorded. The others are replayed.
    RecordMissing,
}

impl Mode {
    /// Returns the name from which the mode is parsed.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Replay => "replay",
            Self::Record => "record",
            Self::RecordMissing => "record-missing",
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Mode {
    type Err = UnknownMode;

    fn from_str(name: &str) -> Result<Self, UnknownMode> {
        [Self::Replay, Self::Record, Self::RecordMissing]
            .into_iter()
            .find(|mode| mode.name() == name)
            .ok_or_else(|| UnknownMode(name.to_owned()))
    }
}

/// The error of a text that is not the name of a [`Mode`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownMode(String);

impl fmt::Display for UnknownMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "'{}' is no mode: use replay, record or record-missing", self.0)
    }
}

impl Error for UnknownMode {}
