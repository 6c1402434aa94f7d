//! `larder purge`: removes stored responses or marks them stale, in a store or through a running
//! proxy.

use std::{process::ExitCode, sync::Arc};

use larder::core::{Cache, CacheGroup, CacheKey, CacheStore};

use crate::{
    admin_client::AdminArgs,
    client_args::{PRIVATE, parse_target},
    store_url::{self, UsageError},
};

/// Remove stored responses, or mark them stale.
///
/// Choose what to purge with --url, --tag, --prefix or --all, and where with --store or --admin.
/// A store in the memory of a proxy can only be purged with --admin.
///
/// Once the command has returned, no process serves a removed response from the store. A proxy with
/// a near tier in memory also has copies: over Redis, it removes them a moment later; over a disk
/// store, it serves them until they are stale.
#[derive(Debug, clap::Args)]
#[command(
    group = clap::ArgGroup::new("selection").required(true),
    group = clap::ArgGroup::new("location").required(true).args(["store", "admin"]),
    override_usage = "larder purge --url <URL> <WHERE>
       larder purge --tag <GROUP> --of <ORIGIN> <WHERE>
       larder purge --prefix <PREFIX> <WHERE>
       larder purge --all <WHERE>

WHERE: --store <STORE> or --admin <URL>",
    after_help = "Examples:
  # One page, through a running proxy.
  larder purge --url https://example.com/page \\
    --admin http://127.0.0.1:9321

  # The same, but serve it stale while it is revalidated.
  larder purge --url https://example.com/page --soft \\
    --admin http://127.0.0.1:9321

  # A group, for all proxies that share a Redis server.
  larder purge --tag news --of https://example.com \\
    --store redis://cache:6379/0

  # A part of a site, in a store on disk.
  larder purge --prefix https://example.com/news/ \\
    --store disk:/var/cache/larder

  # Everything.
  larder purge --all --store disk:/var/cache/larder"
)]
pub(crate) struct Args {
    /// Purge this URL, in all its variants.
    #[arg(long, value_name = "URL", group = "selection")]
    url: Option<String>,
    /// Purge the responses in this group: see Cache-Groups (RFC 9875) and `groups` in CONFIG.md.
    #[arg(long, value_name = "GROUP", group = "selection", requires = "of")]
    tag: Option<String>,
    /// Origin that the group belongs to, e.g. https://example.com.
    #[arg(long, value_name = "ORIGIN", requires = "tag")]
    of: Option<String>,
    /// Purge all URLs that begin with this text. Scans the whole store.
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
    actix_rt::System::new().block_on(async {
        if let Some(admin) = &args.admin.admin {
            return purge_through(admin, args).await;
        }
        let store = store_url::open_shared(args.store.as_deref()).await?.into_store();
        if let Some(prefix) = &args.prefix {
            if args.soft {
                cache(&store).soft_purge_prefix(prefix).await?;
                println!("marked stale: {prefix}");
                return Ok(ExitCode::SUCCESS);
            }
            let removed = store.remove_prefix(prefix).await?;
            println!("removed {removed}");
            return Ok(ExitCode::SUCCESS);
        }
        match (&args.url, &args.tag) {
            (Some(url), _) => {
                let key = CacheKey::new(&parse_target(url, "larder purge --url")?);
                let mut count = 0;
                // The responses of `larder get`, and those of a proxy.
                for key in [key.with_extra(PRIVATE.as_bytes()), key] {
                    count += store.lookup(&key).await?.len();
                    match args.soft {
                        true => cache(&store).soft_purge_key(&key).await?,
                        false => store.remove(&key).await?,
                    }
                }
                println!("{} {count}", if args.soft { "marked stale:" } else { "removed" });
            }
            (_, Some(tag)) => {
                let group = group(args.of.as_deref().unwrap_or_default(), tag)?;
                match args.soft {
                    true => cache(&store).soft_purge_group(&group).await?,
                    false => store.invalidate_group(&group).await?,
                }
                println!("{} the group {tag}", if args.soft { "marked stale:" } else { "removed" });
            }
            _ if args.soft => {
                cache(&store).soft_purge_prefix("").await?;
                println!("marked stale: everything");
            }
            _ => {
                store.clear().await?;
                println!("removed everything");
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
    match response.get("removed").and_then(serde_json::Value::as_u64) {
        Some(count) => println!("removed {count}"),
        None => println!("purged {}", response["purged"].as_str().unwrap_or_default()),
    }
    Ok(ExitCode::SUCCESS)
}

/// Creates an engine over the store, for soft purges.
fn cache(store: &Arc<dyn CacheStore>) -> Cache {
    Cache::builder(Arc::clone(store)).build()
}

/// Returns the group `tag` of the origin that `--of` names.
fn group(origin: &str, tag: &str) -> Result<CacheGroup, UsageError> {
    let target = parse_target(origin, "larder purge --tag news --of")?;
    Ok(CacheGroup::new(&format!("{}://{}", target.scheme(), target.authority()), tag))
}
