//! `cargo xtask sim`: whole pipelines on simulated machines, from seeds.
//!
//! Each seed draws a machine (disks, mirrors, latencies, faults), a pipeline over it
//! (device queue, allocator, fail mode, task queues in any order), and a history of groups
//! of reads, writes of all roads, frees, claims, flushes and trims. Meanwhile devices go away and
//! come back, hang and are given up, stages fail, requests are cancelled and change their class;
//! power cuts, ends in the middle of everything, and reopenings come in between. A model knows
//! what every live pointer must give.
//!
//! What is never so, whatever the disks do: wrong data; a request that
//! finishes twice or not at all; a live zio at close; an allocator, or a dedup table, that
//! differs from the live pointers; a reservation, or a buffer, that is left over; an I/O outside its device, or
//! after the end; a leaf of a mirror that lacks a block and is not known to; lost data that
//! was durable on disks that do not lie.
//!
//! * `world`: the machine, and pipelines over it
//! * `history`: lives of a pool, and how they end
//! * `group`: requests that are under way together
//! * `trouble`: what happens to them meanwhile
//! * `judge`: what they may end in
//! * `books`: what must be so between the groups

mod books;
mod content;
mod group;
mod history;
mod judge;
mod tally;
mod trouble;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

use anyhow::{Result, bail};
use rayon::prelude::*;

use tally::Tally;

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
        .try_reduce(Tally::default, |mut sums, tally| {
            sums.add(&tally);
            Ok(sums)
        })?;
    println!("{} seeds in {:.1} s: {sums}", args.seeds, start.elapsed().as_secs_f64());
    Ok(())
}

/// One seed. A violated invariant, or a machine that is stuck, panics inside.
fn run_one(seed: u64, tell: bool) -> Result<Tally> {
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
