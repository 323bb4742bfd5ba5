//! `cargo xtask ci`: everything that must hold before a change lands.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::{bench, docs, fuzz, house, layers, sim, suite};

/// Which steps to leave out.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct Args {
    /// Steps to leave out, by name.
    #[arg(long, value_delimiter = ',', value_name = "STEP,…")]
    skip: Vec<String>,
}

struct Step {
    name: &'static str,
    run: fn() -> Result<()>,
}

const STEPS: [Step; 10] = [
    Step { name: "fmt", run: || house::run(house::cargo(["fmt", "--all", "--check"])) },
    Step { name: "clippy", run: clippy },
    Step { name: "test", run: || suite::run(&suite::Args::default()) },
    Step { name: "models", run: models },
    Step { name: "doc", run: doc },
    Step { name: "docs", run: || docs::run(docs::Args::CHECK) },
    Step { name: "layers", run: layers::run },
    Step { name: "sim", run: || sim::run(&sim::Args::seeds(2000)) },
    Step { name: "fuzz", run: fuzz::check },
    Step { name: "bench", run: || bench::run(&bench::Args::quick()) },
];

fn clippy() -> Result<()> {
    let args = ["clippy", "--workspace", "--all-targets", "--all-features", "--", "-D", "warnings"];
    house::run(house::cargo(args))
}

/// The hand-overs under model checkers. These build the crate anew, with its
/// locks and threads exchanged, so each has a target directory of its own.
fn models() -> Result<()> {
    for (checker, package) in [("shuttle", "zio-core"), ("shuttle", "pool"), ("loom", "vdev-queue")]
    {
        let mut command =
            house::cargo(["test", "--release", "--package", package, "--test", checker]);
        command.env("RUSTFLAGS", format!("--cfg {checker}"));
        command.env("CARGO_TARGET_DIR", house::target_dir().join(checker));
        house::run(command)?;
    }
    Ok(())
}

fn doc() -> Result<()> {
    let mut command = house::cargo(["doc", "--workspace", "--no-deps", "--all-features"]);
    command.env("RUSTDOCFLAGS", "-D warnings");
    house::run(command)
}

/// Runs all steps, also behind one that failed, and sums up.
///
/// # Errors
/// The names of the steps that failed.
pub fn run(args: &Args) -> Result<()> {
    let names: Vec<&str> = STEPS.iter().map(|step| step.name).collect();
    if let Some(unknown) = args.skip.iter().find(|skip| !names.contains(&skip.as_str())) {
        bail!("no step {unknown:?}; steps are {}", names.join(", "));
    }
    let mut log: Vec<(&str, Duration, bool)> = Vec::new();
    for step in STEPS.iter().filter(|step| !args.skip.iter().any(|skip| skip == step.name)) {
        println!("== {}", step.name);
        let begun = Instant::now();
        let outcome = (step.run)();
        if let Err(error) = &outcome {
            println!("{error:#}");
        }
        let (took, passed) = (begun.elapsed(), outcome.is_ok());
        println!("== {}: {} in {:.1} s", step.name, word(passed), took.as_secs_f64());
        log.push((step.name, took, passed));
    }
    println!();
    for (name, took, passed) in &log {
        println!("{name:<8} {:<6} {:>7.1} s", word(*passed), took.as_secs_f64());
    }
    let failed: Vec<&str> = log.iter().filter(|(_, _, ok)| !ok).map(|(name, ..)| *name).collect();
    if !failed.is_empty() {
        bail!("failed: {}", failed.join(", "));
    }
    Ok(())
}

fn word(passed: bool) -> &'static str {
    if passed { "ok" } else { "FAILED" }
}
