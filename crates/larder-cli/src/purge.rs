//! `larder purge`: remove what is stored.

use std::{process::ExitCode, sync::Arc};

use larder::core::{Cache, CacheGroup, CacheKey, CacheStore};

use crate::{
    admin_client::Remote,
    client_args::{PRIVATE, parse_target},
    store_url::{self, UsageError},
};

/// Remove stored responses.
///
/// When it returns, they are gone for every process that shares the store.
#[derive(Debug, clap::Args)]
#[command(
    group = clap::ArgGroup::new("what").required(true),
    group = clap::ArgGroup::new("where").required(true).args(["store", "admin"]),
    after_help = "Examples:
  larder purge --url https://example.com/page --store redis://cache:6379/0
  larder purge --tag news --of https://example.com --store redis://cache:6379/0
  larder purge --prefix https://example.com/news/ --store disk:/var/cache/larder
  larder purge --all --store disk:/var/cache/larder
  larder purge --url https://example.com/page --soft --admin http://127.0.0.1:9321"
)]
pub(crate) struct Args {
    /// All variants of this URL.
    #[arg(long, value_name = "URL", group = "what")]
    url: Option<String>,
    /// The responses that an origin has put into this group, by its Cache-Groups field (RFC 9875).
    #[arg(long, value_name = "TAG", group = "what", requires = "of")]
    tag: Option<String>,
    /// Whose group it is, e.g. https://example.com.
    #[arg(long, value_name = "ORIGIN", requires = "tag")]
    of: Option<String>,
    /// All URLs that begin so. Looks at every entry.
    #[arg(long, value_name = "PREFIX", group = "what")]
    prefix: Option<String>,
    /// Everything.
    #[arg(long, group = "what")]
    all: bool,
    /// Make it stale, and keep it: it may be served until it has been asked for again, as far as it allows that.
    #[arg(long)]
    soft: bool,
    /// Which store: disk:PATH, redis://host:6379/0.
    #[arg(long, value_name = "SPEC")]
    store: Option<String>,
    #[command(flatten)]
    remote: Remote,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    actix_rt::System::new().block_on(async {
        if let Some(admin) = &args.remote.admin {
            return at(&args.remote, admin, args).await;
        }
        let store = store_url::shared(args.store.as_deref()).await?.into_store();
        if let Some(prefix) = &args.prefix {
            if args.soft {
                cache(&store).soft_purge_prefix(prefix).await?;
                println!("stale now: {prefix}");
                return Ok(ExitCode::SUCCESS);
            }
            let removed = store.remove_prefix(prefix).await?;
            println!("removed {removed}");
            return Ok(ExitCode::SUCCESS);
        }
        match (&args.url, &args.tag) {
            (Some(url), _) => {
                let key = CacheKey::new(&parse_target(url, "larder purge --store SPEC --url")?);
                let mut count = 0;
                // What a proxy keeps, and what `larder get` does.
                for key in [key.with_extra(PRIVATE.as_bytes()), key] {
                    count += store.lookup(&key).await?.len();
                    match args.soft {
                        true => cache(&store).soft_purge_key(&key).await?,
                        false => store.remove(&key).await?,
                    }
                }
                println!("{} {count}", if args.soft { "stale now:" } else { "removed" });
            }
            (_, Some(tag)) => {
                let group = group(args.of.as_deref().unwrap_or_default(), tag)?;
                match args.soft {
                    true => cache(&store).soft_purge_group(&group).await?,
                    false => store.invalidate_group(&group).await?,
                }
                println!("{} the group {tag}", if args.soft { "stale now:" } else { "removed" });
            }
            _ if args.soft => {
                cache(&store).soft_purge_prefix("").await?;
                println!("stale now: everything");
            }
            _ => {
                store.clear().await?;
                println!("removed everything");
            }
        }
        Ok(ExitCode::SUCCESS)
    })
}

/// Has a running proxy do it.
async fn at(remote: &Remote, admin: &str, args: &Args) -> anyhow::Result<ExitCode> {
    let what = serde_json::json!({
        "url": args.url, "tag": args.tag, "of": args.of, "prefix": args.prefix, "all": args.all, "soft": args.soft,
    });
    let answer = remote.post(admin, "purge", &what).await?;
    match answer.get("removed").and_then(serde_json::Value::as_u64) {
        Some(count) => println!("removed {count}"),
        None => println!("purged {}", answer["purged"].as_str().unwrap_or_default()),
    }
    Ok(ExitCode::SUCCESS)
}

fn cache(store: &Arc<dyn CacheStore>) -> Cache {
    Cache::builder(Arc::clone(store)).build()
}

fn group(origin: &str, tag: &str) -> Result<CacheGroup, UsageError> {
    let target = parse_target(origin, "larder purge --tag news --of")?;
    Ok(CacheGroup::new(&format!("{}://{}", target.scheme(), target.authority()), tag))
}
