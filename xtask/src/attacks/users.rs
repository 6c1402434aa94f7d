//! One user's data: pages behind credentials and cookies must not reach another user, neither from
//! the store nor through what an exchange changes in a stored page (web cache deception).

use std::{fs::File, process::Command};

use anyhow::{Context as _, ensure};

use super::{
    case::{ALL, Case, Outcome, PROXY},
    lab::{Lab, Site},
    script::{Answer, Script, Seen},
};

/// Ends of paths that caches take for static files, beside the path of an account page.
const DECEIVING: &[&str] = &[
    "/account/x.css",
    "/account;x.css",
    "/account%0Ax.css",
    "/account%00x.css",
    "/account%3Bx.css",
    "/account%23x.css",
    "/account%3Fx.css",
    "/static/..%2Faccount",
    "/static/%2e%2e/account",
    "/account?x.css",
];

/// `Cache-Control` lines that forbid a shared cache to store, in spellings that a careless parser
/// does not see.
const FORBIDDING: &[&[&str]] = &[
    &["max-age=600", "private"],
    &["max-age=600,PRIVATE"],
    &["max-age=600, ext=\"a, b\", no-store"],
    &["max-age=600 , , no-store"],
    &["\tno-store,max-age=600"],
    &["max-age=600", "NO-STORE"],
    &["max-age=600, no-cache, no-cache=\"x\""],
    &["private;max-age=600"],
];

/// The credentials of alice.
const ALICE: &str = "Authorization: Bearer alice\r\n";

/// Returns the cases of this kind.
pub(super) fn cases() -> Vec<Case> {
    let mut cases = credentials();
    cases.extend(lifetimes());
    cases.extend(directives());
    cases.extend(stored_pages());
    cases.extend(commands());
    cases
}

/// Responds with a page of the user in `Cookie` or `Authorization`.
fn page_of(seen: &Seen) -> Answer {
    let user = format!("{}{}", seen.header("cookie"), seen.header("authorization"));
    Answer::new(200, format!("page of {user}"))
}

/// Lets alice send these lines, and then a client without them.
fn secret(
    lab: &Lab<'_>,
    target: &str,
    fields: &str,
    respond: impl Fn(&Seen) -> Answer + Send + Sync + 'static,
) -> Outcome {
    let site = lab.site(respond)?;
    let _ = site.get_with(target, fields);
    no_alice(&site, target)
}

/// Checks that the next client sees nothing of alice.
fn no_alice(site: &Site, target: &str) -> Outcome {
    let next = site.get(target)?;
    ensure!(!next.contains("alice"), "the next client got {}", next.shown());
    Ok(format!("the next client got {}", next.shown()))
}

fn credentials() -> Vec<Case> {
    vec![
        Case::new("a-page-behind-authorization-is-shared", ALL, |lab| {
            secret(lab, "/page", ALICE, |seen| page_of(seen).with("Cache-Control", "max-age=600"))
        }),
        Case::new("a-bad-s-maxage-shares-authorization", ALL, |lab| {
            secret(lab, "/page", ALICE, |seen| {
                page_of(seen).with("Cache-Control", "max-age=600, s-maxage=foo").with("ETag", "\"1\"")
            })
        }),
        Case::new("a-304-shares-a-page-of-authorization", ALL, |lab| {
            for control in
                ["s-maxage=foo", "s-maxage=-1", "s-maxage=", "s-maxage", "s-maxage=1.5", "Public=no"]
            {
                let site = lab.site(move |seen| match seen.has("if-none-match") {
                    true => Answer::new(304, "").with("ETag", "\"1\""),
                    false => page_of(seen).with("Cache-Control", control).with("ETag", "\"1\""),
                })?;
                site.get_with("/page", ALICE)?;
                let bob = site.get_with("/page", "Authorization: Bearer bob\r\n")?;
                ensure!(!bob.contains("alice"), "{control}: bob got {}", bob.shown());
            }
            Ok("bob got his own page".to_owned())
        }),
        Case::new("must-revalidate-in-quotes-shares-a-page", ALL, |lab| {
            secret(lab, "/page", ALICE, |seen| {
                page_of(seen)
                    .with("Cache-Control", "max-age=600, ext=\"public, must-revalidate, s-maxage=9\"")
            })
        }),
        Case::new("a-forbidden-page-is-shared", ALL, |lab| {
            let mut seen = String::new();
            for lines in FORBIDDING {
                seen = secret(lab, "/page", "Cookie: alice\r\n", move |seen| {
                    lines.iter().fold(page_of(seen), |page, line| page.with("Cache-Control", line))
                })
                .map_err(|error| error.context(format!("{lines:?}")))?;
            }
            Ok(seen)
        }),
        Case::new("a-deceiving-path-shares-an-account", ALL, |lab| {
            for target in DECEIVING {
                // A framework's default for pages with a session: no Cache-Control at all.
                secret(lab, target, "Cookie: alice\r\n", |seen| {
                    let cookie = format!("seen={}", seen.header("cookie"));
                    page_of(seen).with("Content-Type", "text/css").with("Set-Cookie", &cookie)
                })
                .map_err(|error| error.context(*target))?;
            }
            Ok("no path made the page shared".to_owned())
        }),
    ]
}

/// Lifetimes that no response states, `Vary`, and fields that are read wrongly.
fn lifetimes() -> Vec<Case> {
    vec![
        Case::new("a-heuristic-shares-a-page-of-a-cookie", ALL, |lab| {
            secret(lab, "/page", "Cookie: alice\r\n", |seen| {
                page_of(seen).with("Last-Modified", "Thu, 01 Jan 2015 00:00:00 GMT")
            })
        }),
        Case::new("a-heuristic-shares-authorization", ALL, |lab| {
            secret(lab, "/page", ALICE, |seen| {
                page_of(seen).with("Last-Modified", "Thu, 01 Jan 2015 00:00:00 GMT")
            })
        }),
        Case::new("a-default-lifetime-shares-a-page", PROXY, |lab| {
            let file = "[[route]]\norigins = [\"ORIGIN\"]\ndefault_freshness = \"1m\"\n";
            let site = lab.routes(file, page_of)?;
            site.get_with("/page", "Cookie: session=alice\r\n")?;
            no_alice(&site, "/page")
        }),
        Case::new("vary-cookie-shares-a-page", ALL, |lab| {
            secret(lab, "/page", "Cookie: alice\r\n", |seen| {
                page_of(seen).with("Vary", "cookie").with("Cache-Control", "max-age=600")
            })
        }),
        Case::new("vary-in-two-lines-shares-a-page", ALL, |lab| {
            secret(lab, "/page", "Cookie: alice\r\n", |seen| {
                let page = page_of(seen).with("Cache-Control", "max-age=600");
                page.with("Vary", "Accept-Encoding").with("Vary", "Origin, COOKIE")
            })
        }),
        Case::new("vary-star-shares-a-page", ALL, |lab| {
            secret(lab, "/page", "Cookie: alice\r\n", |seen| {
                page_of(seen).with("Vary", "Accept, *").with("Cache-Control", "max-age=600")
            })
        }),
        Case::new("a-broken-vary-shares-a-page", ALL, |lab| {
            secret(lab, "/page", "Cookie: alice\r\n", |seen| {
                page_of(seen).with("Vary", "Cookie; q=1").with("Cache-Control", "max-age=600")
            })
        }),
        Case::new("a-cookie-of-alice-is-replayed", ALL, |lab| {
            secret(lab, "/page", "X-User: alice\r\n", |seen| {
                let page = Answer::page("the page");
                if seen.has("x-user") { page.with("Set-Cookie", "session=alice") } else { page }
            })
        }),
    ]
}

/// Structured fields that a careless parser reads as something else.
fn directives() -> Vec<Case> {
    vec![
        Case::new("a-string-as-max-age-beats-no-store", ALL, |lab| {
            secret(lab, "/page", "Cookie: alice\r\n", |seen| {
                page_of(seen).with("CDN-Cache-Control", "max-age=\"10000\"").with("Cache-Control", "no-store")
            })
        }),
        Case::new("a-display-string-hides-no-store", ALL, |lab| {
            secret(lab, "/page", "Cookie: alice\r\n", |seen| {
                page_of(seen)
                    .with("CDN-Cache-Control", "no-store, a=%\"f%c3%bc\"")
                    .with("Cache-Control", "max-age=600")
            })
        }),
        Case::new("members-beyond-300-hide-no-store", ALL, |lab| {
            secret(lab, "/page", "Cookie: alice\r\n", |seen| {
                let members: Vec<_> = (0..300).map(|n| format!("x{n}")).collect();
                page_of(seen)
                    .with("CDN-Cache-Control", &format!("{}, no-store", members.join(", ")))
                    .with("Cache-Control", "max-age=600")
            })
        }),
    ]
}

/// What an exchange that may not be stored does to a page that is stored.
fn stored_pages() -> Vec<Case> {
    let harmed = |case: &str,
                  first: &'static str,
                  method: &'static str,
                  fields: &'static str,
                  extra: &'static [(&'static str, &'static str)]| {
        Case::new(case, ALL, move |lab| {
            let site = lab.site(move |seen| {
                let control =
                    if seen.has("x-user") || seen.has("authorization") { "max-age=600" } else { first };
                let mut page =
                    Answer::new(200, "the page").with("ETag", "\"1\"").with("Cache-Control", control);
                if seen.has("x-user") || seen.has("authorization") {
                    page = extra.iter().fold(page, |page, (name, value)| page.with(name, value));
                    // A HEAD is answered with 200, as many applications do.
                    if seen.has("if-none-match") && seen.method == "GET" {
                        let kept = Answer::new(304, "").with("ETag", "\"1\"");
                        return extra.iter().fold(kept, |page, (name, value)| page.with(name, value));
                    }
                }
                page
            })?;
            site.get("/page")?;
            let _ = site.send(method, "/page", fields, "");
            no_alice(&site, "/page")
        })
    };
    const COOKIE: &[(&str, &str)] = &[("Set-Cookie", "session=alice"), ("X-Greeting", "hello alice")];
    const PRIVATE: &[(&str, &str)] = &[("Cache-Control", "private"), ("X-Greeting", "hello alice")];
    const PLAIN: &[(&str, &str)] = &[("X-Greeting", "hello alice")];
    vec![
        harmed(
            "head-writes-a-cookie-into-a-page",
            "max-age=600",
            "HEAD",
            "X-User: 1\r\nCache-Control: no-cache\r\n",
            COOKIE,
        ),
        harmed(
            "head-of-a-stale-page-writes-a-cookie",
            "s-maxage=0, max-age=0",
            "HEAD",
            "X-User: 1\r\n",
            COOKIE,
        ),
        harmed("head-writes-private-fields-into-a-page", "max-age=0", "HEAD", "X-User: 1\r\n", PRIVATE),
        harmed(
            "head-with-credentials-changes-a-page",
            "max-age=0",
            "HEAD",
            "Authorization: Bearer alice\r\n",
            PLAIN,
        ),
        harmed("a-304-writes-a-cookie-into-a-page", "max-age=0", "GET", "X-User: 1\r\n", COOKIE),
        harmed("a-304-writes-private-fields-into-a-page", "max-age=0", "GET", "X-User: 1\r\n", PRIVATE),
        harmed(
            "a-304-to-credentials-changes-a-page",
            "max-age=0",
            "GET",
            "Authorization: Bearer alice\r\n",
            PLAIN,
        ),
    ]
}

/// `larder get`, a private cache: a user's credentials and `Host` select the page.
fn commands() -> Vec<Case> {
    let got = |case: &str, first: &'static [&'static str], second: &'static [&'static str]| {
        Case::new(case, PROXY, move |lab| {
            let script = Script::start(|seen| {
                let user = format!("{} at {}", seen.header("authorization"), seen.header("host"));
                Answer::new(200, format!("page of {user}")).with("Cache-Control", "private, max-age=600")
            })?;
            let home = tempfile::tempdir()?;
            let get = |arguments: &[&str]| -> anyhow::Result<String> {
                let (url, options) = arguments.split_last().context("the last argument is a URL")?;
                // From standard input, which also takes URLs with userinfo.
                let input = home.path().join("urls");
                std::fs::write(&input, url.replace("ADDRESS", &script.address.to_string()))?;
                let pages = tempfile::tempdir()?;
                let mut command = Command::new(&lab.programs()?.larder);
                command.arg("get").args(options).arg("--output").arg(pages.path()).arg("-");
                command.env("XDG_CACHE_HOME", home.path()).stdin(File::open(&input)?);
                command.output().context("can't start larder get")?;
                let mut text = String::new();
                for page in std::fs::read_dir(pages.path())? {
                    text.push_str(&std::fs::read_to_string(page?.path())?);
                }
                Ok(text)
            };
            get(first)?;
            let second = get(second)?;
            ensure!(second.starts_with("page of"), "the second command got {second:?}");
            let leaked =
                second.contains("alice") || second.contains("YWxpY2U6eA") || second.contains("one.test");
            ensure!(!leaked, "the second command got {second:?}");
            Ok(format!("the second command got {second:?}"))
        })
    };
    vec![
        got(
            "larder-get-prints-another-users-page",
            &["--header", "Authorization: Bearer alice", "http://ADDRESS/page"],
            &["--header", "Authorization: Bearer bob", "http://ADDRESS/page"],
        ),
        got(
            "larder-get-prints-a-page-without-login",
            &["--header", "Authorization: Bearer alice", "http://ADDRESS/page"],
            &["http://ADDRESS/page"],
        ),
        got(
            "larder-get-prints-a-page-of-userinfo",
            &["http://alice:x@ADDRESS/page"],
            &["http://bob:y@ADDRESS/page"],
        ),
        got(
            "larder-get-prints-another-sites-page",
            &["--header", "Host: one.test", "http://ADDRESS/page"],
            &["--header", "Host: two.test", "http://ADDRESS/page"],
        ),
    ]
}
