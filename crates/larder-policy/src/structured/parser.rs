//! Parses one structured field from the front (RFC 9651 §4.2), with a method for each algorithm of
//! that section.

use std::{borrow::Cow, collections::HashMap};

use super::item::{BareItem, Item, ListMember, Parameters};

/// A map in the order of its keys' first occurrence.
pub(super) struct Map<'a, V> {
    pub(super) entries: Vec<(&'a str, V)>,
    /// The positions of the keys in `entries`, once there are more than a few of them.
    positions: HashMap<&'a str, usize>,
}

impl<V> Default for Map<'_, V> {
    fn default() -> Self {
        Self { entries: Vec::new(), positions: HashMap::new() }
    }
}

impl<'a, V> Map<'a, V> {
    /// Number of keys up to which they are compared one by one.
    const FEW: usize = 16;

    /// Sets the value of a key, and replaces the one that it had.
    pub(super) fn set(&mut self, key: &'a str, value: V) {
        let few = self.entries.len() < Self::FEW;
        if !few && self.positions.is_empty() {
            self.positions.extend(self.entries.iter().enumerate().map(|(index, (key, _))| (*key, index)));
        }
        let known = if few {
            self.entries.iter().position(|(seen, _)| *seen == key)
        } else {
            self.positions.get(key).copied()
        };
        match known {
            Some(index) => self.entries[index].1 = value,
            None => {
                if !few {
                    self.positions.insert(key, self.entries.len());
                }
                self.entries.push((key, value));
            }
        }
    }
}

/// Parses a field value from the front.
pub(super) struct Parser<'a> {
    rest: &'a str,
}

impl<'a> Parser<'a> {
    /// Creates a parser of a field value. Returns `None` if the value is not ASCII.
    pub(super) fn new(field: &'a [u8]) -> Option<Self> {
        let rest = std::str::from_utf8(field).ok().filter(|text| text.is_ascii())?;
        Some(Self { rest: rest.trim_matches(' ') })
    }

    /// Returns whether the whole value has been parsed.
    pub(super) fn at_end(&self) -> bool {
        self.rest.is_empty()
    }

    /// Returns the next byte without consuming it.
    fn peek(&self) -> Option<u8> {
        self.rest.as_bytes().first().copied()
    }

    /// Consumes the next byte if it equals `byte`, and returns whether it did.
    pub(super) fn take(&mut self, byte: u8) -> bool {
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
    pub(super) fn comma(&mut self) -> Option<()> {
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
    pub(super) fn key(&mut self) -> Option<&'a str> {
        let first = self.peek()?;
        if !(first.is_ascii_lowercase() || first == b'*') {
            return None;
        }
        Some(self.take_while(|byte| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'_' | b'-' | b'.' | b'*')
        }))
    }

    /// Parses an item or an inner list (§4.2.1.1, §4.2.1.2).
    pub(super) fn member(&mut self) -> Option<ListMember<'a>> {
        if !self.take(b'(') {
            return self.item().map(ListMember::Item);
        }
        let mut items = Vec::new();
        loop {
            self.take_while(|byte| byte == b' ');
            if self.take(b')') {
                return Some(ListMember::InnerList(items, self.parameters()?));
            }
            items.push(self.item()?);
            matches!(self.peek()?, b' ' | b')').then_some(())?;
        }
    }

    /// Parses an item (§4.2.3).
    pub(super) fn item(&mut self) -> Option<Item<'a>> {
        Some(Item { value: self.bare_item()?, parameters: self.parameters()? })
    }

    /// Parses parameters (§4.2.3.2).
    pub(super) fn parameters(&mut self) -> Option<Parameters<'a>> {
        let mut parameters = Map::default();
        while self.take(b';') {
            self.take_while(|byte| byte == b' ');
            let key = self.key()?;
            let value = if self.take(b'=') { self.bare_item()? } else { BareItem::Boolean(true) };
            parameters.set(key, value);
        }
        Some(parameters.entries)
    }

    /// Parses a bare item (§4.2.3.1).
    fn bare_item(&mut self) -> Option<BareItem<'a>> {
        match self.peek()? {
            b'-' | b'0'..=b'9' => self.number(),
            b'"' => self.string().map(BareItem::String),
            b'?' => {
                self.take(b'?');
                let truth = self.take(b'1');
                (truth || self.take(b'0')).then_some(BareItem::Boolean(truth))
            }
            b':' => self.bytes().map(BareItem::Bytes),
            b'@' => {
                self.take(b'@');
                match self.number()? {
                    BareItem::Integer(seconds) => Some(BareItem::Date(seconds)),
                    _ => None,
                }
            }
            b'%' => self.display_string().map(BareItem::DisplayString),
            first if first.is_ascii_alphabetic() || first == b'*' => Some(BareItem::Token(
                self.take_while(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~:/".contains(&byte)),
            )),
            _ => None,
        }
    }

    /// Parses an integer or a decimal (§4.2.4).
    fn number(&mut self) -> Option<BareItem<'a>> {
        let negative = self.take(b'-');
        let signed = |number: i64| if negative { -number } else { number };
        let digits = self.take_while(|byte| byte.is_ascii_digit());
        if digits.is_empty() || digits.len() > 15 {
            return None;
        }
        let number: i64 = digits.parse().ok()?;
        if !self.take(b'.') {
            return Some(BareItem::Integer(signed(number)));
        }
        let fraction = self.take_while(|byte| byte.is_ascii_digit());
        if digits.len() > 12 || !matches!(fraction.len(), 1..=3) {
            return None;
        }
        let thousandths: i64 = format!("{fraction:0<3}").parse().ok()?;
        Some(BareItem::Decimal(signed(number * 1000 + thousandths)))
    }

    /// Parses a string (§4.2.5).
    fn string(&mut self) -> Option<Cow<'a, str>> {
        self.take(b'"');
        let is_plain = |byte| matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\';
        let plain = self.take_while(is_plain);
        if self.take(b'"') {
            return Some(Cow::Borrowed(plain));
        }
        let mut text = plain.to_owned();
        loop {
            if self.take(b'"') {
                return Some(Cow::Owned(text));
            }
            if self.take(b'\\') {
                let escaped = self.peek().filter(|byte| matches!(byte, b'"' | b'\\'))?;
                self.take(escaped);
                text.push(char::from(escaped));
                continue;
            }
            let more = self.take_while(is_plain);
            if more.is_empty() {
                return None;
            }
            text.push_str(more);
        }
    }

    /// Parses a byte sequence (§4.2.7). Padding may be missing, and the bits that the last
    /// character has in excess may have any value.
    fn bytes(&mut self) -> Option<Vec<u8>> {
        self.take(b':');
        let encoded = self.take_while(|byte| byte != b':');
        if !self.take(b':') {
            return None;
        }
        let digits = encoded.trim_end_matches('=');
        // Four characters are three bytes, so one character alone is none; and at most two
        // characters of padding complete the last four.
        let padding = encoded.len() - digits.len();
        if digits.len() % 4 == 1 || padding > 0 && !encoded.len().is_multiple_of(4) || padding > 2 {
            return None;
        }
        let mut decoded = Vec::with_capacity(digits.len() / 4 * 3 + 2);
        let (mut bits, mut count) = (0_u32, 0);
        for digit in digits.bytes() {
            let value = match digit {
                b'A'..=b'Z' => digit - b'A',
                b'a'..=b'z' => digit - b'a' + 26,
                b'0'..=b'9' => digit - b'0' + 52,
                b'+' => 62,
                b'/' => 63,
                _ => return None,
            };
            bits = (bits << 6 | u32::from(value)) & 0xFFFF;
            count += 6;
            if count >= 8 {
                count -= 8;
                decoded.push((bits >> count).to_le_bytes()[0]);
            }
        }
        Some(decoded)
    }

    /// Parses a display string (§4.2.10).
    fn display_string(&mut self) -> Option<String> {
        self.take(b'%');
        if !self.take(b'"') {
            return None;
        }
        let mut text = Vec::new();
        loop {
            let plain = self.take_while(|byte| matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'%');
            text.extend_from_slice(plain.as_bytes());
            if self.take(b'"') {
                return String::from_utf8(text).ok();
            }
            if !self.take(b'%') {
                return None;
            }
            let hex = self.rest.get(..2)?;
            if !hex.bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f')) {
                return None;
            }
            text.push(u8::from_str_radix(hex, 16).ok()?);
            self.rest = &self.rest[2..];
        }
    }
}
