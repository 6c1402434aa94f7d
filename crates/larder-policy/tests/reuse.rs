//! Tests whether a stored response is reused for a request (RFC 9111 §4, §4.2.4, §5.2.1, RFC 5861).

mod table;

use http::StatusCode;
use larder_policy::{Failure, RequestHead, Reuse, StalePermission};
use table::{NOW, at, check, message, method, rules, stored};

/// Runs a table: kind of cache | request | stored response | seconds later | expected.
fn reuse(table: &str) {
    check(table, |cells| {
        let rules = rules(cells[0]);
        let head =
            stored(&rules, "GET", &format!("{}; ETag: \"t\"", cells[2])).expect("the response is storable");
        let (verb, fields) = message(cells[1]);
        let verb = method(verb);
        let later: i64 = cells[3].parse().expect("seconds");
        let now = at(NOW.saturating_add_signed(later));
        match rules.reuse(&RequestHead::new(&verb, &fields), [&head], now) {
            Reuse::Fresh(selected) => format!("fresh, {} left", selected.ttl),
            Reuse::Stale(_, StalePermission::MaxStale) => "stale, max-stale".to_owned(),
            Reuse::Stale(_, StalePermission::WhileRevalidate) => "stale, while revalidated".to_owned(),
            Reuse::Validate(_, why) => format!("validate {}", why.section().trim_start_matches("RFC 9111 ")),
            Reuse::Forward(why) => format!("forward {}", why.forward_reason().token()),
            Reuse::OnlyIfCached => "504".to_owned(),
            other => format!("{other:?}"),
        }
    });
}

#[test]
fn request_directives() {
    reuse(
        "
        shared | GET                         | 200 max-age=60                  | 0   | fresh, 60 left
        shared | HEAD                        | 200 max-age=60                  | 20  | fresh, 40 left
        shared | GET                         | 200 max-age=60                  | 60  | validate §4.2
        shared | POST                        | 200 max-age=60                  | 0   | forward method
        shared | GET no-cache                | 200 max-age=60                  | 0   | validate §5.2.1.4
        shared | GET Pragma: no-cache        | 200 max-age=60                  | 0   | validate §5.2.1.4
        shared | GET x; Pragma: no-cache     | 200 max-age=60                  | 0   | fresh, 60 left
        shared | GET max-age=10              | 200 max-age=60                  | 10  | fresh, 50 left
        shared | GET max-age=10              | 200 max-age=60                  | 11  | validate §5.2.1.1
        shared | GET max-age=0               | 200 max-age=60                  | 0   | validate §5.2.1.1
        shared | GET min-fresh=10            | 200 max-age=60                  | 50  | fresh, 10 left
        shared | GET min-fresh=10            | 200 max-age=60                  | 51  | validate §5.2.1.3
        shared | GET only-if-cached          | 200 max-age=60                  | 0   | fresh, 60 left
        shared | GET only-if-cached          | 200 max-age=60                  | 60  | 504
        shared | GET If-Match: \"x\"         | 200 max-age=60                  | 0   | forward request
        shared | GET If-Unmodified-Since: x  | 200 max-age=60                  | 0   | forward request
        shared | GET                         | 200 max-age=60, no-cache        | 0   | validate §5.2.2.4
        private | GET max-age=0              | 200 max-age=60, immutable       | 0   | fresh, 60 left
        private | GET no-cache               | 200 max-age=60, immutable       | 0   | validate §5.2.1.4
        shared | GET max-age=0               | 200 max-age=60, immutable       | 0   | validate §5.2.1.1
    ",
    );
}

/// §4.2.4: neither a general grace period nor the `max-stale` of a client permits serving a stale
/// response that must be validated.
#[test]
fn must_revalidate_is_never_served_stale() {
    reuse("
        shared  | GET max-stale              | 200 max-age=60                                     | 90 | stale, max-stale
        shared  | GET max-stale=30           | 200 max-age=60                                     | 90 | stale, max-stale
        shared  | GET max-stale=29           | 200 max-age=60                                     | 90 | validate §4.2
        shared  | GET max-stale=x            | 200 max-age=60                                     | 90 | validate §4.2
        shared  | GET max-stale              | 200 max-age=60, must-revalidate                    | 90 | validate §4.2
        shared  | GET max-stale              | 200 max-age=60, proxy-revalidate                   | 90 | validate §4.2
        private | GET max-stale              | 200 max-age=60, proxy-revalidate                   | 90 | stale, max-stale
        shared  | GET max-stale              | 200 s-maxage=60                                    | 90 | validate §4.2
        shared  | GET max-stale              | 200 max-age=60, no-cache                           | 90 | validate §5.2.2.4
        shared  | GET                        | 200 max-age=60, stale-while-revalidate=60          | 90 | stale, while revalidated
        shared  | GET                        | 200 max-age=60, stale-while-revalidate=30          | 90 | validate §4.2
        shared  | GET max-age=1              | 200 max-age=60, stale-while-revalidate=60          | 90 | validate §5.2.1.1
        shared  | GET                        | 200 max-age=60, stale-while-revalidate=60, must-revalidate | 90 | validate §4.2
    ");
}

/// The clock of a machine was set back by a day, and its stored responses stayed fresh for one day
/// longer.
#[test]
fn setting_the_clock_back_makes_no_response_fresher() {
    reuse(
        "
        shared | GET | 200 max-age=60 | -1      | fresh, 60 left
        shared | GET | 200 max-age=60 | -86400  | validate §4.2.3
        shared | GET | 200 max-age=60 | 31536000 | validate §4.2
    ",
    );
}

/// §4.2.4, RFC 5861 §4: request | stored response | failure | seconds later | expected
#[test]
fn stale_on_failure() {
    check(
        "
        GET                 | 200 max-age=60                                  | reset | 90     | disconnected
        GET                 | 200 max-age=60                                  | reset | 99999  | no
        GET                 | 200 max-age=60                                  | 503   | 90     | no
        GET                 | 200 max-age=60, stale-if-error=60               | 503   | 90     | if-error
        GET                 | 200 max-age=60, stale-if-error=60               | 500   | 90     | if-error
        GET                 | 200 max-age=60, stale-if-error=60               | 501   | 90     | no
        GET                 | 200 max-age=60, stale-if-error=60               | 404   | 90     | no
        GET                 | 200 max-age=60, stale-if-error=60               | 503   | 121    | no
        GET stale-if-error=60 | 200 max-age=60                                | 503   | 90     | if-error
        GET no-cache        | 200 max-age=60, stale-if-error=60               | 503   | 90     | no
        GET                 | 200 max-age=60, must-revalidate, stale-if-error=60 | 503 | 90    | no
        GET                 | 200 max-age=60, must-revalidate                 | reset | 90     | no
        GET                 | 200 max-age=60, no-cache                        | reset | 90     | no
        GET                 | 200 s-maxage=60                                 | reset | 90     | no
        ",
        |cells| {
            let rules = rules("shared");
            let head = stored(&rules, "GET", &format!("{}; ETag: \"t\"", cells[1]))
                .expect("the response is storable");
            let (verb, fields) = message(cells[0]);
            let verb = method(verb);
            let failure = match cells[2].parse::<u16>() {
                Ok(code) => Failure::Status(StatusCode::from_u16(code).expect("a status code")),
                Err(_) => Failure::Disconnected,
            };
            let now = at(NOW + cells[3].parse::<u64>().expect("seconds"));
            match rules.stale_on_failure(&RequestHead::new(&verb, &fields), &head, now, failure) {
                Some(StalePermission::IfError) => "if-error".to_owned(),
                Some(StalePermission::Disconnected) => "disconnected".to_owned(),
                Some(other) => format!("{other:?}"),
                None => "no".to_owned(),
            }
        },
    );
}
