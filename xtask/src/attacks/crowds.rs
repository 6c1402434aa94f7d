//! Floods and storms: what many requests, many variants or endless loops of one client cost the
//! origin and everyone else.

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
    lab::{Lab, SITE},
    script::{Answer, Script},
};
use crate::process::free_port;

/// Clients of a storm.
const STORM: usize = 50;
/// Longest time for which the origin holds its response in a storm.
const HOLD: Duration = Duration::from_millis(1500);

/// Returns the cases of this kind.
pub(super) fn cases() -> Vec<Case> {
    let mut cases = vec![
        storm("a-reload-storm-reaches-the-origin", "Cache-Control: no-cache\r\n"),
        storm("a-pragma-storm-reaches-the-origin", "Pragma: no-cache\r\n"),
        storm("a-max-age-0-storm-reaches-the-origin", "Cache-Control: max-age=0\r\n"),
        Case::new("a-flood-of-variants-empties-a-page", ALL, |lab| {
            let site = lab.site(|seen| {
                Answer::page(format!("for {}", seen.header("user-agent"))).with("Vary", "User-Agent")
            })?;
            for n in 0..65 {
                site.get_with("/page", &format!("User-Agent: {n}\r\n"))?;
            }
            let kept = (0..65).filter(|n| {
                site.get_with("/page", &format!("User-Agent: {n}\r\nCache-Control: only-if-cached\r\n"))
                    .is_ok_and(|reply| reply.is_hit())
            });
            let kept = kept.count();
            ensure!(kept >= 50, "after 65 variants, {kept} are left");
            Ok(format!("after 65 variants, {kept} are left"))
        }),
        Case::new("only-if-cached-reaches-the-origin", ALL, |lab| {
            let site = lab.site(|_| Answer::page("the page"))?;
            let reply = site.get_with("/page", "Cache-Control: only-if-cached\r\n")?;
            ensure!(
                site.script.requests().is_empty(),
                "the origin was reached; the client got {}",
                reply.shown()
            );
            site.expect("/page", &lab.site(|_| Answer::page("the page"))?.get("/page")?)
        }),
        Case::new("an-overflowing-lifetime-stops-the-cache", ALL, |lab| {
            for value in [
                "max-age=18446744073709551616",
                "max-age=18446744073709551615, stale-while-revalidate=18446744073709551615",
                "s-maxage=9223372036854775807, stale-if-error=9223372036854775807",
                "max-age=-1",
                "max-age=1e99",
            ] {
                let site = lab.site(move |_| {
                    let page = Answer::new(200, "the page").with("Cache-Control", value);
                    page.with("Age", "18446744073709551615").with("Date", "Fri, 31 Dec 9999 23:59:59 GMT")
                })?;
                for _ in 0..3 {
                    let reply = site.get_with("/page", "Cache-Control: max-stale\r\n").context(value)?;
                    ensure!(reply.body == "the page", "{value}: {}", reply.shown());
                }
            }
            Ok("every client got the page".to_owned())
        }),
        Case::new("an-overflowing-route-stops-the-cache", PROXY, |lab| {
            let file = "[[route]]\norigins = [\"ORIGIN\"]\nfreshness = \"18446744073709551615s\"\n\
                        stale_while_revalidate = \"18446744073709551615s\"\n";
            let Ok(site) = lab.routes(file, |_| Answer::page("the page")) else {
                return Ok("the configuration is refused".to_owned());
            };
            for _ in 0..2 {
                let reply = site.get("/page")?;
                ensure!(reply.body == "the page", "a client got {}", reply.shown());
            }
            Ok("every client got the page".to_owned())
        }),
    ];
    cases.extend(loops());
    cases
}

/// Sends the same field from many clients at once, for a page that is fresh, while the origin is
/// slow.
fn storm(case: &str, fields: &'static str) -> Case {
    Case::new(case, ALL, move |lab| {
        let sent = Arc::new(AtomicUsize::new(0));
        let waiting = Arc::clone(&sent);
        let site = lab.site(move |_| {
            // The first response is for the page; the others come when all clients have sent.
            for _ in 0..HOLD.as_millis() / 10 {
                if waiting.load(Ordering::SeqCst) == 0 || waiting.load(Ordering::SeqCst) >= STORM {
                    break;
                }
                thread::sleep(Duration::from_millis(10));
            }
            if waiting.load(Ordering::SeqCst) > 0 {
                thread::sleep(Duration::from_millis(300));
            }
            Answer::page("the page").with("ETag", "\"1\"")
        })?;
        site.get("/page")?;
        let mut clients = Vec::new();
        for _ in 0..STORM {
            let mut client = Client::connect(site.address)?;
            sent.fetch_add(1, Ordering::SeqCst);
            client.send(
                format!("GET /page HTTP/1.1\r\nHost: {SITE}\r\nConnection: close\r\n{fields}\r\n").as_bytes(),
            );
            clients.push(client);
        }
        let bodies = clients.iter_mut().filter_map(|client| client.reply("GET"));
        let served = bodies.filter(|reply| reply.body == "the page").count();
        ensure!(served == STORM, "{served} of {STORM} clients got the page");
        let fetched = site.script.requests().len() - 1;
        ensure!(fetched <= 2, "{fetched} requests of {STORM} clients reached the origin");
        Ok(format!("{fetched} requests of {STORM} clients reached the origin"))
    })
}

fn loops() -> Vec<Case> {
    vec![
        Case::new("a-proxy-that-is-its-own-origin-hangs", PROXY, |lab| {
            let port = free_port()?;
            let (listen, origin) = (format!("127.0.0.1:{port}"), format!("http://127.0.0.1:{port}"));
            let options = ["--listen", &listen, "--origin", &origin, "--origin-timeout", "5s"];
            let (_proxy, address) = lab.proxy(&options)?;
            for method in ["GET", "POST"] {
                let mut client = Client::connect(address)?;
                client.send(
                    format!("{method} /page HTTP/1.1\r\nHost: {SITE}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                        .as_bytes(),
                );
                let reply = client.reply(method).context("no response")?;
                ensure!(reply.status == 508, "{method} got {}", reply.shown());
            }
            Ok("508".to_owned())
        }),
        Case::new("two-proxies-in-a-circle-hang", PROXY, |lab| {
            let (one, two) = (free_port()?, free_port()?);
            let proxy = |listen: u16, origin: u16| {
                let (listen, origin) = (format!("127.0.0.1:{listen}"), format!("http://127.0.0.1:{origin}"));
                lab.proxy(&["--listen", &listen, "--origin", &origin, "--origin-timeout", "5s"])
            };
            let (_one, address) = proxy(one, two)?;
            let _two = proxy(two, one)?;
            let mut client = Client::connect(address)?;
            client
                .send(format!("GET /page HTTP/1.1\r\nHost: {SITE}\r\nConnection: close\r\n\r\n").as_bytes());
            let reply = client.reply("GET").context("no response")?;
            ensure!(reply.status == 508, "the client got {}", reply.shown());
            Ok("508".to_owned())
        }),
        Case::new("a-forged-loop-is-everyones-error", PROXY, |lab| {
            forged(lab, "CDN-Loop: larder\r\nVia: 1.1 larder, 1.1 larder\r\n")
        }),
        Case::new("a-chain-of-two-proxies-counts-as-a-loop", PROXY, |lab| {
            let script = Script::start(|_| Answer::page("the page"))?;
            let (_far, far) = lab.proxy(&["--origin", &format!("http://{}", script.address)])?;
            let (_near, near) = lab.proxy(&["--origin", &format!("http://{far}")])?;
            let mut client = Client::connect(near)?;
            client
                .send(format!("GET /page HTTP/1.1\r\nHost: {SITE}\r\nConnection: close\r\n\r\n").as_bytes());
            let reply = client.reply("GET").context("no response")?;
            ensure!(reply.body == "the page", "the client got {}", reply.shown());
            Ok(format!("the client got {}", reply.shown()))
        }),
    ]
}

/// Checks that the error for a forged loop is for the client that forged it only.
fn forged(lab: &Lab<'_>, fields: &str) -> super::case::Outcome {
    lab.unharmed(
        |_| Answer::page("the page"),
        |site| {
            let _ = site.get_with("/page", fields);
        },
    )
}
