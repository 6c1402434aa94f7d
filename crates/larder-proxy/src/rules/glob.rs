//! Matches texts against patterns in which `*` stands for any text.

/// A pattern in which `*` stands for any text, also with `/`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Glob(Box<str>);

impl Glob {
    /// Creates a pattern.
    pub(super) fn new(pattern: &str) -> Self {
        Self(pattern.into())
    }

    /// Returns whether the pattern matches every text.
    pub(super) fn is_any(&self) -> bool {
        &*self.0 == "*"
    }

    /// Returns whether the whole text matches.
    pub(super) fn matches(&self, text: &[u8]) -> bool {
        matches(self.0.as_bytes(), text, |one, other| one == other)
    }

    /// Returns whether the whole text matches, with upper and lower case equal.
    pub(super) fn matches_ignoring_case(&self, text: &[u8]) -> bool {
        matches(self.0.as_bytes(), text, |one, other| one.eq_ignore_ascii_case(&other))
    }
}

/// Compares a text with a pattern. The time is at most proportional to the product of their
/// lengths.
fn matches(pattern: &[u8], text: &[u8], is_same: fn(u8, u8) -> bool) -> bool {
    let (mut p, mut t) = (0, 0);
    // Behind the last `*`, and the end of the text that it stands for.
    let mut retry: Option<(usize, usize)> = None;
    while t < text.len() {
        match pattern.get(p) {
            Some(b'*') => {
                p += 1;
                retry = Some((p, t));
            }
            Some(byte) if is_same(*byte, text[t]) => {
                p += 1;
                t += 1;
            }
            _ => match &mut retry {
                Some((after, end)) => {
                    *end += 1;
                    p = *after;
                    t = *end;
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_stand_for_any_text() {
        for (pattern, text, expected) in [
            ("", "", true),
            ("", "a", false),
            ("*", "", true),
            ("*", "/a/b", true),
            ("/a/*", "/a/", true),
            ("/a/*", "/a", false),
            ("*.css", "/x.css", true),
            ("*.css", "/x.css.map", false),
            ("/*/x*", "/a/b/xy", true),
            ("a*b*c", "aXbXbXc", true),
            ("a*b*c", "aXcXb", false),
            ("a**", "a", true),
            ("A*", "ab", false),
            ("?", "a", false),
        ] {
            assert_eq!(Glob::new(pattern).matches(text.as_bytes()), expected, "{pattern} and {text}");
        }
        assert!(Glob::new("A*c").matches_ignoring_case(b"abC"));
    }
}
