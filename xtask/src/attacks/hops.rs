//! Hop-by-hop abuse: a `Connection` field of a client or an origin that removes what the other side
//! must see, or what the cache itself has added.

use anyhow::ensure;

use super::{
    case::{ALL, Case, Outcome, PROXY},
    lab::{Lab, SITE},
    script::{Answer, Seen},
};

/// Returns the cases of this kind.
pub(super) fn cases() -> Vec<Case> {
    let mut cases = clients();
    cases.extend(variants());
    cases.extend(origins());
    cases
}

/// Sends a request with this `Connection` field and these lines.
fn hop(
    lab: &Lab<'_>,
    connection: &str,
    fields: &str,
    respond: impl Fn(&Seen) -> Answer + Clone + Send + Sync + 'static,
) -> Outcome {
    lab.unharmed(respond, |site| {
        let _ = site.get_with("/page", &format!("Connection: close, {connection}\r\n{fields}"));
    })
}

fn clients() -> Vec<Case> {
    vec![
        Case::new("connection-strips-x-forwarded-proto", PROXY, |lab| {
            hop(lab, "X-Forwarded-Proto", "", |seen| match seen.header("x-forwarded-proto") {
                "http" => Answer::page("the page"),
                _ => Answer::redirect("https://site.test/page"),
            })
        }),
        Case::new("connection-strips-x-forwarded-host", PROXY, |lab| {
            hop(lab, "X-Forwarded-Host", "", |seen| {
                Answer::page(format!("<a href=//{}/>", seen.header("x-forwarded-host")))
            })
        }),
        Case::new("connection-strips-x-forwarded-for", PROXY, |lab| {
            hop(lab, "X-Forwarded-For", "", |seen| match seen.has("x-forwarded-for") {
                true => Answer::page("the page"),
                false => Answer::error(403),
            })
        }),
        Case::new("connection-strips-via", PROXY, |lab| {
            hop(lab, "Via", "", |seen| match seen.has("via") {
                true => Answer::page("the page"),
                false => Answer::page("an uncompressed page for clients without a proxy"),
            })
        }),
        Case::new("connection-strips-host", ALL, |lab| {
            hop(lab, "Host", "", |seen| match seen.header("host") {
                SITE => Answer::page("the page"),
                _ => Answer::error(400),
            })
        }),
        Case::new("connection-strips-content-length", ALL, |lab| {
            let site = lab.site(|seen| Answer::page(format!("{} bytes", seen.body.len())))?;
            let hidden = "GET /hidden HTTP/1.1\r\nHost: site.test\r\n\r\n";
            let fields = format!("Connection: close, Content-Length\r\nContent-Length: {}\r\n", hidden.len());
            let posted = site.send("POST", "/page", &fields, hidden)?;
            let hidden = site.script.requests_for("/hidden");
            ensure!(hidden.is_empty(), "the content of a POST became a request: {posted:?}");
            let page = site.get("/page")?;
            ensure!(page.body == "0 bytes", "the next client got {}", page.shown());
            Ok(format!("the POST got {}, the next client {}", posted.shown(), page.shown()))
        }),
        Case::new("hop-by-hop-fields-reach-the-origin", PROXY, |lab| {
            let site = lab.site(|_| Answer::page("the page"))?;
            let fields = "Connection: close, X-Custom, HTTP2-Settings\r\nX-Custom: 1\r\nKeep-Alive: timeout=99\r\n\
                          Proxy-Connection: keep-alive\r\nTE: trailers\r\n\
                          Proxy-Authorization: Basic eDp5\r\nHTTP2-Settings: AAMAAABk\r\n";
            site.get_with("/page", fields)?;
            let names =
                ["x-custom", "keep-alive", "proxy-connection", "proxy-authorization", "http2-settings"];
            let requests = site.script.requests();
            let leaked = names.iter().find(|name| requests.iter().any(|seen| seen.has(name)));
            ensure!(leaked.is_none(), "the origin received {leaked:?}");
            Ok("the origin received none of them".to_owned())
        }),
        Case::new("an-h2c-upgrade-tunnels-to-the-origin", PROXY, |lab| {
            let site = lab.site(|seen| match seen.has("upgrade") {
                true => Answer::raw(
                    "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n",
                ),
                false => Answer::page("the page"),
            })?;
            let fields =
                "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n";
            let reply = site.get_with("/page", fields)?;
            ensure!(reply.status != 101, "the client got {}", reply.shown());
            ensure!(
                !site.script.requests().iter().any(|seen| seen.has("upgrade")),
                "the origin received Upgrade"
            );
            Ok(format!("the client got {}", reply.shown()))
        }),
    ]
}

/// The origin must decide by the same fields as the cache that stores its variants.
fn variants() -> Vec<Case> {
    vec![
        Case::new("connection-hides-authorization", ALL, |lab| {
            let site = lab.site(|seen| match seen.has("authorization") {
                true => Answer::page("alice's account").with("Vary", "Origin"),
                false => Answer::page("please log in"),
            })?;
            let fields = "Connection: close, Authorization\r\nAuthorization: Bearer alice\r\n";
            site.get_with("/page", fields)?;
            let next = site.get("/page")?;
            ensure!(!next.contains("alice"), "the next client got {}", next.shown());
            Ok(format!("the next client got {}", next.shown()))
        }),
        Case::new("connection-stores-the-wrong-variant", ALL, |lab| {
            let language = |seen: &Seen| {
                let body = if seen.header("accept-language") == "de" { "auf Deutsch" } else { "in English" };
                Answer::page(body).with("Vary", "Accept-Language")
            };
            let site = lab.site(language)?;
            site.get_with("/page", "Connection: close, Accept-Language\r\nAccept-Language: de\r\n")?;
            let german = site.get_with("/page", "Accept-Language: de\r\n")?;
            ensure!(german.body == "auf Deutsch", "a German client got {}", german.shown());
            Ok(format!("a German client got {}", german.shown()))
        }),
        Case::new("connection-empties-a-vary-cookie-page", ALL, |lab| {
            let site = lab.site(|seen| {
                let user = seen.header("cookie").strip_prefix("user=").unwrap_or("no user").to_owned();
                Answer::page(format!("page of {user}")).with("Vary", "Cookie")
            })?;
            site.get_with("/page", "Connection: close, Cookie\r\nCookie: user=alice\r\n")?;
            let alice = site.get_with("/page", "Cookie: user=alice\r\n")?;
            ensure!(alice.body == "page of alice", "alice got {}", alice.shown());
            Ok(format!("alice got {}", alice.shown()))
        }),
    ]
}

/// Checks that a response with these fields, which forbid or restrict storing, is obeyed although
/// the origin lists them in `Connection`. `USER` in a value stands for the client's cookie.
fn listed(case: &str, fields: &'static [(&'static str, &'static str)]) -> Case {
    Case::new(case, ALL, move |lab| {
        let site = lab.site(move |seen| {
            let user = seen.header("cookie");
            let page = Answer::new(200, format!("page of {user}"));
            fields.iter().fold(page, |page, (name, value)| page.with(name, &value.replace("USER", user)))
        })?;
        site.get_with("/page", "Cookie: alice\r\n")?;
        let next = site.get_with("/page", "Cookie: bob\r\n")?;
        let leaked = next.contains("alice");
        ensure!(!leaked, "bob got {}", next.shown());
        Ok(format!("bob got {}", next.shown()))
    })
}

fn origins() -> Vec<Case> {
    vec![
        listed(
            "connection-hides-cdn-cache-control",
            &[
                ("Connection", "cdn-cache-control"),
                ("CDN-Cache-Control", "no-store"),
                ("Cache-Control", "max-age=600"),
            ],
        ),
        listed(
            "connection-hides-private",
            &[
                ("Connection", "cache-control"),
                ("Cache-Control", "private, max-age=600"),
                ("Expires", "Thu, 01 Jan 2099 00:00:00 GMT"),
            ],
        ),
        listed(
            "connection-hides-vary",
            &[("Connection", "vary"), ("Vary", "Cookie"), ("Cache-Control", "max-age=600")],
        ),
        listed(
            "connection-hides-set-cookie",
            &[("Connection", "set-cookie"), ("Set-Cookie", "session=USER"), ("Cache-Control", "max-age=600")],
        ),
        listed(
            "connection-hides-age",
            &[("Connection", "age"), ("Age", "600"), ("Cache-Control", "max-age=600")],
        ),
        listed(
            "connection-hides-pragma",
            &[
                ("Connection", "cache-control"),
                ("Cache-Control", "no-cache"),
                ("Expires", "Thu, 01 Jan 2099 00:00:00 GMT"),
            ],
        ),
        listed(
            "connection-hides-expires",
            &[
                ("Connection", "expires, last-modified"),
                ("Expires", "0"),
                ("Last-Modified", "Thu, 01 Jan 2015 00:00:00 GMT"),
            ],
        ),
    ]
}
