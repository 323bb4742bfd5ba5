//! Three writers who never stop, a thread that syncs, and a file: as much comes in as goes out.
//!
//! `cargo run --release -p pool --example dirty [file] [curve]`: ten seconds, a line each.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use pool::dirty::{Config, Curve, Dirty, DirtyData, Refused};
use zio_pipeline::{BlockPointer, Pipeline};

const BLOCK_BYTES: usize = 128 << 10;

/// Writes transaction groups until the writers are gone. Each block written makes room, at once.
fn sync(
    pipeline: &Pipeline,
    dirty_data: &DirtyData,
    blocks: &Receiver<Dirty>,
    stop: &AtomicBool,
) -> Result<(), zio_pipeline::Error> {
    let mut kept: Vec<Dirty> = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        std::thread::sleep(Duration::from_millis(1));
        if dirty_data.push().is_some() {
            dirty_data.close_txg();
        }
        let Some(txg) = dirty_data.begin_sync() else { continue };
        kept.extend(blocks.try_iter());
        let (send, written): (Sender<BlockPointer>, _) = channel();
        for dirty in kept.extract_if(.., |dirty| dirty.txg() <= txg) {
            let send = send.clone();
            let write = pipeline.write(vec![7; BLOCK_BYTES]);
            write.nowait(move |bp| {
                drop(dirty);
                bp.into_iter().for_each(|bp| _ = send.send(bp));
            });
        }
        pipeline.wait_idle();
        pipeline.flush().wait()?;
        // Nobody wants them: their place is for the next.
        for bp in written.try_iter() {
            pipeline.free(&bp).wait()?;
        }
        pipeline.end_txg();
        dirty_data.end_sync();
    }
    Ok(())
}

fn main() -> anyhow::Result<()> {
    let mut args = std::env::args().skip(1);
    let name = format!("zio-dirty-{}.img", std::process::id());
    let path = args.next().map_or_else(|| std::env::temp_dir().join(name), Into::into);
    let pipeline = Arc::new(Pipeline::builder().create(&path, 2 << 30).build()?);
    let mut config = Config::new(256 << 20);
    if args.next().is_some_and(|word| word == "curve") {
        config = config.curve(Curve::default());
    }
    let dirty_data = DirtyData::new(config, pipeline.txg())?.tell(&pipeline);
    let (send, blocks) = channel();
    let (stop, admitted) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for _ in 0..3 {
            let (send, dirty_data, admitted) = (send.clone(), &dirty_data, &admitted);
            scope.spawn(move || {
                while let Ok::<_, Refused>(dirty) = dirty_data.admit(BLOCK_BYTES as u64).wait() {
                    admitted.fetch_add(dirty.bytes(), Ordering::Relaxed);
                    if send.send(dirty).is_err() {
                        break;
                    }
                }
            });
        }
        let (pipeline, dirty_data, stop) = (&pipeline, &dirty_data, &stop);
        let syncing = scope.spawn(move || sync(pipeline, dirty_data, &blocks, stop));
        for _ in 0..10 {
            let before = admitted.load(Ordering::Relaxed);
            std::thread::sleep(Duration::from_secs(1));
            let came = (admitted.load(Ordering::Relaxed) - before) / 1_000_000;
            let drain = dirty_data.drain_bytes_per_s().unwrap_or(0) / 1_000_000;
            let dirty = dirty_data.dirty_bytes() >> 20;
            println!("in {came} MB/s, the devices take {drain} MB/s, {dirty} MiB dirty");
        }
        dirty_data.close();
        stop.store(true, Ordering::Relaxed);
        syncing.join()
    })
    .map_err(|_| anyhow::anyhow!("the thread that syncs has panicked"))??;
    println!("{} MiB dirty at last", dirty_data.dirty_bytes() >> 20);
    std::fs::remove_file(&path)?;
    Ok(())
}
