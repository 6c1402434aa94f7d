//! Reads the regular expressions in purges of other programs, as far as they list names or have a
//! beginning. No expression is ever matched against anything.

/// What a regular expression matches.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Pattern {
    /// Everything: `.*`, or nothing.
    Any,
    /// One of these names, as a member of a list or as the whole.
    Names(Vec<String>),
    /// What begins with this text.
    Prefix(String),
}

/// Longest expression in bytes, that of thousands of tags.
const MAX_LENGTH: usize = 256 * 1024;

/// Stands for the border of a member. No field can contain it.
const BORDER: &str = "\u{1}";

/// Parses an expression. Returns `None` for any other kind.
pub(super) fn parse_pattern(text: &[u8]) -> Option<Pattern> {
    let text = std::str::from_utf8(text).ok().filter(|text| text.len() <= MAX_LENGTH)?.trim();
    if matches!(text, "" | ".*" | "^.*" | "^.*$" | ".*$") {
        return Some(Pattern::Any);
    }
    // The borders of a member of a list, as in `(^|,)a(,|$)`.
    let mut bare = text.to_owned();
    for border in ["(^|,)", "(,|$)", "(^|\\s)", "(\\s|$)", "(^| )", "( |$)"] {
        bare = bare.replace(border, BORDER);
    }
    let is_list = bare.contains(BORDER);
    // `^(a|b)$` is one of two names.
    if let Some(whole) = bare.strip_prefix("^(").and_then(|bare| bare.strip_suffix(")$")) {
        bare = whole.to_owned();
    }
    let alternatives: Vec<&str> = bare.split('|').collect();
    if alternatives.len() > 1 && alternatives.iter().any(|one| one.contains(['^', '$'])) {
        return None;
    }
    let is_single = alternatives.len() == 1;
    let alternatives: Option<Vec<String>> = alternatives.into_iter().map(literal).collect();
    let starts = text.starts_with('^');
    let ends = text.ends_with('$');
    match alternatives {
        Some(names) if names.iter().all(|name| !name.is_empty()) => {
            let [name] = &names[..] else { return Some(Pattern::Names(names)) };
            // Without an end, `^/news` matches what begins with it.
            let is_open = starts && !ends && !is_list;
            Some(if is_open { Pattern::Prefix(name.clone()) } else { Pattern::Names(names) })
        }
        None if is_single => {
            let open = bare.trim_end_matches('$').strip_suffix(".*")?;
            literal(open).filter(|prefix| !prefix.is_empty()).map(Pattern::Prefix)
        }
        _ => None,
    }
}

/// Returns the text that an expression without operators matches, without parentheses around it and
/// without anchors.
fn literal(text: &str) -> Option<String> {
    let text = text.trim_start_matches(['(', '\u{1}']).trim_end_matches([')', '\u{1}']);
    let text = text.strip_prefix('^').unwrap_or(text);
    let text = text.strip_suffix('$').unwrap_or(text);
    let mut plain = String::with_capacity(text.len());
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match character {
            '\\' => match characters.next()? {
                // `\d` and its like are classes.
                class if class.is_ascii_alphanumeric() || class == '\u{1}' => return None,
                escaped => plain.push(escaped),
            },
            '\u{1}' | '*' | '+' | '?' | '[' | ']' | '{' | '}' | '(' | ')' | '^' | '$' => return None,
            other => plain.push(other),
        }
    }
    Some(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Option<Pattern> {
        Some(Pattern::Names(names.iter().map(ToString::to_string).collect()))
    }

    #[test]
    fn lists_and_beginnings_are_read() {
        assert_eq!(parse_pattern(br"(^|,)(tag\-one|tag\-two)(,|$)"), names(&["tag-one", "tag-two"]));
        assert_eq!(parse_pattern(b"((^|,)cat_p_1(,|$))|((^|,)cat_c_2(,|$))"), names(&["cat_p_1", "cat_c_2"]));
        assert_eq!(parse_pattern(b"(node:1|node:2)"), names(&["node:1", "node:2"]));
        assert_eq!(parse_pattern(b"^www.example.com$"), names(&["www.example.com"]));
        assert_eq!(parse_pattern(b"^(shop.example)$"), names(&["shop.example"]));
        assert_eq!(parse_pattern(b"^(a|b)$"), names(&["a", "b"]));
        assert_eq!(parse_pattern(b".*"), Some(Pattern::Any));
        assert_eq!(parse_pattern(b"^/news"), Some(Pattern::Prefix("/news".into())));
        assert_eq!(parse_pattern(b"/news/.*"), Some(Pattern::Prefix("/news/".into())));
        assert_eq!(parse_pattern(b"^/news/.*$"), Some(Pattern::Prefix("/news/".into())));
    }

    #[test]
    fn other_expressions_are_not_read() {
        for pattern in [
            "a+", "[ab]", r"\d+", "a||b", "(a)?", "a{2}", r"a\", "(|)", "a.*b", "a(|b)", "^a|b$", "a(b|c)",
            "a(^|,)b", "/a|/b/.*", r"\ba", r"\(^|,)a",
        ] {
            assert_eq!(parse_pattern(pattern.as_bytes()), None, "{pattern}");
        }
    }
}
