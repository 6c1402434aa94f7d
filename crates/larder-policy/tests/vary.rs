//! Tests which of several stored responses a request selects (RFC 9111 §4.1).

mod table;

use http::HeaderName;
use larder_policy::{RequestHead, Reuse, SelectingHeaders, StoredHead};
use table::{NOW, at, check, message, method, rules, stored};

/// First request | Vary of its response | later request | expected
#[test]
fn matching() {
    check(
        "
        GET Foo: 1                      | Foo             | GET Foo: 1                       | same
        GET Foo: 1                      | Foo             | GET Foo: 2                       | other
        GET Foo: 1                      | Foo             | GET                              | other
        GET                             | Foo             | GET Foo: 1                       | other
        GET                             | Foo             | GET Bar: 1                       | same
        GET Foo: 1                      | FOO             | GET foo: 1                       | same
        GET Foo: 1; Bar: 2              | Foo, Bar        | GET Bar: 2; Foo: 1               | same
        GET Foo: 1; Bar: 2              | Foo, Bar        | GET Foo: 1                       | other
        GET Foo: 1, 2                   | Foo             | GET Foo: 1; Foo: 2               | same
        GET Foo: 1,2                    | Foo             | GET Foo: 1, 2                    | other
        GET Foo: a                      | Foo             | GET Foo: A                       | other
        GET Accept-Language: en, de     | Accept-Language | GET Accept-Language: de, en      | same
        GET Accept-Language: en, de     | Accept-Language | GET Accept-Language: eN , DE     | same
        GET Accept-Language: en;q=0.5   | Accept-Language | GET Accept-Language: en;q=0.8    | other
        GET Accept-Encoding: gzip, br   | Accept-Encoding | GET Accept-Encoding: br,GZIP     | same
        GET Accept-Encoding: gzip       | Accept-Encoding | GET Accept-Encoding: gzip;q=0    | other
        GET Accept: text/html;level=A   | Accept          | GET Accept: TEXT/html;LEVEL=A    | same
        GET Accept: text/html;level=A   | Accept          | GET Accept: text/html;level=a    | other
        ",
        |cells| {
            let rules = rules("shared");
            let head = stored(&rules, cells[0], &format!("200 max-age=60; Vary: {}", cells[1]))
                .expect("the response is storable");
            let (verb, fields) = message(cells[2]);
            let verb = method(verb);
            let same = head.selecting.matches(&RequestHead::new(&verb, &fields));
            if same { "same".to_owned() } else { "other".to_owned() }
        },
    );
}

fn variant(language: &str, date: i64) -> StoredHead {
    let request = format!("GET Accept-Language: {language}");
    let response =
        format!("200 max-age=60; Vary: Accept-Language; Date: ~{date}; Content-Language: {language}");
    stored(&rules("shared"), &request, &response).expect("the response is storable")
}

/// For alternating requests in two languages, a cache that stored one variant fetched each time,
/// and a cache that compared hashes served the wrong variant.
#[test]
fn several_variants_are_stored_at_the_same_time() {
    let heads = [variant("de", 0), variant("en", 0)];
    for (language, index) in [("de", 0), ("en", 1)] {
        let (verb, fields) =
            message(if language == "de" { "GET Accept-Language: de" } else { "GET Accept-Language: en" });
        let verb = method(verb);
        match rules("shared").reuse(&RequestHead::new(&verb, &fields), &heads, at(NOW)) {
            Reuse::Fresh(selected) => assert_eq!(selected.index, index, "{language}"),
            other => panic!("{language}: {other:?}"),
        }
    }
    let (verb, fields) = message("GET Accept-Language: fr");
    let verb = method(verb);
    let miss = rules("shared").reuse(&RequestHead::new(&verb, &fields), &heads, at(NOW));
    assert!(matches!(miss, Reuse::Forward(larder_policy::MissReason::VaryMiss)), "{miss:?}");
}

#[test]
fn the_most_recent_matching_response_is_selected() {
    let heads = [variant("de", -20), variant("de", -5), variant("de", -10)];
    let (verb, fields) = message("GET Accept-Language: de");
    let verb = method(verb);
    match rules("shared").reuse(&RequestHead::new(&verb, &fields), &heads, at(NOW)) {
        Reuse::Fresh(selected) => assert_eq!(selected.index, 1),
        other => panic!("{other:?}"),
    }
}

/// A store names each variant by its fingerprint. If an upgrade changed it, no process would
/// replace the variants that were stored before.
#[test]
fn a_fingerprint_is_the_same_in_every_version() {
    let of = |pairs: &[(&'static str, Option<&str>)], never| {
        let pair = |(name, value): &(&'static str, Option<&str>)| {
            (HeaderName::from_static(name), value.map(|value| value.as_bytes().to_vec()))
        };
        SelectingHeaders::from_stored(pairs.iter().map(pair).collect(), never).fingerprint()
    };
    let fixed = [
        (of(&[], false), 0xb91c5ed0_31fb3303_2134935d_61d9b40d),
        (of(&[], true), 0x99efa049_cd80824b_d4c33038_987115bf),
        (of(&[("accept-encoding", Some("br,gzip"))], false), 0x09239678_f3034794_d9f838b2_dccd8d67),
        (of(&[("accept-encoding", None)], false), 0x6cd16aa1_0d8018a9_5e309752_24076938),
        (of(&[("accept-encoding", Some(""))], false), 0xa33b4fe4_4c23343b_65512089_8ac00cfb),
        (
            of(&[("accept-encoding", Some("gzip")), ("accept-language", Some("de"))], false),
            0xbbab26a6_5eafeb00_a0e34a88_867f7333,
        ),
    ];
    for (n, (fingerprint, expected)) in fixed.into_iter().enumerate() {
        assert_eq!(fingerprint, expected, "row {n}: {fingerprint:#034x}");
    }
}
