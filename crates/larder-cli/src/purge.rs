//! `larder purge`: removes stored responses or marks them stale, in a store or through a running
//! proxy.

use std::{process::ExitCode, sync::Arc};

use larder::core::{
    CacheGroup, CacheStore, Clock as _, Scope, StoreError, SystemClock,
    adapter::{KeyRules, PurgePrefix, PurgeUrl},
};

use crate::{
    admin_client::AdminArgs,
    client_args::{PRIVATE, runtime},
    console::{note, out},
    store_url::{self, UsageError},
    url_argument::parse_target,
};

/// Remove stored responses, or mark them stale.
///
/// Choose what to purge with --url, --tag, --prefix or --all, and where with --store or --admin.
/// Without either it is the cache of `larder get`. A store in the memory of a proxy can only be
/// purged with --admin.
///
/// Once the command has returned, no process serves a removed response from the store. A proxy with
/// a near tier in memory also has copies. Over Redis, it has removed them by then, or serves none.
/// Over a disk store, it serves them until they are stale.
#[derive(Debug, clap::Args)]
#[command(
    group = clap::ArgGroup::new("selection").required(true),
    group = clap::ArgGroup::new("location").args(["store", "admin"]),
    override_usage = "larder purge --url <URL> [WHERE]
       larder purge --tag <GROUP> [--of <ORIGIN>] [WHERE]
       larder purge --prefix <PREFIX> [WHERE]
       larder purge --all [WHERE]

WHERE: --store <STORE> or --admin <URL>; otherwise the cache of `larder get`",
    after_help = "Examples:
  # One page, from the cache of `larder get`.
  larder purge --url https://example.com/page

  # One page, through a running proxy.
  larder purge --url https://example.com/page \\
    --admin http://127.0.0.1:9321

  # The same, but serve it stale while it is revalidated.
  larder purge --url https://example.com/page --soft \\
    --admin http://127.0.0.1:9321

  # A group, for all proxies that share a Redis server.
  larder purge --tag news --of https://example.com \\
    --store redis://cache:6379/0

  # A tag in one of the fields in tag_fields (CONFIG.md).
  larder purge --tag product-7 --admin http://127.0.0.1:9321

  # A part of a site, in a store on disk.
  larder purge --prefix https://example.com/news/ \\
    --store disk:/var/cache/larder

  # Everything.
  larder purge --all --store disk:/var/cache/larder"
)]
pub(crate) struct Args {
    /// Purge this URL, in all its variants, and for all headers, cookies and contents that a proxy
    /// has in its keys. Those are not counted.
    #[arg(long, value_name = "URL", group = "selection")]
    url: Option<String>,
    /// Purge the responses in this group: see Cache-Groups (RFC 9875) and `groups` in CONFIG.md.
    /// Without --of, those with this tag: see `tag_fields` in CONFIG.md.
    #[arg(long, value_name = "GROUP", group = "selection")]
    tag: Option<String>,
    /// Origin that the group belongs to, e.g. https://example.com.
    #[arg(long, value_name = "ORIGIN", requires = "tag")]
    of: Option<String>,
    /// Purge this URL and all below it: https://example.com/news also means /news?page=2 and
    /// /news/today, but not /newsletter; with a * at the end, it means any rest. Scans the whole
    /// store.
    #[arg(long, value_name = "PREFIX", group = "selection")]
    prefix: Option<String>,
    /// Purge everything.
    #[arg(long, group = "selection")]
    all: bool,
    /// Mark responses stale instead of removing them.
    ///
    /// A stale response is revalidated at its next request. It may be served in the meantime, or if
    /// the origin fails, as far as its stale-while-revalidate and stale-if-error allow.
    #[arg(long)]
    soft: bool,
    /// Store to purge: disk:PATH or redis://HOST:PORT/DB.
    #[arg(long, value_name = "STORE")]
    store: Option<String>,
    #[command(flatten)]
    admin: AdminArgs,
}

/// Runs the command.
pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    runtime()?.block_on(async {
        if let Some(admin) = &args.admin.admin {
            return purge_through(admin, args).await;
        }
        let store = store_url::open_shared(args.store.as_deref()).await?.into_store();
        let verb = if args.soft { "marked stale:" } else { "removed" };
        if let Some(prefix) = &args.prefix {
            let below = PurgePrefix::parse(prefix)
                .map_err(|error| UsageError(format!("{prefix}: {error}; e.g. https://example.com/news/")))?;
            // The responses of `larder get`, and those of a proxy in all forms.
            let below = below.and_with_extra(PRIVATE.as_bytes()).and_forms();
            match purge_all(&store, &below.scopes(), args.soft).await? {
                Some(count) if !args.soft => out!("{verb} {count}")?,
                count => out!("{verb} {prefix}{}", in_parentheses(count))?,
            }
            return Ok(ExitCode::SUCCESS);
        }
        match (&args.url, &args.tag) {
            (Some(url), _) => {
                let target = parse_target(url, "larder purge --url")?;
                let rules = KeyRules::default().with_partitioned(true);
                let page = PurgeUrl::parse(target.as_str(), &rules)?.and_with_extra(PRIVATE.as_bytes());
                match purge_all(&store, &page.scopes(), args.soft).await? {
                    Some(count) => out!("{verb} {count}")?,
                    None => out!("{verb} {url}")?,
                }
            }
            (_, Some(tag)) => {
                let group = match args.of.as_deref() {
                    Some(origin) => group(origin, tag)?,
                    None => CacheGroup::tag(tag),
                };
                let kind = if args.of.is_some() { "group" } else { "tag" };
                let count = purge(&store, Scope::Group(&group), args.soft).await?;
                out!("{verb} the {kind} {tag}{}", in_parentheses(count))?;
            }
            _ => {
                let count = purge(&store, Scope::All, args.soft).await?;
                out!("{verb} everything{}", in_parentheses(count))?;
            }
        }
        Ok(ExitCode::SUCCESS)
    })
}

/// Purges through the admin listener of a running proxy.
async fn purge_through(admin: &str, args: &Args) -> anyhow::Result<ExitCode> {
    let body = serde_json::json!({
        "url": args.url, "tag": args.tag, "of": args.of, "prefix": args.prefix, "all": args.all, "soft": args.soft,
    });
    let response = args.admin.post(admin, "purge", &body).await?;
    let number = |name: &str| response.get(name).and_then(serde_json::Value::as_u64);
    let tiers = match (number("near_entries"), number("far_entries")) {
        (Some(near), Some(far)) => format!("; near store: {near}, far store: {far}"),
        _ => String::new(),
    };
    warn_of_silent(number("acknowledged").unwrap_or(0), number("unacknowledged").unwrap_or(0));
    match number("removed") {
        Some(count) => out!("removed {count}{tiers}")?,
        None => {
            let purged = response["purged"].as_str().unwrap_or_default();
            out!("purged {purged}{}{tiers}", in_parentheses(number("entries")))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Removes the entries of several scopes or marks them as stale, and returns how many that were, if
/// the store knows it. The forms of a URL, which are groups, are not counted: no store knows their
/// number. A failure ends it only after all scopes were tried.
async fn purge_all(
    store: &Arc<dyn CacheStore>,
    scopes: &[Scope<'_>],
    is_soft: bool,
) -> Result<Option<u64>, StoreError> {
    let mut sum = Ok(Some(0));
    for scope in scopes {
        let purged = purge(store, *scope, is_soft).await;
        sum = match (sum, purged) {
            (Ok(sum), Ok(_)) if matches!(scope, Scope::Group(_)) => Ok(sum),
            (Ok(sum), Ok(count)) => Ok(sum.zip(count).map(|(sum, count)| sum + count)),
            (Err(first), _) | (Ok(_), Err(first)) => Err(first),
        };
    }
    sum
}

/// Removes the entries of `scope` or marks them as stale, and returns how many that were, if the
/// store knows it.
async fn purge(
    store: &Arc<dyn CacheStore>,
    scope: Scope<'_>,
    is_soft: bool,
) -> Result<Option<u64>, StoreError> {
    let purged =
        if is_soft { store.mark_stale(scope, SystemClock.now()).await } else { store.remove(scope).await }?;
    warn_of_silent(purged.acknowledged, purged.unacknowledged);
    Ok(purged.entries)
}

/// Warns of processes that have not confirmed that they removed their near copies.
fn warn_of_silent(acknowledged: u64, unacknowledged: u64) {
    if unacknowledged > 0 {
        note!(
            "larder: {unacknowledged} of {} processes with near copies have not confirmed it; they serve none until they have",
            acknowledged + unacknowledged
        );
    }
}

/// Returns the number of entries in the form that follows the name of what was purged.
fn in_parentheses(count: Option<u64>) -> String {
    match count {
        None => String::new(),
        Some(1) => " (1 entry)".to_owned(),
        Some(count) => format!(" ({count} entries)"),
    }
}

/// Returns the group `tag` of the origin that `--of` names.
fn group(origin: &str, tag: &str) -> Result<CacheGroup, UsageError> {
    let target = parse_target(origin, "larder purge --tag news --of")?;
    Ok(CacheGroup::new(&format!("{}://{}", target.scheme(), target.authority()), tag))
}
