//! Tests the checker with histories that it must accept and histories that it must reject.

use super::{
    checker::check,
    history::{History, Kind, Micros, Operation, Outcome, Process, Scope, Version},
};

const A: Option<Process> = Some(Process { node: 0, life: 1 });
const A_RESTARTED: Option<Process> = Some(Process { node: 0, life: 2 });
const B: Option<Process> = Some(Process { node: 1, life: 1 });

fn operation(times: (Micros, Micros), process: Option<Process>, kind: Kind, outcome: Outcome) -> Operation {
    Operation { begin: times.0, end: times.1, process, kind, outcome }
}

fn read(times: (Micros, Micros), process: Option<Process>, version: u64) -> Operation {
    operation(times, process, Kind::Read(5), Outcome::Read { version, is_hit: true })
}

fn purge(times: (Micros, Micros), scope: Scope, outcome: Outcome) -> Operation {
    operation(times, A, Kind::Purge(scope), outcome)
}

/// Resource 5 has version 1 from 0 on, version 2 from 100 on, and version 3 from 200 on. It is in
/// group 1 and under prefix 2.
fn history(operations: &[Operation]) -> History {
    let version = |(version, at)| Version { resource: 5, version, at };
    History { operations: operations.to_vec(), versions: [(1, 0), (2, 100), (3, 200)].map(version).to_vec() }
}

fn is_rejected(operations: &[Operation]) -> bool {
    !check(&history(operations)).violations.is_empty()
}

#[test]
fn a_stale_read_after_a_confirmed_removal_is_rejected() {
    for scope in [Scope::Resource(5), Scope::Group(1), Scope::Prefix(2), Scope::All] {
        let purge = purge((110, 120), scope, Outcome::Confirmed);
        let stale = history(&[purge, read((130, 140), B, 1)]);
        let verdict = check(&stale);
        assert_eq!(verdict.violations.len(), 1, "{scope}");
        assert_eq!(verdict.violations[0].expected, 2);
        assert_eq!(verdict.violations[0].removal, Some(0));
        assert!(!is_rejected(&[purge, read((130, 140), B, 2)]), "{scope}");
        // The checker needs no order of the operations.
        assert!(is_rejected(&[read((130, 140), B, 1), purge]));
    }
}

#[test]
fn a_removal_concerns_its_scope_only() {
    for scope in [Scope::Resource(4), Scope::Group(0), Scope::Prefix(1)] {
        assert!(!is_rejected(&[purge((110, 120), scope, Outcome::Confirmed), read((130, 140), B, 1)]));
    }
}

#[test]
fn a_read_that_began_before_the_removal_returned_may_be_stale() {
    let purge = purge((110, 120), Scope::All, Outcome::Confirmed);
    for begin in [105, 115, 120] {
        assert!(!is_rejected(&[purge, read((begin, 140), B, 1)]), "{begin}");
    }
    assert!(is_rejected(&[purge, read((121, 140), B, 1)]));
}

#[test]
fn only_versions_from_before_the_removal_are_required() {
    // Version 3 was created during the removal and after it.
    for times in [(150, 250), (110, 120)] {
        let purge = purge(times, Scope::All, Outcome::Confirmed);
        assert!(!is_rejected(&[purge, read((260, 270), B, 2)]));
        assert!(is_rejected(&[purge, read((260, 270), B, 1)]));
    }
}

#[test]
fn an_unconfirmed_removal_binds_its_own_process_only() {
    let purge = purge((110, 120), Scope::All, Outcome::NotConfirmed);
    assert!(is_rejected(&[purge, read((130, 140), A, 1)]));
    for process in [B, A_RESTARTED, None] {
        assert!(!is_rejected(&[purge, read((130, 140), process, 1)]), "{process:?}");
    }
    // It is not known when a removal without an answer returns.
    let lost = Operation { outcome: Outcome::Failed, ..purge };
    assert!(!is_rejected(&[lost, read((130, 140), A, 1)]));
}

#[test]
fn a_write_requires_the_version_that_it_created() {
    // The origin has version 2 from 100 on, in the middle of the write.
    let write = |outcome| operation((90, 120), A, Kind::Write(5, 2), outcome);
    assert!(is_rejected(&[write(Outcome::Confirmed), read((130, 140), B, 1)]));
    assert!(is_rejected(&[write(Outcome::NotConfirmed), read((130, 140), A, 1)]));
    assert!(!is_rejected(&[write(Outcome::NotConfirmed), read((130, 140), B, 1)]));
    assert!(!is_rejected(&[write(Outcome::Confirmed), read((130, 140), B, 2)]));
}

#[test]
fn the_strictest_earlier_removal_counts() {
    let early = purge((210, 220), Scope::All, Outcome::Confirmed);
    // It began earlier and returned later, so that it requires less.
    let late = purge((110, 230), Scope::All, Outcome::Confirmed);
    assert!(is_rejected(&[late, early, read((240, 250), B, 2)]));
    assert!(!is_rejected(&[late, early, read((240, 250), B, 3)]));
    let verdict = check(&history(&[late, early, read((240, 250), B, 2)]));
    assert_eq!(verdict.violations[0].removal, Some(1));
}

#[test]
fn a_body_of_two_versions_is_rejected() {
    assert!(is_rejected(&[operation((10, 20), B, Kind::Read(5), Outcome::Mixed)]));
    assert!(!is_rejected(&[operation((10, 20), B, Kind::Read(5), Outcome::Failed)]));
}

#[test]
fn reads_that_a_removal_concerns_are_counted() {
    let purge = purge((110, 120), Scope::All, Outcome::Confirmed);
    let from_the_origin =
        operation((130, 140), B, Kind::Read(5), Outcome::Read { version: 2, is_hit: false });
    assert_eq!(check(&history(&[purge, read((130, 140), B, 2)])).tested, 1);
    assert_eq!(check(&history(&[purge, from_the_origin])).tested, 0);
    assert_eq!(check(&history(&[purge, read((105, 140), B, 2)])).tested, 0);
}
