//! fletcher4 of 128 KiB.

use std::hint::black_box;

use anyhow::{Result, ensure};
use checksum::ByteOrder;
use checksum::fletcher::{Fletcher4, Kernel};

use super::Bench;
use crate::bench::contest::Contender;
use crate::bench::random::Content;
use crate::bench::report::Unit;

pub(super) const NAME: &str = "checksum-fletcher4-128k";

const BLOCK_BYTES: usize = 128 << 10;
/// Blocks between two looks at the clock.
const BATCH: usize = 16;

pub(super) fn run(bench: &mut Bench<'_>) -> Result<()> {
    if !bench.wants(NAME) {
        return Ok(());
    }
    let block = Content::new(BLOCK_BYTES).block(1);
    let sum = |kernel| {
        let mut state = Fletcher4::with_kernel(ByteOrder::NATIVE, kernel);
        state.update(black_box(&block));
        state.finish()
    };
    ensure!(sum(Kernel::fastest()) == sum(Kernel::SCALAR), "the kernels disagree");
    let side = |kernel: Kernel| -> Contender<'_> {
        Box::new(move |round| {
            loop {
                for _ in 0..BATCH {
                    black_box(sum(kernel));
                }
                if !round.count(BATCH) {
                    return Ok(());
                }
            }
        })
    };
    let (ours, baseline) = (side(Kernel::fastest()), side(Kernel::SCALAR));
    bench.row(NAME, Unit::GbPerSecond(BLOCK_BYTES), "plain loop", ours, Some(baseline))
}
