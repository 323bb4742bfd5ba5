//! `cargo xtask`: see the crate's page, or `cargo xtask help`.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::Parser;
use xtask::{bench, ci, crash, docs, fuzz, layers, sim, suite};

/// One door for all chores of the house.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", version)]
enum Chore {
    /// Measures the pipeline and its parts, side by side with plain baselines.
    Bench(bench::Args),
    /// Runs the whole test suite.
    Test(suite::Args),
    /// Runs whole pipelines on simulated machines with faults, from seeds.
    Sim(sim::Args),
    /// Kills a writer in the middle, again and again, and looks at what is left.
    Crash(crash::Args),
    /// The writer that `crash` kills.
    #[command(hide = true)]
    CrashChild(crash::ChildArgs),
    /// Throws hostile bytes at everything that reads a disk.
    Fuzz(fuzz::Args),
    /// Runs everything that must hold before a change lands.
    Ci(ci::Args),
    /// Renews the parts of the documents that are made from the code.
    Docs(docs::Args),
    /// Checks that dependencies between the crates point down.
    Layers,
}

fn main() -> ExitCode {
    let outcome = match Chore::parse() {
        Chore::Bench(args) => bench::run(&args),
        Chore::Test(args) => suite::run(&args),
        Chore::Sim(args) => sim::run(&args),
        Chore::Crash(args) => crash::run(&args),
        Chore::CrashChild(args) => crash::run_child(&args),
        Chore::Fuzz(args) => fuzz::run(&args),
        Chore::Ci(args) => ci::run(&args),
        Chore::Docs(args) => docs::run(args),
        Chore::Layers => layers::run(),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
