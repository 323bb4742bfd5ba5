//! A million blocks are destroyed in the background, and the same once more by a request for each.
//!
//! `cargo run --release -p pool --example destroy [file]`: the file is made, of 1 GiB, most of it holes.

use std::time::{Duration, Instant};

use pool::destroy::{Block, Config, Destroy, State};
use zio_core::Dva;
use zio_core::bp::Properties;
use zio_pipeline::{BlockPointer, Pipeline, VdevId};

const BLOCKS: u64 = 1_000_000;

/// Blocks of 512 bytes that nobody has written: every other sector.
fn pointer(number: u64) -> BlockPointer {
    let mut bp = BlockPointer::with_properties(&Properties::plain(512));
    bp.set_dva(0, Dva::new(VdevId(0), number * 1024, 512));
    bp.set_birth(1, 1);
    bp
}

fn per_s(blocks: u64, took: Duration) -> f64 {
    blocks as f64 / took.as_secs_f64() / 1e6
}

fn main() -> anyhow::Result<()> {
    let path = std::env::args_os().nth(1).map_or_else(
        || std::env::temp_dir().join(format!("zio-destroy-{}.img", std::process::id())),
        Into::into,
    );
    let builder = Pipeline::builder().create(&path, 1 << 30).ashift(9).defer_frees(2);
    let pipeline = builder.build()?;
    let blocks: Vec<_> = (0..BLOCKS).map(pointer).collect();
    for bp in &blocks {
        pipeline.claim(bp).wait()?;
    }

    // In turns, so that both meet the same machine: 50,000 by the destroy, 50,000 by requests.
    let mut config = Config::default();
    config.txg_pointers_max = BLOCKS / 20;
    let halves: Vec<_> = blocks.chunks(config.txg_pointers_max as usize).collect();
    let doomed = halves.iter().step_by(2).copied().flatten();
    let source = doomed.enumerate().map(|(number, bp)| Block::new(number, *bp));
    let mut others = halves.iter().skip(1).step_by(2);
    let mut destroy = Destroy::new(&pipeline, source, config)?;
    let start = Instant::now();
    let now_ns = || start.elapsed().as_nanos() as u64;
    let (mut in_background, mut by_request) = (Duration::ZERO, Duration::ZERO);
    loop {
        let begun = Instant::now();
        destroy.begin_txg(now_ns());
        let state = destroy.run(now_ns);
        let checkpoint = destroy.end_txg()?;
        in_background += begun.elapsed();
        // Stored with the rest of the transaction group, flushed, and only then:
        println!("txg {}: {:?}", pipeline.end_txg(), checkpoint.position);
        let begun = Instant::now();
        for bp in others.next().copied().into_iter().flatten() {
            pipeline.free(bp).wait()?;
        }
        by_request += begun.elapsed();
        if state == State::Done {
            break;
        }
    }
    let freed = destroy.stats().blocks;
    println!("in the background {:.2} million blocks a second", per_s(freed, in_background));
    println!("by request        {:.2} million blocks a second", per_s(BLOCKS - freed, by_request));
    (0..2).for_each(|_| _ = pipeline.end_txg());
    println!("{} bytes allocated", pipeline.allocated_bytes());
    std::fs::remove_file(&path)?;
    Ok(())
}
