//! Many seeds, one after the other.

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use crate::machine::Machine;

/// Names the environment variable that replaces the range of seeds: one seed
/// (`17`) or a range (`0..5000`).
pub const SEEDS_VARIABLE: &str = "VDEV_SIM_SEEDS";

/// Runs `test` on a machine for each seed. When one panics, its seed is the
/// last line printed to standard error, as the command line that runs it
/// again, and the panic goes on.
///
/// The environment variable `VDEV_SIM_SEEDS` replaces the seeds.
///
/// ```
/// use vdev_sim::{Client, DiskConfig, explore};
///
/// explore(0..20, |machine| {
///     let client = Client::new(machine.disk(DiskConfig::nvme(1 << 20)));
///     client.write(0, &[1; 512]).unwrap();
/// });
/// ```
///
/// # Panics
/// With the test's own panic.
pub fn explore(seeds: Range<u64>, test: impl Fn(&Machine)) {
    let given = std::env::var(SEEDS_VARIABLE).ok();
    for seed in given.as_deref().and_then(parse).unwrap_or(seeds) {
        let machine = Machine::new(seed);
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| test(&machine))) {
            let (steps, now_ns) = (machine.steps(), machine.now_ns());
            eprintln!("seed {seed} failed after {steps} steps, at {now_ns} ns of virtual time");
            let name = std::thread::current().name().unwrap_or("<this test>").to_owned();
            eprintln!("run it again: {SEEDS_VARIABLE}={seed} cargo test {name}");
            resume_unwind(panic);
        }
    }
}

fn parse(text: &str) -> Option<Range<u64>> {
    match text.split_once("..") {
        Some((from, to)) => Some(from.trim().parse().ok()?..to.trim().parse().ok()?),
        None => text.trim().parse().ok().map(|seed: u64| seed..seed.saturating_add(1)),
    }
}
