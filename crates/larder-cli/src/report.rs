//! What a person or a program is told of many fetches: a line each, bars on a terminal, and a summary.

use std::{
    io::IsTerminal as _,
    path::Path,
    time::{Duration, Instant},
};

use http::StatusCode;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use larder::client::{CacheOutcome, Error, Response};

use crate::humanize::size;

/// Contents of this length and more have a bar of their own.
const LONG: u64 = 1 << 20;

/// Tells of fetches as they end.
pub(crate) struct Report {
    json: bool,
    /// On a terminal, lines are for what went wrong; the bar tells the rest.
    bars: Option<(MultiProgress, ProgressBar)>,
    begun: Instant,
    counts: Counts,
}

/// What came of all of them.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Counts {
    hits: u64,
    stale: u64,
    revalidated: u64,
    misses: u64,
    failed: u64,
    /// Bytes of contents that the network brought, and that it did not have to.
    received: u64,
    saved: u64,
}

/// One answer, whole.
#[derive(Debug)]
pub(crate) struct Answered<'a> {
    pub(crate) url: &'a str,
    pub(crate) response: &'a Response,
    pub(crate) length: u64,
    pub(crate) file: Option<&'a Path>,
}

impl Report {
    /// For `total` fetches, where that is known. Bars are for several, on a terminal.
    #[expect(clippy::disallowed_methods, reason = "a stopwatch for a person")]
    pub(crate) fn new(total: Option<u64>, json: bool) -> Self {
        let wanted = !json && total != Some(1) && std::io::stderr().is_terminal();
        let bars = wanted.then(|| {
            let bars = MultiProgress::new();
            let bar = total.map_or_else(ProgressBar::no_length, ProgressBar::new);
            bar.set_style(style(match total {
                Some(_) => "{bar:24} {pos}/{len} {wide_msg} {elapsed}",
                None => "{spinner} {pos} {wide_msg} {elapsed}",
            }));
            bar.enable_steady_tick(Duration::from_millis(250));
            (bars.clone(), bars.add(bar))
        });
        Self { json, bars, begun: Instant::now(), counts: Counts::default() }
    }

    /// A bar for one content, if it is long.
    pub(crate) fn bar(&self, url: &str, length: Option<u64>) -> Option<ProgressBar> {
        let length = length.filter(|length| *length >= LONG)?;
        let bar = self.bars.as_ref()?.0.add(ProgressBar::new(length));
        bar.set_style(style("  {bar:22} {bytes}/{total_bytes} {wide_msg}"));
        bar.set_message(url.to_owned());
        Some(bar)
    }

    /// Tells of an answer; whether it counts as one.
    pub(crate) fn answered(&mut self, answered: &Answered<'_>) -> bool {
        let Answered { url, response, length, file } = *answered;
        let (status, how) = (response.status(), response.cache_status());
        let fine = is_fine(status);
        self.counts.add(response.outcome(), length, fine);
        if self.json {
            let line = serde_json::json!({
                "url": url, "status": status.as_u16(), "outcome": response.outcome().name(),
                "cache_status": how.to_string(), "age": response.age().map(|age| age.as_secs()), "bytes": length,
                "file": file.map(|file| file.display().to_string()),
            });
            println!("{line}");
        } else if !fine || self.bars.is_none() {
            self.line(&format!("{} {url} ({how}, {length} bytes)", status.as_u16()));
        }
        self.step();
        fine
    }

    /// Tells of a failure.
    pub(crate) fn failed(&mut self, url: &str, error: &anyhow::Error) {
        self.counts.failed += 1;
        if self.json {
            let kind = error.downcast_ref::<Error>().map(|error| format!("{:?}", error.kind()));
            println!("{}", serde_json::json!({ "url": url, "error": format!("{error:#}"), "kind": kind }));
        } else {
            // Its own words name the URL.
            let named = error.downcast_ref::<Error>().is_some_and(|error| error.url().is_some());
            let text = match error.downcast_ref::<Error>() {
                Some(error) => error.to_string(),
                None => format!("{error:#}"),
            };
            self.line(&if named { format!("larder: {text}") } else { format!("larder: {url}: {text}") });
        }
        self.step();
    }

    /// Says what came of all, unless it was one.
    pub(crate) fn finish(self, interrupted: bool) {
        if let Some((bars, bar)) = &self.bars {
            bar.finish_and_clear();
            let _ = bars.clear();
        }
        if self.json || self.counts.total() < 2 && !interrupted {
            return;
        }
        let how = if interrupted { "interrupted after " } else { "" };
        eprintln!("{how}{} in {:.2} s", self.counts.summary(), self.begun.elapsed().as_secs_f64());
    }

    fn line(&self, text: &str) {
        match &self.bars {
            // Above the bars.
            Some((bars, _)) => drop(bars.println(text)),
            None => eprintln!("{text}"),
        }
    }

    fn step(&self) {
        if let Some((_, bar)) = &self.bars {
            bar.inc(1);
            bar.set_message(self.counts.short());
        }
    }
}

/// Whether a status is what was asked for.
pub(crate) fn is_fine(status: StatusCode) -> bool {
    status.is_success() || status.is_redirection()
}

impl Counts {
    fn add(&mut self, outcome: CacheOutcome, length: u64, fine: bool) {
        let (count, bytes) = match outcome {
            CacheOutcome::Hit => (&mut self.hits, &mut self.saved),
            CacheOutcome::Stale => (&mut self.stale, &mut self.saved),
            CacheOutcome::Revalidated => (&mut self.revalidated, &mut self.saved),
            _ => (&mut self.misses, &mut self.received),
        };
        *bytes += length;
        *(if fine { count } else { &mut self.failed }) += 1;
    }

    fn total(&self) -> u64 {
        self.hits + self.stale + self.revalidated + self.misses + self.failed
    }

    /// For the bar.
    fn short(&self) -> String {
        let failed = if self.failed > 0 { format!(", {} failed", self.failed) } else { String::new() };
        format!("{} hits{failed}, {}", self.hits + self.stale, size(self.received))
    }

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
        let what = if parts.is_empty() { "nothing".to_owned() } else { parts.join(", ") };
        format!("{what}; {} from the network, {} saved,", size(self.received), size(self.saved))
    }
}

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
}
