//! The forms in which a body stands in a file. Each restores the exact bytes.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;

use super::{FormatError, is_section};
use crate::json_text::{self, Layout};

/// A form of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// The text itself.
    Text,
    /// The text with LF for each CRLF.
    Crlf,
    /// JSON on one line, shown with a line for each member.
    Json(Layout),
    /// The text, with `\\`, `\r` and `\xNN` for what an editor or git could change.
    Escaped,
    /// Base64 in lines of 76 characters.
    Base64,
}

/// The forms and what follows `body` in the line that begins the section.
const NAMES: [(Form, &str); 6] = [
    (Form::Text, ""),
    (Form::Crlf, "crlf"),
    (Form::Json(Layout::Compact), "json"),
    (Form::Json(Layout::Spaced), "json spaced"),
    (Form::Escaped, "escaped"),
    (Form::Base64, "base64"),
];

/// JSON up to this length stays on one line, in bytes.
const SHORT: usize = 72;

impl Form {
    /// Returns the name of the form in a file.
    pub(super) fn name(self) -> &'static str {
        NAMES.iter().find(|(form, _)| *form == self).map_or("", |(_, name)| name)
    }

    /// Returns the form with this name.
    pub(super) fn of_name(name: &str) -> Option<Self> {
        NAMES.iter().find(|(_, known)| *known == name).map(|(form, _)| *form)
    }
}

/// Returns the most readable form of a body, and its text in this form.
pub(super) fn encode(body: &[u8]) -> (Form, String) {
    if let Ok(text) = std::str::from_utf8(body) {
        if let Some((layout, pretty)) = pretty_json(text) {
            return (Form::Json(layout), pretty);
        }
        if is_plain(text) {
            return (Form::Text, text.to_owned());
        }
        if let Some(text) = without_cr(text).filter(|text| is_plain(text)) {
            return (Form::Crlf, text);
        }
    }
    let escaped = escape(body, true);
    if escaped.len() <= body.len() + body.len() / 4 + 16 {
        return (Form::Escaped, escaped);
    }
    let encoded = STANDARD.encode(body);
    let lines: Vec<_> = encoded.as_bytes().chunks(76).map(String::from_utf8_lossy).collect();
    (Form::Base64, lines.join("\n"))
}

/// Returns the bytes of a body from its text, which begins on this line of the file.
pub(super) fn decode(form: Form, text: &str, line: usize) -> Result<Bytes, FormatError> {
    match form {
        Form::Text => Ok(Bytes::copy_from_slice(text.as_bytes())),
        Form::Crlf => Ok(text.replace('\n', "\r\n").into()),
        Form::Json(layout) if json_text::is_json(text) => Ok(json_text::on_one_line(text, layout).into()),
        Form::Json(_) => {
            Err(FormatError::new(line, "the body is not valid JSON; as text, it stands under `body`"))
        }
        Form::Escaped => unescape(text, line).map(Bytes::from),
        Form::Base64 => {
            let digits: String = text.chars().filter(|letter| !letter.is_ascii_whitespace()).collect();
            STANDARD
                .decode(digits)
                .map(Bytes::from)
                .map_err(|error| FormatError::new(line, format!("the body is not valid Base64: {error}")))
        }
    }
}

/// Returns JSON on one line with a line for each member, if it is long and can be restored.
fn pretty_json(text: &str) -> Option<(Layout, String)> {
    if text.len() <= SHORT
        || !text.starts_with(['{', '['])
        || text.contains('\n')
        || json_text::is_deep(text)
        || !json_text::is_json(text)
    {
        return None;
    }
    let layouts = [Layout::Compact, Layout::Spaced];
    let layout = layouts.into_iter().find(|layout| json_text::on_one_line(text, *layout) == text)?;
    let pretty = json_text::indented(text)?;
    let is_restored = json_text::on_one_line(&pretty, layout) == text;
    (is_restored && is_plain(&pretty)).then_some((layout, pretty))
}

/// Returns the text with LF for each CRLF, if it has no other CR or LF.
fn without_cr(text: &str) -> Option<String> {
    let shorter = text.replace("\r\n", "\n");
    (shorter.replace('\n', "\r\n") == text).then_some(shorter)
}

/// Returns whether the text can stand in a file as it is: it looks like what it is, and neither
/// editors nor git change it.
fn is_plain(text: &str) -> bool {
    !text.chars().any(is_unsafe)
        && text.split('\n').all(|line| !line.ends_with([' ', '\t']) && !is_marker(line))
}

/// Returns whether a character is not shown, or changes how others are shown.
fn is_unsafe(letter: char) -> bool {
    letter.is_control() && letter != '\n' && letter != '\t'
        || matches!(letter, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

/// Returns whether a line has a meaning in a file or for git.
fn is_marker(line: &str) -> bool {
    is_section(line) || line.starts_with("<<<<<<< ") || line.starts_with(">>>>>>> ")
}

/// Returns the bytes as text with escapes. With `lines`, line breaks stay.
pub(super) fn escape(bytes: &[u8], lines: bool) -> String {
    let mut out = String::with_capacity(bytes.len() + 16);
    let hex = |out: &mut String, byte: u8| out.push_str(&format!("\\x{byte:02x}"));
    for chunk in bytes.utf8_chunks() {
        for letter in chunk.valid().chars() {
            match letter {
                '\\' => out.push_str("\\\\"),
                '\r' => out.push_str("\\r"),
                '\n' if lines => {
                    escape_last_space(&mut out);
                    out.push('\n');
                }
                '\n' => out.push_str("\\n"),
                letter if is_unsafe(letter) => {
                    let mut buffer = [0; 4];
                    letter.encode_utf8(&mut buffer).bytes().for_each(|byte| hex(&mut out, byte));
                }
                letter => out.push(letter),
            }
        }
        chunk.invalid().iter().for_each(|byte| hex(&mut out, *byte));
    }
    escape_last_space(&mut out);
    if !lines {
        return out;
    }
    // A line with a meaning begins with another character then.
    let line = |line: &str| match line.chars().next() {
        Some(first) if is_marker(line) => format!("\\x{:02x}{}", u32::from(first), &line[first.len_utf8()..]),
        _ => line.to_owned(),
    };
    out.split('\n').map(line).collect::<Vec<_>>().join("\n")
}

/// Escapes a space or tab at the end of a line, which editors remove.
fn escape_last_space(out: &mut String) {
    if let Some(last) = out.chars().last().filter(|last| matches!(last, ' ' | '\t')) {
        out.pop();
        out.push_str(&format!("\\x{:02x}", u32::from(last)));
    }
}

/// Returns the bytes of a text with escapes.
pub(super) fn unescape(text: &str, line: usize) -> Result<Vec<u8>, FormatError> {
    let (mut out, mut rest) = (Vec::with_capacity(text.len()), text);
    while let Some(at) = rest.find('\\') {
        out.extend_from_slice(&rest.as_bytes()[..at]);
        rest = &rest[at + 1..];
        let (byte, length) = match rest.as_bytes().first() {
            Some(b'\\') => (Some(b'\\'), 1),
            Some(b'r') => (Some(b'\r'), 1),
            Some(b'n') => (Some(b'\n'), 1),
            Some(b'x') => (rest.get(1..3).and_then(|digits| u8::from_str_radix(digits, 16).ok()), 3),
            _ => (None, 0),
        };
        let Some(byte) = byte else {
            let line = line + text[..text.len() - rest.len()].matches('\n').count();
            return Err(FormatError::new(line, "after `\\` only `\\`, `r`, `n` and `xNN` may follow"));
        };
        out.push(byte);
        rest = &rest[length..];
    }
    out.extend_from_slice(rest.as_bytes());
    Ok(out)
}
