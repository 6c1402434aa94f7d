//! Decides whether a history keeps the promise of docs/consistency.md: after a confirmed removal
//! has returned, no request that begins later, in any process, is answered with an older response
//! of the scope. A removal that was not confirmed binds the process that it was sent to, as long as
//! that process lives.
//!
//! A pure function. A response is taken for older than a removal if its version is lower than the
//! one that the origin had when the removal began. Validation needs no exception: the origin
//! confirms only its current version.

use std::collections::HashMap;

use super::history::{History, Kind, Micros, Operation, Outcome, Process, Resource};

/// What the checker found.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Verdict {
    pub(super) violations: Vec<Violation>,
    /// Hits that an older response could have been instead: a removal of their resource had
    /// returned, and the origin had a version before it.
    pub(super) tested: usize,
}

/// A read that breaks the promise. The numbers are positions in the history's operations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Violation {
    pub(super) read: usize,
    /// The removal that the read came after. `None` if its parts are of different versions.
    pub(super) removal: Option<usize>,
    /// The lowest version that the read may have had.
    pub(super) expected: u64,
}

/// What a removal requires of the reads that begin after its end.
#[derive(Debug, Clone, Copy)]
struct Requirement {
    end: Micros,
    version: u64,
    removal: usize,
}

/// The requirements for one resource, of all processes or of one.
type Key = (Resource, Option<Process>);

/// Checks a history.
pub(super) fn check(history: &History) -> Verdict {
    let requirements = requirements(history);
    let mut verdict = Verdict::default();
    for (index, operation) in history.operations.iter().enumerate() {
        let Kind::Read(resource) = operation.kind else { continue };
        let (version, is_hit) = match operation.outcome {
            Outcome::Read { version, is_hit } => (version, is_hit),
            Outcome::Mixed => {
                verdict.violations.push(Violation { read: index, removal: None, expected: 0 });
                continue;
            }
            _ => continue,
        };
        let own = operation
            .process
            .and_then(|process| strictest(requirements.get(&(resource, Some(process))), operation.begin));
        let everywhere = strictest(requirements.get(&(resource, None)), operation.begin);
        let Some(strictest) = own.into_iter().chain(everywhere).max_by_key(|one| one.version) else {
            continue;
        };
        verdict.tested += usize::from(is_hit && strictest.version > 1);
        if version < strictest.version {
            verdict.violations.push(Violation {
                read: index,
                removal: Some(strictest.removal),
                expected: strictest.version,
            });
        }
    }
    verdict
}

/// Returns what the removals require, sorted by their ends. Each element has the highest version up
/// to its end.
fn requirements(history: &History) -> HashMap<Key, Vec<Requirement>> {
    let mut versions: HashMap<Resource, Vec<(Micros, u64)>> = HashMap::new();
    for version in &history.versions {
        versions.entry(version.resource).or_default().push((version.at, version.version));
    }
    let mut all: HashMap<Key, Vec<Requirement>> = HashMap::new();
    for (removal, operation) in history.operations.iter().enumerate() {
        let (Some(scope), Some(process)) = (operation.kind.removes(), binds(operation)) else { continue };
        for (resource, versions) in &versions {
            if !scope.includes(*resource) {
                continue;
            }
            let version = match operation.kind {
                Kind::Write(_, version) => version,
                _ => versions
                    .iter()
                    .filter(|(at, _)| *at <= operation.begin)
                    .map(|one| one.1)
                    .max()
                    .unwrap_or(0),
            };
            let requirement = Requirement { end: operation.end, version, removal };
            all.entry((*resource, process)).or_default().push(requirement);
        }
    }
    for list in all.values_mut() {
        list.sort_by_key(|one| one.end);
        for at in 1..list.len() {
            if list[at - 1].version > list[at].version {
                list[at] = Requirement { end: list[at].end, ..list[at - 1] };
            }
        }
    }
    all
}

/// Returns which processes a removal binds: `Some(None)` stands for all of them, and `None` for no
/// process.
fn binds(operation: &Operation) -> Option<Option<Process>> {
    match (operation.outcome, operation.process) {
        (Outcome::Confirmed, _) => Some(None),
        (Outcome::NotConfirmed, Some(process)) => Some(Some(process)),
        _ => None,
    }
}

/// Returns the strictest requirement of the removals that ended before a time.
fn strictest(list: Option<&Vec<Requirement>>, begin: Micros) -> Option<Requirement> {
    let list = list?;
    let before = list.partition_point(|one| one.end < begin);
    list.get(before.checked_sub(1)?).copied()
}
