//! Rules for comments and documents: docs that begin with a verb and stand alone, no private
//! dialect, short lines.

use super::File;

/// The longest line of a comment, with its indentation, and of prose in a document.
const WIDTH: usize = 100;

/// Words of the dialect that this repository was once written in, and what to write instead.
const WORDS: &[(&str, &str)] = &[
    ("anew", "again, or the verb with `re-`"),
    ("anybody", "the noun: any client, any caller"),
    ("ask", "request, read, call"),
    ("asked", "requested, called, configured"),
    ("asks", "requests, reads, calls"),
    ("nobody", "the noun: no client, no reader"),
    ("said", "stated, reported, set"),
    ("say", "state, report, set"),
    ("says", "states, reports, sets, contains"),
    ("somebody", "the noun: a client, another task"),
    ("tell", "report, send, notify"),
    ("tells", "reports, sends, notifies"),
    ("told", "notified, configured, reported"),
    ("whoever", "the noun: a caller that, the task that"),
    ("whose", "of which, or a second sentence"),
];

/// Beginnings of docs that refer to another item, so that they mean nothing in a list.
const REFERRING: &[&str] = &["The same", "As for", "As in", "As with", "Like ", "What is wrong", "See "];

/// Capitalised words on `s` that are no verbs: docs of functions that begin with them describe a
/// noun.
const NOUNS: &[&str] = &[
    "Always",
    "As",
    "Bytes",
    "Entries",
    "Errors",
    "Fields",
    "Headers",
    "Its",
    "Keys",
    "Less",
    "Origins",
    "Requests",
    "Responses",
    "Results",
    "Seconds",
    "Sometimes",
    "This",
    "Threads",
    "Thus",
    "Units",
    "Values",
    "Was",
    "Whether",
];

/// Checks comments of Rust files and prose of documents.
pub(super) fn check(files: &[File], findings: &mut Vec<String>) {
    for file in files {
        if file.is_rust() {
            comments(file, findings);
            if file.is_crate_source() {
                docs(file, findings);
            }
        } else {
            document(file, findings);
        }
    }
}

/// Checks words and width of the comments of a Rust file.
fn comments(file: &File, findings: &mut Vec<String>) {
    let mut fenced = false;
    for (number, line) in (1..).zip(file.text.lines()) {
        let at = format!("{}:{number}", file.path);
        let comment = line.trim_start();
        if comment.starts_with("//") {
            let text = comment.trim_start_matches(['/', '!']);
            if text.trim_start().starts_with("```") {
                fenced = !fenced;
            } else if !fenced {
                dialect(&at, text, findings);
            }
            let has_link = text.contains("](") || text.contains("http");
            if line.chars().count() > WIDTH && !fenced && !has_link {
                findings.push(format!("{at}: wrap the comment at {WIDTH} characters"));
            }
        } else {
            fenced = false;
            if let Some((_, text)) = line.split_once(" // ") {
                dialect(&at, text, findings);
            }
        }
    }
}

/// Checks the docs of the public functions of a source file.
fn docs(file: &File, findings: &mut Vec<String>) {
    let lines: Vec<_> = file.lines().map(|(_, line)| line.trim()).collect();
    for (index, line) in lines.iter().enumerate() {
        let Some(first) = is_public_function(line).then(|| first_line_of_docs(&lines[..index])).flatten()
        else {
            continue;
        };
        let at = format!("{}:{}", file.path, index + 1);
        if REFERRING.iter().any(|words| first.starts_with(words)) {
            findings
                .push(format!("{at}: the doc refers to another item: make its first sentence stand alone"));
        } else if !begins_with_verb(first) {
            findings.push(format!("{at}: begin the doc with a verb: `Returns …`, `Sets …`, `Removes …`"));
        }
    }
}

fn is_public_function(line: &str) -> bool {
    let Some(rest) = ["pub ", "pub(crate) ", "pub(super) "].iter().find_map(|start| line.strip_prefix(start))
    else {
        return false;
    };
    let rest = rest.strip_prefix("const ").unwrap_or(rest);
    rest.strip_prefix("async ").unwrap_or(rest).starts_with("fn ")
}

/// Returns the first line of the docs that end right before an item, attributes left out.
fn first_line_of_docs<'a>(before: &[&'a str]) -> Option<&'a str> {
    let mut lines = before.iter().rev().skip_while(|line| {
        line.starts_with("#[") || !line.starts_with("///") && (line.ends_with(']') || line.ends_with(")]"))
    });
    let mut first = None;
    while let Some(doc) = lines.next().and_then(|line| line.strip_prefix("///")) {
        first = Some(doc.trim());
    }
    first
}

/// Returns whether the first word is a verb in the third person, as far as its form shows.
fn begins_with_verb(doc: &str) -> bool {
    let word =
        doc.split(' ').next().unwrap_or_default().trim_matches(['`', '*', '[', ']', '(', ')', ',', '.']);
    let mut letters = word.chars();
    letters.next().is_some_and(|letter| letter.is_ascii_uppercase())
        && word.len() > 2
        && word.ends_with('s')
        && letters.all(|letter| letter.is_ascii_lowercase())
        && !NOUNS.contains(&word)
}

/// Checks words and width of a document's prose. Tables, code, headings and link targets may be
/// wider.
fn document(file: &File, findings: &mut Vec<String>) {
    let mut fenced = false;
    for (number, line) in (1..).zip(file.text.lines()) {
        let at = format!("{}:{number}", file.path);
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
            continue;
        }
        if fenced {
            continue;
        }
        dialect(&at, line, findings);
        let is_prose = !line.trim_start().starts_with(['|', '#', '<', '!']) && !line.contains("](");
        if is_prose && line.chars().count() > WIDTH {
            findings.push(format!("{at}: wrap the line at {WIDTH} characters"));
        }
    }
}

/// Reports words of the dialect in `text`, but for quoted code.
fn dialect(at: &str, text: &str, findings: &mut Vec<String>) {
    let mut in_code = false;
    for part in text.split_inclusive('`') {
        let prose = part.strip_suffix('`').unwrap_or(part);
        if !in_code {
            for word in prose.split(|letter: char| !letter.is_alphanumeric() && letter != '_') {
                let lower = word.to_lowercase();
                if let Ok(found) = WORDS.binary_search_by_key(&&*lower, |(word, _)| word) {
                    findings.push(format!("{at}: replace `{word}`, for example with: {}", WORDS[found].1));
                }
            }
        }
        in_code ^= part.ends_with('`');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(path: &str, text: &str) -> Vec<String> {
        let mut findings = Vec::new();
        check(&[File::new(path, text)], &mut findings);
        findings
    }

    #[test]
    fn the_words_are_in_order() {
        assert!(WORDS.is_sorted());
        assert!(NOUNS.is_sorted());
    }

    #[test]
    fn docs_begin_with_a_verb_and_stand_alone() {
        let doc =
            |first: &str| format!("    /// {first}\n    #[must_use]\n    pub(crate) const fn f() {{}}\n");
        for good in ["Returns it.", "Sets the limit, in bytes.", "Closes all.", "`Removes` one."] {
            assert!(found("crates/a/src/b.rs", &doc(good)).is_empty(), "{good}");
        }
        for bad in
            ["The limit.", "Whether it is.", "The same for all.", "As for `f`.", "Its name.", "how long"]
        {
            assert_eq!(found("crates/a/src/b.rs", &doc(bad)).len(), 1, "{bad}");
        }
        assert!(
            found("crates/a/src/b.rs", "/// The limit.\npub struct Limit;\n").is_empty(),
            "types are nouns"
        );
        assert!(
            found("crates/a/src/b.rs", "pub fn f() {}\n").is_empty(),
            "rustc asks for docs of public items"
        );
        assert!(found("crates/a/tests/b.rs", &doc("The limit.")).is_empty());
    }

    #[test]
    fn dialect_is_found_in_prose_and_not_in_code() {
        assert_eq!(found("xtask/src/b.rs", "// Whoever asks is told.\n").len(), 3);
        assert_eq!(found("xtask/src/b.rs", concat!("let x = 1; /", "/ nobody reads it\n")).len(), 1);
        assert!(found("xtask/src/b.rs", "// The field `says` and task_says.\nlet says = asks;\n").is_empty());
        assert!(found("xtask/src/b.rs", "/// ```\n/// let says = 1;\n/// ```\nfn f() {}\n").is_empty());
        assert_eq!(found("docs/a.md", "It says so.\n```\nit says\n```\n").len(), 1);
    }

    #[test]
    fn lines_have_a_width() {
        let long = "word ".repeat(21);
        assert_eq!(found("xtask/src/b.rs", &format!("// {long}\n")).len(), 1);
        assert_eq!(found("docs/a.md", &format!("{long}\n")).len(), 1);
        assert!(found("docs/a.md", &format!("| {long} |\n")).is_empty());
    }
}
