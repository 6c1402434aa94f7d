//! Tests what a cache does with the caching directives of its clients: honors, ignores or collapses
//! them (RFC 9111 §5.2.1).

mod table;

use http::StatusCode;
use larder_policy::{
    ClientDirectives, Exchange, Failure, NotStorable, RequestHead, Reuse, StalePermission, Timestamp,
};
use table::{NOW, check, message, method, rules, stored, target};

/// Returns the setting with this name.
fn setting(name: &str) -> ClientDirectives {
    name.parse().expect("a setting")
}

/// RFC 9111 §5.2.1: setting | request | stored response | seconds later | expected.
#[test]
fn directives_that_reject_a_stored_response() {
    check(
        "
        honor    | GET no-cache            | 200 max-age=60           | 0  | validate §5.2.1.4
        honor    | GET only-if-cached      | 200 max-age=60           | 60 | 504
        honor    | GET max-stale           | 200 max-age=60           | 90 | stale
        ignore   | GET no-cache            | 200 max-age=60           | 5  | fresh
        ignore   | GET Pragma: no-cache    | 200 max-age=60           | 5  | fresh
        ignore   | GET max-age=0           | 200 max-age=60           | 5  | fresh
        ignore   | GET min-fresh=100       | 200 max-age=60           | 5  | fresh
        ignore   | GET only-if-cached      | 200 max-age=60           | 60 | validate §4.2
        ignore   | GET max-stale           | 200 max-age=60           | 90 | validate §4.2
        ignore   | GET no-cache            | 200 max-age=60, no-cache | 0  | validate §5.2.2.4
        collapse | GET no-cache            | 200 max-age=60           | 5  | validate §5.2.1.4
        collapse | GET Pragma: no-cache    | 200 max-age=60           | 5  | validate §5.2.1.4
        collapse | GET max-age=0           | 200 max-age=60           | 5  | validate §5.2.1.1
        collapse | GET min-fresh=100       | 200 max-age=60           | 5  | validate §5.2.1.3
        collapse | GET no-cache            | 200 max-age=60, no-cache | 0  | validate §5.2.2.4
        collapse | GET only-if-cached      | 200 max-age=60           | 60 | 504
        collapse | GET only-if-cached, no-cache | 200 max-age=60      | 5  | 504
        collapse | GET max-stale           | 200 max-age=60           | 90 | stale
        ",
        |cells| {
            let rules = rules("shared");
            let head = stored(&rules, "GET", &format!("{}; ETag: \"t\"", cells[2])).expect("it is storable");
            let (verb, fields) = message(cells[1]);
            let verb = method(verb);
            let now = Timestamp::from_secs(NOW + cells[3].parse::<u64>().expect("seconds"));
            let request = RequestHead::new(&verb, &fields).with_client_directives(setting(cells[0]));
            match rules.reuse(&request, [&head], now) {
                Reuse::Fresh(_) => "fresh".to_owned(),
                Reuse::Stale(..) => "stale".to_owned(),
                Reuse::Validate(_, why) => {
                    format!("validate {}", why.section().trim_start_matches("RFC 9111 "))
                }
                Reuse::OnlyIfCached => "504".to_owned(),
                other @ Reuse::Forward(_) => format!("{other:?}"),
            }
        },
    );
}

/// During an outage a reload got the error, although `stale-if-error` was set and everyone else got
/// the page: setting | request | expected.
#[test]
fn a_reload_does_not_forbid_a_stale_response() {
    check(
        "
        honor    | GET no-cache  | None
        honor    | GET max-age=0 | None
        honor    | GET           | Some(IfError)
        ignore   | GET no-cache  | Some(IfError)
        collapse | GET no-cache  | Some(IfError)
        collapse | GET max-age=0 | Some(IfError)
        collapse | GET min-fresh=9 | Some(IfError)
        ",
        |cells| {
            let rules = rules("shared");
            let head =
                stored(&rules, "GET", "200 max-age=60, stale-if-error=60; ETag: \"t\"").expect("storable");
            let (verb, fields) = message(cells[1]);
            let verb = method(verb);
            let request = RequestHead::new(&verb, &fields).with_client_directives(setting(cells[0]));
            let failure = Failure::Status(StatusCode::SERVICE_UNAVAILABLE);
            let permission: Option<StalePermission> =
                rules.stale_on_failure(&request, &head, Timestamp::from_secs(NOW + 90), failure);
            format!("{permission:?}")
        },
    );
}

/// `no-store` of a request (§5.2.1.5): setting | expected.
#[test]
fn no_store_is_ignored_only_on_request() {
    check(
        "
        honor    | Some(RequestNoStore)
        ignore   | None
        collapse | Some(RequestNoStore)
        ",
        |cells| {
            let (verb, fields) = message("GET no-store");
            let verb = method(verb);
            let request = RequestHead::new(&verb, &fields).with_client_directives(setting(cells[0]));
            let (_, response) = message("200 max-age=60");
            let now = Timestamp::from_secs(NOW);
            let exchange = Exchange { request_time: now, response_time: now };
            let storable = rules("shared").storable(&target(), &request, StatusCode::OK, &response, exchange);
            let reason: Option<NotStorable> = storable.err();
            format!("{reason:?}")
        },
    );
}

#[test]
fn names_are_read_back() {
    for setting in ClientDirectives::ALL {
        assert_eq!(setting.to_string().parse(), Ok(setting));
    }
    assert!("Honor".parse::<ClientDirectives>().is_err());
}
