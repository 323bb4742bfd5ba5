//! Groups of requests.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use vdev_sim::{Effect, Fault, OpKind};
use zio_core::VdevErrorKind;
use zio_pipeline::ErrorKind;

use crate::common::{MIB, Sim, everywhere, noise, on_memory, write};

#[test]
fn a_group_ends_after_all_it_holds_with_the_worst_error() {
    let sim = Sim::new(1, 1);
    let pipeline = sim.pipeline();
    let blocks: Vec<_> = (0..3).map(|seed| write(&pipeline, seed)).collect();
    let group = pipeline.root();
    let nested = pipeline.root();
    let ends = Arc::new(AtomicUsize::new(0));
    let (disk, at) = sim.place(&blocks[1], 0);
    disk.inject(Fault::new(Effect::Fail(VdevErrorKind::Io)).on(OpKind::Read).range(at, 1).times(2));
    sim.corrupt(&blocks[2], 0);
    for (bp, parent) in blocks.iter().zip([group.parent(), nested.parent(), nested.parent()]) {
        let counted = Arc::clone(&ends);
        pipeline.read(bp).under(parent).nowait(move |_| {
            counted.fetch_add(1, Ordering::SeqCst);
        });
    }
    let counted = Arc::clone(&ends);
    let nested = nested.into_pending().under(group.parent());
    nested.nowait(move |result| {
        assert_eq!(result.unwrap_err().kind(), ErrorKind::Io);
        assert!(counted.fetch_add(1, Ordering::SeqCst) >= 2);
    });
    assert_eq!(group.wait().unwrap_err().kind(), ErrorKind::Io);
    assert_eq!(ends.load(Ordering::SeqCst), 4);
}

#[test]
fn a_deep_chain_of_groups_ends_on_a_small_stack() {
    let body = || {
        let pipeline = on_memory(32 * MIB);
        let top = pipeline.root();
        let mut above = top.parent().clone();
        let mut groups = Vec::new();
        for _ in 0..5000 {
            let group = pipeline.root();
            let parent = group.parent().clone();
            groups.push(group.into_pending().under(&above));
            above = parent;
        }
        let leaf = pipeline.write(noise(1, 4096)).under(&above);
        groups.into_iter().for_each(|group| group.nowait(|result| result.unwrap()));
        leaf.nowait(|result| _ = result.unwrap());
        top.wait().unwrap();
        assert_eq!(pipeline.live(), 0);
    };
    let small = thread::Builder::new().stack_size(64 << 10).spawn(body).unwrap();
    small.join().unwrap();
}

#[test]
fn one_request_in_two_groups_ends_both() {
    everywhere(|pipeline| {
        let (a, b) = (pipeline.root(), pipeline.root());
        pipeline.write(noise(1, 4096)).under(a.parent()).under(b.parent()).nowait(|_| {});
        a.wait().unwrap();
        b.wait().unwrap();
        pipeline.root().wait().unwrap();
    });
}

#[test]
fn a_request_is_a_group_for_others() {
    let pipeline = on_memory(32 * MIB);
    let parent = pipeline.write(noise(1, 4096));
    let child = pipeline.write(&[0; 511]).under(&parent.as_parent().unwrap());
    assert!(child.wait().is_err());
    // Its own block was written; it fails for its child.
    assert_eq!(parent.wait().unwrap_err().kind(), ErrorKind::Invalid);
    assert_eq!((pipeline.live(), pipeline.allocated_bytes()), (0, 0));
}
