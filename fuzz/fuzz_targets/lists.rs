//! Fuzzes the parsers for lists and for structured fields. The data are the lines of one field.
#![no_main]

use larder_core::policy::{
    entity_tags, list_members,
    structured::{combined_lines, parse_dictionary, parse_item, parse_list},
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let lines = || data.split(|byte| *byte == b'\n');
    let members: Vec<&[u8]> = list_members(lines()).collect();
    check(data, &members);
    // Each member is a list of one member, and the members joined are the same list.
    for member in &members {
        let again: Vec<_> = list_members([*member]).collect();
        assert_eq!(again, [*member]);
    }
    let tags: Vec<&[u8]> = entity_tags(lines()).collect();
    check(data, &tags);

    let field = combined_lines(lines());
    let _ = (parse_item(&field), parse_list(&field));
    if let Some(members) = parse_dictionary(&field) {
        let keys: std::collections::HashSet<_> = members.iter().map(|(key, _)| key).collect();
        assert_eq!(keys.len(), members.len(), "each key once");
    }
});

/// Members are not empty, have no white space around them, and lose nothing but commas and white
/// space.
fn check(data: &[u8], members: &[&[u8]]) {
    assert!(members.iter().all(|member| !member.is_empty() && member.trim_ascii() == *member));
    let kept = |bytes: &[u8]| bytes.iter().filter(|b| **b != b',' && !b.is_ascii_whitespace()).count();
    assert_eq!(kept(data), members.iter().map(|member| kept(member)).sum::<usize>());
}
