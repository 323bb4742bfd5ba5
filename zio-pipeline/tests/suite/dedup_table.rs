//! H1, H2, H4, H9, H11: the table behind the blocks. What it counts is what there is, whatever
//! the devices do.

use std::collections::BTreeMap;
use std::sync::Arc;

use vdev_disk::Memory;
use vdev_sim::{Effect, Fault, FaultProfile, OpKind, Rng};
use zio_core::{Vdev, VdevErrorKind};
use zio_pipeline::{
    BlockPointer, Checksum, DedupRepair, DedupStats, ErrorKind, Pipeline, Started, Write,
};

use crate::common::{MIB, Sim, noise, on_memory};
use crate::gangs::Fragmented;

fn dedup(pipeline: &Pipeline, bytes: &[u8]) -> Write {
    pipeline.write(bytes).checksum(Checksum::Sha256).dedup(true)
}

/// H2 under any schedule: 64 writes of one block at once, on a disk whose first writes fail.
#[test]
fn twins_are_written_once_under_any_schedule() {
    const WRITERS: usize = 64;
    for seed in 0..60 {
        let mut rng = Rng::new(seed);
        let sim = Sim::new(seed, 1);
        let pipeline = sim.pipeline();
        let bytes = noise(seed, 8192);
        // Two tries for each leader that fails.
        let failing = rng.index(4);
        if failing > 0 {
            let fault = Fault::new(Effect::Fail(VdevErrorKind::Io)).on(OpKind::Write);
            sim.disks[0].inject(fault.times(2 * failing as u64));
        }
        sim.take_log(OpKind::Write);
        let verify = rng.coin();
        let write = || dedup(&pipeline, &bytes).dedup_verify(verify).start().unwrap();
        let writes: Vec<Started<_>> = (0..WRITERS).map(|_| write()).collect();
        let results: Vec<_> = writes.into_iter().map(Started::wait).collect();
        let good: Vec<BlockPointer> =
            results.iter().filter_map(|r| r.as_ref().ok().copied()).collect();
        assert_eq!(good.len(), WRITERS - failing, "seed {seed}");
        assert_eq!(sim.take_log(OpKind::Write).len(), 2 * failing + 1, "seed {seed}");
        assert!(good.iter().all(|bp| bp.same_block(&good[0])));
        assert_eq!(pipeline.dedup_references(), good.len() as u64);
        assert_eq!(pipeline.allocated_bytes(), 8192);
        for bp in good {
            assert!(pipeline.read(&bp).wait().unwrap() == bytes);
            pipeline.free(&bp).wait().unwrap();
        }
        assert_eq!((pipeline.dedup_references(), pipeline.allocated_bytes()), (0, 0));
    }
}

/// H4: copies one to three and gangs mixed, several requests at a time, disks that fail now and
/// then, verified or not: the space is exact, and the references are the pointers.
#[test]
fn space_and_references_are_exact_in_any_mixture() {
    for seed in 0..40 {
        let mut rng = Rng::new(seed);
        let pool = Fragmented::new(seed, 3, 9, 512 << rng.below(6));
        let pipeline = pool.pipeline(9);
        let mut live: Vec<(BlockPointer, u64)> = Vec::new();
        for _ in 0..15 {
            for disk in &pool.sim.disks {
                let sick = rng.chance(400);
                disk.set_faults(if sick {
                    FaultProfile::draw(&mut rng, 40, false)
                } else {
                    FaultProfile::none()
                });
            }
            pool.space.set_contiguous_bytes_max(512 << rng.below(6));
            let mut writes = Vec::new();
            for _ in 0..rng.below(10) {
                let content = rng.below(5);
                let write = dedup(&pipeline, &noise(content, 8192));
                let write = write.copies(1 + rng.below(3) as u8).dedup_verify(rng.coin());
                writes.push((write.start().unwrap(), content));
            }
            let mut frees = Vec::new();
            for _ in 0..rng.below(8) {
                if !live.is_empty() {
                    let block = live.swap_remove(rng.index(live.len()));
                    frees.push((pipeline.free(&block.0).start().unwrap(), block));
                }
            }
            for (write, content) in writes {
                if let Ok(bp) = write.wait() {
                    live.push((bp, content));
                }
            }
            for (free, block) in frees {
                // The header of a gang may have been unreadable: then nothing was freed.
                if free.wait().is_err() {
                    live.push(block);
                }
            }
            pipeline.wait_idle();
            let shared = live.iter().filter(|(bp, _)| bp.is_dedup()).count();
            assert_eq!(pipeline.dedup_references(), shared as u64, "seed {seed}");
            let blocks: BTreeMap<_, _> =
                live.iter().map(|(bp, _)| (bp.dva(0), bp.asize_bytes())).collect();
            let taken: u64 =
                pool.space.taken().iter().map(|(_, range)| range.end - range.start).sum();
            assert_eq!(taken, blocks.values().sum::<u64>(), "seed {seed}");
        }
        pool.sim.disks.iter().for_each(|disk| disk.set_faults(FaultProfile::none()));
        for (bp, content) in live {
            assert!(pipeline.read(&bp).wait().unwrap() == noise(content, 8192), "seed {seed}");
            pipeline.free(&bp).wait().unwrap();
        }
        pipeline.wait_idle();
        pool.space.settle(u64::MAX);
        assert_eq!((pipeline.dedup_references(), pipeline.allocated_bytes()), (0, 0), "{seed}");
    }
}

/// H9: at the limit new blocks are written as any other, and known ones are shared all the same.
#[test]
fn at_the_limit_new_blocks_are_ordinary() {
    let disk: Arc<dyn Vdev> = Arc::new(Memory::new(64 * MIB, 512));
    let builder = || Pipeline::builder().vdev(Arc::clone(&disk)).dedup_entries_max(4);
    let pipeline = builder().build().unwrap();
    let checksums = [Checksum::Sha256, Checksum::Blake3];
    let write = |n: u64| {
        let write = pipeline.write(noise(n, 8192)).checksum(checksums[n as usize % 2]);
        write.dedup(true).wait().unwrap()
    };
    let bps: Vec<_> = (0..8).map(write).collect();
    assert!(bps.iter().enumerate().all(|(n, bp)| bp.is_dedup() == (n < 4)));
    let twins: Vec<_> = (0..8).map(write).collect();
    for (bp, twin) in bps.iter().zip(&twins) {
        assert_eq!(twin.same_block(bp), bp.is_dedup());
    }
    assert_eq!((pipeline.dedup_references(), pipeline.dedup_stats().entries), (8, 4));
    for (n, bp) in bps.iter().enumerate() {
        assert!(pipeline.read(bp).wait().unwrap() == noise(n as u64, 8192));
    }
    // A place that becomes free is taken.
    pipeline.free(&bps[0]).wait().unwrap();
    pipeline.free(&twins[0]).wait().unwrap();
    assert!(write(20).is_dedup() && !write(22).is_dedup());
    let claimed: Vec<_> = bps[1..].iter().chain(&twins[1..]).copied().collect();
    drop(pipeline);

    // Pointers that exist are counted, however many there are.
    let pipeline =
        Pipeline::builder().vdev(Arc::clone(&disk)).dedup_entries_max(1).build().unwrap();
    for bp in &claimed {
        pipeline.claim(bp).wait().unwrap();
    }
    assert_eq!(pipeline.dedup_stats().entries, 3);
    for bp in &claimed {
        pipeline.free(bp).wait().unwrap();
    }
    assert_eq!((pipeline.dedup_references(), pipeline.allocated_bytes()), (0, 0));
}

/// H1: what is told of the table is what a count of the pointers gives.
#[test]
fn figures_are_those_of_a_recount() {
    let pipeline = on_memory(256 * MIB);
    assert_eq!(pipeline.dedup_stats(), DedupStats::default());
    assert_eq!(DedupStats::default().ratio_percent(), 100);
    let mut rng = Rng::new(1);
    let mut live: Vec<BlockPointer> = Vec::new();
    for _ in 0..600 {
        if rng.below(3) > 0 || live.is_empty() {
            // Some contents are far more frequent than others.
            let contents = 1 << rng.below(7);
            let content = rng.below(contents);
            let write = dedup(&pipeline, &noise(content, 4096 << (content % 3)));
            live.push(write.copies(1 + (content % 2) as u8).wait().unwrap());
        } else {
            pipeline.free(&live.swap_remove(rng.index(live.len()))).wait().unwrap();
        }
    }
    let mut counted: BTreeMap<_, (u64, BlockPointer)> = BTreeMap::new();
    for bp in &live {
        counted.entry(bp.dva(0)).or_insert((0, *bp)).0 += 1;
    }
    let stats = pipeline.dedup_stats();
    for (log2, bucket) in stats.histogram.buckets().iter().enumerate() {
        let here = || counted.values().filter(|(count, _)| count.ilog2() as usize == log2);
        assert_eq!(bucket.blocks, here().count() as u64, "2^{log2}");
        assert_eq!(bucket.references, here().map(|(count, _)| count).sum::<u64>());
        let psize: u64 = here().map(|(_, bp)| bp.psize_bytes()).sum();
        assert_eq!(bucket.psize_bytes, psize);
    }
    let stored: u64 = counted.values().map(|(_, bp)| bp.asize_bytes()).sum();
    let referenced: u64 = live.iter().map(BlockPointer::asize_bytes).sum();
    assert_eq!((stats.stored_bytes, stats.referenced_bytes), (stored.into(), referenced.into()));
    assert_eq!(stats.ratio_percent(), u128::from(referenced * 100 / stored));
    assert_eq!(pipeline.allocated_bytes(), stored);
    assert_eq!(stats.classes.unique.blocks + stats.classes.duplicate.blocks, counted.len() as u64);
    assert_eq!(stats.classes.totals().references, live.len() as u64);
    assert!(stats.table_bytes > 0);
}

/// H11: a reference too few is found, told, and put right; one too many is found and left.
#[test]
fn a_recount_finds_what_is_wrong_and_mends_it_to_the_safe_side() {
    let pipeline = on_memory(64 * MIB);
    let write = |n| dedup(&pipeline, &noise(n, 8192)).wait().unwrap();
    let mut live: Vec<_> = [1, 1, 1, 2, 3, 3].into_iter().map(write).collect();
    let plain = pipeline.write(noise(9, 8192)).wait().unwrap();
    live.push(plain);
    assert_eq!(pipeline.dedup_recount(live.iter().copied()).unwrap(), []);

    // One pointer freed twice: block 1 would go while two pointers lead to it.
    pipeline.free(&live[0]).wait().unwrap();
    pipeline.free(&live[0]).wait().unwrap();
    live.remove(0);
    // One pointer claimed twice: block 3 would never go.
    pipeline.claim(&live[3]).wait().unwrap();
    let found = pipeline.dedup_recount(live.iter().copied()).unwrap();
    let of = |bp: &BlockPointer| found.iter().find(|d| Some(d.dva) == bp.dva(0)).unwrap();
    assert_eq!(found.len(), 2, "{found:?}");
    let missing = of(&live[0]);
    assert_eq!((missing.references, missing.pointers), (1, 2));
    assert_eq!((missing.checksum, missing.birth), (live[0].checksum_id(), 1));
    assert_eq!(missing.repair, DedupRepair::Raised(2));
    let surplus = of(&live[3]);
    assert_eq!((surplus.references, surplus.pointers), (3, 2));
    assert_eq!(surplus.repair, DedupRepair::LeftToLeak(1));

    pipeline.free(&live[0]).wait().unwrap();
    assert!(pipeline.read(&live[1]).wait().unwrap() == noise(1, 8192));
    for bp in &live[1..] {
        pipeline.free(bp).wait().unwrap();
    }
    // What was left to leak is one block, and no more.
    assert_eq!((pipeline.dedup_references(), pipeline.allocated_bytes()), (1, 8192));
}

/// Writes and frees go on while the pointers are counted.
#[test]
fn a_recount_allows_for_what_happens_meanwhile() {
    let pipeline = on_memory(64 * MIB);
    let write = |n| dedup(&pipeline, &noise(n, 8192)).wait().unwrap();
    let mut live: Vec<_> = (0..40).map(|n| write(n % 10)).collect();
    let mut rng = Rng::new(3);
    for round in 0..10 {
        let begin = live.clone();
        let counted = begin.into_iter().enumerate().inspect(|(n, _)| {
            live.push(write(rng.below(14)));
            if n % 3 > 0 {
                pipeline.free(&live.swap_remove(rng.index(live.len()))).wait().unwrap();
            }
            if *n == 5 {
                let second = pipeline.dedup_recount([]).unwrap_err();
                assert_eq!(second.kind(), ErrorKind::Busy);
            }
        });
        let counted = counted.map(|(_, bp)| bp);
        assert_eq!(pipeline.dedup_recount(counted).unwrap(), [], "round {round}");
        live.truncate(live.len().min(60));
        let kept: Vec<_> = live.clone();
        // Those that were let go of without a free are surplus, each of them.
        let surplus: u64 = pipeline
            .dedup_recount(kept.iter().copied())
            .unwrap()
            .iter()
            .map(|found| found.references - found.pointers)
            .sum();
        assert_eq!(surplus, pipeline.dedup_references() - kept.len() as u64);
        if surplus > 0 {
            break;
        }
    }
}
