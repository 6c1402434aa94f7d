//! What the cache's user says of a response, over what its origin says.

mod table;

use std::time::Duration;

use larder_policy::{LifetimeFrom, Overrides, Rules};
use table::{check, rules, stored};

fn say(text: &str) -> Overrides {
    let mut overrides = Overrides::default();
    for word in text.split(", ") {
        let (name, value) = word.split_once('=').unwrap_or((word, "0"));
        let lifetime = || Some(Duration::from_secs(value.parse().expect("seconds")));
        match name {
            "freshness" => overrides.freshness = lifetime(),
            "default" => overrides.default_freshness = lifetime(),
            "swr" => overrides.stale_while_revalidate = lifetime(),
            "sie" => overrides.stale_if_error = lifetime(),
            "no-store" => overrides.no_store = true,
            _ => panic!("what is {word}?"),
        }
    }
    overrides
}

fn on(kind: &str, text: &str) -> Rules {
    rules(kind).with_overrides(say(text))
}

#[test]
fn lifetimes() {
    check(
        "
        private | default=60   | 200                                      | 60 user
        private | default=60   | 200 max-age=5                            | 5 origin
        private | default=60   | 200 Expires: ~5; Date: ~0                | 5 origin
        private | default=60   | 200 Last-Modified: ~-1000; Date: ~0      | 60 user
        private | default=60   | 200 no-cache; ETag: \"a\"                | 0 origin
        private | default=60   | 200 no-store                             | no-store
        private | default=60   | 200 must-revalidate                      | 60 user
        private | default=60   | 301                                      | 60 user
        private | default=60   | 302                                      | 60 user
        private | default=60   | 404 ETag: \"a\"                          | 0 origin
        private | default=60   | 500                                      | nothing-allows
        private | freshness=60 | 200 max-age=5                            | 60 user
        private | freshness=60 | 200 max-age=500                          | 60 user
        private | freshness=60 | 200 no-store                             | 60 user
        private | freshness=60 | 200 no-cache                             | 60 user
        private | freshness=60 | 200 private                              | 60 user
        private | freshness=60 | 500 max-age=5                            | 5 origin
        shared  | freshness=60 | 200 no-store                             | 60 user
        shared  | freshness=60 | 200 private                              | private
        shared  | freshness=60 | 200 no-store; Set-Cookie: a              | set-cookie
        shared  | freshness=60 | 200 CDN-Cache-Control: max-age=5         | 60 user
        shared  | default=60   | 200 CDN-Cache-Control: max-age=5         | 5 origin
        shared  | default=60   | 200 Set-Cookie: a                        | set-cookie
        shared  | no-store     | 200 max-age=5                            | no-store
        shared  | no-store, freshness=9 | 200 max-age=5                   | no-store
        # How old it was when it came takes nothing from what the user says.
        private | freshness=60 | 200 max-age=5; Age: 3000                 | 3060 user
        private | default=60   | 200 Age: 3000                            | 3060 user
    ",
        |cells| match stored(&on(cells[0], cells[1]), "GET", cells[2]) {
            Ok(head) => {
                let from =
                    if head.freshness.lifetime.from == LifetimeFrom::Override { "user" } else { "origin" };
                format!("{} {from}", head.freshness.lifetime.lifetime.as_secs())
            }
            Err(why) => why.token().to_owned(),
        },
    );
}

#[test]
fn authorization_is_not_theirs_to_give_away() {
    let why = stored(&on("shared", "freshness=60"), "GET Authorization: a", "200 max-age=5");
    assert_eq!(why.expect_err("one user's").token(), "authorization");
}

#[test]
fn stale_windows_are_for_those_that_do_not_say() {
    for (response, swr, sie) in [
        ("200 max-age=5", 7, 9),
        ("200 max-age=5, stale-while-revalidate=1", 1, 9),
        ("200 max-age=5, stale-if-error=0", 7, 0),
    ] {
        let head = stored(&on("shared", "swr=7, sie=9"), "GET", response).expect("storable");
        let seconds = |window: Option<Duration>| window.map(|window| window.as_secs());
        assert_eq!(seconds(head.freshness.stale_while_revalidate), Some(swr), "{response}");
        assert_eq!(seconds(head.freshness.stale_if_error), Some(sie), "{response}");
    }
}

#[test]
fn names_and_groups_are_added() {
    let mut overrides = Overrides::default();
    overrides.vary = vec!["x-tenant".parse().expect("a name")];
    overrides.groups = vec!["users".into()];
    let rules = rules("shared").with_overrides(overrides);
    let head =
        stored(&rules, "GET X-Tenant: a; Accept: b", "200 max-age=5; Vary: accept; Cache-Groups: \"own\"");
    let head = head.expect("storable");
    let names: Vec<_> = head.selecting.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["accept", "x-tenant"]);
    let groups: Vec<_> = head.groups.iter().map(larder_policy::CacheGroup::name).collect();
    assert_eq!(groups, ["own", "users"]);
}
