//! Counts the results of the suite and compares them with the expectations.
//!
//! The rules are those of the suite's own page: a test does not count if a test it depends on did
//! not pass, and a test that could not be set up has not passed. A test that is expected to fail
//! must fail with the expected message; a test that could not run does not meet that.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
};

use serde_json::Value;

use super::{
    exceptions::{Exception, Verdict},
    suite::{Kind, SUITE, Test},
};

/// The result of a test.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    Passed,
    /// Failed, with the message of the suite.
    Failed(String),
    /// Could not be set up, with the message of the suite.
    NotSetUp(String),
    /// This test, on which it depends, did not pass.
    Unfounded(String),
    /// The client reported no result.
    Missing,
}

#[derive(Debug, Default, Clone, Copy)]
struct Count {
    passed: u32,
    all: u32,
    listed: u32,
}

/// The outcome of one run.
#[derive(Debug)]
pub(super) struct Report {
    suites: BTreeMap<String, BTreeMap<Kind, Count>>,
    totals: BTreeMap<Kind, Count>,
    /// A message for each test that behaves neither as required nor as listed.
    pub(super) faults: Vec<String>,
}

impl Report {
    pub(super) fn new(
        tests: &[Test],
        exceptions: &[Exception],
        profile: &str,
        found: &HashMap<String, Value>,
    ) -> Self {
        let by_id: HashMap<&str, &Test> = tests.iter().map(|test| (&*test.id, test)).collect();
        let mut report = Self { suites: BTreeMap::new(), totals: BTreeMap::new(), faults: Vec::new() };
        for test in tests {
            let listed = exceptions.iter().find(|exception| exception.matches(profile, &test.id));
            let verdict = listed.map(|exception| &exception.verdict);
            if verdict == Some(&Verdict::NotCounted) {
                continue;
            }
            let outcome = outcome(test, &by_id, found);
            let passed = outcome == Outcome::Passed;
            let fault = fault(test, &outcome, verdict);
            let suite = report.suites.entry(test.suite.clone()).or_default();
            for count in [suite.entry(test.kind).or_default(), report.totals.entry(test.kind).or_default()] {
                count.all += 1;
                count.passed += u32::from(passed);
                count.listed += u32::from(!passed && listed.is_some() && fault.is_none());
            }
            if let Some(fault) = fault {
                report.faults.push(format!("{} ({:?}): {fault}", test.id, test.kind));
            }
        }
        report
    }
}

fn outcome(test: &Test, by_id: &HashMap<&str, &Test>, found: &HashMap<String, Value>) -> Outcome {
    let Some(result) = found.get(&test.id) else { return Outcome::Missing };
    for id in &test.depends_on {
        let passed = by_id.get(&**id).is_some_and(|on| outcome(on, by_id, found) == Outcome::Passed);
        if !passed {
            return Outcome::Unfounded(id.clone());
        }
    }
    let message = || result.get(1).and_then(Value::as_str).map_or_else(|| result.to_string(), str::to_owned);
    match result.get(0).and_then(Value::as_str) {
        None if result == &Value::Bool(true) => Outcome::Passed,
        Some("Setup") => Outcome::NotSetUp(message()),
        _ => Outcome::Failed(message()),
    }
}

/// Returns what is wrong with the outcome of a test, if anything.
fn fault(test: &Test, outcome: &Outcome, verdict: Option<&Verdict>) -> Option<String> {
    match (verdict, outcome) {
        (None, Outcome::Missing) => Some("no result".to_owned()),
        (None, _) if test.kind == Kind::Check => None,
        (None | Some(Verdict::Passes), Outcome::Passed) => None,
        (None | Some(Verdict::Passes), _) => Some(format!("must pass: {outcome}")),
        (Some(Verdict::Fails(expected)), Outcome::Failed(message)) if message.contains(expected) => None,
        (Some(Verdict::Fails(expected)), _) => Some(format!("must fail with '{expected}': {outcome}")),
        (Some(Verdict::Either), Outcome::Passed | Outcome::Failed(_)) => None,
        (Some(Verdict::Either), _) => Some(format!("must pass or fail: {outcome}")),
        (Some(Verdict::NotCounted), _) => None,
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Passed => f.write_str("passed"),
            Self::Failed(message) => write!(f, "failed: {message}"),
            Self::NotSetUp(message) => write!(f, "could not be set up: {message}"),
            Self::Unfounded(id) => write!(f, "its dependency {id} did not pass"),
            Self::Missing => f.write_str("no result"),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{SUITE}\n{:<18} {:>10} {:>10} {:>10}", "", "required", "optimal", "check")?;
        for (suite, kinds) in &self.suites {
            let cell = |kind| {
                kinds.get(&kind).map_or_else(String::new, |count| format!("{}/{}", count.passed, count.all))
            };
            let [required, optimal, check] = [Kind::Required, Kind::Optimal, Kind::Check].map(cell);
            writeln!(f, "{suite:<18} {required:>10} {optimal:>10} {check:>10}")?;
        }
        for (kind, count) in &self.totals {
            let Count { passed, all, listed } = count;
            let kind = format!("{kind:?}").to_lowercase();
            writeln!(
                f,
                "{kind}: {passed} of {all} pass; {listed} of the others are listed and behave as listed"
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn test(id: &str, kind: Kind, depends_on: &[&str]) -> Test {
        let depends_on = depends_on.iter().map(|&on| on.to_owned()).collect();
        Test { suite: "s".to_owned(), id: id.to_owned(), kind, depends_on }
    }

    /// Returns the outcome of `c`, which depends on `b`, which depends on `a`.
    fn of_c(a: Value, c: Value) -> Outcome {
        let tests = [
            test("a", Kind::Required, &[]),
            test("b", Kind::Required, &["a"]),
            test("c", Kind::Required, &["b"]),
        ];
        let by_id = tests.iter().map(|test| (&*test.id, test)).collect();
        let found = [("a", a), ("b", json!(true)), ("c", c)].map(|(id, result)| (id.to_owned(), result));
        outcome(&tests[2], &by_id, &HashMap::from(found))
    }

    #[test]
    fn a_dependency_of_a_dependency_counts() {
        assert_eq!(of_c(json!(true), json!(true)), Outcome::Passed);
        let failed = json!(["Assertion", "no"]);
        assert_eq!(of_c(failed, json!(true)), Outcome::Unfounded("b".to_owned()));
    }

    #[test]
    fn a_test_that_could_not_be_set_up_has_neither_passed_nor_failed() {
        let result = of_c(json!(true), json!(["Setup", "retry"]));
        assert_eq!(result, Outcome::NotSetUp("retry".to_owned()));
        let thrown = of_c(json!(true), json!(["FetchError", "hang up"]));
        assert_eq!(thrown, Outcome::Failed("hang up".to_owned()));
    }

    #[test]
    fn a_verdict_is_met_by_the_expected_outcome_only() {
        let failed = |message: &str| Outcome::Failed(message.to_owned());
        let from_cache = Verdict::Fails("comes from cache".to_owned());
        let required = test("a", Kind::Required, &[]);
        let check = test("a", Kind::Check, &[]);
        for (test, outcome, verdict, right) in [
            (&required, Outcome::Passed, None, true),
            (&required, failed("x"), None, false),
            (&required, Outcome::NotSetUp("retry".to_owned()), None, false),
            (&check, failed("x"), None, true),
            (&check, Outcome::Missing, None, false),
            (&check, failed("x"), Some(&Verdict::Passes), false),
            (&required, failed("Response 2 comes from cache"), Some(&from_cache), true),
            (&required, failed("Response 2 status is 502"), Some(&from_cache), false),
            (&required, Outcome::Unfounded("b".to_owned()), Some(&from_cache), false),
            (&required, Outcome::Passed, Some(&from_cache), false),
            (&required, failed("x"), Some(&Verdict::Either), true),
            (&required, Outcome::Missing, Some(&Verdict::Either), false),
        ] {
            let found = fault(test, &outcome, verdict);
            assert_eq!(found.is_none(), right, "{outcome:?} {verdict:?}: {found:?}");
        }
    }
}
