//! Counts what happened during each fault, and prints it in a table of at most 100 columns, and for
//! a violation the part of the history that concerns it.

use std::fmt::Write as _;

use super::{
    checker::{Verdict, Violation},
    history::{History, Kind, Micros, Operation, Outcome},
};

/// Most violations that are explained.
const EXPLAINED: usize = 5;
/// Operations that are printed for a violation, before its read.
const SHOWN: usize = 25;

/// The time from before a fault until after the recovery.
#[derive(Debug, Clone, Copy)]
pub(super) struct Round {
    pub(super) fault: &'static str,
    pub(super) from: Micros,
    pub(super) to: Micros,
}

impl Round {
    fn has(&self, operation: &Operation) -> bool {
        (self.from..self.to).contains(&operation.begin)
    }
}

/// What happened during all rounds of a fault.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) rounds: usize,
    pub(super) operations: usize,
    pub(super) hits: usize,
    pub(super) confirmed: usize,
    pub(super) unconfirmed: usize,
    pub(super) failed_reads: usize,
    pub(super) stale: usize,
    /// Longest times without a read that was served, and without a removal that was confirmed.
    pub(super) no_read: Micros,
    pub(super) no_removal: Micros,
}

/// Counts what happened in some rounds.
pub(super) fn count<'a>(
    history: &History,
    verdict: &Verdict,
    rounds: impl Iterator<Item = &'a Round>,
) -> Row {
    let mut row = Row::default();
    for round in rounds {
        row.rounds += 1;
        let (mut reads, mut removals) = (vec![round.from, round.to], vec![round.from, round.to]);
        for operation in history.operations.iter().filter(|operation| round.has(operation)) {
            row.operations += 1;
            let is_read = matches!(operation.kind, Kind::Read(_));
            match operation.outcome {
                Outcome::Read { is_hit, .. } => {
                    row.hits += usize::from(is_hit);
                    reads.push(operation.end.min(round.to));
                }
                Outcome::Confirmed => {
                    row.confirmed += 1;
                    removals.push(operation.end.min(round.to));
                }
                _ if is_read => row.failed_reads += 1,
                // Each PUT is in the history twice.
                _ if matches!(operation.kind, Kind::Write(..)) => {}
                _ => row.unconfirmed += 1,
            }
        }
        row.no_read = row.no_read.max(longest_gap(reads));
        row.no_removal = row.no_removal.max(longest_gap(removals));
        let stale = |violation: &&Violation| round.has(&history.operations[violation.read]);
        row.stale += verdict.violations.iter().filter(stale).count();
    }
    row
}

fn longest_gap(mut times: Vec<Micros>) -> Micros {
    times.sort_unstable();
    times.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or(0)
}

/// The heads of the table's columns.
pub(super) const HEADS: &str =
    "fault                    rounds     ops    hits  removals   not  failed  stale  no read  no purge
                                                confirmed conf.   reads  reads    at most   at most";

/// Returns a line of the table.
pub(super) fn line(name: &str, row: &Row) -> String {
    let seconds = |micros: Micros| micros as f64 / 1e6;
    format!(
        "{name:<24} {:>6} {:>7} {:>7} {:>9} {:>5} {:>7} {:>6} {:>7.2} s {:>7.2} s",
        row.rounds,
        row.operations,
        row.hits,
        row.confirmed,
        row.unconfirmed,
        row.failed_reads,
        row.stale,
        seconds(row.no_read),
        seconds(row.no_removal),
    )
}

/// Returns the part of the history that concerns each of the first violations.
pub(super) fn explain(history: &History, verdict: &Verdict, rounds: &[Round]) -> String {
    let mut text = String::new();
    for violation in verdict.violations.iter().take(EXPLAINED) {
        let read = &history.operations[violation.read];
        let round = rounds.iter().find(|round| round.has(read)).map_or("no round", |round| round.fault);
        let Kind::Read(resource) = read.kind else { continue };
        let _ = match violation.removal {
            Some(removal) => {
                let removal = &history.operations[removal];
                writeln!(
                    text,
                    "\nin '{round}': older than v{}\n  {read}\nafter\n  {removal}",
                    violation.expected
                )
            }
            None => writeln!(text, "\nin '{round}': a body of different versions\n  {read}"),
        };
        let concerns = |operation: &&Operation| {
            let same = match operation.kind {
                Kind::Read(one) => one == resource,
                _ => operation.kind.removes().is_some_and(|scope| scope.includes(resource)),
            };
            same && operation.begin <= read.end
        };
        let mut before: Vec<_> = history.operations.iter().filter(concerns).collect();
        before.sort_by_key(|operation| operation.begin);
        let _ = writeln!(text, "of");
        for operation in &before[before.len().saturating_sub(SHOWN)..] {
            let _ = writeln!(text, "  {operation}");
        }
        for version in history.versions.iter().filter(|version| version.resource == resource) {
            if version.version + 2 >= violation.expected && version.version <= violation.expected + 1 {
                let _ = writeln!(text, "  v{} since {:.6}", version.version, version.at as f64 / 1e6);
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_fits_100_columns() {
        let row = Row {
            rounds: 999,
            operations: 999_999,
            hits: 999_999,
            confirmed: 99_999,
            unconfirmed: 9_999,
            failed_reads: 9_999,
            stale: 9_999,
            no_read: 999_000_000,
            no_removal: 999_000_000,
        };
        for line in HEADS.lines().chain([&*line("network cut from Redis", &row)]) {
            assert!(line.chars().count() <= 100, "{line}");
        }
    }

    #[test]
    fn gaps_are_those_of_the_rounds() {
        let read = |begin, end| Operation {
            begin,
            end,
            process: None,
            kind: Kind::Read(0),
            outcome: Outcome::Read { version: 1, is_hit: true },
        };
        let history =
            History { operations: vec![read(10, 20), read(70, 80), read(500, 510)], versions: vec![] };
        let round = Round { fault: "x", from: 0, to: 100 };
        let row = count(&history, &Verdict::default(), [round].iter());
        assert_eq!((row.operations, row.hits, row.no_read, row.no_removal), (2, 2, 60, 100));
    }
}
