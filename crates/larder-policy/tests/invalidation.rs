//! Tests what a request with an unsafe method invalidates (RFC 9111 §4.4, RFC 9875).

mod table;

use http::StatusCode;
use larder_policy::{
    CacheDetail, CacheStatus, ForwardReason, NotStorable, Overrides, Rules, invalidation_groups,
    invalidation_targets,
};
use table::{check, check_cited, message, method, rules, stored, target};

#[test]
fn targets() {
    check(
        "
        POST     | 200                                              | /a/page?x=1
        BREW     | 204                                              | /a/page?x=1
        DELETE   | 302                                              | /a/page?x=1
        POST     | 404                                              | nothing
        PUT      | 500                                              | nothing
        GET      | 200                                              | nothing
        HEAD     | 200                                              | nothing
        OPTIONS  | 200                                              | nothing
        POST     | 201 Location: /new                               | /a/page?x=1 /new
        POST     | 201 Location: new; Content-Location: ../old      | /a/page?x=1 /a/new /old
        POST     | 201 Location: http://EXAMPLE.com:80/new          | /a/page?x=1 /new
        POST     | 201 Location: http://other.org/new               | /a/page?x=1
        POST     | 201 Location: https://example.com/new            | /a/page?x=1
        POST     | 201 Location: http://example.com:8080/new        | /a/page?x=1
        ",
        |cells| {
            let (status, fields) = message(cells[1]);
            let status = StatusCode::from_bytes(status.as_bytes()).expect("a status code");
            let targets = invalidation_targets(&method(cells[0]), &target(), status, &fields);
            if targets.is_empty() {
                return "nothing".to_owned();
            }
            targets.iter().map(|target| target.path_and_query()).collect::<Vec<_>>().join(" ")
        },
    );
}

/// A client sent QUERY with content, and the stored GET of that page was dropped.
#[test]
fn a_safe_method_invalidates_nothing() {
    check_cited(
        "
        GET        | nothing | RFC 9110 §9.3.1
        HEAD       | nothing | RFC 9110 §9.3.2
        OPTIONS    | nothing | RFC 9110 §9.3.7
        TRACE      | nothing | RFC 9110 §9.3.8
        QUERY      | nothing | RFC 10008
        PROPFIND   | nothing | RFC 4918 §9.1
        REPORT     | nothing | RFC 3253 §3.6
        SEARCH     | nothing | RFC 5323 §2
        PRI        | nothing | RFC 9113 §3.4
        POST       | all     | RFC 9110 §9.3.3
        PUT        | all     | RFC 9110 §9.3.4
        DELETE     | all     | RFC 9110 §9.3.5
        CONNECT    | all     | RFC 9110 §9.3.6
        PATCH      | all     | RFC 5789 §2
        PROPPATCH  | all     | RFC 4918 §9.2
        query      | all     | RFC 9110 §9.1: methods are case-sensitive
        BREW       | all     | §4.4: methods of which the safety is unknown
        ",
        |cells| {
            let (_, fields) = message("200 Cache-Group-Invalidation: \"a\"; Location: /new");
            let targets = invalidation_targets(&method(cells[0]), &target(), StatusCode::OK, &fields);
            let groups = invalidation_groups(&method(cells[0]), &target(), StatusCode::OK, &fields);
            match (targets.len(), groups.len()) {
                (0, 0) => "nothing".to_owned(),
                (2, 1) => "all".to_owned(),
                other => format!("{other:?}"),
            }
        },
    );
}

#[test]
fn groups() {
    check(
        "
        POST | 200 Cache-Group-Invalidation: \"a\", \"b\"   | a b
        POST | 200 Cache-Group-Invalidation: \"a\", b, 1    | a
        POST | 200 Cache-Group-Invalidation: \"a\", &       | none
        POST | 500 Cache-Group-Invalidation: \"a\"          | none
        GET  | 200 Cache-Group-Invalidation: \"a\"          | none
        ",
        |cells| {
            let (status, fields) = message(cells[1]);
            let status = StatusCode::from_bytes(status.as_bytes()).expect("a status code");
            let groups = invalidation_groups(&method(cells[0]), &target(), status, &fields);
            assert!(groups.iter().all(|group| group.origin() == "http://example.com"));
            if groups.is_empty() {
                return "none".to_owned();
            }
            groups.iter().map(|group| group.name().to_owned()).collect::<Vec<_>>().join(" ")
        },
    );
    let head = stored(&rules("shared"), "GET", "200 max-age=9; Cache-Groups: \"a\", \"with \\\"quotes\\\"\"")
        .expect("the response is storable");
    let names: Vec<_> = head.groups.iter().map(|group| group.name()).collect();
    assert_eq!(names, ["a", "with \"quotes\""]);
}

fn groups_of(rules: &Rules, listed: usize) -> Result<Vec<String>, NotStorable> {
    let names = (0..listed).map(|n| format!("\"group {n}\"")).collect::<Vec<_>>().join(", ");
    let head = stored(rules, "GET", &format!("200 max-age=9; Cache-Groups: {names}"))?;
    Ok(head.groups.iter().map(|group| group.name().to_owned()).collect())
}

/// An origin put a page into 65 groups, and then into 257. The purge of the last one did not reach
/// the page, and it was a hit again.
#[test]
fn a_group_is_kept_or_the_response_is_not_stored() {
    for many in [1, 64, 65, 256, 257, 1024, 2048] {
        let groups = groups_of(&rules("shared"), many).expect("the response is storable");
        assert_eq!(groups.len(), many, "RFC 9651 §3.1: at least 1024 members");
        assert_eq!(groups[many - 1], format!("group {}", many - 1));
    }
    let why = groups_of(&rules("shared"), 2049).expect_err("too many groups");
    assert_eq!(why.to_string(), "more or longer cache groups than are kept (RFC 9875 §2)");
    for (length, expected) in [(1024, Ok(1)), (1025, Err(NotStorable::Groups))] {
        let response = format!("200 max-age=9; Cache-Groups: \"{}\"", "x".repeat(length));
        assert_eq!(stored(&rules("shared"), "GET", &response).map(|head| head.groups.len()), expected);
    }
    let repeated = format!("200 max-age=9; Cache-Groups: \"b\"{}", ", \"a\"".repeat(5000));
    let head = stored(&rules("shared"), "GET", &repeated).expect("the response is storable");
    assert_eq!(head.groups.len(), 2, "one group, named 5,000 times, and another");
}

/// A route's own groups were cut off behind 64 groups of the origin.
#[test]
fn the_operators_groups_come_first() {
    let overrides = Overrides::default().with_groups(["route", "group 1"]);
    let rules = rules("shared").with_overrides(overrides);
    let groups = groups_of(&rules, 1024).expect("the response is storable");
    assert_eq!(groups[..4], ["route", "group 1", "group 0", "group 2"]);
    assert_eq!(groups.len(), 1025);
}

/// A response invalidated 300 groups, of which the last ones stayed.
#[test]
fn all_groups_are_invalidated() {
    let names = (0..3000).map(|n| format!("\"{n}\"")).collect::<Vec<_>>().join(", ");
    let (_, fields) = message(&format!("200 Cache-Group-Invalidation: {names}"));
    assert_eq!(invalidation_groups(&method("POST"), &target(), StatusCode::OK, &fields).len(), 3000);
}

/// RFC 9211 §2: the parameters and their order.
#[test]
fn cache_status() {
    let mut forwarded = CacheStatus::forwarded(ForwardReason::UriMiss);
    forwarded.fwd_status = Some(StatusCode::OK);
    forwarded.stored = true;
    forwarded.collapsed = true;
    forwarded.detail = Some(CacheDetail::StaleIfError);
    for (status, expected) in [
        (CacheStatus::hit(30), "larder; hit; ttl=30"),
        (CacheStatus::hit(-5), "larder; hit; ttl=-5"),
        (CacheStatus::hit(i64::MAX), "larder; hit; ttl=999999999999999"),
        (CacheStatus::forwarded(ForwardReason::Stale), "larder; fwd=stale"),
        (forwarded, "larder; fwd=uri-miss; fwd-status=200; stored; collapsed; detail=stale-if-error"),
    ] {
        assert_eq!(status.to_value("larder"), expected);
    }
}
