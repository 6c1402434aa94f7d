//! Tests overrides of what responses specify.

mod table;

use std::time::Duration;

use http::{HeaderMap, HeaderValue, Method, StatusCode};
use larder_policy::{
    Exchange, Failure, LifetimeSource, Overrides, RequestHead, Rules, Timestamp, format_http_date,
};
use proptest::prelude::*;
use table::{check, rules, stored, target};

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
    assert_eq!(groups, ["users", "own"]);
}

/// An operator set `freshness = "18446744073709551615s"` and `stale_while_revalidate`. Each request
/// panicked.
#[test]
fn a_lifetime_of_any_length_is_represented() {
    let longest = Duration::from_secs(1 << 31);
    for (freshness, window) in [(Duration::MAX, Duration::MAX), (Duration::from_secs(u64::MAX), longest)] {
        let overrides = Overrides::default()
            .with_freshness(freshness)
            .with_stale_while_revalidate(window)
            .with_stale_if_error(window);
        let rules = rules("shared").with_overrides(overrides);
        let head = stored(&rules, "GET", "200 no-store").expect("the response is storable");
        assert_eq!(head.freshness.lifetime.lifetime, longest, "§1.2.2: 2^31 seconds");
        assert_eq!(head.freshness.stale_while_revalidate, Some(longest));
        assert_eq!(head.freshness.stale_if_error, Some(longest));
    }
}

/// Returns durations and times at the ends of their ranges, and any between them.
fn seconds() -> impl Strategy<Value = u64> {
    prop_oneof![Just(0), Just(1), Just(1 << 31), Just(u64::MAX / 1000), Just(u64::MAX), any::<u64>()]
}

proptest! {
    /// Each decision on a response can be taken, whatever the settings, its dates and the clock.
    #[test]
    fn arithmetic_saturates(
        settings in proptest::array::uniform6(proptest::option::of(seconds())), percent in any::<u8>(),
        times in proptest::array::uniform5(seconds()), age in seconds(),
    ) {
        let [freshness, default, swr, sie, maximum, disconnected] =
            settings.map(|secs| secs.map(|secs| Duration::new(secs, 999_999_999)));
        let mut overrides = Overrides::default();
        overrides.freshness = freshness;
        overrides.default_freshness = default;
        overrides.stale_while_revalidate = swr;
        overrides.stale_if_error = sie;
        let [sent, received, now, date, modified] = times.map(Timestamp::from_secs);
        let mut fields = HeaderMap::new();
        for (name, value) in [
            ("date", format_http_date(date)),
            ("last-modified", format_http_date(modified)),
            ("expires", format_http_date(now)),
            ("age", age.to_string()),
            ("etag", "\"a\"".to_owned()),
        ] {
            fields.insert(name, HeaderValue::from_str(&value).expect("visible ASCII"));
        }
        let (get, head_method) = (Method::GET, Method::HEAD);
        let mut request_fields = HeaderMap::new();
        let directives = format!("max-stale={age}, min-fresh={age}, max-age={age}, stale-if-error={age}");
        request_fields.insert("cache-control", HeaderValue::from_str(&directives).expect("visible ASCII"));
        request_fields.insert("if-modified-since", fields["date"].clone());
        let exchange = Exchange { request_time: sent, response_time: received };
        for with_expires in [true, false] {
            if !with_expires {
                fields.remove("expires");
            }
            for rules in [Rules::shared(), Rules::private()] {
                let rules = rules
                    .with_overrides(overrides.clone())
                    .with_heuristic_percent(percent)
                    .with_heuristic_max(maximum.unwrap_or(Duration::MAX))
                    .with_stale_when_disconnected(disconnected.unwrap_or(Duration::MAX));
                let plain = HeaderMap::new();
                let request = RequestHead::new(&get, &plain);
                let Ok(head) = rules.storable(&target(), &request, StatusCode::OK, &fields, exchange) else {
                    continue;
                };
                let lifetime = head.freshness.lifetime;
                prop_assert!(
                    lifetime.from != LifetimeSource::Override
                        || lifetime.lifetime.saturating_sub(head.freshness.corrected_initial_age)
                            <= Duration::from_secs(1 << 31)
                );
                for fields_of_request in [&plain, &request_fields] {
                    let request = RequestHead::new(&get, fields_of_request);
                    let _ = rules.reuse(&request, [&head], now);
                    let _ = rules.stale_on_failure(&request, &head, now, Failure::Disconnected);
                    let _ = head.serve(&request, Some(u64::MAX));
                    let _ = rules.freshen(&target(), &request, [&head], 0, &fields, exchange);
                    let request = RequestHead::new(&head_method, fields_of_request);
                    let _ = rules.freshen_by_head(
                        &target(), &request, [&head], StatusCode::OK, &fields, exchange,
                    );
                }
                let _ = (head.keep_until(), head.marked_stale(now), head.weight());
            }
        }
    }
}
