//! Tests freshness lifetimes and ages (RFC 9111 §4.2, §5.1, §5.2.2, §5.3), from valid and invalid
//! fields.

mod table;

use std::time::Duration;

use larder_policy::{LifetimeSource, StoredHead, parse_http_date};
use table::{NOW, at, check, check_cited, rules, stored};

fn with_tag(response: &str) -> String {
    format!("{response}{} ETag: \"t\"", if response.contains(' ') { ";" } else { "" })
}

fn store_with_tag(kind: &str, response: &str) -> StoredHead {
    // With a validator, even a response that is stale on arrival is stored.
    stored(&rules(kind), "GET", &with_tag(response)).expect("the response is storable")
}

fn lifetimes(table: &str) {
    check(table, |cells| describe(&store_with_tag(cells[0], cells[1])));
}

fn describe(head: &StoredHead) -> String {
    let lifetime = head.freshness.lifetime;
    let from = match lifetime.from {
        LifetimeSource::SMaxage => "s-maxage",
        LifetimeSource::MaxAge => "max-age",
        LifetimeSource::Expires => "expires",
        LifetimeSource::Heuristic => "heuristic",
        _ => "unspecified",
    };
    format!("{} {from}", lifetime.lifetime.as_secs())
}

/// §4.2.1: the first source that is present counts, in this order.
#[test]
fn freshness_lifetime() {
    lifetimes(
        "
        shared  | 200 s-maxage=5, max-age=9                      | 5 s-maxage
        private | 200 s-maxage=5, max-age=9                      | 9 max-age
        shared  | 200 max-age=9; s-maxage=5                      | 5 s-maxage
        shared  | 200 max-age=9, max-age=1                       | 9 max-age
        shared  | 200 max-age=1; max-age=9                       | 1 max-age
        shared  | 200 max-age=9; Expires: ~60; Date: ~0          | 9 max-age
        shared  | 200 Expires: ~60; Date: ~0                     | 60 expires
        shared  | 200 Expires: ~60                               | 60 expires
        shared  | 200 Expires: ~60; Date: ~10                    | 50 expires
        shared  | 200 Expires: ~60; Date: foo                    | 60 expires
        shared  | 200 Expires: ~-60; Date: ~0                    | 0 expires
        shared  | 200 Expires: ~60; Expires: ~70                 | 0 expires
        shared  | 200 Expires: 0                                 | 0 expires
        shared  | 200 Last-Modified: ~-1000; Date: ~0            | 100 heuristic
        shared  | 200 Last-Modified: ~-10000000; Date: ~0        | 86400 heuristic
        shared  | 200 Last-Modified: ~10; Date: ~0               | 0 heuristic
        shared  | 599 public; Last-Modified: ~-1000; Date: ~0    | 100 heuristic
        shared  | 200                                            | 0 unspecified
    ",
    );
}

/// §4.2.2: what gives a heuristic lifetime. The time of reception is `~0`.
#[test]
fn heuristics_do_not_trust_a_clock_that_is_ahead() {
    check_cited(
        "
        200 Last-Modified: ~-1000; Date: ~0              | 100 heuristic   | §4.2.2: a fraction of the interval since that time
        200 Last-Modified: ~-1000                        | 100 heuristic   | RFC 9110 §6.6.1: without Date, the time of reception
        200 Last-Modified: ~-1000; Date: foo             | 100 heuristic   | RFC 9110 §6.6.1: without a valid Date, the time of reception
        200 Last-Modified: ~-1000; Date: ~-500           | 50 heuristic    | §4.2.2: the interval at the origin
        200 Last-Modified: ~-1000; Date: ~1              | 100 heuristic   | §4.2.3: clocks that are reasonably well synchronized
        200 Last-Modified: ~-1000; Date: ~100000000      | 0 heuristic     | §4.2.2: no plausible time since the last change
        200 Last-Modified: ~-1000; Date: ~10             | 0 heuristic     | §4.2.2: no plausible time since the last change
        200 Last-Modified: ~10; Date: ~0                 | 0 heuristic     | RFC 9110 §8.8.2.1: MUST NOT be later than Date
        200 Last-Modified: ~10                           | 0 heuristic     | RFC 9110 §8.8.2.1: MUST NOT be later than Date
        200 Last-Modified: ~100000; Date: ~100000000     | 0 heuristic     | RFC 9110 §8.8.2.1: MUST NOT be later than Date
        200 Last-Modified: foo; Date: ~0                 | 0 unspecified   | RFC 9110 §5.6.7: no date
        200 max-age=x; Last-Modified: ~-1000             | 0 max-age       | §4.2.2: MUST NOT if an explicit time is present
        200 Expires: 0; Last-Modified: ~-1000            | 0 expires       | §4.2.2: MUST NOT if an explicit time is present
        200 Expires: ~60; Date: ~100                     | 0 expires       | §4.2.1: Expires minus Date
        200 Expires: ~60; Date: ~-100                    | 160 expires     | §4.2.1: Expires minus Date
        302 public; Last-Modified: ~-1000                | 100 heuristic   | §4.2.2: explicitly cacheable
        404 Last-Modified: ~-1000                        | 100 heuristic   | RFC 9110 §15.1: heuristically cacheable
        206 Last-Modified: ~-1000; Content-Range: bytes 0-1/2 | 100 heuristic | RFC 9110 §15.1: heuristically cacheable
        302 max-age=0; Last-Modified: ~-1000             | 0 max-age       | §4.2.2: MUST NOT if an explicit time is present
        ",
        |cells| describe(&store_with_tag("private", cells[0])),
    );
}

/// Alice, with her session's cookie, got a page without Cache-Control. `default_freshness` made it
/// fresh for all; without that setting, its Last-Modified did.
#[test]
fn a_shared_cache_guesses_no_lifetime_for_what_may_be_one_users() {
    let overrides = larder_policy::Overrides::default().with_default_freshness(Duration::from_secs(60));
    let with_stale_windows = larder_policy::Overrides::default()
        .with_stale_while_revalidate(Duration::from_secs(60))
        .with_stale_if_error(Duration::from_secs(60));
    check_cited(
        "
        shared default  | GET                     | 200                                  | 60          | §4.2.2: a heuristic expiration time
        shared default  | GET Cookie: a=b         | 200                                  | not stored  | §3: the cache MAY store
        shared default  | GET Cookie: a=b         | 200 ETag: \"a\"                     | validated   | §4.2.2: a cache MAY assign
        shared default  | GET Authorization: a    | 200 public; ETag: \"a\"             | 0           | §4.2.2: a cache MAY assign
        shared default  | GET Cookie: a=b         | 200 max-age=9                        | 9           | §4.2.1: an explicit time
        shared default  | GET Cookie: a=b         | 200 Expires: ~9; Date: ~0            | 9           | §4.2.1: an explicit time
        shared default  | GET Cookie: a=b         | 200 max-age=9; CDN-Cache-Control: public | not stored | RFC 9213 §2.2: no time in the targeted field
        private default | GET Cookie: a=b         | 200                                  | 60          | §4.2.2: one user's cache
        shared          | GET                     | 200 Last-Modified: ~-1000            | 100         | §4.2.2: a heuristic expiration time
        shared          | GET Cookie: a=b         | 200 Last-Modified: ~-1000            | validated   | §4.2.2: a cache MAY assign
        shared          | GET Cookie: a=b         | 404 Last-Modified: ~-1000            | validated   | §4.2.2: a cache MAY assign
        shared          | GET Cookie: a=b         | 200 public; Last-Modified: ~-1000    | 0           | §4.2.2: a cache MAY assign
        shared          | GET Authorization: a    | 200 public; Last-Modified: ~-1000    | 0           | §4.2.2: a cache MAY assign
        shared          | GET Authorization: a    | 200 must-revalidate; Last-Modified: ~-1000 | validated | §4.2.2: a cache MAY assign
        private         | GET Authorization: a    | 200 Last-Modified: ~-1000            | 100         | §4.2.2: one user's cache
        cookies         | GET                     | 200 Set-Cookie: a=b; Last-Modified: ~-1000 | validated | §7.3: Set-Cookie does not inhibit caching
        cookies default | GET                     | 200 Set-Cookie: a=b; ETag: \"a\"    | validated   | §7.3: Set-Cookie does not inhibit caching
        cookies default | GET                     | 200 max-age=9; Set-Cookie: a=b       | 9           | §4.2.1: an explicit time
        shared stale    | GET                     | 200 ETag: \"a\"                     | 0           | RFC 5861 §3: a stale window from the operator
        shared stale    | GET Cookie: a=b         | 200 ETag: \"a\"                     | validated   | §4.2.4: no permission to serve it stale
        shared stale    | GET Cookie: a=b         | 200                                  | not stored  | §4.3.1: nothing to validate it with
        ",
        |cells| {
            let mut words = cells[0].split(' ');
            let mut rules = match words.next() {
                Some("cookies") => rules("shared").with_store_set_cookie(true),
                kind => rules(kind.unwrap_or_default()),
            };
            rules = match words.next() {
                Some("default") => rules.with_overrides(overrides.clone()),
                Some("stale") => rules.with_overrides(with_stale_windows.clone()),
                _ => rules,
            };
            match stored(&rules, cells[1], cells[2]) {
                Err(_) => "not stored".to_owned(),
                Ok(head) if head.freshness.must_revalidate => {
                    assert_eq!(head.freshness.lifetime.lifetime, Duration::ZERO);
                    "validated".to_owned()
                }
                Ok(head) => head.freshness.lifetime.lifetime.as_secs().to_string(),
            }
        },
    );
}

/// §1.2.2, §5.2: quoted strings are respected, and an invalid number makes the response stale.
#[test]
fn directives_are_parsed_and_not_matched_as_substrings() {
    lifetimes(
        "
        shared | 200 max-age=2147483648                          | 2147483648 max-age
        shared | 200 max-age=99999999999999999999                | 2147483648 max-age
        shared | 200 max-age=003600                              | 3600 max-age
        shared | 200 max-age=\"3600\"                            | 3600 max-age
        shared | 200 max-age='3600'                              | 0 max-age
        shared | 200 max-age=-1                                  | 0 max-age
        shared | 200 max-age=3600.5                              | 0 max-age
        shared | 200 max-age=a3600                               | 0 max-age
        shared | 200 max-age=3600a                               | 0 max-age
        shared | 200 max-age                                     | 0 max-age
        shared | 200 Cache-Control: max-age =3600                | 0 unspecified
        shared | 200 MaX-aGe=3600                                | 3600 max-age
        shared | 200 extension=\"max-age=3600\", max-age=1       | 1 max-age
        shared | 200 max-age=1, extension=\"max-age=3600\"       | 1 max-age
        shared | 200 extension=\"a\\\", max-age=3600\", max-age=1 | 1 max-age
        shared | 200 Cache-Control: ,, ,max-age=7,,              | 7 max-age
    ",
    );
}

/// RFC 9213 §2.2: a valid CDN-Cache-Control replaces Cache-Control and Expires. One with an error
/// or a value of the wrong type is ignored (`cdn-cc-invalid-sh-type-wrong` of the public suite).
#[test]
fn targeted() {
    check_cited(
        "
        shared  | 200 max-age=1; CDN-Cache-Control: max-age=60               | 60 max-age    | RFC 9213 §2.2: the first on the target list
        private | 200 max-age=1; CDN-Cache-Control: max-age=60               | 1 max-age     | RFC 9213 §2.2: not on the target list
        shared  | 200 Expires: ~60; CDN-Cache-Control: must-revalidate       | 0 unspecified | RFC 9213 §2.2: MUST ignore Cache-Control and Expires
        shared  | 200 max-age=9; CDN-Cache-Control: max-age=60, &            | 9 max-age     | RFC 9213 §2.1: a parsing error
        shared  | 200 max-age=9; CDN-Cache-Control: Max-Age=60               | 9 max-age     | RFC 9651 §3.1.2: keys are in lower case
        shared  | 200 max-age=9; CDN-Cache-Control:                          | 9 max-age     | RFC 9213 §2.1: empty
        shared  | 200 max-age=9; CDN-Cache-Control: max-age=\"60\"           | 9 max-age     | RFC 9213 §2.1: max-age has an integer value
        shared  | 200 no-store; CDN-Cache-Control: max-age=\"10000\"         | no-store      | RFC 9213 §2.1: max-age has an integer value
        shared  | 200 no-store; CDN-Cache-Control: max-age=10000, &&&&&      | no-store      | RFC 9213 §2.1: a parsing error
        shared  | 200 max-age=9; CDN-Cache-Control: max-age=60.5             | 9 max-age     | RFC 9213 §2.1: a decimal is not coerced
        shared  | 200 max-age=9; CDN-Cache-Control: max-age                  | 9 max-age     | RFC 9213 §2.1: max-age has an integer value
        shared  | 200 max-age=9; CDN-Cache-Control: max-age=(60)             | 9 max-age     | RFC 9213 §2.1: max-age has an integer value
        shared  | 200 max-age=9; CDN-Cache-Control: max-age=@60              | 9 max-age     | RFC 9213 §2.1: max-age has an integer value
        shared  | 200 max-age=9; CDN-Cache-Control: max-age=60, no-store=1   | 9 max-age     | RFC 9213 §2.1: no-store is Boolean
        shared  | 200 max-age=9; CDN-Cache-Control: max-age=60, stale-if-error | 9 max-age   | RFC 9213 §2.1: delta-seconds
        shared  | 200 max-age=9; CDN-Cache-Control: max-age=60, private=a    | 9 max-age     | RFC 9213 §2.1: Boolean or a string
        shared  | 200 max-age=9; CDN-Cache-Control: max-age=60, private=\"a\" | 60 max-age   | RFC 9213 §2.1: Boolean or a string
        shared  | 200 max-age=9; CDN-Cache-Control: max-age=-1               | 0 max-age     | §4.2.1: invalid freshness is stale
        shared  | 200 max-age=9; CDN-Cache-Control: max-age=60;a=1           | 60 max-age    | RFC 9213 §2.1: parameters are ignored
        shared  | 200 max-age=9; CDN-Cache-Control: max-age=60, max-age=61   | 61 max-age    | RFC 9651 §4.2.2: the last of one key
        shared  | 200 no-store; CDN-Cache-Control: max-age=60                | 60 max-age    | RFC 9213 §2.2: MUST ignore Cache-Control
        shared  | 200 max-age=9; CDN-Cache-Control: no-store=?0, max-age=60  | 60 max-age    | RFC 9213 §2.1: Boolean
        shared  | 200 max-age=9; CDN-Cache-Control: max-age=60, a=%\"%c3%bc\" | 60 max-age   | RFC 9651 §3.3.8: a display string
        shared  | 200 max-age=9; CDN-Cache-Control: max-age=60, a=@1         | 60 max-age    | RFC 9651 §3.3.7: a date
        shared  | 200 max-age=9; CDN-Cache-Control: max-age=60, a=(b \"c\")  | 60 max-age    | RFC 9213 §2.2: unrecognized directives are ignored
        shared  | 200 max-age=9; CDN-Cache-Control: max-age=60; CDN-Cache-Control: no-cache | 60 max-age | RFC 9651 §4.2: all lines
        ",
        |cells| match stored(&rules(cells[0]), "GET", &with_tag(cells[1])) {
            Ok(head) => describe(&head),
            Err(why) => why.token().to_owned(),
        },
    );
}

/// A CDN-Cache-Control of 301 members was ignored, and the page was stored although it had
/// `no-store`.
#[test]
fn a_targeted_field_may_have_many_members() {
    for many in [1, 16, 17, 300, 1024, 9000] {
        let members: Vec<_> = (0..many).map(|n| format!("a{n}=1;b")).collect();
        let field = format!("{}, no-store", members.join(", "));
        let response = format!("200 max-age=9; CDN-Cache-Control: {field}");
        let why = stored(&rules("shared"), "GET", &response).expect_err("no-store");
        assert_eq!(why.token(), "no-store", "{many}");
    }
}

/// §5.3, RFC 9110 §5.6.7: exactly three formats are valid.
#[test]
fn dates() {
    check(
        "
        Sun, 06 Nov 1994 08:49:37 GMT       | 784111777
        SUN, 06 NOV 1994 08:49:37 gmt       | 784111777
        Sunday, 06-Nov-94 08:49:37 GMT      | 784111777
        Sun Nov  6 08:49:37 1994            | 784111777
        Thu, 29 Feb 2024 00:00:00 GMT       | 1709164800
        Thu, 18 Aug 2050 02:01:18 GMT       | 2544400878
        Thursday, 18-Aug-50 02:01:18 GMT    | 2544400878
        Thu, 30 Feb 2024 00:00:00 GMT       | none
        Thu, 18 Aug 2050 02:01:18 UTC       | none
        Thu, 18 Aug 2050 02:01:18 +0000     | none
        Thu, 18 Aug 50 02:01:18 GMT         | none
        Thu 18 Aug 2050 02:01:18 GMT        | none
        Thu, 18  Aug  2050 02:01:18 GMT     | none
        Thu, 18-Aug-2050 02:01:18 GMT       | none
        Thu, 18 Aug 2050 02.01.18 GMT       | none
        Thu, 18 Aug 2050 2:01:18 GMT        | none
        Thu, 18 Aug 2050 24:01:18 GMT       | none
        0                                   | none
        ",
        |cells| match parse_http_date(cells[0].as_bytes(), at(NOW)) {
            Some(time) => (time.as_millis() / 1000).to_string(),
            None => "none".to_owned(),
        },
    );
}

/// §4.2.3, §5.1: the greater of the ages from `Date` and `Age` counts. Of several `Age` values the
/// first counts.
#[test]
fn corrected_initial_age() {
    check(
        "
        200 max-age=9; Date: ~0                  | 0
        200 max-age=9; Date: ~-30                | 30
        200 max-age=9; Date: ~30                 | 0
        200 max-age=9; Date: ~-30; Age: 10       | 30
        200 max-age=9; Date: ~-10; Age: 30       | 30
        200 max-age=9; Age: 7200, 0              | 7200
        200 max-age=9; Age: 0; Age: 7200         | 0
        200 max-age=9; Age: 7200;foo=bar         | 7200
        200 max-age=9; Age: abc                  | 0
        200 max-age=9; Age: -7200                | 0
        200 max-age=9; Age: 7200.0               | 0
        200 max-age=9; Age: 99999999999999999999 | 2147483648
        ",
        |cells| store_with_tag("shared", cells[0]).freshness.corrected_initial_age.as_secs().to_string(),
    );
}

/// A response that took ten seconds to arrive is at least ten seconds old (§4.2.3).
#[test]
fn response_delay_is_part_of_the_age() {
    let rules = rules("shared");
    let (_, fields) = table::message("200 max-age=60; Age: 5");
    let get = http::Method::GET;
    let request_fields = http::HeaderMap::new();
    let request = larder_policy::RequestHead::new(&get, &request_fields);
    let exchange = larder_policy::Exchange { request_time: at(NOW - 10), response_time: at(NOW) };
    let head = rules
        .storable(&table::target(), &request, http::StatusCode::OK, &fields, exchange)
        .expect("the response is storable");
    assert_eq!(head.freshness.corrected_initial_age, Duration::from_secs(15));
}

/// §4.2, RFC 5861 §3 and §4: a store may drop a response that can be neither served nor validated.
#[test]
fn how_long_a_response_is_kept() {
    let table = "
        200 max-age=60                                               | fresh, then 10 s                  | 70
        200 max-age=60; ETag: \"t\"                                  | fresh, then 24 h to validate it   | 86460
        200 max-age=60, stale-while-revalidate=30                    | a stale window of more than 10 s  | 90
        200 max-age=60, stale-if-error=30, stale-while-revalidate=5  | the longer window                 | 90
        200 max-age=60, stale-if-error=5                             | a stale window of less than 10 s  | 70
        200 max-age=60; Age: 20                                      | counted from the arrival          | 50
        200 max-age=99999999                                         | 30 days at most                   | 2592000
        200 max-age=60, stale-if-error=99999999                      | 30 days at most                   | 2592000
    ";
    check(table, |cells| {
        let head = stored(&rules("shared"), "GET", cells[0]).expect("the response is storable");
        head.keep_until().since(head.freshness.response_time).as_secs().to_string()
    });
}

/// A response that was marked stale is kept as long as one that became stale at that time.
#[test]
fn a_response_that_is_marked_stale_is_kept_from_then_on() {
    let head = stored(&rules("shared"), "GET", "200 max-age=60").expect("the response is storable");
    let at = head.freshness.response_time.saturating_add(Duration::from_secs(20));
    let stale = head.marked_stale(at).expect("it was fresh");
    assert_eq!(stale.keep_until().since(at), Duration::from_secs(10));
}
