//! A pool in a file, damaged behind its back; a scrub that is interrupted, goes on from its
//! checkpoint, repairs what can be repaired and reports the rest.
//!
//! `cargo run -p pool --example scrub`

use std::fs::File;
use std::os::unix::fs::FileExt;

use anyhow::Result;
use pool::scrub::{Block, Config, Event, Scrub, State};
use zio_pipeline::{BlockPointer, DATA_START_BYTES, Pipeline};

const BLOCKS: usize = 400;
const BLOCK_BYTES: usize = 32 << 10;

fn main() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let path = dir.path().join("disk");
    let pipeline = Pipeline::builder().create(&path, 64 << 20).build()?;
    let write = |number: usize| {
        let copies = if number.is_multiple_of(50) { 1 } else { 2 };
        pipeline.write(vec![number as u8; BLOCK_BYTES]).copies(copies).wait()
    };
    let blocks = (0..BLOCKS).map(write).collect::<Result<Vec<_>, _>>()?;
    pipeline.flush().wait()?;

    // Every tenth block loses its first copy; some had only one.
    let disk = File::options().write(true).open(&path)?;
    for dva in blocks.iter().step_by(10).filter_map(|bp| bp.dva(0)) {
        disk.write_all_at(&[0x5a; 512], DATA_START_BYTES + dva.offset_bytes())?;
    }

    // Small batches, so that there is a checkpoint every few blocks.
    let mut config = Config::default();
    config.collect_bytes_max = 32 << 10;
    config.in_flight_blocks_max = 16;

    let mut scrub = Scrub::new(&pipeline, source(&blocks, 0), config.clone());
    let control = scrub.control();
    while scrub.checkpoint().position.is_none_or(|last| last < BLOCKS / 2) {
        if scrub.step() == State::Working {
            scrub.wait();
        }
    }
    control.cancel();
    println!("{:?} after {} blocks", scrub.run(), scrub.stats().blocks);
    // This is what a real pool would keep on disk.
    let checkpoint = scrub.checkpoint().clone();
    drop(scrub);

    let begin = checkpoint.position.map_or(0, |last| last + 1);
    println!("going on at block {begin}");
    let mut scrub =
        Scrub::resume(&pipeline, source(&blocks, begin), config, checkpoint).on_event(|event| {
            if let Event::Unrecoverable { bookmark, error, .. } = event {
                println!("block {} is lost: {error}", bookmark.block);
            }
        });
    println!("{:?}: {:#?}", scrub.run(), scrub.stats());
    Ok(())
}

/// The blocks from `begin` on.
fn source(blocks: &[BlockPointer], begin: usize) -> impl Iterator<Item = Block<usize>> + '_ {
    blocks.iter().enumerate().skip(begin).map(|(number, bp)| {
        let mut block = Block::new(number, *bp);
        block.bookmark.block = number as u64;
        block
    })
}
