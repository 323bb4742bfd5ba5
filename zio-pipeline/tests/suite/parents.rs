//! Parents written together with their children (C2): the parent's block holds the final
//! pointers, whatever comes first to the devices; a tree in the making does not touch the old one.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use parking_lot::Mutex;
use vdev_sim::{Effect, Fault, OpKind};
use zio_core::VdevErrorKind;
use zio_core::bp::BLOCK_POINTER_BYTES;
use zio_pipeline::{BlockPointer, Checksum, Compression, ErrorKind, Pipeline, Priority, Write};

use crate::common::{Gated, MIB, PATIENCE, Sim, compressible, noise};

type Slots = Arc<Mutex<Vec<BlockPointer>>>;

const CHILDREN: usize = 8;

/// Puts the children's pointers into their parent.
fn put(slots: &Slots) -> impl FnOnce(&mut [u8]) -> u64 + Send + 'static {
    let slots = Arc::clone(slots);
    move |data: &mut [u8]| {
        let slots = slots.lock();
        for (place, bp) in data.as_chunks_mut::<BLOCK_POINTER_BYTES>().0.iter_mut().zip(&*slots) {
            *place = bp.to_bytes();
        }
        slots.iter().map(BlockPointer::fill).sum()
    }
}

fn empty(count: usize) -> Slots {
    Arc::new(Mutex::new(vec![BlockPointer::EMPTY; count]))
}

/// The write of a child that leaves its pointer in its slot.
fn child(write: Write, parent: &Write, slots: &Slots, number: usize) -> Write {
    let slots = Arc::clone(slots);
    let write = write.on_ready(move |bp| slots.lock()[number] = *bp);
    write.under(&parent.as_parent().unwrap())
}

/// A parent over so many children, from one seed; `old` are those they replace.
fn tree(pipeline: &Pipeline, seed: u64, old: &[BlockPointer]) -> (Write, Vec<Write>, Slots) {
    let slots = empty(CHILDREN);
    let parent = pipeline.write(vec![0; 4096]).level(1).compression(Compression::Lz4);
    let parent = parent.checksum(Checksum::Sha256).on_children_ready(put(&slots));
    let children = (0..CHILDREN).map(|number| {
        let write = pipeline.write(contents(seed, number)).compression(Compression::Lz4);
        let write = match old.get(number) {
            Some(old) => write.over(old).sync_pass(2),
            None => write,
        };
        child(write, &parent, &slots, number)
    });
    let children = children.collect();
    (parent, children, slots)
}

fn start(writes: Vec<Write>) {
    writes.into_iter().for_each(|write| drop(write.start().unwrap()));
}

fn contents(seed: u64, number: usize) -> Vec<u8> {
    match number {
        0 => vec![0; 16_384],
        1 => vec![seed as u8 | 1; 16_384],
        _ => compressible(seed * 100 + number as u64, 16_384),
    }
}

/// Reads a tree from its root; the pointers in it are believed once they are checked.
fn children_of(pipeline: &Pipeline, root: &BlockPointer) -> Vec<BlockPointer> {
    let data = pipeline.read(root).wait().unwrap().to_vec();
    let places = data.as_chunks::<BLOCK_POINTER_BYTES>().0.iter().take(CHILDREN);
    places.map(|place| pipeline.check(&BlockPointer::from_bytes(place)).unwrap()).collect()
}

fn check_tree(pipeline: &Pipeline, root: &BlockPointer, seed: u64) {
    for (number, bp) in children_of(pipeline, root).iter().enumerate() {
        assert!(pipeline.read(bp).wait().unwrap() == contents(seed, number), "child {number}");
    }
}

#[test]
fn a_parent_holds_the_final_pointers_of_its_children() {
    for seed in 0..20 {
        let sim = Sim::new(seed, 2);
        let pipeline = sim.pipeline();
        let (parent, mut children, slots) = tree(&pipeline, seed, &[]);
        // Some before it, some after.
        let later = children.split_off(seed as usize % (CHILDREN + 1));
        start(children);
        let parent = parent.start().unwrap();
        start(later);
        let root = parent.wait().unwrap();
        // One hole among them.
        assert_eq!((root.level(), root.fill()), (1, CHILDREN as u64 - 1));
        let children = children_of(&pipeline, &root);
        assert_eq!(children, *slots.lock());
        assert!(children[0].is_hole() && children[1].is_embedded());
        check_tree(&pipeline, &root, seed);
        assert_eq!(pipeline.live(), 0);
    }
}

/// Three levels in one go: only the uppermost is waited for.
#[test]
fn trees_of_any_height_are_written_in_one_go() {
    let sim = Sim::new(1, 2);
    let pipeline = sim.pipeline();
    let tops = empty(2);
    let top = pipeline.write(vec![0; 512]).level(2).on_children_ready(put(&tops));
    let mut lower = Vec::new();
    for number in 0..2 {
        let (parent, children, _) = tree(&pipeline, number as u64, &[]);
        lower.push((child(parent, &top, &tops, number), children));
    }
    // From the top down: nobody can be ready yet.
    let root = top.start().unwrap();
    for (parent, children) in lower {
        start(vec![parent]);
        start(children);
    }
    let root = root.wait().unwrap();
    assert_eq!(root.fill(), 2 * (CHILDREN as u64 - 1));
    let data = pipeline.read(&root).wait().unwrap().to_vec();
    for (seed, place) in data.as_chunks::<BLOCK_POINTER_BYTES>().0.iter().take(2).enumerate() {
        let parent = pipeline.check(&BlockPointer::from_bytes(place)).unwrap();
        check_tree(&pipeline, &parent, seed as u64);
    }
}

/// No child is on its device when the parent goes to its own.
#[test]
fn a_parent_does_not_wait_for_its_childrens_devices() {
    let disk = Gated::new(64 * MIB);
    let pipeline = Pipeline::builder().vdev(Arc::clone(&disk) as Arc<_>).build().unwrap();
    let slots = empty(3);
    let parent = pipeline.write(vec![0; 512]).level(1).priority(Priority::SyncWrite);
    let parent = parent.on_children_ready(put(&slots));
    for number in 0..3 {
        let write = pipeline.write(noise(number as u64, 4096)).priority(Priority::SyncWrite);
        drop(child(write, &parent, &slots, number).start().unwrap());
    }
    let parent = parent.start().unwrap();
    // All four stand before the gate.
    let began = Instant::now();
    while disk.writes() < 4 && began.elapsed() < PATIENCE {
        std::thread::yield_now();
    }
    let (arrived, over) = (disk.writes(), parent.is_finished());
    disk.open();
    assert_eq!((arrived, over), (4, false));
    let root = parent.wait().unwrap();
    let data = pipeline.read(&root).wait().unwrap().to_vec();
    for (number, place) in data.as_chunks::<BLOCK_POINTER_BYTES>().0.iter().take(3).enumerate() {
        let bp = pipeline.check(&BlockPointer::from_bytes(place)).unwrap();
        assert_eq!(bp, slots.lock()[number]);
        assert!(pipeline.read(&bp).wait().unwrap() == noise(number as u64, 4096));
    }
}

#[test]
fn a_parent_without_one_of_its_children_is_not_written() {
    let sim = Sim::new(2, 1);
    let pipeline = sim.pipeline();
    let slots = empty(2);
    let called = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&called);
    let parent = pipeline.write(vec![1; 512]).level(1).on_children_ready(move |_| {
        seen.store(true, Ordering::Relaxed);
        1
    });
    let good = child(pipeline.write(noise(1, 8192)), &parent, &slots, 0).start().unwrap();
    // Shared, and nothing to tell it by: refused at its first stage.
    let bad = pipeline.write(noise(2, 8192)).checksum(Checksum::Off).dedup(true);
    drop(child(bad, &parent, &slots, 1).start().unwrap());
    assert_eq!(parent.wait().unwrap_err().kind(), ErrorKind::Invalid);
    assert!(!called.load(Ordering::Relaxed));
    let good = good.wait().unwrap();
    assert_eq!(pipeline.allocated_bytes(), good.asize_bytes());
    assert_eq!(sim.take_log(OpKind::Write).len(), 1);
}

/// The pointer was final, and then the device failed.
#[test]
fn a_parent_fails_with_a_child_that_fails_later() {
    let sim = Sim::new(3, 1);
    let pipeline = sim.pipeline();
    let slots = empty(1);
    let parent = pipeline.write(vec![1; 512]).level(1).on_children_ready(put(&slots));
    let fault = Fault::new(Effect::Fail(VdevErrorKind::Io)).on(OpKind::Write);
    sim.disks[0].inject(fault.range(4 * MIB, 8192).times(2));
    let write = pipeline.write(noise(1, 8192));
    let child = child(write, &parent, &slots, 0).start().unwrap();
    assert_eq!(parent.wait().unwrap_err().kind(), ErrorKind::Io);
    assert_eq!(child.wait().unwrap_err().kind(), ErrorKind::Io);
    assert!(!slots.lock()[0].is_hole());
    assert_eq!(pipeline.allocated_bytes(), 0);
}

/// Data that somebody else holds, or in pieces, is filled in in a copy.
#[test]
fn what_is_filled_in_is_the_parents_own() {
    let sim = Sim::new(4, 1);
    let pipeline = sim.pipeline();
    let mut shared = pipeline.buffer(1024);
    shared.fill(3);
    let shared: zio_pipeline::Data = shared.into();
    let mut pieces = shared.slice(0..512);
    pieces.append(shared.slice(512..1024));
    for data in [shared.clone(), pieces] {
        let write = pipeline.write(data).on_children_ready(|data| {
            data[600] = 4;
            1
        });
        let bp = write.wait().unwrap();
        let read = pipeline.read(&bp).wait().unwrap().to_vec();
        assert_eq!((read[599], read[600], read[601]), (3, 4, 3));
    }
    assert!(shared == vec![3; 1024]);
}

#[test]
fn a_crash_in_between_leaves_the_old_tree() {
    for seed in 0..60_u64 {
        let sim = Sim::new(seed, 2);
        let old = {
            let pipeline = sim.pipeline();
            let (parent, children, _) = tree(&pipeline, 1, &[]);
            start(children);
            let old = parent.wait().unwrap();
            pipeline.flush().wait().unwrap();
            let children = children_of(&pipeline, &old);
            pipeline.end_txg();
            let (parent, children, _) = tree(&pipeline, 2, &children);
            start(children);
            let parent = parent.over(&old).sync_pass(2).start().unwrap();
            // From "nothing has reached a device" to "all of it, and nothing is flushed".
            sim.machine.run_for(seed * 1000);
            sim.machine.power_cut();
            drop(parent);
            old
        };
        sim.disks.iter().for_each(|disk| disk.online());
        let pipeline = sim.pipeline();
        let root = pipeline.check(&BlockPointer::from_bytes(&old.to_bytes())).unwrap();
        pipeline.claim(&root).wait().unwrap();
        for bp in children_of(&pipeline, &root) {
            pipeline.claim(&bp).wait().unwrap();
        }
        check_tree(&pipeline, &root, 1);
        // And once more, to its end.
        let (parent, children, _) = tree(&pipeline, 3, &children_of(&pipeline, &root));
        start(children);
        let again = parent.wait().unwrap();
        check_tree(&pipeline, &root, 1);
        check_tree(&pipeline, &again, 3);
    }
}
