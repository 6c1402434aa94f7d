//! Tests overrides of what responses specify.

mod table;

use std::time::Duration;

use larder_policy::{LifetimeSource, Overrides, Rules};
use table::{check, rules, stored};

fn parse_overrides(text: &str) -> Overrides {
    let mut overrides = Overrides::default();
    for setting in text.split(", ") {
        let (name, value) = setting.split_once('=').unwrap_or((setting, "0"));
        let lifetime = || Some(Duration::from_secs(value.parse().expect("seconds")));
        match name {
            "freshness" => overrides.freshness = lifetime(),
            "default" => overrides.default_freshness = lifetime(),
            "swr" => overrides.stale_while_revalidate = lifetime(),
            "sie" => overrides.stale_if_error = lifetime(),
            "no-store" => overrides.no_store = true,
            _ => panic!("unknown override {setting}"),
        }
    }
    overrides
}

fn rules_with(kind: &str, text: &str) -> Rules {
    rules(kind).with_overrides(parse_overrides(text))
}

#[test]
fn lifetimes() {
    check(
        "
        private | default=60   | 200                                      | 60 override
        private | default=60   | 200 max-age=5                            | 5 origin
        private | default=60   | 200 Expires: ~5; Date: ~0                | 5 origin
        private | default=60   | 200 Last-Modified: ~-1000; Date: ~0      | 60 override
        private | default=60   | 200 no-cache; ETag: \"a\"                | 0 origin
        private | default=60   | 200 no-store                             | no-store
        private | default=60   | 200 must-revalidate                      | 60 override
        private | default=60   | 301                                      | 60 override
        private | default=60   | 302                                      | 60 override
        private | default=60   | 404 ETag: \"a\"                          | 0 origin
        private | default=60   | 500                                      | nothing-allows
        private | freshness=60 | 200 max-age=5                            | 60 override
        private | freshness=60 | 200 max-age=500                          | 60 override
        private | freshness=60 | 200 no-store                             | 60 override
        private | freshness=60 | 200 no-cache                             | 60 override
        private | freshness=60 | 200 private                              | 60 override
        private | freshness=60 | 500 max-age=5                            | 5 origin
        shared  | freshness=60 | 200 no-store                             | 60 override
        shared  | freshness=60 | 200 private                              | private
        shared  | freshness=60 | 200 no-store; Set-Cookie: a              | set-cookie
        shared  | freshness=60 | 200 CDN-Cache-Control: max-age=5         | 60 override
        shared  | default=60   | 200 CDN-Cache-Control: max-age=5         | 5 origin
        shared  | default=60   | 200 Set-Cookie: a                        | set-cookie
        shared  | no-store     | 200 max-age=5                            | no-store
        shared  | no-store, freshness=9 | 200 max-age=5                   | no-store
        # The age at arrival does not shorten the lifetime of an override.
        private | freshness=60 | 200 max-age=5; Age: 3000                 | 3060 override
        private | default=60   | 200 Age: 3000                            | 3060 override
    ",
        |cells| match stored(&rules_with(cells[0], cells[1]), "GET", cells[2]) {
            Ok(head) => {
                let from = if head.freshness.lifetime.from == LifetimeSource::Override {
                    "override"
                } else {
                    "origin"
                };
                format!("{} {from}", head.freshness.lifetime.lifetime.as_secs())
            }
            Err(why) => why.token().to_owned(),
        },
    );
}

#[test]
fn overrides_do_not_permit_storing_responses_to_authorization() {
    let why = stored(&rules_with("shared", "freshness=60"), "GET Authorization: a", "200 max-age=5");
    assert_eq!(why.expect_err("the request has Authorization").token(), "authorization");
}

#[test]
fn stale_windows_apply_only_to_responses_without_their_own() {
    for (response, swr, sie) in [
        ("200 max-age=5", 7, 9),
        ("200 max-age=5, stale-while-revalidate=1", 1, 9),
        ("200 max-age=5, stale-if-error=0", 7, 0),
    ] {
        let head =
            stored(&rules_with("shared", "swr=7, sie=9"), "GET", response).expect("the response is storable");
        let seconds = |window: Option<Duration>| window.map(|window| window.as_secs());
        assert_eq!(seconds(head.freshness.stale_while_revalidate), Some(swr), "{response}");
        assert_eq!(seconds(head.freshness.stale_if_error), Some(sie), "{response}");
    }
}

#[test]
fn names_and_groups_are_added() {
    let overrides =
        Overrides::default().with_vary(["x-tenant".parse().expect("a name")]).with_groups(["users"]);
    let rules = rules("shared").with_overrides(overrides);
    let head =
        stored(&rules, "GET X-Tenant: a; Accept: b", "200 max-age=5; Vary: accept; Cache-Groups: \"own\"");
    let head = head.expect("the response is storable");
    let names: Vec<_> = head.selecting.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["accept", "x-tenant"]);
    let groups: Vec<_> = head.groups.iter().map(larder_policy::CacheGroup::name).collect();
    assert_eq!(groups, ["own", "users"]);
}
