//! Reports the results of many fetches: one line for each, progress bars on a terminal, and a
//! summary at the end.

use std::{
    io::IsTerminal as _,
    path::Path,
    time::{Duration, Instant},
};

use http::StatusCode;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use larder::client::{CacheOutcome, Error, Response};

use crate::{
    console::{OutputError, note, out},
    humanize::size,
    url_argument::without_password,
};

/// Shortest body, in bytes, that gets a progress bar of its own.
const LONG_BODY: u64 = 1 << 20;

/// Prints and counts the results of fetches as they complete.
pub(crate) struct Report {
    json: bool,
    verbosity: Verbosity,
    /// The group of all bars, and the bar for the whole run. With bars, only failures are printed
    /// as lines.
    bars: Option<(MultiProgress, ProgressBar)>,
    started: Instant,
    counts: Counts,
}

/// What is printed to standard error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verbosity {
    /// Lines, errors, progress and the summary.
    All,
    /// Only errors.
    Errors,
    /// Nothing.
    Nothing,
}

/// The totals of the summary.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Counts {
    hits: u64,
    stale: u64,
    revalidated: u64,
    /// Responses that came from an origin: the outcomes `miss`, `pass` and `collapsed`.
    misses: u64,
    failed: u64,
    /// Bytes of bodies that came over the network.
    received: u64,
    /// Bytes of bodies that came from the cache.
    saved: u64,
}

/// A response with its complete body.
#[derive(Debug)]
pub(crate) struct CompletedFetch<'a> {
    pub(crate) url: &'a str,
    pub(crate) response: &'a Response,
    pub(crate) length: u64,
    pub(crate) file: Option<&'a Path>,
}

impl Report {
    /// Creates a report of `total` fetches, or of an unknown number.
    ///
    /// It has progress bars if there may be more than one fetch and standard error is a terminal,
    /// except with `json`.
    #[expect(clippy::disallowed_methods, reason = "a stopwatch for a person")]
    pub(crate) fn new(total: Option<u64>, json: bool, verbosity: Verbosity) -> Self {
        let show_bars =
            !json && verbosity == Verbosity::All && total != Some(1) && std::io::stderr().is_terminal();
        let bars = show_bars.then(|| {
            let bars = MultiProgress::new();
            let bar = total.map_or_else(ProgressBar::no_length, ProgressBar::new);
            bar.set_style(style(match total {
                Some(_) => "{bar:24} {pos}/{len} {wide_msg} {elapsed}",
                None => "{spinner} {pos} {wide_msg} {elapsed}",
            }));
            bar.enable_steady_tick(Duration::from_millis(250));
            (bars.clone(), bars.add(bar))
        });
        Self { json, verbosity, bars, started: Instant::now(), counts: Counts::default() }
    }

    /// Adds a progress bar for one body, if it is long and there are bars.
    pub(crate) fn bar(&self, url: &str, length: Option<u64>) -> Option<ProgressBar> {
        let length = length.filter(|length| *length >= LONG_BODY)?;
        let bar = self.bars.as_ref()?.0.add(ProgressBar::new(length));
        bar.set_style(style("  {bar:22} {bytes}/{total_bytes} {wide_msg}"));
        bar.set_message(without_password(url));
        Some(bar)
    }

    /// Reports a response. Returns whether its status counts as a success.
    ///
    /// # Errors
    ///
    /// Returns an error if standard output cannot be written.
    pub(crate) fn completed(&mut self, fetch: &CompletedFetch<'_>) -> Result<bool, OutputError> {
        let CompletedFetch { url, response, length, file } = *fetch;
        let (status, cache_status) = (response.status(), response.cache_status());
        let success = is_success_or_redirect(status);
        self.counts.add(response.outcome(), length, success);
        if self.json {
            let line = serde_json::json!({
                "url": without_password(url), "status": status.as_u16(), "outcome": response.outcome().name(),
                "cache_status": cache_status.to_string(), "age": response.age().map(|age| age.as_secs()), "bytes": length,
                "file": file.map(|file| file.display().to_string()),
            });
            out!("{line}")?;
        } else if !success || self.bars.is_none() {
            let url = without_password(url);
            self.line(&format!("{} {url} ({cache_status}, {length} bytes)", status.as_u16()), !success);
        }
        self.step();
        Ok(success)
    }

    /// Reports a fetch that ended with an error.
    ///
    /// # Errors
    ///
    /// Returns an error if standard output cannot be written.
    pub(crate) fn failed(&mut self, url: &str, error: &anyhow::Error) -> Result<(), OutputError> {
        self.counts.failed += 1;
        let of_request = error.downcast_ref::<Error>();
        // The error of a request contains its innermost cause already.
        let text = of_request.map_or_else(|| format!("{error:#}"), Error::to_string);
        if self.json {
            // The name of the kind, without its limit or time.
            let kind = of_request.map(|error| format!("{:?}", error.kind()));
            let kind = kind.as_deref().and_then(|kind| kind.split('(').next());
            out!("{}", serde_json::json!({ "url": without_password(url), "error": text, "kind": kind }))?;
        } else {
            // Some errors contain the URL already.
            let url = without_password(url);
            let has_url = of_request.is_some_and(|error| error.url().is_some()) || text.contains(&url);
            self.line(
                &if has_url { format!("larder: {text}") } else { format!("larder: {url}: {text}") },
                true,
            );
        }
        self.step();
        Ok(())
    }

    /// Prints the summary, unless there was only one fetch or the output is JSON.
    pub(crate) fn finish(self, interrupted: bool) {
        if let Some((bars, bar)) = &self.bars {
            bar.finish_and_clear();
            let _ = bars.clear();
        }
        if self.json || self.verbosity != Verbosity::All || self.counts.total() < 2 && !interrupted {
            return;
        }
        let prefix = if interrupted { "interrupted after " } else { "" };
        note!("{prefix}{} in {:.2} s", self.counts.summary(), self.started.elapsed().as_secs_f64());
    }

    /// Prints a line to standard error, above the bars if there are any.
    fn line(&self, text: &str, is_error: bool) {
        match (self.verbosity, &self.bars) {
            (Verbosity::Nothing, _) => {}
            (Verbosity::Errors, _) if !is_error => {}
            (_, Some((bars, _))) => drop(bars.println(text)),
            (_, None) => note!("{text}"),
        }
    }

    /// Advances the bar of the whole run by one fetch.
    fn step(&self) {
        if let Some((_, bar)) = &self.bars {
            bar.inc(1);
            bar.set_message(self.counts.short());
        }
    }
}

/// Returns whether the status is 2xx or 3xx.
pub(crate) fn is_success_or_redirect(status: StatusCode) -> bool {
    status.is_success() || status.is_redirection()
}

impl Counts {
    /// Adds a response with a body of `length` bytes. With an error status it counts as failed.
    fn add(&mut self, outcome: CacheOutcome, length: u64, success: bool) {
        let (count, bytes) = match outcome {
            CacheOutcome::Hit => (&mut self.hits, &mut self.saved),
            CacheOutcome::Stale => (&mut self.stale, &mut self.saved),
            CacheOutcome::Revalidated => (&mut self.revalidated, &mut self.saved),
            // `Miss`, `Pass`, `Collapsed`: the body came over the network.
            _ => (&mut self.misses, &mut self.received),
        };
        *bytes += length;
        *(if success { count } else { &mut self.failed }) += 1;
    }

    /// Returns the number of fetches.
    fn total(&self) -> u64 {
        self.hits + self.stale + self.revalidated + self.misses + self.failed
    }

    /// Formats the totals for the progress bar.
    fn short(&self) -> String {
        let failed = if self.failed > 0 { format!(", {} failed", self.failed) } else { String::new() };
        format!("{} hits{failed}, {}", self.hits + self.stale, size(self.received))
    }

    /// Formats the totals for the last line.
    fn summary(&self) -> String {
        let mut parts = Vec::new();
        for (count, one, more) in [
            (self.hits, "hit", "hits"),
            (self.stale, "stale", "stale"),
            (self.revalidated, "revalidated", "revalidated"),
            (self.misses, "miss", "misses"),
            (self.failed, "failed", "failed"),
        ] {
            if count > 0 {
                parts.push(format!("{count} {}", if count == 1 { one } else { more }));
            }
        }
        let counts = if parts.is_empty() { "nothing".to_owned() } else { parts.join(", ") };
        format!("{counts}; {} from the network, {} saved,", size(self.received), size(self.saved))
    }
}

/// Parses the template of a progress bar.
fn style(template: &str) -> ProgressStyle {
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    style.progress_chars("=> ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn summaries() {
        let mut counts = Counts::default();
        assert_eq!(counts.summary(), "nothing; 0 B from the network, 0 B saved,");
        for (outcome, length) in [
            (CacheOutcome::Hit, 2048),
            (CacheOutcome::Miss, 1024),
            (CacheOutcome::Miss, 1024),
            (CacheOutcome::Revalidated, 1),
        ] {
            counts.add(outcome, length, true);
        }
        counts.failed = 3;
        assert_eq!(
            counts.summary(),
            "1 hit, 1 revalidated, 2 misses, 3 failed; 2.0 KiB from the network, 2.0 KiB saved,"
        );
    }

    #[test]
    fn whatever_came_from_an_origin_counts_as_a_miss() {
        let mut counts = Counts::default();
        for outcome in [CacheOutcome::Miss, CacheOutcome::Collapsed, CacheOutcome::Pass] {
            counts.add(outcome, 1024, true);
        }
        assert_eq!(counts.summary(), "3 misses; 3.0 KiB from the network, 0 B saved,");
    }
}
