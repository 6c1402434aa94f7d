//! `larder explain`: what the cache would do with a URL, and why. It asks the rules that the engine asks, and prints
//! what they say.

use std::{process::ExitCode, sync::Arc};

use http::{HeaderMap, Method, Request, response};
use larder::{
    core::{
        Body, CacheKey, CacheKind, CacheStore, Candidates, Clock as _, Exchange, Origin as _, Permission,
        RequestHead, Reuse, Rules, Selected, StoredHead, SystemClock, TargetUri, Timestamp, Validator,
        format_http_date, header_names::is_caching_header,
    },
    origin::{HyperOptions, HyperOrigin},
};

use crate::{
    client_args::{PRIVATE, parse_fields, parse_target},
    humanize::{duration, size},
    store_url,
};

/// Say what the cache would do with a URL, and why, with the sections of the RFCs that decide.
///
/// It looks into the store and asks nobody; with --fetch it asks the origin, and says whether the answer may be stored
/// and for how long it is fresh. Nothing is changed in either case.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  larder explain https://example.com/
  larder explain --fetch --header 'Accept-Language: de' https://example.com/
  larder explain --shared --store disk:/var/cache/larder https://example.com/")]
pub(crate) struct Args {
    /// What to explain.
    #[arg(value_name = "URL")]
    url: String,
    /// Where responses are kept: disk:PATH, redis://host. [default: the cache in your cache directory]
    #[arg(long, value_name = "SPEC")]
    store: Vec<String>,
    /// The request has this field; may be given more than once.
    #[arg(long, value_name = "NAME: VALUE")]
    header: Vec<String>,
    /// Ask the origin, and explain its answer.
    #[arg(long)]
    fetch: bool,
    /// By the rules of a shared cache, as a proxy has them, and not of one user's.
    #[arg(long)]
    shared: bool,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let target = parse_target(&args.url, "larder explain")?;
    let fields = parse_fields(&args.header)?;
    let rules = if args.shared { Rules::shared() } else { Rules::private() };
    store_url::check(&args.store)?;
    println!("{target}, in a {} cache\n", if args.shared { "shared" } else { "private" });
    actix_rt::System::new().block_on(async {
        let store = store_url::store_or_disk(&args.store).await?;
        stored(&*store, &target, &fields, &rules).await?;
        if args.fetch {
            println!();
            fetched(&target, fields, &rules).await?;
        }
        anyhow::Ok(())
    })?;
    Ok(ExitCode::SUCCESS)
}

/// What is stored, and what would be done with it.
async fn stored(
    store: &dyn CacheStore,
    target: &TargetUri,
    fields: &HeaderMap,
    rules: &Rules,
) -> anyhow::Result<()> {
    let key = CacheKey::new(target);
    let key = if rules.kind == CacheKind::Private { key.with_extra(PRIVATE.as_bytes()) } else { key };
    let candidates = store.lookup(&key).await?;
    if candidates.is_empty() {
        println!("stored    nothing");
        println!("now       the origin is asked: nothing is stored under this URL (RFC 9111 §4)");
        return Ok(());
    }
    let now = SystemClock.now();
    let request = RequestHead::new(&Method::GET, fields);
    let reuse = rules.reuse(&request, candidates.iter().map(|candidate| &*candidate.head), now);
    let selected = match reuse {
        Reuse::Fresh(selected) | Reuse::Stale(selected, _) | Reuse::Validate(selected, _) => Some(selected),
        _ => None,
    };
    for (index, candidate) in candidates.iter().enumerate() {
        let head = &candidate.head;
        let mark = if selected.is_some_and(|selected| selected.index == index) { ", selected" } else { "" };
        let length = candidate.body.content_length().map_or_else(|| "?".to_owned(), size);
        println!(
            "stored    {} of {length}, {} ago{mark}",
            head.status,
            ago(now, head.freshness.response_time)
        );
        for (name, value) in head.selecting.iter() {
            let value = value.map_or("(none)".into(), String::from_utf8_lossy);
            println!("          for {name}: {value} (Vary, RFC 9111 §4.1)");
        }
        print_fields(&head.fields);
    }
    println!();
    if let Some(selected) = selected {
        print_terms(&candidates[selected.index].head, Some(selected));
    }
    print_now(reuse, &candidates);
    Ok(())
}

fn print_now(reuse: Reuse, candidates: &Candidates) {
    let now = match reuse {
        Reuse::Fresh(selected) => {
            format!("it is served as it is: fresh for {} more (RFC 9111 §4.2)", seconds(selected.ttl))
        }
        Reuse::Stale(_, Permission::WhileRevalidate) => {
            "it is served stale, and revalidated meanwhile: stale-while-revalidate (RFC 5861 §3)".to_owned()
        }
        Reuse::Stale(..) => "it is served stale: the request's max-stale (RFC 9111 §5.2.1.2)".to_owned(),
        Reuse::Validate(selected, why) => {
            let how = match candidates[selected.index].head.validator() {
                Some(_) => "the origin is asked whether it still holds",
                None => "the origin is asked anew (there is no validator)",
            };
            format!("{how}: {why:?} ({})", why.section())
        }
        Reuse::Forward(why) => format!("the origin is asked: {why:?} ({})", why.section()),
        Reuse::OnlyIfCached => {
            "504: only-if-cached, and nothing stored may be used (RFC 9111 §5.2.1.7)".to_owned()
        }
        _ => "the origin is asked".to_owned(),
    };
    println!("now       {now}");
}

/// How long it is fresh, and what happens after.
fn print_terms(head: &StoredHead, selected: Option<Selected>) {
    let terms = &head.freshness;
    println!(
        "fresh     for {}, from {}",
        duration(terms.lifetime.lifetime.as_secs()),
        terms.lifetime.from.name()
    );
    if let Some(selected) = selected {
        println!("age       {} (RFC 9111 §4.2.3)", duration(selected.age.as_secs()));
    }
    let flag = |is: bool, text: &str| is.then(|| println!("          {text}"));
    flag(terms.no_cache, "no-cache: never served without the origin's word (§5.2.2.4)");
    flag(terms.must_revalidate, "stale, it is never served without the origin's word (§5.2.2.2)");
    flag(terms.immutable, "immutable: a reload does not ask while it is fresh (RFC 8246)");
    if let Some(window) = terms.stale_while_revalidate {
        println!(
            "stale     for {} more it is served while it is revalidated (RFC 5861 §3)",
            duration(window.as_secs())
        );
    }
    if let Some(window) = terms.stale_if_error {
        println!("stale     for {} more it stands in for an error (RFC 5861 §4)", duration(window.as_secs()));
    }
    match head.validator() {
        Some(Validator::Strong(tag)) => println!("validator {} (strong, RFC 9110 §8.8.3)", text(tag)),
        Some(Validator::Weak(tag)) => println!("validator {} (weak, RFC 9110 §8.8.3)", text(tag)),
        Some(Validator::LastModified(date)) => {
            println!("validator Last-Modified: {} (RFC 9110 §8.8.2)", text(date))
        }
        _ => println!("validator none: once stale, it is fetched anew (RFC 9111 §4.3.1)"),
    }
}

/// What the origin says now, and whether that may be stored.
async fn fetched(target: &TargetUri, fields: HeaderMap, rules: &Rules) -> anyhow::Result<()> {
    let origin = Arc::new(HyperOrigin::new(HyperOptions::default())?);
    let mut request = Request::get(target.as_str()).body(Body::empty())?;
    *request.headers_mut() = fields.clone();
    let request_time = SystemClock.now();
    let (response, _body) = origin.fetch(request).await?.into_parts();
    let response::Parts { status, headers, .. } = response;
    println!("origin    {status}");
    print_fields(&headers);
    println!();
    let exchange = Exchange { request_time, response_time: SystemClock.now() };
    match rules.storable(target, &RequestHead::new(&Method::GET, &fields), status, &headers, exchange) {
        Ok(head) => {
            println!("storable  yes (RFC 9111 §3)");
            print_terms(&head, None);
        }
        Err(why) => println!("storable  no: {why}"),
    }
    Ok(())
}

fn print_fields(fields: &HeaderMap) {
    for (name, value) in fields.iter().filter(|(name, _)| is_caching_header(name)) {
        println!("          {name}: {}", text(value.as_bytes()));
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).escape_debug().to_string().replace("\\\"", "\"")
}

fn seconds(ttl: i64) -> String {
    duration(u64::try_from(ttl).unwrap_or(0))
}

fn ago(now: Timestamp, then: Timestamp) -> String {
    if then > now { format_http_date(then) } else { duration(now.since(then).as_secs()) }
}
