//! Changes the text of JSON without parsing its numbers and strings: layout, and values at paths.
//!
//! What is not changed keeps its bytes.

use std::ops::Range;

/// The white space of a JSON text on one line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Layout {
    /// No white space, as most servers and clients write.
    Compact,
    /// A space after each comma and colon, as Python writes by default.
    Spaced,
}

/// Most levels of JSON that are walked through and shown with a line for each member.
const MAX_DEPTH: usize = 128;

/// Returns whether the text is valid JSON, of any depth: serde_json skips values without recursion.
pub(crate) fn is_json(text: &str) -> bool {
    serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok()
}

/// Returns whether the text, which need not be valid JSON, has more than 128 levels.
pub(crate) fn is_deep(text: &str) -> bool {
    let mut depth = 0_usize;
    tokens(text).any(|token| {
        match token {
            "{" | "[" => depth += 1,
            "}" | "]" => depth = depth.saturating_sub(1),
            _ => {}
        }
        depth > MAX_DEPTH
    })
}

/// Returns valid JSON with a line for each member, indented by two spaces. `None` if that is much
/// longer, because of many levels.
pub(crate) fn indented(text: &str) -> Option<String> {
    let limit = text.len() * 3 + 1024;
    let mut out = String::with_capacity(text.len() * 2);
    let mut depth = 0_usize;
    let mut tokens = tokens(text).peekable();
    let line = |out: &mut String, depth: usize| {
        out.push('\n');
        out.extend(std::iter::repeat_n("  ", depth));
    };
    while let Some(token) = tokens.next() {
        if out.len() > limit {
            return None;
        }
        match token {
            "{" | "[" => {
                out.push_str(token);
                if !matches!(tokens.peek(), Some(&("}" | "]"))) {
                    depth += 1;
                    line(&mut out, depth);
                }
            }
            "}" | "]" => {
                if !out.ends_with(['{', '[']) {
                    depth = depth.saturating_sub(1);
                    line(&mut out, depth);
                }
                out.push_str(token);
            }
            "," => {
                out.push(',');
                line(&mut out, depth);
            }
            ":" => out.push_str(": "),
            _ => out.push_str(token),
        }
    }
    Some(out)
}

/// Returns the JSON on one line.
pub(crate) fn on_one_line(text: &str, layout: Layout) -> String {
    let mut out = String::with_capacity(text.len());
    for token in tokens(text) {
        out.push_str(token);
        if layout == Layout::Spaced && matches!(token, "," | ":") {
            out.push(' ');
        }
    }
    out
}

/// Returns the tokens of JSON without white space. Other text is split into some tokens, too.
fn tokens(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        rest = rest.trim_start_matches([' ', '\t', '\n', '\r']);
        let first = rest.chars().next()?;
        let length = match first {
            '{' | '}' | '[' | ']' | ',' | ':' => 1,
            '"' => string_length(rest),
            _ => rest
                .find(['{', '}', '[', ']', ',', ':', '"', ' ', '\t', '\n', '\r'])
                .unwrap_or(rest.len())
                .max(first.len_utf8()),
        };
        let (token, after) = rest.split_at(length);
        rest = after;
        Some(token)
    })
}

/// Returns the length of the string at the beginning of the text, with its quotation marks.
fn string_length(text: &str) -> usize {
    let mut escaped = false;
    for (index, byte) in text.bytes().enumerate().skip(1) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return index + 1,
            _ => {}
        }
    }
    text.len()
}

/// Returns the JSON with each value replaced for which `replace` returns another token. Its
/// arguments are the path (names of members and indices) and the token of the value: a string, a
/// number or a literal, or `{` or `[` of an object or array. `None` if the text is not JSON, if it
/// is deep, or if nothing is replaced.
pub(crate) fn replace_values(
    text: &str,
    mut replace: impl FnMut(&[String], &str) -> Option<String>,
) -> Option<String> {
    if is_deep(text) || !is_json(text) {
        return None;
    }
    let tokens: Vec<&str> = tokens(text).collect();
    let mut walk = Walk { text, tokens: &tokens, next: 0, path: Vec::new(), replaced: Vec::new() };
    walk.value(&mut replace);
    if walk.replaced.is_empty() {
        return None;
    }
    let mut out = String::with_capacity(text.len());
    let mut from = 0;
    for (range, value) in walk.replaced {
        out.push_str(&text[from..range.start]);
        out.push_str(&value);
        from = range.end;
    }
    out.push_str(&text[from..]);
    Some(out)
}

/// A walk over the tokens of valid JSON. It is recursive: `is_deep` has limited the levels before.
struct Walk<'a> {
    text: &'a str,
    tokens: &'a [&'a str],
    next: usize,
    path: Vec<String>,
    /// The places of the values that are replaced, and what replaces them.
    replaced: Vec<(Range<usize>, String)>,
}

/// Receives a path and the first token of the value. Returns what replaces it.
type Replace<'r> = dyn FnMut(&[String], &str) -> Option<String> + 'r;

impl<'a> Walk<'a> {
    fn token(&mut self) -> &'a str {
        let token = self.tokens.get(self.next).copied().unwrap_or_default();
        self.next += 1;
        token
    }

    /// Returns the place of the token at this index in the text.
    fn place(&self, index: usize) -> Range<usize> {
        let token = self.tokens.get(index).copied().unwrap_or_default();
        let start = (token.as_ptr() as usize).saturating_sub(self.text.as_ptr() as usize);
        start..start + token.len()
    }

    fn value(&mut self, replace: &mut Replace<'_>) {
        let first = self.next;
        let token = self.token();
        if let Some(value) = replace(&self.path, token) {
            self.next = self.end_of_value(first);
            let range = self.place(first).start..self.place(self.next - 1).end;
            self.replaced.push((range, value));
            return;
        }
        let close = match token {
            "{" => "}",
            "[" => "]",
            _ => return,
        };
        let mut index = 0_usize;
        while self.tokens.get(self.next).is_some_and(|token| *token != close) {
            if token == "{" {
                let name = self.token();
                self.path.push(serde_json::from_str(name).unwrap_or_default());
                self.next += 1; // The colon.
            } else {
                self.path.push(index.to_string());
                index += 1;
            }
            self.value(replace);
            self.path.pop();
            if self.tokens.get(self.next) == Some(&",") {
                self.next += 1;
            }
        }
        self.next += 1; // The bracket.
    }

    /// Returns the index after the value that begins at `first`.
    fn end_of_value(&self, first: usize) -> usize {
        let mut depth = 0_usize;
        for (index, token) in self.tokens.iter().enumerate().skip(first) {
            match *token {
                "{" | "[" => depth += 1,
                "}" | "]" => depth = depth.saturating_sub(1),
                _ => {}
            }
            if depth == 0 {
                return index + 1;
            }
        }
        self.tokens.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layouts_are_restored() {
        for text in [
            r#"{"a":[1,2.50,1e9,{}],"b":{"c":"x, \" y: z\\"},"d":[],"e":null}"#,
            "[]",
            "\"text\"",
            "-0.0",
            r#"[[[]],{"":""}]"#,
        ] {
            let pretty = indented(text).unwrap();
            assert_eq!(on_one_line(&pretty, Layout::Compact), text);
            let spaced = on_one_line(text, Layout::Spaced);
            assert_eq!(on_one_line(&indented(&spaced).unwrap(), Layout::Spaced), spaced);
        }
        let deep = format!("{}{}0{}", "[".repeat(100), "0,".repeat(1000), "]".repeat(100));
        assert!(is_json(&deep) && indented(&deep).is_none());
        assert_eq!(indented(r#"{"a":[1],"b":{}}"#).unwrap(), "{\n  \"a\": [\n    1\n  ],\n  \"b\": {}\n}");
    }

    #[test]
    fn values_are_replaced_in_place() {
        let text = "{ \"a\" : [1, {\"b\":\t\"secret\"}],\"c\\u0041\":{\"d\":[true]} }";
        let at = |wanted: &'static [&'static str]| {
            replace_values(text, move |path, _| (path == wanted).then(|| "0".to_owned()))
        };
        assert_eq!(
            at(&["a", "1", "b"]).as_deref(),
            Some("{ \"a\" : [1, {\"b\":\t0}],\"c\\u0041\":{\"d\":[true]} }")
        );
        assert_eq!(
            at(&["cA", "d"]).as_deref(),
            Some("{ \"a\" : [1, {\"b\":\t\"secret\"}],\"c\\u0041\":{\"d\":0} }")
        );
        assert_eq!(at(&[]).as_deref(), Some("0"));
        assert_eq!(at(&["a", "2"]), None);
        assert_eq!(replace_values("{", |_, _| Some("0".to_owned())), None);
    }

    #[test]
    fn deep_json_is_not_walked() {
        let nested = |levels| format!("{}\"[\"{}", "[".repeat(levels), "]".repeat(levels));
        assert!(!is_deep(&nested(128)) && is_deep(&nested(129)) && is_deep(&nested(50_000)));
        assert!(!is_deep(&"[],".repeat(1000)), "beside each other");
        let replaced =
            |levels| replace_values(&nested(levels), |_, token| (token == "\"[\"").then(|| "0".to_owned()));
        assert_eq!(replaced(128), Some(nested(128).replace("\"[\"", "0")));
        assert!(is_json(&nested(50_000)) && replaced(50_000).is_none());
    }
}
