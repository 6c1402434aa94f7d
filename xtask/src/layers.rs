//! `cargo xtask layers`: an arrow between crates only ever points down.
//!
//! The floors are written here and nowhere else. A crate that stands on none fails the check, so that whoever adds one
//! decides where it belongs. Development dependencies are free to point up, but carry no version: cargo drops them when a
//! crate is published, and no cycle blocks a release.

use cargo_metadata::{DependencyKind, MetadataCommand};

const FLOORS: &[&[&str]] = &[
    &["larder-policy"],
    &["larder-core"],
    &["larder-compress"],
    &[
        "larder-disk",
        "larder-memory",
        "larder-redis",
        "larder-tiered",
        "larder-metrics",
        "larder-origin",
        "larder-actix",
        "larder-tower",
        "larder-memoize",
        "larder-testkit",
    ],
    &["larder-reqwest"],
    &["larder"],
    &["larder-cli", "xtask", "larder-counts", "larder-examples", "larder-peers"],
];

pub(crate) fn run() -> anyhow::Result<()> {
    let workspace = MetadataCommand::new().no_deps().exec()?;
    let floor = |name: &str| FLOORS.iter().position(|floor| floor.contains(&name));
    let mut wrong = Vec::new();
    for package in workspace.workspace_packages() {
        let Some(here) = floor(&package.name) else {
            wrong.push(format!("{} stands on no floor: add it to FLOORS in {}", package.name, file!()));
            continue;
        };
        for dependency in &package.dependencies {
            let Some(there) = floor(&dependency.name) else { continue };
            if dependency.kind == DependencyKind::Development {
                if dependency.req != cargo_metadata::semver::VersionReq::STAR {
                    let (package, name) = (&package.name, &dependency.name);
                    wrong.push(format!(
                        "{package}: give the development dependency on {name} a path and no version"
                    ));
                }
            } else if there >= here {
                let (package, name) = (&package.name, &dependency.name);
                wrong.push(format!("{package} (floor {here}) depends on {name} (floor {there})"));
            }
        }
    }
    anyhow::ensure!(wrong.is_empty(), "arrows that do not point down:\n  {}", wrong.join("\n  "));
    println!("every arrow points down");
    Ok(())
}
