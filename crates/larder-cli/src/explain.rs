//! `larder explain`: prints what the cache would do with a URL, and why.
//!
//! The decisions come from larder-policy, as in the engine. This file only prints them.

use std::{process::ExitCode, sync::Arc};

use anyhow::Context as _;
use http::{HeaderMap, Method, Request, response};
use larder::{
    core::{
        Body, CacheKey, CacheKind, CacheStore, Candidates, Clock as _, Origin as _, RequestHead, Rules,
        StoredHead, SystemClock, TargetUri, Timestamp,
        policy::{
            Exchange, MissReason, Reuse, Selected, StalePermission, ValidateReason, Validator,
            format_http_date, header_names::is_caching_header,
        },
    },
    origin::{HyperOptions, HyperOrigin},
};

use crate::{
    client_args::{PRIVATE, parse_headers, runtime},
    console::{OutputError, out},
    humanize::{duration, size},
    store_url,
    url_argument::parse_target,
};

/// Explain what the cache would do with a URL, and why.
///
/// Prints the stored responses, the one that is selected, and whether it is served, revalidated or
/// fetched again, with the section of the RFC behind each decision. With --fetch it also sends a
/// request to the origin, and prints whether the response may be stored and how long it is fresh.
/// The store is not changed.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  # What would `larder get` do with this URL?
  larder explain https://example.com/

  # May the origin's response be stored, and for how long?
  larder explain --fetch https://example.com/

  # For a request with this header.
  larder explain --header 'Accept-Language: de' \\
    https://example.com/

  # What would a proxy with this store do?
  larder explain --shared --store disk:/var/cache/larder \\
    https://example.com/")]
pub(crate) struct Args {
    /// URL to explain.
    #[arg(value_name = "URL")]
    url: String,
    /// Store to look into: disk:PATH or redis://HOST.
    #[arg(long, value_name = "STORE")]
    store: Vec<String>,
    /// Header of the request, e.g. 'Accept-Language: de'; can be repeated.
    #[arg(short = 'H', long, value_name = "NAME: VALUE")]
    header: Vec<String>,
    /// Send a request to the origin, and explain its response.
    #[arg(long)]
    fetch: bool,
    /// Apply the rules of a shared cache, such as a proxy, instead of those of a private one.
    #[arg(long)]
    shared: bool,
}

/// Runs the command.
pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let target = parse_target(&args.url, "larder explain")?;
    let headers = parse_headers(&args.header)?;
    let rules = if args.shared { Rules::shared() } else { Rules::private() };
    store_url::check(&args.store)?;
    out!("{target}, in a {} cache\n", if args.shared { "shared" } else { "private" })?;
    runtime()?.block_on(async {
        let store = store_url::open_to_look(&args.store).await?;
        explain_stored(&*store, &target, &headers, &rules).await?;
        if args.fetch {
            out!("")?;
            explain_fetched(&target, headers, &rules).await?;
        }
        anyhow::Ok(())
    })?;
    Ok(ExitCode::SUCCESS)
}

/// Prints the stored responses for a URL, and what would be done with a request for it.
async fn explain_stored(
    store: &dyn CacheStore,
    target: &TargetUri,
    headers: &HeaderMap,
    rules: &Rules,
) -> anyhow::Result<()> {
    let key = CacheKey::new(target);
    let key = if rules.kind == CacheKind::Private { key.with_extra(PRIVATE.as_bytes()) } else { key };
    let candidates = store.lookup(&key).await?;
    if candidates.is_empty() {
        out!("stored    nothing")?;
        out!("now       forwarded to the origin: nothing is stored for this URL (RFC 9111 §4)")?;
        return Ok(());
    }
    let now = SystemClock.now();
    let request = RequestHead::new(&Method::GET, headers);
    let reuse = rules.reuse(&request, candidates.iter().map(|candidate| &*candidate.head), now);
    let selected = match reuse {
        Reuse::Fresh(selected) | Reuse::Stale(selected, _) | Reuse::Validate(selected, _) => Some(selected),
        Reuse::Forward(_) | Reuse::OnlyIfCached => None,
    };
    for (index, candidate) in candidates.iter().enumerate() {
        let head = &candidate.head;
        let mark = if selected.is_some_and(|selected| selected.index == index) { ", selected" } else { "" };
        let length = candidate.body.content_length().map_or_else(|| "?".to_owned(), size);
        out!("stored    {}, {length}, {} ago{mark}", head.status, ago(now, head.freshness.response_time))?;
        for (name, value) in head.selecting.iter() {
            let value = value.map_or("(none)".into(), String::from_utf8_lossy);
            out!("          for {name}: {value} (Vary, RFC 9111 §4.1)")?;
        }
        print_caching_headers(&head.fields)?;
    }
    out!("")?;
    if let Some(selected) = selected {
        print_freshness(&candidates[selected.index].head, Some(selected))?;
    }
    Ok(print_now(reuse, &candidates)?)
}

/// Prints what would be done with the request now.
fn print_now(reuse: Reuse, candidates: &Candidates) -> Result<(), OutputError> {
    let now = match reuse {
        Reuse::Fresh(selected) => {
            format!("served from the cache: fresh for {} more (RFC 9111 §4.2)", seconds(selected.ttl))
        }
        Reuse::Stale(_, StalePermission::WhileRevalidate) => {
            "served stale while it is revalidated: stale-while-revalidate (RFC 5861 §3)".to_owned()
        }
        Reuse::Stale(..) => "served stale: max-stale in the request (RFC 9111 §5.2.1.2)".to_owned(),
        Reuse::Validate(selected, why) => {
            let how = match candidates[selected.index].head.validator() {
                Some(_) => "revalidated with the origin",
                None => "fetched again from the origin, since there is no validator",
            };
            format!("{how}: {} ({})", words_of_validation(why), why.section())
        }
        Reuse::Forward(why) => format!("forwarded to the origin: {} ({})", words_of_miss(why), why.section()),
        Reuse::OnlyIfCached => {
            "answered with 504: only-if-cached, and no stored response may be used (RFC 9111 §5.2.1.7)"
                .to_owned()
        }
    };
    out!("now       {now}")
}

/// Describes why a stored response has to be validated.
fn words_of_validation(why: ValidateReason) -> &'static str {
    match why {
        ValidateReason::Stale => "it is stale",
        ValidateReason::NoCache => "it has no-cache",
        ValidateReason::RequestNoCache | ValidateReason::Pragma => "the request has no-cache",
        ValidateReason::RequestMaxAge => "it is older than max-age in the request allows",
        ValidateReason::MinFresh => "it is not fresh for as long as min-fresh in the request requires",
        ValidateReason::ClockSetBack => "its age is unknown, since the clock was set back",
        _ => "the rules require it",
    }
}

/// Describes why no stored response can be used.
fn words_of_miss(why: MissReason) -> &'static str {
    match why {
        MissReason::Method => "stored responses do not answer this method",
        MissReason::UriMiss => "nothing is stored for this URL",
        MissReason::VaryMiss => "the stored responses are for other values of the headers in Vary",
        MissReason::Partial => "only another part of the response is stored",
        MissReason::OriginPrecondition => "the request has a condition that only the origin may evaluate",
        _ => "the rules require it",
    }
}

/// Prints how long a response is fresh, and what may be done with it after that.
fn print_freshness(head: &StoredHead, selected: Option<Selected>) -> Result<(), OutputError> {
    let freshness = &head.freshness;
    out!(
        "fresh     for {}, from {}",
        duration(freshness.lifetime.lifetime.as_secs()),
        freshness.lifetime.from.name()
    )?;
    if let Some(selected) = selected {
        out!("age       {} (RFC 9111 §4.2.3)", duration(selected.age.as_secs()))?;
    }
    let flag = |is: bool, text: &str| if is { out!("          {text}") } else { Ok(()) };
    flag(freshness.no_cache, "no-cache: revalidated before every use (§5.2.2.4)")?;
    flag(freshness.must_revalidate, "must-revalidate: never served stale (§5.2.2.2)")?;
    flag(freshness.immutable, "immutable: not revalidated while it is fresh, even by a reload (RFC 8246)")?;
    if let Some(window) = freshness.stale_while_revalidate {
        out!(
            "stale     for {} more, served while it is revalidated (RFC 5861 §3)",
            duration(window.as_secs())
        )?;
    }
    if let Some(window) = freshness.stale_if_error {
        out!("stale     for {} more, served instead of an error (RFC 5861 §4)", duration(window.as_secs()))?;
    }
    match head.validator() {
        Some(Validator::Strong(tag)) => out!("validator {} (strong, RFC 9110 §8.8.3)", text(tag)),
        Some(Validator::Weak(tag)) => out!("validator {} (weak, RFC 9110 §8.8.3)", text(tag)),
        Some(Validator::LastModified(date)) => {
            out!("validator Last-Modified: {} (RFC 9110 §8.8.2)", text(date))
        }
        None => out!("validator none: fetched again once it is stale (RFC 9111 §4.3.1)"),
    }
}

/// Sends a request to the origin, and prints whether the response may be stored.
async fn explain_fetched(target: &TargetUri, headers: HeaderMap, rules: &Rules) -> anyhow::Result<()> {
    let origin = Arc::new(HyperOrigin::new(HyperOptions::default())?);
    let mut request = Request::get(target.as_str()).body(Body::empty())?;
    *request.headers_mut() = headers.clone();
    let request_time = SystemClock.now();
    let fetched = origin.fetch(request).await.with_context(|| format!("can't fetch {target}"))?;
    let (response, _body) = fetched.into_parts();
    let response::Parts { status, headers: received, .. } = response;
    out!("origin    {status}")?;
    print_caching_headers(&received)?;
    out!("")?;
    let exchange = Exchange { request_time, response_time: SystemClock.now() };
    match rules.storable(target, &RequestHead::new(&Method::GET, &headers), status, &received, exchange) {
        Ok(head) => {
            out!("storable  yes (RFC 9111 §3)")?;
            print_freshness(&head, None)?;
        }
        Err(why) => {
            out!("storable  no: {why}")?;
            out!("          {}", why.reason().advice)?;
        }
    }
    Ok(())
}

/// Prints the headers that matter to caching.
fn print_caching_headers(headers: &HeaderMap) -> Result<(), OutputError> {
    for (name, value) in headers.iter().filter(|(name, _)| is_caching_header(name)) {
        out!("          {name}: {}", text(value.as_bytes()))?;
    }
    Ok(())
}

/// Returns bytes as text in which control characters are escaped.
fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).escape_debug().to_string().replace("\\\"", "\"")
}

/// Formats a number of seconds; a negative one as `0s`.
fn seconds(ttl: i64) -> String {
    duration(u64::try_from(ttl).unwrap_or(0))
}

/// Formats how long ago `then` was, or `then` itself if it is in the future.
fn ago(now: Timestamp, then: Timestamp) -> String {
    if then > now { format_http_date(then) } else { duration(now.since(then).as_secs()) }
}
