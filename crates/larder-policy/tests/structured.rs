//! Tests structured fields (RFC 9651), a row for each rule. `cargo xtask structured-fields` runs
//! the files of the HTTP working group.

mod table;

use larder_policy::structured::{
    BareItem, Item, ListMember, Parameters, combined_lines, parse_dictionary, parse_item, parse_list,
};
use proptest::prelude::*;
use table::check_cited;

/// Returns a bare item in a notation of this test, with its type.
fn bare(item: &BareItem<'_>) -> String {
    match item {
        BareItem::Integer(number) => format!("integer {number}"),
        BareItem::Decimal(thousandths) => format!("decimal {thousandths}/1000"),
        BareItem::String(text) => format!("string {text}"),
        BareItem::Token(text) => format!("token {text}"),
        BareItem::Bytes(bytes) => format!("bytes {bytes:?}"),
        BareItem::Boolean(truth) => format!("{truth}"),
        BareItem::Date(seconds) => format!("date {seconds}"),
        BareItem::DisplayString(text) => format!("display {text}"),
    }
}

fn with_parameters(value: String, parameters: &Parameters<'_>) -> String {
    parameters.iter().fold(value, |text, (key, value)| format!("{text};{key}={}", bare(value)))
}

fn item(item: &Item<'_>) -> String {
    with_parameters(bare(&item.value), &item.parameters)
}

fn member(member: &ListMember<'_>) -> String {
    match member {
        ListMember::Item(single) => item(single),
        ListMember::InnerList(items, parameters) => {
            let items: Vec<_> = items.iter().map(item).collect();
            with_parameters(format!("({})", items.join(" ")), parameters)
        }
    }
}

/// Parses the lines of a field, which ` + ` separates.
fn parse(kind: &str, lines: &str) -> String {
    let lines: Vec<_> = lines.split(" + ").map(|line| line.trim_matches('^').as_bytes()).collect();
    let field = combined_lines(lines);
    let parsed = match kind {
        "item" => parse_item(&field).map(|parsed| item(&parsed)),
        "list" => {
            let list = parse_list(&field);
            list.map(|list| list.iter().map(member).collect::<Vec<_>>().join(", "))
        }
        _ => {
            let pair = |(key, value): &(&str, ListMember<'_>)| format!("{key}: {}", member(value));
            let members = parse_dictionary(&field);
            members.map(|members| members.iter().map(pair).collect::<Vec<_>>().join(", "))
        }
    };
    match parsed {
        None => "invalid".to_owned(),
        Some(text) if text.is_empty() => "nothing".to_owned(),
        Some(text) => text.trim_end().to_owned(),
    }
}

#[test]
fn bare_items() {
    check_cited(
        r#"
        item | 42                   | integer 42                  | §3.3.1: an integer
        item | -0                   | integer 0                   | §4.2.4: a sign and digits
        item | 007                  | integer 7                   | §4.2.4: leading zeros
        item | 999999999999999      | integer 999999999999999     | §3.3.1: fifteen digits
        item | -999999999999999     | integer -999999999999999    | §3.3.1: fifteen digits
        item | 1000000000000000     | invalid                     | §4.2.4: more than fifteen
        item | -                    | invalid                     | §4.2.4: a sign without digits
        item | --1                  | invalid                     | §4.2.4: two signs
        item | +1                   | invalid                     | §4.2.3.1: an unrecognized type
        item | 1.5                  | decimal 1500/1000           | §3.3.2: a decimal
        item | -0.001               | decimal -1/1000             | §3.3.2: three digits of fraction
        item | 123456789012.123     | decimal 123456789012123/1000 | §3.3.2: twelve digits
        item | 1234567890123.1      | invalid                     | §4.2.4: more than twelve
        item | 1.                   | invalid                     | §4.2.4: a final dot
        item | 1.1234               | invalid                     | §4.2.4: four digits of fraction
        item | .5                   | invalid                     | §4.2.3.1: an unrecognized type
        item | 1e3                  | invalid                     | §4.2: characters after the item
        item | "a \"b\" \\"         | string a "b" \              | §4.2.5: escapes
        item | ""                   | string                      | §3.3.3: an empty string
        item | "a\b"                | invalid                     | §4.2.5: an escape of another character
        item | "a                   | invalid                     | §4.2.5: no closing quote
        item | "a\"                 | invalid                     | §4.2.5: no closing quote
        item | "ü"                  | invalid                     | §4.2: not ASCII
        item | 'a'                  | invalid                     | §4.2.3.1: single quotes are none
        item | a_b-c.d:e%f/g*       | token a_b-c.d:e%f/g*        | §3.3.4: a token
        item | *                    | token *                     | §3.3.4: an asterisk comes first
        item | a(b                  | invalid                     | §4.2: characters after the item
        item | :aGVsbG8=:           | bytes [104, 101, 108, 108, 111] | §3.3.5: base64
        item | :aGVsbG8:            | bytes [104, 101, 108, 108, 111] | §4.2.7: without padding
        item | :iZ==:               | bytes [137]                 | §4.2.7: non-zero pad bits
        item | ::                   | bytes []                    | §3.3.5: no bytes
        item | :aGVsbG8             | invalid                     | §4.2.7: no closing colon
        item | :aGV sbG8=:          | invalid                     | §4.2.7: a space
        item | :_-Ah:               | invalid                     | §4.2.7: another alphabet
        item | :a:                  | invalid                     | RFC 4648 §4: six bits are no byte
        item | :=aGV:               | invalid                     | RFC 4648 §4: padding comes last
        item | :aGVs=:              | invalid                     | RFC 4648 §4: padding of whole bytes
        item | ?1                   | true                        | §3.3.6: a Boolean
        item | ?0                   | false                       | §3.3.6: a Boolean
        item | ?2                   | invalid                     | §4.2.8: neither 0 nor 1
        item | ?                    | invalid                     | §4.2.8: neither 0 nor 1
        item | @1659578233          | date 1659578233             | §3.3.7: a date
        item | @-62135596800        | date -62135596800           | §3.3.7: the year 1
        item | @1.5                 | invalid                     | §4.2.9: a decimal
        item | @                    | invalid                     | §4.2.9: no number
        item | %"f%c3%bc\"          | display fü\                 | §4.2.10: percent-encoded UTF-8; no escapes
        item | %"%f0%9f%98%80"      | display 😀                  | §4.2.10: four bytes
        item | %"%C3%BC"            | invalid                     | §4.2.10: upper-case digits
        item | %"%c3"               | invalid                     | §4.2.10: no UTF-8
        item | %"%ed%a0%80"         | invalid                     | §4.2.10: a surrogate
        item | %"%c"                | invalid                     | §4.2.10: one digit
        item | %"a                  | invalid                     | §4.2.10: no closing quote
        item | %a                   | invalid                     | §4.2.10: no opening quote
        item | ^^                   | invalid                     | §4.2.3.1: an item is not empty
        item | ^  a ^               | token a                     | §4.2: spaces around the value
        item | a;b;c=1;b="d"        | token a;b=string d;c=integer 1 | §4.2.3.2: the last value in the first place
        item | a; b=?0              | token a;b=false             | §4.2.3.2: a space after the semicolon
        item | a ;b                 | invalid                     | §4.2.3.2: a space before the semicolon
        item | a;B                  | invalid                     | §4.2.3.3: an upper-case key
        item | a;b=(c)              | invalid                     | §4.2.3.2: a bare item
        item | a + b                | invalid                     | §4.2: all lines are one value
        "#,
        |cells| parse(cells[0], cells[1]),
    );
}

#[test]
fn lists_and_dictionaries() {
    check_cited(
        r#"
        list | a, "b",1             | token a, string b, integer 1 | §4.2.1: commas with or without space
        list | a + b                | token a, token b             | §4.2: all lines are one value
        list | a,                   | invalid                      | §4.2.1: a trailing comma
        list | a,,b                 | invalid                      | §4.2.1: an empty member
        list | a b                  | invalid                      | §4.2.1: no comma
        list | a + ^^ + b           | invalid                      | §4.2: an empty line is an empty member
        list | ^^                   | nothing                      | §4.2.1: an empty list
        list | (a "b" 1.0), ()      | (token a string b decimal 1000/1000), () | §4.2.1.2: inner lists
        list | ( a  b );q           | (token a token b);q=true     | §4.2.1.2: spaces
        list | (a;x=1 b);y          | (token a;x=integer 1 token b);y=true | §3.1.2: parameters of both
        list | (a,b)                | invalid                      | §4.2.1.2: no commas
        list | (a"b")               | invalid                      | §4.2.1.2: a space between items
        list | (a                   | invalid                      | §4.2.1.2: no closing parenthesis
        list | ((a))                | invalid                      | §4.2.1.2: items only
        dict | a=1, b, c=(d);e      | a: integer 1, b: true, c: (token d);e=true | §4.2.2: members
        dict | a;x=1, b=2;y         | a: true;x=integer 1, b: integer 2;y=true | §4.2.2: parameters
        dict | a=1, b=2, a=3        | a: integer 3, b: integer 2   | §4.2.2: overwrites the value in its place
        dict | a=1 + b=2            | a: integer 1, b: integer 2   | §4.2: all lines are one value
        dict | a=, b                | invalid                      | §4.2.3.1: no value
        dict | a = 1                | invalid                      | §4.2.2: a space before the equals sign
        dict | A=1                  | invalid                      | §4.2.3.3: an upper-case key
        dict | 1=a                  | invalid                      | §4.2.3.3: a digit comes first
        dict | a=1,                 | invalid                      | §4.2.2: a trailing comma
        "#,
        |cells| parse(cells[0], cells[1]),
    );
}

/// §3.1, §3.1.1, §3.1.2, §3.2, §3.3.3 to §3.3.5: the sizes that every parser must support.
#[test]
fn required_sizes() {
    let numbers =
        |many: usize, separator: &str| (0..many).map(|n| format!("a{n}")).collect::<Vec<_>>().join(separator);
    assert_eq!(parse_list(numbers(1024, ",").as_bytes()).expect("a list").len(), 1024);
    assert_eq!(parse_dictionary(numbers(1024, ",").as_bytes()).expect("a dictionary").len(), 1024);
    let inner = format!("({})", numbers(256, " "));
    let list = parse_list(inner.as_bytes()).expect("a list");
    assert!(matches!(&list[..], [ListMember::InnerList(items, _)] if items.len() == 256));
    let parameters = format!("a;{}", numbers(256, ";"));
    assert_eq!(parse_item(parameters.as_bytes()).expect("an item").parameters.len(), 256);
    let encoded = format!(":{}:", "AAAA".repeat(16384 / 3 + 1));
    for long in [format!("\"{}\"", "x".repeat(1024)), "x".repeat(512), encoded] {
        assert!(parse_item(long.as_bytes()).is_some());
    }
}

proptest! {
    /// Any bytes are parsed, or found to be invalid.
    #[test]
    fn any_bytes(bytes in any::<Vec<u8>>(), text in "[ -~]{0,40}", near in "[a;,=()\"\\\\%:@?1. -]{0,30}") {
        for field in [&bytes[..], text.as_bytes(), near.as_bytes()] {
            let _ = (parse_item(field), parse_list(field), parse_dictionary(field));
        }
    }

    /// §4.2.2: of the members with one key the last one counts, in the place of the first, whatever
    /// the number of keys.
    #[test]
    fn the_last_of_one_key_counts(keys in proptest::collection::vec(0_usize..40, 1..200)) {
        let pairs = keys.iter().enumerate().map(|(n, key)| format!("k{key}={n}"));
        let field = pairs.collect::<Vec<_>>().join(", ");
        let mut order = keys.clone();
        let mut seen = std::collections::HashSet::new();
        order.retain(|key| seen.insert(*key));
        let expected: Vec<_> = order
            .iter()
            .map(|key| format!("k{key}: integer {}", keys.iter().rposition(|k| k == key).expect("present")))
            .collect();
        prop_assert_eq!(parse("dict", &field), expected.join(", "));
    }
}
