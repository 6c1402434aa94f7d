//! `cargo xtask features`: checks that each crate builds alone: without features, with each, with
//! all.

use cargo_metadata::MetadataCommand;

use crate::process::{cargo, run as call};

pub(crate) fn run() -> anyhow::Result<()> {
    let workspace = MetadataCommand::new().no_deps().exec()?;
    for package in workspace.workspace_packages().iter().filter(|package| package.name.starts_with("larder"))
    {
        let check =
            |features: &[&str]| call(cargo().args(["check", "--quiet", "-p", &package.name]).args(features));
        println!("{} with no features", package.name);
        check(&["--no-default-features"])?;
        let names: Vec<_> = package.features.keys().filter(|name| *name != "default").collect();
        for name in &names {
            println!("{} with {name}", package.name);
            check(&["--no-default-features", "--features", name])?;
        }
        if names.len() > 1 {
            println!("{} with all features", package.name);
            check(&["--all-features"])?;
        }
    }
    Ok(())
}
