//! Tests the parser for comma-separated lists (RFC 9110 §5.6.1) and for lists of entity tags
//! (§8.8.3).

mod table;

use larder_policy::{entity_tags, list_members};
use proptest::prelude::*;
use table::check_cited;

fn text(member: &[u8]) -> String {
    String::from_utf8_lossy(member).into_owned()
}

/// Splits the lines, which ` + ` separates, and joins the members with ` / `.
fn split(kind: &str, lines: &str) -> String {
    let lines = lines.split(" + ").map(|line| line.trim_matches('^').as_bytes());
    let members: Vec<_> = if kind == "tags" {
        entity_tags(lines).map(text).collect()
    } else {
        list_members(lines).map(text).collect()
    };
    if members.is_empty() { "nothing".to_owned() } else { members.join(" / ") }
}

#[test]
fn members_of_lists() {
    check_cited(
        r#"
        list | a, b,c ,d        | a / b / c / d      | RFC 9110 §5.6.1: OWS around commas
        list | ^, ,a,, ,b,^     | a / b              | RFC 9110 §5.6.1.2: MUST parse and ignore empty elements
        list | ^,,^             | nothing            | RFC 9110 §5.6.1.2: MUST parse and ignore empty elements
        list | a + b, c         | a / b / c          | RFC 9110 §5.3: field lines are combined
        list | ^^ + a           | a                  | RFC 9110 §5.3: field lines are combined
        list | a="b,c", d       | a="b,c" / d        | RFC 9110 §5.6.4: a quoted-string
        list | a="b\",c", d     | a="b\",c" / d      | RFC 9110 §5.6.4: a quoted-pair
        list | a="b\\", c       | a="b\\" / c        | RFC 9110 §5.6.4: a quoted backslash
        list | a\, b            | a\ / b             | RFC 9110 §5.6.4: no quoted-pair without quotes
        list | a="b, c          | a="b, c            | RFC 9110 §5.6.4: no closing quote
        list | "a, b + c", d    | "a, b / c", d      | RFC 9110 §5.5: quoted within one line
        list | 'a,b'            | 'a / b'            | RFC 9110 §5.6.4: single quotes are none
        tags | "a,b", W/"c"     | "a,b" / W/"c"      | RFC 9110 §8.8.3: a comma is an etagc
        tags | "a\", "b"        | "a\" / "b"         | RFC 9110 §8.8.3: a backslash is an etagc
        tags | W/"a\,b",*       | W/"a\,b" / *       | RFC 9110 §13.1.2: tags or an asterisk
        tags | "a" + "b"        | "a" / "b"          | RFC 9110 §5.3: field lines are combined
        "#,
        |cells| split(cells[0], cells[1]),
    );
}

/// Returns members without white space around them: tokens, and quoted strings with any character.
fn members() -> impl Strategy<Value = Vec<String>> {
    let quoted =
        "[ -~]{0,8}".prop_map(|text| format!("x=\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"")));
    proptest::collection::vec(prop_oneof!["[a-z0-9;=*/.-]{1,8}".boxed(), quoted.boxed()], 0..8)
}

proptest! {
    /// The members that are joined by commas, with white space and empty members, come back.
    #[test]
    fn joined_members_come_back(members in members(), separator in " ?,[ ,\t]{0,3}", breaks in any::<u8>()) {
        let mut lines = vec![String::new()];
        for (index, member) in members.iter().enumerate() {
            if breaks >> (index % 8) & 1 == 1 {
                lines.push(String::new());
            }
            let line = lines.last_mut().expect("one line at least");
            line.push_str(&separator);
            line.push_str(member);
        }
        let found: Vec<_> = list_members(lines.iter().map(String::as_bytes)).map(text).collect();
        prop_assert_eq!(found, members);
    }

    /// Entity tags with any character that they may have come back (§8.8.3).
    #[test]
    fn joined_tags_come_back(tags in proptest::collection::vec("(W/)?\"[!#-~]{0,8}\"", 0..8)) {
        let line = tags.join(", ");
        let found: Vec<_> = entity_tags([line.as_bytes()]).map(text).collect();
        prop_assert_eq!(found, tags);
    }

    /// Nothing but commas, white space and line ends gets lost, and no member is empty.
    #[test]
    fn any_bytes_are_split(lines in proptest::collection::vec("[ab\"\\\\, \t]{0,20}", 0..4)) {
        let lines: Vec<_> = lines.iter().map(String::as_bytes).collect();
        for found in [list_members(lines.iter().copied()).collect::<Vec<_>>(),
                      entity_tags(lines.iter().copied()).collect()] {
            let kept = |bytes: &[u8]| bytes.iter().filter(|byte| !b", \t".contains(byte)).count();
            let (before, after): (usize, usize) =
                (lines.iter().map(|line| kept(line)).sum(), found.iter().map(|member| kept(member)).sum());
            prop_assert_eq!(before, after);
            prop_assert!(found.iter().all(|member| !member.is_empty() && member.trim_ascii() == *member));
        }
    }
}
