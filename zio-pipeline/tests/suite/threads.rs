//! Threads of the pipeline's own: the deadman, and a reaper for each further ring.

use std::sync::Arc;
use std::time::Duration;

use vdev_disk::{Disk, OpenOptions, Ring};
use zio_pipeline::{Compression, Deadman, ErrorKind, Mirror, Pipeline};

use crate::common::{Gated, MIB, noise};

#[test]
fn a_deadman_of_its_own_gives_up_what_hangs() {
    let device = Gated::new(64 * MIB);
    let deadman = Deadman { after: Duration::from_millis(1), every: Duration::from_millis(1) };
    let pipeline =
        Pipeline::builder().vdev(Arc::clone(&device) as _).deadman(deadman).build().unwrap();
    let write = pipeline.write(noise(1, 4096)).start().unwrap();
    assert_eq!(write.wait().unwrap_err().kind(), ErrorKind::TimedOut);
    device.open();
    pipeline.wait_idle();
    drop(pipeline);
    assert_eq!(Arc::strong_count(&device), 1, "its thread is gone, and has let go");
}

/// Each ring is turned, by whoever waits or by a thread of its own.
#[test]
fn devices_on_rings_of_their_own() {
    let dir = tempfile::tempdir().unwrap();
    let open = |name: &str| {
        let options = OpenOptions::new().create(32 * MIB);
        let options = match Ring::new(32) {
            Ok(ring) => options.ring(ring),
            Err(refused) if refused.is_refused() => options,
            Err(error) => panic!("{error}"),
        };
        Arc::new(Disk::open(dir.path().join(name), &options).unwrap())
    };
    let pipeline = Pipeline::builder()
        .compression(Compression::Lz4)
        .vdev(open("first") as _)
        .mirror(Mirror::new().vdev(open("left") as _).vdev(open("right") as _))
        .build()
        .unwrap();
    let blocks: Vec<_> =
        (0..64).map(|seed| pipeline.write(noise(seed, 16_384)).copies(2).wait().unwrap()).collect();
    pipeline.flush().wait().unwrap();
    let reads: Vec<_> = blocks.iter().map(|bp| pipeline.read(bp).start().unwrap()).collect();
    for (read, seed) in reads.into_iter().zip(0..) {
        assert!(read.wait().unwrap() == noise(seed, 16_384));
    }
}
