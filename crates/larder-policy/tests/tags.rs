//! Tags, as other caches read them from fields such as `Surrogate-Key`, are groups of a response.

mod table;

use http::{HeaderName, Method};
use larder_policy::{Freshen, NotStorable, RequestHead, Rules, StoredHead};
use table::{NOW, check, exchange_at, message, stored, target};

/// Returns the rules of a shared cache that reads tags in these fields.
fn rules(names: &[&str]) -> Rules {
    Rules::shared().with_tag_fields(names.iter().map(|name| name.parse::<HeaderName>().expect("a name")))
}

/// Returns the names of the groups of a head.
fn groups_of(head: &StoredHead) -> String {
    let names: Vec<_> = head.groups.iter().map(|group| format!("<{}>", group.name())).collect();
    if names.is_empty() { "none".to_owned() } else { names.join(" ") }
}

#[test]
fn each_field_has_its_separator() {
    check(
        "
        Surrogate-Key: a b,c               | <a> <b,c>
        Surrogate-Key:  a   b              | <a> <b>
        xkey: a; xkey: b c                 | <a> <b> <c>
        Cache-Tag: a,b c , d,,             | <a> <b c> <d>
        Edge-Cache-Tag: a, b               | <a> <b>
        X-Cache-Tags: cat_p_1,store        | <cat_p_1> <store>
        Cache-Tags: node:1 node:2,x        | <node:1> <node:2> <x>
        Purge-Cache-Tags: a b              | <a> <b>
        Cache-Tag: a; Surrogate-Key: a z   | <a> <z>
        Cache-Groups: \"g\"; Cache-Tag: a  | <g> <a>
        X-Other: a                         | none
        ",
        |cells| {
            let names = [
                "surrogate-key",
                "xkey",
                "cache-tag",
                "edge-cache-tag",
                "x-cache-tags",
                "cache-tags",
                "purge-cache-tags",
            ];
            let response = format!("200 max-age=9; {}", cells[0].trim());
            groups_of(&stored(&rules(&names), "GET", &response).expect("the response is storable"))
        },
    );
}

#[test]
fn without_the_setting_the_field_is_like_any_other() {
    let head = stored(&Rules::shared(), "GET", "200 max-age=9; Surrogate-Key: a").expect("storable");
    assert!(head.groups.is_empty() && head.fields.contains_key("surrogate-key"));
}

#[test]
fn the_field_is_not_stored() {
    let head = stored(&rules(&["xkey"]), "GET", "200 max-age=9; xkey: a; X-A: 1").expect("storable");
    assert!(!head.fields.contains_key("xkey") && head.fields.contains_key("x-a"));
}

/// A purge of a tag that was left out would miss the response.
#[test]
fn more_tags_than_are_kept_are_an_error() {
    let response = |many: usize| {
        let tags: Vec<_> = (0..many).map(|n| format!("t{n}")).collect();
        format!("200 max-age=9; Surrogate-Key: {}", tags.join(" "))
    };
    let rules = rules(&["surrogate-key"]);
    assert_eq!(stored(&rules, "GET", &response(2048)).map(|head| head.groups.len()), Ok(2048));
    assert_eq!(
        stored(&rules, "GET", &response(2049)).map(|head| head.groups.len()),
        Err(NotStorable::Groups)
    );
}

/// Validates a stored response with tags `a b` by a 304 with these fields.
fn freshened(fields: &str) -> Freshen {
    let rules = rules(&["surrogate-key"]);
    let head = stored(&rules, "GET", "200 max-age=9; ETag: \"1\"; Surrogate-Key: a b").expect("storable");
    let (_, request) = message("GET");
    let (_, fields) = message(&format!("304 max-age=9; ETag: \"1\"; {fields}"));
    let request = RequestHead::new(&Method::GET, &request);
    rules.freshen(&target(), &request, [&head], 0, &fields, exchange_at(NOW + 20))
}

/// Returns the groups after a 304, or why it is not stored.
fn groups_after(fields: &str) -> String {
    match freshened(fields) {
        Freshen::Updated { head, .. } => groups_of(&head),
        Freshen::NoLongerStorable { why, .. } => why.token().to_owned(),
        other => format!("{other:?}"),
    }
}

/// The tags are not among the stored fields: a 304 without them took the page out of its groups,
/// and a purge missed it.
#[test]
fn a_304_without_tags_keeps_them() {
    assert_eq!(groups_after("X-A: 1"), "<a> <b>");
}

#[test]
fn a_304_with_tags_replaces_them() {
    assert_eq!(groups_after("Surrogate-Key: b c"), "<b> <c>");
}

#[test]
fn a_304_with_too_many_tags_ends_the_storing() {
    let tags: Vec<_> = (0..3000).map(|n| format!("t{n}")).collect();
    assert_eq!(groups_after(&format!("Surrogate-Key: {}", tags.join(" "))), "groups");
}
