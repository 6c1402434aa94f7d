//! Defines the options of a cassette.

use std::{sync::Arc, time::Duration};

use larder_core::{Clock, SystemClock};

use crate::{MatchRules, Redaction};

/// The options of a [`Cassette`](crate::Cassette).
///
/// ```
/// use larder_cassette::{Cassette, CassetteOptions, MatchRules, Mode, Redaction};
///
/// # fn main() -> Result<(), larder_cassette::CassetteError> {
/// let options = CassetteOptions::default()
///     .with_rules(MatchRules::default().with_header("accept"))
///     .with_redaction(Redaction::default().with_json("/email"));
/// let cassette = Cassette::with_options("tests/cassettes/users", Mode::Replay, options)?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct CassetteOptions {
    /// Which requests are equal. Default: by method, URL, body, range, and by which
    /// conditions they have.
    pub rules: MatchRules,
    /// What is removed before anything is written. Default: credentials by name.
    pub redaction: Redaction,
    /// Whether further equal requests get the last recording again, such as those of a client that
    /// polls. Default: no, each recording answers one request.
    pub repeats: bool,
    /// Whether requests have to come in the order in which they were recorded. Default: no, only
    /// equal requests have an order.
    pub in_order: bool,
    /// Whether `Date`, `Expires`, `Retry-After` and the expiry of cookies are moved to the time of
    /// the replay, so that a response is as old for a cache above the cassette as it was when it
    /// was recorded. Default: yes.
    pub current_dates: bool,
    /// Whether the network gets an `Accept-Encoding` that the client has set. Default: no, it gets
    /// `identity`, so that bodies are readable in the files and can be redacted.
    pub content_codings: bool,
    /// Longest body of a request or response, in bytes. A longer one is an error. Default: 16 MiB.
    pub max_body: u64,
    /// Longest time that the rest of a response is read which the client has dropped, and that
    /// [`Cassette::finish`](crate::Cassette::finish) waits for responses. Default: 30 s.
    pub drain_timeout: Duration,
    /// The clock for the time of recordings and replays. Default: the system clock.
    pub clock: Arc<dyn Clock>,
}

impl Default for CassetteOptions {
    fn default() -> Self {
        Self {
            rules: MatchRules::default(),
            redaction: Redaction::default(),
            repeats: false,
            in_order: false,
            current_dates: true,
            content_codings: false,
            max_body: 16 << 20,
            drain_timeout: Duration::from_secs(30),
            clock: Arc::new(SystemClock),
        }
    }
}

impl CassetteOptions {
    /// Sets which requests are equal.
    #[must_use]
    pub fn with_rules(mut self, rules: MatchRules) -> Self {
        self.rules = rules;
        self
    }

    /// Sets what is removed before anything is written.
    #[must_use]
    pub fn with_redaction(mut self, redaction: Redaction) -> Self {
        self.redaction = redaction;
        self
    }

    /// Sets whether further equal requests get the last recording again.
    #[must_use]
    pub fn with_repeats(mut self, repeats: bool) -> Self {
        self.repeats = repeats;
        self
    }

    /// Sets whether requests have to come in the order in which they were recorded.
    #[must_use]
    pub fn with_in_order(mut self, in_order: bool) -> Self {
        self.in_order = in_order;
        self
    }

    /// Sets whether dates are moved to the time of the replay.
    #[must_use]
    pub fn with_current_dates(mut self, current_dates: bool) -> Self {
        self.current_dates = current_dates;
        self
    }

    /// Sets whether the network gets an `Accept-Encoding` that the client has set.
    #[must_use]
    pub fn with_content_codings(mut self, content_codings: bool) -> Self {
        self.content_codings = content_codings;
        self
    }

    /// Sets the longest body, in bytes.
    #[must_use]
    pub fn with_max_body(mut self, max_body: u64) -> Self {
        self.max_body = max_body;
        self
    }

    /// Sets how long responses are waited for that the client has dropped.
    #[must_use]
    pub fn with_drain_timeout(mut self, drain_timeout: Duration) -> Self {
        self.drain_timeout = drain_timeout;
        self
    }

    /// Sets the clock.
    #[must_use]
    pub fn with_clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }
}
