//! An allocator that breaks its promises: it is told to whoever asked, and nobody waits for ever.

use vdev_sim::{BrokenPromise, Effect, Fault, OpKind};
use zio_core::VdevErrorKind;
use zio_pipeline::{BlockPointer, Checksum, Error, ErrorKind, Pipeline, VdevId};

use crate::common::noise;
use crate::gangs::Fragmented;

/// In units of 512 bytes, whose extents are at most this long.
const PIECE_BYTES: u64 = 4096;

fn each_write(test: impl Fn(&Fragmented, &Pipeline, &dyn Fn() -> Result<BlockPointer, Error>)) {
    for len in [PIECE_BYTES as usize, 8 * PIECE_BYTES as usize] {
        for dedup in [false, true] {
            let pool = Fragmented::new(1, 2, 9, PIECE_BYTES);
            let pipeline = pool.pipeline(9);
            let write = || {
                let write = pipeline.write(noise(len as u64, len)).copies(2);
                write.checksum(Checksum::Sha256).dedup(dedup).wait()
            };
            test(&pool, &pipeline, &write);
            assert_eq!(pipeline.live(), 0);
            pool.space.set_broken(None);
            let bp = write().unwrap();
            assert!(pipeline.read(&bp).wait().unwrap() == noise(len as u64, len));
            pipeline.free(&bp).wait().unwrap();
        }
    }
}

/// A failed write gives its space back; if that fails too, both are told, and the space is lost.
#[test]
fn space_that_cannot_be_given_back() {
    each_write(|pool, pipeline, write| {
        let broken = Fault::new(Effect::Fail(VdevErrorKind::Io)).on(OpKind::Write).always();
        for disk in &pool.sim.disks {
            disk.inject(broken.clone());
        }
        pool.space.set_broken(Some(BrokenPromise::Frees));
        let error = write().unwrap_err();
        let kinds = [ErrorKind::Io, ErrorKind::DeviceGone, ErrorKind::NotFound];
        assert!(kinds.contains(&error.kind()), "{error}");
        assert!(pipeline.allocated_bytes() > 0);
        pool.sim.disks.iter().for_each(|disk| disk.heal_all());
        pipeline.resume();
    });
}

#[test]
fn too_few_addresses() {
    each_write(|pool, pipeline, write| {
        pool.space.set_broken(Some(BrokenPromise::Copies));
        let error = write().unwrap_err();
        assert!([ErrorKind::NoSpace, ErrorKind::NotFound].contains(&error.kind()), "{error}");
        assert_eq!(pipeline.dedup_references(), 0);
    });
}

#[test]
fn a_free_that_is_refused_is_told() {
    each_write(|pool, pipeline, write| {
        let bp = write().unwrap();
        pool.space.set_broken(Some(BrokenPromise::Frees));
        let error = pipeline.free(&bp).wait().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
    });
}

/// The range of a trim is taken for its time. If it cannot be given back the trim has failed.
#[test]
fn a_trim_whose_range_is_not_taken_back() {
    let pool = Fragmented::new(2, 1, 9, PIECE_BYTES);
    let pipeline = pool.pipeline(9);
    pool.space.set_broken(Some(BrokenPromise::Frees));
    let error = pipeline.trim(VdevId(0), 0, 4096).wait().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
    assert_eq!(pipeline.allocated_bytes(), 4096);
}
