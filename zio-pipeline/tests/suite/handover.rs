//! A4 and F8: how often a request changes threads.

use std::sync::Arc;

use vdev_disk::Memory;
use zio_pipeline::{Builder, Checksum, Compression, GzipLevel, Pipeline};

use crate::common::{MIB, Sim, compressible, noise};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Moves {
    completion_entries: u64,
    dispatches: u64,
    handovers: u64,
}

impl Moves {
    fn during(pipeline: &Pipeline, work: impl FnOnce()) -> Self {
        let before = pipeline.stats();
        work();
        let during = pipeline.stats().since(&before).engine;
        Self {
            completion_entries: during.entries_completion,
            dispatches: during.dispatches,
            handovers: during.handovers,
        }
    }
}

fn on_file(change: impl FnOnce(Builder) -> Builder) -> (Pipeline, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let builder = Pipeline::builder().create(dir.path().join("disk"), 64 * MIB);
    (change(builder).build().unwrap(), dir)
}

#[test]
fn a_read_on_a_file_is_one_entry_and_no_dispatch() {
    let (pipeline, _dir) = on_file(|builder| builder);
    let bp = pipeline.write(noise(1, 8192)).wait().unwrap();
    for _ in 0..100 {
        // The child hands over to the logical zio.
        let moves = Moves::during(&pipeline, || {
            pipeline.read(&bp).wait().unwrap();
        });
        assert_eq!(moves, Moves { completion_entries: 1, dispatches: 0, handovers: 1 });
        // And that one to the group it belongs to: three zios, one entry.
        let moves = Moves::during(&pipeline, || {
            let group = pipeline.root();
            pipeline.read(&bp).under(group.parent()).nowait(|result| assert!(result.is_ok()));
            group.wait().unwrap();
        });
        assert_eq!((moves.completion_entries, moves.dispatches), (1, 0));
    }
}

#[test]
fn without_the_hand_over_each_parent_is_dispatched() {
    let (pipeline, _dir) = on_file(Builder::always_dispatch);
    let bp = pipeline.write(noise(1, 8192)).wait().unwrap();
    let moves = Moves::during(&pipeline, || {
        pipeline.read(&bp).wait().unwrap();
    });
    assert_eq!(moves, Moves { completion_entries: 1, dispatches: 1, handovers: 0 });
}

#[test]
fn dispatches_stay_within_their_budgets() {
    let disks: [Arc<Memory>; 3] = std::array::from_fn(|_| Arc::new(Memory::new(64 * MIB, 512)));
    let on_memory = disks.into_iter().fold(Pipeline::builder(), |b, disk| b.vdev(disk));
    let (on_file, _dir) = on_file(|builder| builder);
    let sim = Sim::new(1, 3);
    for pipeline in [on_memory.build().unwrap(), on_file, sim.pipeline()] {
        for (len, checksum, compression) in [
            (8192, Checksum::Fletcher4, Compression::Off),
            (512, Checksum::Sha256, Compression::Lz4),
            (MIB as usize, Checksum::Sha256, Compression::Off),
            (MIB as usize, Checksum::Blake3, Compression::Gzip(GzipLevel::new(1).unwrap())),
        ] {
            let write = pipeline.write(compressible(2, len)).copies(3);
            let mut bp = None;
            let moves = Moves::during(&pipeline, || {
                bp = Some(write.checksum(checksum).compression(compression).wait().unwrap());
            });
            assert!(moves.dispatches <= 2, "write of {len}: {moves:?}");
            let moves = Moves::during(&pipeline, || {
                pipeline.read(&bp.unwrap()).wait().unwrap();
            });
            assert!(moves.dispatches <= 1, "read of {len}: {moves:?}");
        }
        let moves = Moves::during(&pipeline, || pipeline.flush().wait().unwrap());
        assert!(moves.dispatches <= 1, "flush: {moves:?}");
    }
}
