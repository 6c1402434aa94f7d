//! Parses the subset of structured fields (RFC 9651) that caching requires: dictionaries of items
//! (for `targeted`) and lists of strings (for `groups`).
//!
//! Parsing is strict, as §4.2 requires: one error makes the whole field invalid.

use std::borrow::Cow;

/// Maximum number of members of one field. A field with more is invalid.
const MAX_MEMBERS: usize = 256;

/// A bare item. Parameters are parsed and dropped, since no field here uses any.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Item<'a> {
    Integer(i64),
    Boolean(bool),
    String(Cow<'a, str>),
    /// An item of a type that no directive uses: a token, a decimal, bytes, a date or an inner
    /// list.
    Other,
}

/// Parses a dictionary over several lines (§4.2.2). Of two members with the same name the later one
/// counts. Returns `None` if it is invalid.
pub(crate) fn parse_dictionary<'a>(
    lines: impl Iterator<Item = &'a [u8]>,
) -> Option<Vec<(&'a str, Item<'a>)>> {
    let mut members: Vec<(&str, Item<'_>)> = Vec::new();
    for line in lines {
        let mut input = Parser::new(line)?;
        while !input.at_end() {
            let name = input.key()?;
            let item = if input.take(b'=') { input.member()? } else { Item::Boolean(true) };
            input.parameters()?;
            match members.iter().position(|(seen, _)| *seen == name) {
                Some(index) => members[index].1 = item,
                None if members.len() < MAX_MEMBERS => members.push((name, item)),
                None => return None,
            }
            input.comma()?;
        }
    }
    Some(members)
}

/// Parses a list of strings (§3.1). Members of other types are skipped, as RFC 9875 §2 requires.
/// Returns `None` if the list is invalid.
pub(crate) fn parse_strings<'a>(lines: impl Iterator<Item = &'a [u8]>) -> Option<Vec<Cow<'a, str>>> {
    let mut members = Vec::new();
    let mut seen = 0;
    for line in lines {
        let mut input = Parser::new(line)?;
        while !input.at_end() {
            let item = input.member()?;
            input.parameters()?;
            seen += 1;
            if seen > MAX_MEMBERS {
                return None;
            }
            if let Item::String(text) = item {
                members.push(text);
            }
            input.comma()?;
        }
    }
    Some(members)
}

/// Parses one field line from the front.
struct Parser<'a> {
    rest: &'a str,
}

impl<'a> Parser<'a> {
    /// Creates a parser for one line. Returns `None` if the line is not ASCII.
    fn new(line: &'a [u8]) -> Option<Self> {
        let rest = std::str::from_utf8(line).ok().filter(|text| text.is_ascii())?;
        Some(Self { rest: rest.trim_matches(' ') })
    }

    /// Returns whether the whole line has been parsed.
    fn at_end(&self) -> bool {
        self.rest.is_empty()
    }

    /// Returns the next byte without consuming it.
    fn peek(&self) -> Option<u8> {
        self.rest.as_bytes().first().copied()
    }

    /// Consumes the next byte if it equals `byte`, and returns whether it did.
    fn take(&mut self, byte: u8) -> bool {
        let taken = self.peek() == Some(byte);
        if taken {
            self.rest = &self.rest[1..];
        }
        taken
    }

    /// Consumes the longest prefix of bytes that belong to a set, and returns it.
    fn take_while(&mut self, belongs: impl Fn(u8) -> bool) -> &'a str {
        let end = self.rest.bytes().position(|byte| !belongs(byte)).unwrap_or(self.rest.len());
        let (taken, rest) = self.rest.split_at(end);
        self.rest = rest;
        taken
    }

    /// Consumes the comma between two members, with white space around it. A trailing comma is an
    /// error.
    fn comma(&mut self) -> Option<()> {
        self.take_while(|byte| byte == b' ' || byte == b'\t');
        if self.at_end() {
            return Some(());
        }
        if !self.take(b',') {
            return None;
        }
        self.take_while(|byte| byte == b' ' || byte == b'\t');
        (!self.at_end()).then_some(())
    }

    /// Parses a key (§4.2.3.3).
    fn key(&mut self) -> Option<&'a str> {
        let first = self.peek()?;
        if !(first.is_ascii_lowercase() || first == b'*') {
            return None;
        }
        Some(self.take_while(|byte| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'_' | b'-' | b'.' | b'*')
        }))
    }

    /// Parses an item without its parameters, or a whole inner list (§4.2.1.1).
    fn member(&mut self) -> Option<Item<'a>> {
        if !self.take(b'(') {
            return self.bare_item();
        }
        loop {
            self.take_while(|byte| byte == b' ');
            if self.take(b')') {
                return Some(Item::Other);
            }
            self.bare_item()?;
            self.parameters()?;
            matches!(self.peek()?, b' ' | b')').then_some(())?;
        }
    }

    /// Parses parameters and drops them (§4.2.3.2).
    fn parameters(&mut self) -> Option<()> {
        while self.take(b';') {
            self.take_while(|byte| byte == b' ');
            self.key()?;
            if self.take(b'=') {
                self.bare_item()?;
            }
        }
        Some(())
    }

    /// Parses a bare item (§4.2.3.1).
    fn bare_item(&mut self) -> Option<Item<'a>> {
        match self.peek()? {
            b'-' | b'0'..=b'9' => self.number(),
            b'"' => self.string().map(Item::String),
            b'?' => {
                self.take(b'?');
                let truth = self.take(b'1');
                (truth || self.take(b'0')).then_some(Item::Boolean(truth))
            }
            b':' => {
                self.take(b':');
                self.take_while(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'='));
                self.take(b':').then_some(Item::Other)
            }
            b'@' => {
                self.take(b'@');
                matches!(self.number()?, Item::Integer(_)).then_some(Item::Other)
            }
            first if first.is_ascii_alphabetic() || first == b'*' => {
                self.take_while(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~:/".contains(&byte));
                Some(Item::Other)
            }
            _ => None,
        }
    }

    /// Parses an integer or a decimal (§4.2.4).
    fn number(&mut self) -> Option<Item<'a>> {
        let negative = self.take(b'-');
        let digits = self.take_while(|byte| byte.is_ascii_digit());
        if digits.is_empty() || digits.len() > 15 {
            return None;
        }
        if self.take(b'.') {
            let fraction = self.take_while(|byte| byte.is_ascii_digit());
            return (digits.len() <= 12 && matches!(fraction.len(), 1..=3)).then_some(Item::Other);
        }
        let number: i64 = digits.parse().ok()?;
        Some(Item::Integer(if negative { -number } else { number }))
    }

    /// Parses a string (§4.2.5).
    fn string(&mut self) -> Option<Cow<'a, str>> {
        self.take(b'"');
        let plain = self.take_while(|byte| matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\');
        if self.take(b'"') {
            return Some(Cow::Borrowed(plain));
        }
        let mut text = plain.to_owned();
        loop {
            match self.peek()? {
                b'"' => {
                    self.take(b'"');
                    return Some(Cow::Owned(text));
                }
                b'\\' => {
                    self.take(b'\\');
                    let escaped = self.peek().filter(|byte| matches!(byte, b'"' | b'\\'))?;
                    self.take(escaped);
                    text.push(char::from(escaped));
                }
                _ => {
                    let more =
                        self.take_while(|byte| matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\');
                    if more.is_empty() {
                        return None;
                    }
                    text.push_str(more);
                }
            }
        }
    }
}
