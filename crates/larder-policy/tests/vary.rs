//! Tests which of several stored responses a request selects (RFC 9111 §4.1).

mod table;

use http::HeaderName;
use larder_policy::{RequestHead, RequestHeaders, Reuse, SelectingHeaders, StoredHead};
use table::{NOW, at, check, check_cited, message, method, rules, stored};

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

/// A quote within a quoted string ended it, so that white space after it was dropped. Two values
/// with different meanings matched.
#[test]
fn quoted_strings_are_compared_as_they_are() {
    check_cited(
        r#"
        GET Accept: a/b;c="d \" e"  | GET Accept: a/b;c="d \" e"     | same  | RFC 9110 §5.6.4: a quoted-pair
        GET Accept: a/b;c="\"d e"   | GET Accept: a/b;c="\"de"       | other | RFC 9110 §5.6.4: a quoted-pair
        GET Accept: a/b;c="\\" , d/e | GET Accept: d/e,a/b;c="\\"     | same  | RFC 9110 §5.6.4: an escaped backslash
        GET Accept: a/b;c=",", d/e  | GET Accept: d/e,a/b;c=","      | same  | RFC 9110 §5.6.1: a comma in a quoted-string
        GET Accept: a/b;c="A"       | GET Accept: a/b;c="a"          | other | RFC 9110 §8.3.1: a value may be case-sensitive
        "#,
        |cells| {
            let head = stored(&rules("shared"), cells[0], "200 max-age=60; Vary: Accept")
                .expect("the response is storable");
            let later = cells[1];
            let (verb, fields) = message(later);
            let verb = method(verb);
            let same = head.selecting.matches(&RequestHead::new(&verb, &fields));
            if same { "same".to_owned() } else { "other".to_owned() }
        },
    );
}

/// Headers that count how often their lines are read.
struct Counted {
    fields: http::HeaderMap,
    reads: std::cell::Cell<usize>,
}

impl RequestHeaders for Counted {
    fn names(&self, each: impl FnMut(&str)) {
        self.fields.names(each);
    }

    fn lines<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> + 'a {
        self.reads.set(self.reads.get() + 1);
        self.fields.lines(name)
    }
}

/// A client sent an Accept of 100 KB for a page with 60 variants. It was normalized 60 times, which
/// took 90 ms of CPU for each request.
#[test]
fn a_value_is_normalized_once_for_a_request() {
    let rules = rules("shared");
    let heads: Vec<StoredHead> = (0..60)
        .map(|n| stored(&rules, &format!("GET Accept: a/{n}"), "200 max-age=60; Vary: Accept"))
        .collect::<Result<_, _>>()
        .expect("the responses are storable");
    for value in ["text/html, b/c".to_owned(), "a/b, ".repeat(20_000)] {
        let mut fields = http::HeaderMap::new();
        fields.insert("accept", http::HeaderValue::from_str(&value).expect("visible ASCII"));
        let counted = Counted { fields, reads: std::cell::Cell::new(0) };
        let request = RequestHead::new(&http::Method::GET, &counted);
        let miss = rules.reuse(&request, &heads, at(NOW));
        assert!(matches!(miss, Reuse::Forward(larder_policy::MissReason::VaryMiss)), "{miss:?}");
        let reads = counted.reads.get();
        assert_eq!(reads, heads.len() + 1, "once for each variant, and for one normal form");
    }
}

/// §4.1: a cache may normalize, and need not. A value of more than 4 KiB is compared as it is.
#[test]
fn a_long_value_is_compared_byte_by_byte() {
    let long = |separator: &str| (0..1000).map(|n| format!("a/{n}")).collect::<Vec<_>>().join(separator);
    let head = |accept: &str| {
        stored(&rules("shared"), &format!("GET Accept: {accept}"), "200 max-age=60; Vary: Accept")
            .expect("the response is storable")
    };
    let matches = |head: &StoredHead, accept: &str| {
        let mut fields = http::HeaderMap::new();
        for line in accept.split(" + ") {
            fields.append("accept", http::HeaderValue::from_str(line).expect("visible ASCII"));
        }
        let request = RequestHead::new(&http::Method::GET, &fields);
        let variant = head.selecting.variant_of(&request);
        let same = head.selecting.matches(&request);
        let stored = SelectingHeaders::from_stored(
            head.selecting.iter().map(|(name, value)| (name.clone(), value.map(<[u8]>::to_vec))).collect(),
            false,
        );
        assert_eq!(stored.matches(&request), same, "as read back from a store");
        assert!(variant.is_some());
        same
    };
    assert!(matches(&head(&long(", ")), &long(", ")));
    assert!(!matches(&head(&long(", ")), &long(",")), "another spelling");
    assert!(matches(&head(&long(", ")), &format!("{} + {}", "a/0", long(", ").trim_start_matches("a/0, "))));
    assert!(matches(&head("b/c,  d/e"), "d/e,b/c"), "a short one");
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
