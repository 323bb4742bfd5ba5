//! The layering of the house: arrows between crates point down, and nowhere else.
//!
//! ```text
//! L4  xtask
//! L3  pool
//! L2  zio-pipeline
//! L1  vdev-disk
//!     taskq  metaslab  vdev-sim
//!     zio-core
//! L0  vdev-queue  checksum  transform  ddt
//! ```

use std::fmt;

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use crate::house;

/// A crate and where it stands.
struct Room {
    name: &'static str,
    /// It may use what stands on lower floors, …
    floor: u8,
    /// … except these.
    never: &'static [&'static str],
}

const fn room(floor: u8, name: &'static str) -> Room {
    Room { name, floor, never: &[] }
}

/// Every crate.
const HOUSE: [Room; 12] = [
    room(0, "vdev-queue"),
    room(0, "checksum"),
    room(0, "transform"),
    room(0, "ddt"),
    room(1, "zio-core"),
    room(2, "taskq"),
    room(2, "metaslab"),
    room(2, "vdev-sim"),
    // A device moves bytes; it has no business with space.
    Room { name: "vdev-disk", floor: 3, never: &["metaslab", "vdev-sim"] },
    room(4, "zio-pipeline"),
    room(5, "pool"),
    room(6, "xtask"),
];

/// The machine that lies: any crate's tests may run on it.
const TEST_MACHINE: &str = "vdev-sim";

/// An arrow from a crate to one it depends on; both are ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arrow {
    /// Who depends.
    pub from: String,
    /// On whom.
    pub to: String,
    /// For tests, benches and examples alone.
    pub dev: bool,
}

/// What is wrong with the graph.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Breach {
    /// An arrow that does not point down.
    Up(Arrow),
    /// A crate that has no room yet.
    Unknown(String),
}

impl fmt::Display for Breach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Up(Arrow { from, to, dev }) => {
                let kind = if *dev { "dev-depends" } else { "depends" };
                write!(f, "{from} {kind} on {to}, which it may not")
            }
            Self::Unknown(name) => {
                write!(f, "{name} has no room: give it one in xtask/src/layers.rs")
            }
        }
    }
}

/// The breaches of a graph of `crates` and `arrows` between them.
pub fn breaches(crates: &[String], arrows: &[Arrow]) -> Vec<Breach> {
    let room = |name: &str| HOUSE.iter().find(|room| room.name == name);
    let unknown = crates.iter().filter(|name| room(name).is_none()).cloned().map(Breach::Unknown);
    let up = arrows.iter().filter(|arrow| {
        let (Some(from), Some(to)) = (room(&arrow.from), room(&arrow.to)) else { return false };
        let allowed = if arrow.dev {
            to.floor < from.floor || to.name == TEST_MACHINE
        } else {
            to.floor < from.floor && !from.never.contains(&to.name)
        };
        !allowed
    });
    unknown.chain(up.cloned().map(Breach::Up)).collect()
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    dependencies: Vec<Dependency>,
}

#[derive(Deserialize)]
struct Dependency {
    name: String,
    kind: Option<String>,
    path: Option<String>,
}

/// The crates of this workspace and the arrows between them, as cargo sees them.
///
/// # Errors
/// When cargo cannot be asked, or answers something else than expected.
pub fn graph() -> Result<(Vec<String>, Vec<Arrow>)> {
    let asked = house::cargo(["metadata", "--no-deps", "--offline", "--format-version", "1"]);
    let answer = house::output_of(asked)?;
    let metadata: Metadata = serde_json::from_str(&answer).context("reading cargo metadata")?;
    let mut arrows = Vec::new();
    for package in &metadata.packages {
        for dependency in package.dependencies.iter().filter(|d| d.path.is_some()) {
            arrows.push(Arrow {
                from: package.name.clone(),
                to: dependency.name.clone(),
                dev: dependency.kind.as_deref() == Some("dev"),
            });
        }
    }
    Ok((metadata.packages.into_iter().map(|package| package.name).collect(), arrows))
}

/// Checks this workspace.
///
/// # Errors
/// All breaches, one a line.
pub fn run() -> Result<()> {
    let (crates, arrows) = graph()?;
    let found = breaches(&crates, &arrows);
    if !found.is_empty() {
        let lines: Vec<String> = found.iter().map(Breach::to_string).collect();
        bail!("{}", lines.join("\n"));
    }
    println!("{} crates, {} arrows, all of them down", crates.len(), arrows.len());
    Ok(())
}
