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

/// Options of `cargo xtask sim`.
#[derive(Debug, clap::Args)]
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

/// Runs the seeds. False when one failed; its re-run line is printed last.
pub fn run(args: &Args) -> bool {
    if let Some(seed) = args.seed {
        return run_one(seed, true).is_ok();
    }
    let start = Instant::now();
    let mut sums = history::Tally::default();
    for seed in args.first..args.first + args.seeds {
        match run_one(seed, false) {
            Ok(tally) => sums.add(&tally),
            Err(()) => {
                println!("seed {seed} failed; run it again with\n    cargo xtask sim --seed {seed}");
                return false;
            }
        }
    }
    println!("{} seeds in {:.1} s: {sums}", args.seeds, start.elapsed().as_secs_f64());
    true
}

/// One seed. A violated invariant, or a machine that is stuck, panics inside.
fn run_one(seed: u64, tell: bool) -> Result<history::Tally, ()> {
    catch_unwind(AssertUnwindSafe(|| history::History::new(seed, tell).run())).map_err(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_seeds_hold() {
        assert!(run(&Args { seeds: 40, first: 1_000_000, seed: None }));
    }

    #[test]
    fn a_seed_is_reproducible() {
        let (once, again) = (run_one(77, false), run_one(77, false));
        assert_eq!(once.map(|t| t.to_string()), again.map(|t| t.to_string()));
    }
}
