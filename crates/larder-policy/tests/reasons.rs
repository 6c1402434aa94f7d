//! The page of all words of `Cache-Status` is generated from the code, and explains each of them.

use std::collections::HashSet;

use larder_policy::{CacheDetail, ForwardReason, NotStorable, StatusReason};

/// The page in the repository.
const PAGE: &str = include_str!("../CACHE-STATUS.md");

/// Returns the page as it should be.
fn page() -> String {
    let mut page =
        PAGE.split_inclusive("\n## ").next().unwrap_or_default().trim_end_matches("## ").to_owned();
    let forward = ForwardReason::ALL.map(ForwardReason::reason);
    let not_stored = NotStorable::ALL.map(NotStorable::reason);
    let details = CacheDetail::ALL_BUT_NOT_STORED.map(CacheDetail::reason);
    section(&mut page, "Why a request was forwarded", "fwd", &forward);
    section(&mut page, "Why a response was not stored", "detail", &not_stored);
    section(&mut page, "Other details", "detail", &details);
    page.trim_end().to_owned() + "\n"
}

/// Appends the words of one parameter.
fn section(page: &mut String, title: &str, parameter: &str, reasons: &[StatusReason]) {
    page.push_str(&format!("## {title}\n\n"));
    for StatusReason { word, meaning, advice, section, .. } in reasons {
        page.push_str(&format!("### `{parameter}={word}`\n\n{}\n\n", wrapped(&explained(meaning, section))));
        page.push_str(&format!("{}\n\n", wrapped(&format!("*What to do:* {advice}"))));
    }
}

/// Returns the meaning with its section in the last sentence.
fn explained(meaning: &str, section: &str) -> String {
    format!("{} ({}).", meaning.trim_end_matches('.'), section.replace(' ', NO_BREAK))
}

/// A space at which no line is broken.
const NO_BREAK: &str = "\u{a0}";

/// Breaks the lines of a paragraph at 100 columns.
fn wrapped(text: &str) -> String {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let line = lines.last_mut().expect("there is always a line");
        if line.is_empty() {
            line.push_str(word);
        } else if line.chars().count() + 1 + word.chars().count() <= 100 {
            line.push(' ');
            line.push_str(word);
        } else {
            lines.push(word.to_owned());
        }
    }
    lines.join("\n").replace(NO_BREAK, " ")
}

#[test]
fn the_page_has_every_word() {
    let expected = page();
    if PAGE != expected {
        let path = std::env::temp_dir().join("CACHE-STATUS.md");
        std::fs::write(&path, expected).expect("the page is written");
        panic!("CACHE-STATUS.md is out of date: replace it by {}", path.display());
    }
}

#[test]
fn every_reason_is_explained_in_whole_sentences() {
    let reasons = ForwardReason::ALL.map(ForwardReason::reason).into_iter();
    let reasons = reasons.chain(NotStorable::ALL.map(NotStorable::reason));
    let reasons = reasons.chain(CacheDetail::ALL_BUT_NOT_STORED.map(CacheDetail::reason));
    for StatusReason { word, meaning, advice, section, .. } in reasons {
        assert!(meaning.ends_with('.') && advice.ends_with('.'), "{word}: a sentence ends with a period");
        assert!(section.starts_with("RFC ") && section.contains(" §"), "{word}: {section}");
        assert!(!meaning.contains("  ") && !advice.contains("  "), "{word}: spaces");
    }
}

#[test]
fn words_of_one_parameter_differ() {
    let details = CacheDetail::ALL_BUT_NOT_STORED.map(CacheDetail::token).into_iter();
    let details: Vec<_> = details.chain(NotStorable::ALL.map(NotStorable::token)).collect();
    let forward = ForwardReason::ALL.map(ForwardReason::token);
    for words in [&details[..], &forward[..]] {
        let different: HashSet<_> = words.iter().collect();
        assert_eq!(different.len(), words.len(), "{words:?}");
    }
}
