//! Splits comma-separated field values into their members (RFC 9110 §5.6.1). It is the only such
//! parser of the workspace: a value that is split at each comma is wrong where a member has one
//! within quotes.

use http::{HeaderMap, HeaderName, HeaderValue};

/// Returns the members of a comma-separated list over several lines (RFC 9110 §5.6.1), without the
/// white space around them.
///
/// A comma within a quoted string does not separate members (§5.6.4), also after an escaped quote.
/// Quotes and escapes stay in the member. Empty members are skipped, as §5.6.1.2 requires. If a
/// closing quote is missing, the rest of the line is one member. Parsing takes time in proportion
/// to the length of the lines, and allocates nothing.
///
/// Use [`entity_tags`] for lists of entity tags, in which a backslash escapes nothing.
///
/// ```
/// use larder_policy::list_members;
///
/// let members: Vec<&[u8]> = list_members([&b"a, b=\"c, \\\" d\",, e"[..], b"f"]).collect();
/// assert_eq!(members, [&b"a"[..], b"b=\"c, \\\" d\"", b"e", b"f"]);
/// ```
pub fn list_members<'a>(lines: impl IntoIterator<Item = &'a [u8]>) -> impl Iterator<Item = &'a [u8]> {
    lines.into_iter().flat_map(|line| Members::<b','> { rest: line, escapes: true })
}

/// Returns the members of a list of entity tags over several lines, such as `If-None-Match`
/// (RFC 9110 §8.8.3, §13.1.2), without the white space around them.
///
/// Unlike in a quoted string, a backslash in an entity tag is a character like others: `"a\"` is a
/// complete tag. Otherwise the rules of [`list_members`] apply. The members are not checked for
/// being entity tags.
///
/// ```
/// use larder_policy::entity_tags;
///
/// let tags: Vec<&[u8]> = entity_tags([&b"W/\"a,b\", \"c\\\", *"[..]]).collect();
/// assert_eq!(tags, [&b"W/\"a,b\""[..], b"\"c\\\"", b"*"]);
/// ```
pub fn entity_tags<'a>(lines: impl IntoIterator<Item = &'a [u8]>) -> impl Iterator<Item = &'a [u8]> {
    lines.into_iter().flat_map(|line| Members::<b','> { rest: line, escapes: false })
}

/// Returns the parameters of a list member, which semicolons separate (RFC 9110 §5.6.6), without
/// the white space around them. The rules of [`list_members`] for quotes and empty parts apply.
///
/// ```
/// use larder_policy::parameters;
///
/// let pairs: Vec<&[u8]> = parameters(b"for=192.0.2.1; host=\"a;b\"").collect();
/// assert_eq!(pairs, [&b"for=192.0.2.1"[..], b"host=\"a;b\""]);
/// ```
pub fn parameters(member: &[u8]) -> impl Iterator<Item = &[u8]> {
    Members::<b';'> { rest: member, escapes: true }
}

/// Returns the members of a comma-separated field of a header map.
pub(crate) fn members_of<'a>(fields: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a [u8]> {
    list_members(fields.get_all(name).iter().map(HeaderValue::as_bytes))
}

/// The members of one line, or the parameters of one member. `SEPARATOR` is between two of them.
struct Members<'a, const SEPARATOR: u8> {
    rest: &'a [u8],
    /// Whether a backslash within quotes escapes the next character.
    escapes: bool,
}

impl<'a, const SEPARATOR: u8> Iterator for Members<'a, SEPARATOR> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        loop {
            if self.rest.is_empty() {
                return None;
            }
            // Most members have no quotes.
            let end = match self.rest.iter().position(|byte| *byte == SEPARATOR || *byte == b'"') {
                Some(index) if self.rest[index] == b'"' => {
                    end_of_member::<SEPARATOR>(self.rest, index, self.escapes)
                }
                Some(index) => index,
                None => self.rest.len(),
            };
            let member = self.rest[..end].trim_ascii();
            self.rest = self.rest.get(end + 1..).unwrap_or_default();
            if !member.is_empty() {
                return Some(member);
            }
        }
    }
}

/// Returns the index of the separator that ends the first member, or the length of the text. The
/// first quote of the text is at `start`.
fn end_of_member<const SEPARATOR: u8>(text: &[u8], start: usize, escapes: bool) -> usize {
    let mut quoted = false;
    let mut escaped = false;
    for (index, byte) in text.iter().enumerate().skip(start) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted && escapes => escaped = true,
            b'"' => quoted = !quoted,
            _ if *byte == SEPARATOR && !quoted => return index,
            _ => {}
        }
    }
    text.len()
}
