//! Four threads that want their records durable at once, a process that ends without a word, and
//! what is found afterwards.
//!
//! `cargo run -p pool --example log`

use std::sync::Arc;
use std::thread;

use anyhow::Result;
use pool::log::{Claimed, Config, Log};
use zio_pipeline::{BlockPointer, Pipeline, VdevId};

const THREADS: usize = 4;
const RECORDS: usize = 50;

fn main() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let path = dir.path().join("disk");

    let stored = {
        let pipeline = Arc::new(Pipeline::builder().create(&path, 64 << 20).build()?);
        // The names of chains never repeat: take them from the system's entropy in earnest.
        let log = Log::new(Arc::clone(&pipeline), Config::new([0x1db7, 0x93a5], 1));
        // Transaction group 1 holds the head, and is durable before the first record.
        let stored = log.head_at(1).to_bytes();
        log.synced(1)?;

        let committed = thread::scope(|scope| {
            let commit_some = |thread: usize| {
                for number in 0..RECORDS {
                    log.append(2, format!("thread {thread}, record {number}").as_bytes())?;
                    log.commit()?;
                }
                anyhow::Ok(RECORDS)
            };
            let threads: Vec<_> =
                (0..THREADS).map(|thread| scope.spawn(move || commit_some(thread))).collect();
            threads.into_iter().filter_map(|thread| thread.join().ok()?.ok()).sum::<usize>()
        });
        log.append(2, b"not committed, and lost")?;

        let blocks = log.allocated_bytes() / 4096;
        let stats = pipeline.stats();
        let writes = stats.leaf(VdevId(0), 0).map_or(0, |leaf| leaf.writes.ios);
        println!("{committed} commits in {writes} writes; the log takes {blocks} blocks of 4 KiB");
        stored
    };

    // Another day: claim what is live before anything is allocated.
    let pipeline = Pipeline::builder().file(&path).build()?;
    let head = pipeline.check(&BlockPointer::from_bytes(&stored))?;
    let claimed = Claimed::claim(&pipeline, &head, 1)?;
    let mut found = 0;
    for record in claimed.replay(&pipeline) {
        let record = record?;
        if record.sequence % 40 == 1 {
            println!("{:3}: {}", record.sequence, String::from_utf8_lossy(&record.payload));
        }
        found += 1;
    }
    println!("{found} records in {} blocks, then: {:?}", claimed.blocks().len(), claimed.end());

    // Replayed, made durable, and given back.
    claimed.free(&pipeline)?;
    println!("{} bytes allocated", pipeline.allocated_bytes());
    Ok(())
}
