//! Chooses one of a server's languages for a request (RFC 9110 §12.5.4), by lookup (RFC 4647 §3.4).

use http::HeaderValue;

use crate::policy::{list_members, parameters, quality};

/// Most language ranges of a request that are read; the others are ignored.
const MAX_RANGES: usize = 64;
/// Longest language range that is read, in bytes. RFC 5646 §4.4.1 recommends room for 35.
const MAX_RANGE: usize = 64;

/// One language range of a request.
struct Range<'a> {
    range: &'a [u8],
    /// Its weight in thousandths.
    weight: u16,
}

/// Returns the language for a request with these lines of `Accept-Language`: the one that it
/// prefers, or the first one that it does not reject if it accepts none by name.
pub(super) fn language_for<'l, 'a>(
    languages: &'l [HeaderValue],
    lines: impl Iterator<Item = &'a [u8]>,
) -> Option<&'l HeaderValue> {
    let mut ranges: Vec<Range<'_>> = list_members(lines).filter_map(parsed).take(MAX_RANGES).collect();
    // Stable: of equal weights, the first is preferred.
    ranges.sort_by_key(|range| std::cmp::Reverse(range.weight));
    let is_rejected = |language: &HeaderValue| {
        let of_language = ranges.iter().filter(|range| is_prefix(range.range, language.as_bytes()));
        of_language.max_by_key(|range| range.range.len()).is_some_and(|range| range.weight == 0)
    };
    let accepted = ranges.iter().filter(|range| range.weight > 0);
    accepted
        .filter_map(|range| look_up(languages, range.range))
        .find(|language| !is_rejected(language))
        .or_else(|| languages.iter().find(|language| !is_rejected(language)))
        .or(languages.first())
}

/// Parses a language range with its weight. `None` for `*`, which a lookup skips, and for what is
/// too long.
fn parsed(member: &[u8]) -> Option<Range<'_>> {
    let mut parts = parameters(member);
    let range = parts.next()?;
    let weight = parts.find_map(quality).unwrap_or(1000);
    (range != b"*" && range.len() <= MAX_RANGE).then_some(Range { range, weight })
}

/// Returns the language that a range selects: the one with its name, or with that of the longest
/// beginning of it that has one. A single letter or digit at the end of a beginning is removed as
/// well (RFC 4647 §3.4).
fn look_up<'l>(languages: &'l [HeaderValue], range: &[u8]) -> Option<&'l HeaderValue> {
    let mut range = range;
    loop {
        let found = languages.iter().find(|language| language.as_bytes().eq_ignore_ascii_case(range));
        if found.is_some() {
            return found;
        }
        range = &range[..last_hyphen(range)?];
        if let Some(end) = last_hyphen(range)
            && range.len() == end + 2
        {
            range = &range[..end];
        }
    }
}

/// Returns the position of the last hyphen.
fn last_hyphen(range: &[u8]) -> Option<usize> {
    range.iter().rposition(|byte| *byte == b'-')
}

/// Returns whether a range matches a language by its beginning (RFC 4647 §3.3.1).
fn is_prefix(range: &[u8], language: &[u8]) -> bool {
    let beginning = language.get(..range.len()).is_some_and(|start| start.eq_ignore_ascii_case(range));
    beginning && matches!(language.get(range.len()), None | Some(b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_preferred_language_is_chosen() {
        let languages = ["en", "de", "pt-BR", "zh-Hant"].map(HeaderValue::from_static);
        for (line, expected, reason) in [
            ("de", "de", "RFC 4647 §3.4: the tag itself"),
            ("DE", "de", "RFC 4647 §2: case has no meaning"),
            ("de-CH", "de", "RFC 4647 §3.4: truncated from the end"),
            ("de-CH-1996", "de", "RFC 4647 §3.4: truncated twice"),
            ("zh-Hant-CN-x-private1-private2", "zh-Hant", "RFC 4647 §3.4: the example of the section"),
            ("de-x", "de", "a single letter at the end"),
            ("pt", "en", "RFC 4647 §3.4: a range selects no tag that is longer than it"),
            ("pt, de", "de", "the next range"),
            ("fr, de;q=0.5, en;q=0.4", "de", "RFC 9110 §12.4.2: by weight"),
            ("en;q=0.4, de;q=0.5", "de", "RFC 9110 §12.4.2: weights, not the order"),
            ("de, en", "de", "of equal weights the first"),
            ("en;q=0.999, de;q=1.000", "de", "three digits"),
            ("fr", "en", "RFC 4647 §3.4.1: the default"),
            ("", "en", "no preference"),
            ("*", "en", "RFC 4647 §3.4: any language"),
            ("*, de;q=0.1", "de", "RFC 4647 §3.4: a wildcard is skipped"),
            ("en;q=0", "de", "RFC 9110 §12.4.2: not acceptable, so not the default"),
            ("en;q=0, *", "de", "RFC 9110 §12.5.4: any other"),
            ("en-GB, en;q=0", "de", "the lookup of en-GB ends at a rejected language"),
            ("en;q=0, de;q=0, pt-BR;q=0, zh;q=0", "en", "RFC 9110 §12.5.4: a server may ignore the field"),
            ("de;q=x", "en", "an invalid weight counts as 0"),
            ("de ; q=0.3 , en ; q=0.2", "de", "white space"),
            ("de-*-DE", "de", "RFC 4647 §3.4: wildcards within a range"),
            ("-de, ---, de-", "de", "empty subtags"),
        ] {
            let found = language_for(&languages, std::iter::once(line.as_bytes()));
            assert_eq!(found.map(HeaderValue::as_bytes), Some(expected.as_bytes()), "{line}: {reason}");
        }
        let two_lines = [&b"fr"[..], b"de"];
        assert_eq!(language_for(&languages, two_lines.into_iter()), Some(&languages[1]), "RFC 9110 §5.3");
    }

    /// A client that sends a megabyte of ranges must not keep the server busy.
    #[test]
    fn long_lists_are_cut() {
        let languages = ["en", "de"].map(HeaderValue::from_static);
        let many = "xx,".repeat(MAX_RANGES) + "de";
        let long = "de".to_owned() + &"-a".repeat(500_000);
        for line in [many, long] {
            assert_eq!(language_for(&languages, std::iter::once(line.as_bytes())), Some(&languages[0]));
        }
    }
}
