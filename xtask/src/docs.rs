//! `cargo xtask docs`: the parts of the documents that are made from the code.
//!
//! Such a part stands between `<!-- begin NAME -->` and `<!-- end NAME -->`. The diagrams that
//! rustdoc shows of the pipelines are files of their own, in [`DIAGRAMS`].

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::house;

/// What to do with documents that are out of date.
#[derive(clap::Args, Clone, Copy, Debug, Default)]
pub struct Args {
    /// Change nothing; fail if a document is out of date.
    #[arg(long)]
    check: bool,
}

impl Args {
    /// Change nothing, fail instead.
    pub const CHECK: Self = Self { check: true };
}

/// A part of a document that is made from the code.
struct Part {
    /// Relative to the root.
    document: &'static str,
    name: &'static str,
    make: fn(&Path) -> Result<String>,
}

const PARTS: [Part; 2] = [
    Part { document: "docs/stages.md", name: "stages", make: |_| Ok(stage_table()) },
    Part { document: "README.md", name: "quickstart", make: quickstart },
];

/// Where the diagrams of the pipelines are, relative to the root.
pub const DIAGRAMS: &str = "zio-core/docs/pipelines";

fn stage_table() -> String {
    zio_core::stages::stage_table()
}

/// The example as a code block, without the page on top of it.
fn quickstart(root: &Path) -> Result<String> {
    let path = root.join("zio-pipeline/examples/quickstart.rs");
    let code = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
    let body: Vec<&str> = code.lines().skip_while(|line| line.starts_with("//!")).collect();
    Ok(format!("```rust\n{}\n```\n", body.join("\n").trim()))
}

/// The document with its part replaced.
fn renewed(text: &str, name: &str, part: &str) -> Result<String> {
    let (begin, end) = (format!("<!-- begin {name} -->\n"), format!("<!-- end {name} -->"));
    let (before, rest) = text.split_once(&begin).with_context(|| format!("no {begin:?}"))?;
    let (_, after) = rest.split_once(&end).with_context(|| format!("no {end:?} after it"))?;
    Ok(format!("{before}{begin}{part}{end}{after}"))
}

/// The documents under `root` that are out of date, as they should be.
///
/// # Errors
/// When a document or its source cannot be read, or the marks are missing.
pub fn stale(root: &Path) -> Result<Vec<(PathBuf, String)>> {
    let mut stale = Vec::new();
    for Part { document, name, make } in PARTS {
        let path = root.join(document);
        let text =
            fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
        let new = renewed(&text, name, &make(root)?).with_context(|| document.to_owned())?;
        if new != text {
            stale.push((path, new));
        }
    }
    for (name, new) in zio_core::stages::diagrams() {
        let path = root.join(DIAGRAMS).join(name).with_extension("md");
        let text =
            fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
        if new != text {
            stale.push((path, new));
        }
    }
    Ok(stale)
}

/// Renews the documents, or checks them.
///
/// # Errors
/// When a document cannot be read or written, or when asked to check and one is out of date.
pub fn run(args: Args) -> Result<()> {
    let stale = stale(house::root())?;
    if let (true, Some((path, _))) = (args.check, stale.first()) {
        bail!("{} is out of date: run `cargo xtask docs`", path.display());
    }
    for (path, text) in stale {
        fs::write(&path, text).with_context(|| format!("writing {}", path.display()))?;
        println!("renewed {}", path.display());
    }
    if !args.check {
        print!("{}", stage_table());
    }
    Ok(())
}
