//! Reuse: a stored response, a part of one, or one in flight, is used for a request that it is not
//! for.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use anyhow::{Context as _, ensure};

use super::{
    case::{ALL, Case, PROXY},
    client::Client,
    lab::SITE,
    script::{Answer, Seen},
};

/// Longest time for which the origin waits for a second request.
const HOLD: Duration = Duration::from_secs(1);
/// Text that is long enough to be compressed.
const TEXT: &str = "All work and no play makes a dull page. ";

/// Returns the cases of this kind.
pub(super) fn cases() -> Vec<Case> {
    let mut cases = vec![
        in_flight(
            "alice-in-flight-is-shared-by-private",
            "Cookie",
            &[("Cache-Control", "private, max-age=600")],
        ),
        in_flight(
            "alice-in-flight-is-shared-by-vary",
            "Cookie",
            &[("Vary", "Cookie"), ("Cache-Control", "max-age=600")],
        ),
        in_flight("alice-in-flight-is-shared-by-no-store", "Cookie", &[("Cache-Control", "no-store")]),
        in_flight("alice-in-flight-is-shared-by-login", "Authorization", &[("Cache-Control", "max-age=600")]),
        in_flight("alice-in-flight-is-shared-by-nothing", "Authorization", &[]),
    ];
    cases.extend(parts());
    cases.extend(stale());
    cases.extend(codings());
    cases
}

/// Lets bob's request arrive while alice's is at the origin, which holds its response until it has
/// both, or for a second.
fn in_flight(case: &str, name: &'static str, fields: &'static [(&'static str, &'static str)]) -> Case {
    Case::new(case, ALL, move |lab| {
        let arrived = Arc::new(AtomicUsize::new(0));
        let waiting = Arc::clone(&arrived);
        let site = lab.site(move |seen| {
            waiting.fetch_add(1, Ordering::SeqCst);
            for _ in 0..HOLD.as_millis() / 10 {
                if waiting.load(Ordering::SeqCst) >= 2 {
                    break;
                }
                thread::sleep(Duration::from_millis(10));
            }
            let page = Answer::new(200, format!("page of {}", seen.header(name)));
            fields.iter().fold(page, |page, (name, value)| page.with(name, value))
        })?;
        let send = |user: &str| -> anyhow::Result<Client> {
            let mut client = Client::connect(site.address)?;
            let request =
                format!("GET /page HTTP/1.1\r\nHost: {SITE}\r\nConnection: close\r\n{name}: {user}\r\n\r\n");
            client.send(request.as_bytes());
            Ok(client)
        };
        let mut alice = send("alice")?;
        for _ in 0..10_000 {
            if arrived.load(Ordering::SeqCst) > 0 {
                break;
            }
            thread::sleep(Duration::from_millis(2));
        }
        let mut bob = send("bob")?;
        let [alice, bob] = [alice.reply("GET"), bob.reply("GET")];
        let [alice, bob] = [alice.context("no response to alice")?, bob.context("no response to bob")?];
        ensure!(alice.body == "page of alice", "alice got {}", alice.shown());
        ensure!(bob.body == "page of bob", "bob got {}", bob.shown());
        Ok(format!("bob got {}", bob.shown()))
    })
}

/// Returns the case of an origin that sends two parts with these tags, of which the first is old.
fn mixed(name: &str, [old, new]: [&'static str; 2]) -> Case {
    Case::new(name, ALL, move |lab| {
        let site = lab.site(move |seen| match seen.header("range") {
            "bytes=0-3" => part("old ", "0-3", old),
            "bytes=4-7" => part("new.", "4-7", new),
            _ => Answer::page("new new.").with("ETag", new),
        })?;
        for range in ["0-3", "4-7"] {
            let _ = site.get_with("/page", &format!("Range: bytes={range}\r\n"));
        }
        let next = site.get("/page")?;
        ensure!(next.body == "new new.", "the next client got {}", next.shown());
        Ok(format!("the next client got {}", next.shown()))
    })
}

fn parts() -> Vec<Case> {
    vec![
        mixed("parts-of-two-versions-are-mixed", ["\"1\"", "\"2\""]),
        mixed("parts-with-a-weak-tag-are-mixed", ["W/\"1\"", "W/\"1\""]),
        Case::new("a-part-of-another-range-is-stored", ALL, |lab| {
            // The origin sends another part than was requested, and states a wrong length.
            let site = lab.site(|seen| match seen.has("range") {
                true => part("evil", "0-8", "\"1\""),
                false => Answer::page("the whole").with("ETag", "\"1\""),
            })?;
            let _ = site.get_with("/page", "Range: bytes=4-7\r\n");
            let _ = site.get_with("/page", "Range: bytes=0-\r\n");
            let next = site.get("/page")?;
            ensure!(next.body == "the whole", "the next client got {}", next.shown());
            Ok(format!("the next client got {}", next.shown()))
        }),
        Case::new("a-cold-head-empties-a-page", ALL, |lab| {
            let site = lab.site(|_| Answer::page("the page").with("ETag", "\"1\""))?;
            site.send("HEAD", "/page", "", "")?;
            let next = site.get("/page")?;
            ensure!(next.body == "the page", "the next client got {}", next.shown());
            Ok(format!("the next client got {}", next.shown()))
        }),
    ]
}

/// Returns a part of a page of eight bytes.
fn part(body: &str, range: &str, tag: &str) -> Answer {
    let page = Answer::new(206, body).with("Cache-Control", "max-age=600").with("ETag", tag);
    page.with("Content-Range", &format!("bytes {range}/8"))
}

fn stale() -> Vec<Case> {
    let forced = |case: &str, control: &'static str| {
        Case::new(case, ALL, move |lab| {
            let counted = AtomicUsize::new(0);
            let site = lab.site(move |_| {
                let count = counted.fetch_add(1, Ordering::SeqCst) + 1;
                Answer::new(200, format!("page {count}")).with("Cache-Control", control)
            })?;
            site.get("/page")?;
            let fields = "Cache-Control: max-stale=100000, stale-if-error=100000\r\n";
            let next = site.get_with("/page", fields)?;
            ensure!(next.body == "page 2", "max-stale got {}", next.shown());
            Ok(format!("max-stale got {}", next.shown()))
        })
    };
    vec![
        forced("max-stale-bypasses-must-revalidate", "max-age=0, must-revalidate"),
        forced("max-stale-bypasses-no-cache", "max-age=600, no-cache"),
        forced("max-stale-bypasses-s-maxage", "s-maxage=0, max-age=600"),
        forced("max-stale-bypasses-no-store", "no-store, max-age=600"),
        Case::new("a-dead-origin-revives-must-revalidate", PROXY, |lab| {
            let counted = AtomicUsize::new(0);
            let site = lab.site(move |seen: &Seen| match counted.fetch_add(1, Ordering::SeqCst) {
                0 => Answer::new(200, format!("page of {}", seen.header("cookie")))
                    .with("Cache-Control", "max-age=0, must-revalidate"),
                _ => Answer::Raw(Vec::new(), true),
            })?;
            site.get_with("/page", "Cookie: alice\r\n")?;
            let next = site.get("/page")?;
            ensure!(!next.contains("alice") && next.status >= 500, "the next client got {}", next.shown());
            Ok(format!("the next client got {}", next.shown()))
        }),
    ]
}

/// With `--compress`: each client gets a coding that it accepts.
fn codings() -> Vec<Case> {
    let page =
        |_: &Seen| Answer::page(TEXT.repeat(40)).with("Content-Type", "text/plain").with("ETag", "\"a,b\"");
    vec![
        Case::new("a-coded-page-reaches-a-plain-client", PROXY, move |lab| {
            lab.unharmed_with(&["--compress"], page, |site| {
                for coding in ["br", "gzip, zstd", "*", "identity;q=0, gzip"] {
                    let _ = site.get_with("/page", &format!("Accept-Encoding: {coding}\r\n"));
                }
            })
        }),
        Case::new("a-coded-page-poisons-a-refused-coding", PROXY, move |lab| {
            let site = lab.site_with(&["--compress"], page)?;
            site.get_with("/page", "Accept-Encoding: br\r\n")?;
            let next = site.get_with("/page", "Accept-Encoding: br;q=0, gzip\r\n")?;
            ensure!(next.header("content-encoding") != "br", "the next client got br");
            Ok(format!("the next client got {:?}", next.header("content-encoding")))
        }),
        Case::new("a-comma-in-a-tag-defeats-revalidation", PROXY, move |lab| {
            let site = lab.site_with(&["--compress"], page)?;
            let first = site.get_with("/page", "Accept-Encoding: gzip\r\n")?;
            let tag = first.header("etag").to_owned();
            let next =
                site.get_with("/page", &format!("Accept-Encoding: gzip\r\nIf-None-Match: {tag}\r\n"))?;
            ensure!(next.status == 304, "If-None-Match: {tag} got {}", next.status);
            Ok(format!("If-None-Match: {tag} got 304"))
        }),
        Case::new("an-origin-never-sees-a-tag-with-a-comma", PROXY, |lab| {
            let site = lab.site_with(&["--compress"], |seen| {
                let page = Answer::new(200, TEXT.repeat(40)).with("Content-Type", "text/plain");
                let page = page.with("ETag", "\"a,b\"").with("Cache-Control", "max-age=0");
                if seen.header("if-none-match").contains("\"a,b\"") {
                    Answer::new(304, "").with("ETag", "\"a,b\"")
                } else {
                    page
                }
            })?;
            for _ in 0..2 {
                site.get_with("/page", "Accept-Encoding: gzip\r\n")?;
            }
            let requests = site.script.requests();
            let tags: Vec<_> = requests.iter().map(|seen| seen.header("if-none-match")).collect();
            ensure!(
                tags.last().is_some_and(|tag| tag.contains("\"a,b\"")),
                "the origin received the tags {tags:?}"
            );
            Ok(format!("the origin received the tags {tags:?}"))
        }),
    ]
}
