//! The cases can fail: with the [`naive`](super::naive) cache, each of those listed here reports
//! the harm that it looks for, and not only that something went wrong.

use std::thread;

use super::{
    all,
    lab::{Lab, Target},
    report::NAME,
};

/// Cases, and what their reports must contain when the naive cache is attacked.
const HARMED: &[(&str, &str)] = &[
    // One client's field changes the page, and the naive cache has it in no key.
    ("links-follow-x-forwarded-host", "next client: 200, \"<a href=//site.test+evil.test/>"),
    ("links-follow-x_forwarded_host", "next client: 200, \"<a href=//evil.test/>"),
    ("path-follows-x-original-url", "next client: 200, \"the page /evil\""),
    ("method-follows-x-http-method-override", "next client: 405"),
    ("redirect-follows-x-forwarded-scheme", "next client: 301"),
    ("trusted-hosts-share-a-page", "one.test"),
    // The client's list removes what the naive cache has added, and what selects a variant.
    ("connection-strips-x-forwarded-proto", "next client: 301"),
    ("connection-strips-content-length", "became a request"),
    ("connection-stores-the-wrong-variant", "a German client got 200, \"in English\""),
    ("connection-hides-private", "bob got 200, \"page of alice\""),
    // Its key is the decoded path, without host, query or case.
    ("two-sites-share-a-page", "page of site.test"),
    ("an-encoded-slash-shares-a-page", "/a/b got 200, \"/a%2Fb\""),
    ("dot-segments-poison-a-page", "next client: 404"),
    ("host-with-the-default-port-poisons-links", "SITE.test:80"),
    ("a-fat-get-poisons-a-page", "user=evil"),
    // It stores whatever comes.
    ("a-range-beyond-the-end-is-everyones-416", "next client: 416"),
    ("if-none-match-is-everyones-304", "next client: 304"),
    ("an-oversize-field-is-everyones-400", "next client: 400"),
    ("a-206-is-served-as-the-whole", "next client got 206"),
    ("an-upgrade-poisons-a-page", "next client: 200, \"only for WebSocket\""),
    ("a-short-body-is-stored", "from the store"),
    ("a-page-behind-authorization-is-shared", "page of Bearer alice"),
    ("a-deceiving-path-shares-an-account", "page of alice"),
    ("vary-cookie-shares-a-page", "page of alice"),
    ("a-cookie-of-alice-is-replayed", "session=alice"),
    ("head-writes-a-cookie-into-a-page", "session=alice"),
    // It forwards heads as they are, and believes the first length.
    ("smuggling-by-length-and-chunked", "received the hidden request"),
    ("smuggling-by-two-lengths", "received the hidden request"),
    ("smuggling-by-a-folded-line", "Transfer-Encoding:\\r\\n chunked"),
    ("smuggling-by-a-chunk-extension", "received the hidden request"),
    ("content-of-a-hit-becomes-a-request", "received the hidden request"),
    // It gives the next client what is left on a connection.
    ("a-second-response-reaches-the-next", "next client got 200, \"evil\""),
    ("a-body-after-204-reaches-the-next", "next client got 200, \"evil\""),
    ("a-response-without-request-is-used", "next client got 200, \"evil\""),
];

/// Runs a case against the naive cache, and returns its report.
fn naive(name: &str) -> String {
    let case = all().into_iter().find(|case| case.name == name).unwrap_or_else(|| panic!("no case {name}"));
    let lab = Lab { target: Target::Naive, programs: None };
    match (case.run)(&lab) {
        Ok(seen) => format!("passes: {seen}"),
        Err(error) => format!("{error:#}"),
    }
}

#[test]
fn a_naive_cache_is_harmed_and_the_cases_report_it() {
    thread::scope(|scope| {
        let runs: Vec<_> =
            HARMED.iter().map(|(name, harm)| (name, harm, scope.spawn(|| naive(name)))).collect();
        for (name, harm, run) in runs {
            let report = run.join().expect("a case does not panic");
            assert!(report.contains(harm), "{name}: {report}");
        }
    });
}

#[test]
fn names_fit_the_table_and_are_unique() {
    let mut names: Vec<_> = all().into_iter().map(|case| case.name).collect();
    let count = names.len();
    assert!(count >= 80, "{count} cases");
    for name in &names {
        assert!(name.len() <= NAME, "{name} has {} characters", name.len());
    }
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), count);
}
