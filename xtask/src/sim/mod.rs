//! `cargo xtask sim`: whole pipelines on simulated machines, from seeds.
//!
//! Each seed draws a machine (disks, latencies, faults), a pipeline over it
//! (device queue, allocator, task queues in any order), and a history of
//! groups of reads, writes, frees, claims, flushes and trims, with power cuts
//! and reopenings in between. A model knows what every live pointer must give.
//!
//! What is never so, whatever the disks do: wrong data; a request that
//! finishes twice or not at all; a live zio at close; an allocator that
//! differs from the live pointers; an I/O outside its device; lost data that
//! was durable on disks that do not lie.

mod content;
mod history;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

use anyhow::{Result, bail};
use rayon::prelude::*;

/// Options of `cargo xtask sim`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// How many seeds to run.
    #[arg(long, default_value_t = 100)]
    seeds: u64,
    /// The first seed.
    #[arg(long, default_value_t = 0)]
    first: u64,
    /// Run this seed only, and tell its story.
    #[arg(long)]
    seed: Option<u64>,
}

impl Args {
    /// The first `seeds` seeds.
    pub fn seeds(seeds: u64) -> Self {
        Self { seeds, first: 0, seed: None }
    }
}

/// Runs the seeds, on all cores.
///
/// # Errors
/// When one failed: its number, and how to run it again.
pub fn run(args: &Args) -> Result<()> {
    if let Some(seed) = args.seed {
        return run_one(seed, true).map(|tally| println!("{tally}"));
    }
    let start = Instant::now();
    let sums = (args.first..args.first + args.seeds)
        .into_par_iter()
        .map(|seed| run_one(seed, false))
        .try_reduce(history::Tally::default, |mut sums, tally| {
            sums.add(&tally);
            Ok(sums)
        })?;
    println!("{} seeds in {:.1} s: {sums}", args.seeds, start.elapsed().as_secs_f64());
    Ok(())
}

/// One seed. A violated invariant, or a machine that is stuck, panics inside.
fn run_one(seed: u64, tell: bool) -> Result<history::Tally> {
    let story = || history::History::new(seed, tell).run();
    match catch_unwind(AssertUnwindSafe(story)) {
        Ok(tally) => Ok(tally),
        Err(_) => bail!("seed {seed} failed; run it again with\n    cargo xtask sim --seed {seed}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_seeds_hold() {
        run(&Args { first: 1_000_000, ..Args::seeds(40) }).unwrap();
    }

    #[test]
    fn a_seed_is_reproducible() {
        let (once, again) = (run_one(77, false).unwrap(), run_one(77, false).unwrap());
        assert_eq!(once.to_string(), again.to_string());
    }
}
