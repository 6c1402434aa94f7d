//! Prints the results: a table that fits a terminal of 60 columns, then what failed and why.

use std::fmt::Write as _;

use super::{
    case::{Case, Outcome},
    known::{self, Known},
    lab::Target,
};

/// Columns of the terminal.
const WIDTH: usize = 60;
/// Longest name of a case, so that the table fits.
pub(super) const NAME: usize = 40;

/// The results of all cases, in their order.
pub(super) struct Results(pub(super) Vec<(String, Vec<(Target, Outcome)>)>);

/// How a result compares with the list of known failures.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mark {
    Pass,
    Fail,
    /// Fails, and is listed.
    Known,
    /// Passes, and is listed.
    Mended,
}

impl Mark {
    fn of(outcome: &Outcome, listed: bool) -> Self {
        match (outcome.is_ok(), listed) {
            (true, false) => Self::Pass,
            (true, true) => Self::Mended,
            (false, true) => Self::Known,
            (false, false) => Self::Fail,
        }
    }

    fn shown(self) -> &'static str {
        match self {
            Self::Pass => "ok",
            Self::Fail => "FAIL",
            Self::Known => "known",
            Self::Mended => "ok!",
        }
    }
}

impl Results {
    /// Returns the table, the explanations and the summary, and whether an unlisted case failed.
    /// `verbose` also explains the cases that pass, and those that fail as listed.
    pub(super) fn shown(&self, known: &Known, verbose: bool) -> (String, bool) {
        let mut text = format!("{:<NAME$}", "must not happen");
        for target in Target::ALL {
            let _ = write!(text, " {:>5}", target.name());
        }
        text.push('\n');
        let mut details = String::new();
        let mut counts = [0; 4];
        for (name, outcomes) in &self.0 {
            let _ = write!(text, "{name:<NAME$}");
            for target in Target::ALL {
                let found = outcomes.iter().find(|(on, _)| *on == target);
                let Some((_, outcome)) = found else {
                    let _ = write!(text, " {:>5}", "-");
                    continue;
                };
                let reason = known.reason(name, target);
                let mark = Mark::of(outcome, reason.is_some());
                counts[mark as usize] += 1;
                let _ = write!(text, " {:>5}", mark.shown());
                if verbose || matches!(mark, Mark::Fail | Mark::Mended) {
                    explain(&mut details, name, target, mark, outcome, reason);
                }
            }
            text.push('\n');
        }
        let [pass, fail, listed, mended] = counts;
        let _ = write!(text, "{details}");
        let _ = writeln!(
            text,
            "\n{} cases: {} pass, {fail} fail, {listed} fail as listed",
            self.0.len(),
            pass + mended
        );
        if mended > 0 {
            let _ = writeln!(text, "{mended} listed cases pass (ok!): remove them from\n{}", known::FILE);
        }
        (text, fail > 0)
    }
}

/// Appends what was seen in a case.
fn explain(
    text: &mut String,
    name: &str,
    target: Target,
    mark: Mark,
    outcome: &Outcome,
    reason: Option<&str>,
) {
    let _ = writeln!(text, "\n{} {name} ({})", mark.shown(), target.name());
    let seen = match outcome {
        Ok(seen) => seen.clone(),
        Err(error) => format!("{error:#}"),
    };
    wrap(text, &seen);
    if let Some(reason) = reason {
        wrap(text, reason);
    }
}

/// Appends text in lines that fit, each indented by two spaces.
fn wrap(text: &mut String, long: &str) {
    let mut line = String::new();
    for word in long.split_whitespace() {
        let mut word = word;
        while word.chars().count() > WIDTH - 2 {
            let end = word.char_indices().nth(WIDTH - 2).map_or(word.len(), |(end, _)| end);
            if !line.is_empty() {
                let _ = writeln!(text, " {line}");
                line.clear();
            }
            let _ = writeln!(text, "  {}", &word[..end]);
            word = &word[end..];
        }
        if line.chars().count() + word.chars().count() + 2 > WIDTH {
            let _ = writeln!(text, " {line}");
            line.clear();
        }
        line.push(' ');
        line.push_str(word);
    }
    if !line.is_empty() {
        let _ = writeln!(text, " {line}");
    }
}

/// Returns the names of all cases, one a line, with their targets.
pub(super) fn list(cases: &[&Case]) -> String {
    let mut text = String::new();
    for case in cases {
        let on: Vec<_> = case.on.iter().map(|target| target.name()).collect();
        let _ = writeln!(text, "{:<NAME$} {}", case.name, on.join(" "));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_fit_a_narrow_terminal() {
        let mut text = String::new();
        wrap(&mut text, &format!("{} {}", "word ".repeat(40), "x".repeat(150)));
        assert!(text.lines().all(|line| line.chars().count() <= WIDTH), "{text}");
        assert_eq!(text.matches("word").count(), 40);
        assert_eq!(text.matches('x').count(), 150);
    }
}
