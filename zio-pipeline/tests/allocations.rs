//! The steady state allocates nothing. Alone in its process: it counts every
//! thread's allocations.

use std::alloc::System;
use std::sync::{Arc, Mutex, PoisonError};

use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use vdev_disk::Memory;
use zio_pipeline::{BlockPointer, Completions, Pipeline};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// One test at a time: another one's allocations would be counted as well.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

const BLOCK_BYTES: usize = 8192;
const BLOCKS: usize = 256;
const ROUNDS: usize = 4000;
const DEPTH: usize = 32;

/// Heap allocations per round, once everything is warm.
fn allocations(mut round: impl FnMut(usize)) -> f64 {
    (0..2 * ROUNDS).for_each(&mut round);
    let region = Region::new(ALLOCATOR);
    (0..ROUNDS).for_each(&mut round);
    let change = region.change();
    (change.allocations + change.reallocations) as f64 / ROUNDS as f64
}

fn block(number: usize) -> Vec<u8> {
    (0..BLOCK_BYTES).map(|at| (at * 31 + number * 7) as u8).collect()
}

fn take_one(completions: &Completions) {
    let (_, mut finished) = completions.next().expect("a request is outstanding");
    assert!(finished.result().is_ok());
    assert_eq!(finished.take_data().len(), BLOCK_BYTES);
}

struct Figures {
    read_wait: f64,
    read_completions: f64,
    write_wait: f64,
    write_completions: f64,
}

fn measure(name: &str, pipeline: &Pipeline) -> Figures {
    let write = |number| pipeline.write(block(number)).wait().unwrap();
    let blocks: Vec<BlockPointer> = (0..BLOCKS).map(write).collect();
    let next = |round: usize| &blocks[round * 7 % BLOCKS];

    let read_wait = allocations(|round| {
        let data = pipeline.read(next(round)).wait().unwrap();
        assert_eq!(data.len(), BLOCK_BYTES);
    });
    let completions = pipeline.completions();
    let read_completions = allocations(|round| {
        if completions.outstanding() >= DEPTH {
            take_one(&completions);
        }
        pipeline.read(next(round)).send_to(&completions, round as u64).unwrap();
    });
    while completions.outstanding() > 0 {
        take_one(&completions);
    }
    let write_one = || {
        let mut buffer = pipeline.buffer(BLOCK_BYTES);
        buffer.fill(9);
        pipeline.write(buffer)
    };
    let write_wait = allocations(|_| {
        let bp = write_one().wait().unwrap();
        pipeline.free(&bp).wait().unwrap();
    });
    let free_one = || {
        let (_, finished) = completions.next().expect("a request is outstanding");
        let bp = finished.get().bp;
        drop(finished);
        pipeline.free(&bp).wait().unwrap();
    };
    let write_completions = allocations(|round| {
        if completions.outstanding() >= DEPTH {
            free_one();
        }
        write_one().send_to(&completions, round as u64).unwrap();
    });
    while completions.outstanding() > 0 {
        free_one();
    }
    println!(
        "{name}: allocations per read {read_wait} (wait), {read_completions} (completions); \
         per write and free {write_wait} (wait), {write_completions} (completions)"
    );
    Figures { read_wait, read_completions, write_wait, write_completions }
}

fn check(name: &str, pipeline: &Pipeline, read_max: f64) {
    let figures = measure(name, pipeline);
    assert!(figures.read_wait <= read_max, "{name}: a read allocates {} times", figures.read_wait);
    assert!(
        figures.read_completions <= read_max,
        "{name}: a collected read allocates {} times",
        figures.read_completions
    );
    // The allocator's trees grow and shrink a node now and then.
    assert!(figures.write_wait <= 0.1, "{name}: a write allocates {} times", figures.write_wait);
    // Writes that wait together are merged; a merged I/O lists its members on the heap.
    assert!(
        figures.write_completions <= 1.0,
        "{name}: a collected write allocates {} times",
        figures.write_completions
    );
}

#[test]
fn on_memory() {
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let disk = Arc::new(Memory::new(64 << 20, 512));
    check("memory", &Pipeline::builder().vdev(disk).build().unwrap(), 0.0);
}

#[test]
fn on_a_file() {
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let dir = tempfile::tempdir().unwrap();
    for threads in [false, true] {
        let builder = Pipeline::builder().create(dir.path().join("disk"), 64 << 20);
        let builder = if threads { builder.threads() } else { builder };
        // On threads it happens that a worker still holds what the next request would reuse.
        let (name, read_max) =
            if threads { ("file on threads", 0.01) } else { ("file on a ring", 0.0) };
        check(name, &builder.build().unwrap(), read_max);
    }
}
