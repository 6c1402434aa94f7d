//! `larder purge`: remove what is stored.

use std::process::ExitCode;

use larder::core::{CacheGroup, CacheKey};

use crate::{
    fetching::{PRIVATE, parse_target},
    spec::{self, Named, UsageError},
};

/// Remove stored responses.
///
/// When it returns, they are gone for every process that shares the store.
#[derive(Debug, clap::Args)]
#[command(
    group = clap::ArgGroup::new("what").required(true),
    after_help = "Examples:
  larder purge --url https://example.com/page --store redis://cache:6379/0
  larder purge --tag news --of https://example.com --store redis://cache:6379/0
  larder purge --prefix https://example.com/news/ --store disk:/var/cache/larder
  larder purge --all --store disk:/var/cache/larder"
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
    /// Which store: disk:PATH, redis://host:6379/0.
    #[arg(long, value_name = "SPEC")]
    store: String,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    actix_rt::System::new().block_on(async {
        let store = spec::shared(Some(&args.store)).await?;
        if let Some(prefix) = &args.prefix {
            let removed = match &store {
                Named::Disk(store) => store.remove_prefix(prefix).await?,
                Named::Redis(store) => store.remove_prefix(prefix).await?,
                Named::Memory(_) => 0,
            };
            println!("removed {removed}");
            return Ok(ExitCode::SUCCESS);
        }
        let store = store.into_store();
        match (&args.url, &args.tag) {
            (Some(url), _) => {
                let key = CacheKey::new(&parse_target(url, "larder purge --store SPEC --url")?);
                let mut count = 0;
                // What a proxy keeps, and what `larder get` does.
                for key in [key.with_extra(PRIVATE.as_bytes()), key] {
                    count += store.lookup(&key).await?.len();
                    store.remove(&key).await?;
                }
                println!("removed {count}");
            }
            (_, Some(tag)) => {
                store.invalidate_group(&group(args.of.as_deref().unwrap_or_default(), tag)?).await?;
                println!("removed the group {tag}");
            }
            _ => {
                store.clear().await?;
                println!("removed everything");
            }
        }
        Ok(ExitCode::SUCCESS)
    })
}

fn group(origin: &str, tag: &str) -> Result<CacheGroup, UsageError> {
    let target = parse_target(origin, "larder purge --tag news --of")?;
    Ok(CacheGroup::new(&format!("{}://{}", target.scheme(), target.authority()), tag))
}
