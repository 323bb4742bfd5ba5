//! Hashes of large blocks, which other threads share.

use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::thread;

use vdev_disk::Memory;
use zio_pipeline::{
    BlockPointer, Builder, Checksum, Compression, Control, DatasetKeys, ErrorKind, Pipeline,
    Priority, Suite, VdevId,
};

use crate::common::{MIB, noise};

const LARGE_BYTES: usize = 4 << 20;

fn builder() -> Builder {
    Pipeline::builder().vdev(Arc::new(Memory::new(256 * MIB, 512))).salt([7; 32])
}

fn written(pipeline: &Pipeline, data: &[u8]) -> BlockPointer {
    let write = pipeline.write(data).checksum(Checksum::Blake3).compression(Compression::Off);
    write.wait().unwrap()
}

/// Threads of this process whose names begin so.
fn threads_called(prefix: &str) -> usize {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    let names =
        tasks.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("comm")).ok());
    names.filter(|name| name.starts_with(prefix)).count()
}

#[test]
fn a_shared_hash_is_the_hash() {
    let (shared, plain) =
        (builder().hash_threads(3).build().unwrap(), builder().hash_threads(1).build().unwrap());
    // Around the size from which on it is shared, and with an end that fills no chunk.
    for len in [(2 << 20) - 512, 2 << 20, (2 << 20) + 512, LARGE_BYTES, 16 << 20] {
        let data = noise(len as u64, len);
        let (a, b) = (written(&shared, &data), written(&plain, &data));
        assert_eq!(a.checksum(), b.checksum(), "{len} bytes");
        assert!(shared.read(&a).wait().unwrap() == data, "{len} bytes");
        assert!(shared.read(&a).priority(Priority::Scrub).wait().unwrap() == data);
        shared.free(&a).wait().unwrap();
        plain.free(&b).wait().unwrap();
    }
    assert_eq!((shared.allocated_bytes(), plain.allocated_bytes()), (0, 0));
}

/// The only test that looks at threads by these names: the others run beside it, and use them too,
/// so it may only ask whether there are some.
#[cfg(target_os = "linux")]
#[test]
fn who_wants_it_chooses_the_threads() {
    let pipeline = builder().hash_threads(2).build().unwrap();
    let bp = written(&pipeline, &noise(1, LARGE_BYTES));
    assert!(threads_called("zio-hash-") >= 2);
    pipeline.read(&bp).priority(Priority::Scrub).wait().unwrap();
    assert!(threads_called("zio-hash-back") >= 2);
}

#[test]
fn a_flipped_bit_is_found_by_whoever_hashes() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("disk");
    let data = noise(3, LARGE_BYTES);
    let builder = || Pipeline::builder().salt([7; 32]).hash_threads(2);
    let pipeline = builder().create(&path, 64 * MIB).build().unwrap();
    let bp = written(&pipeline, &data);
    drop(pipeline);
    let file = std::fs::OpenOptions::new().read(true).write(true).open(&path).unwrap();
    let dva = bp.dvas().next().unwrap();
    let place = zio_pipeline::DATA_START_BYTES + dva.offset_bytes() + 3_000_000;
    let mut byte = [0];
    file.read_exact_at(&mut byte, place).unwrap();
    file.write_all_at(&[byte[0] ^ 0x10], place).unwrap();
    file.sync_all().unwrap();
    let pipeline = builder().file(&path).build().unwrap();
    for priority in [Priority::SyncRead, Priority::Scrub] {
        let error = pipeline.read(&bp).priority(priority).wait().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Checksum);
    }
    let errors = pipeline.leaf_errors(VdevId(0), 0).unwrap();
    assert_eq!(errors.checksum, 4, "each is tried twice");
    file.write_all_at(&byte, place).unwrap();
    file.sync_all().unwrap();
    assert!(pipeline.read(&bp).wait().unwrap() == data);
}

/// A bad copy is found by one of these threads, the good one is read, and the bad one mended.
#[test]
fn another_copy_is_read_and_the_bad_one_is_mended() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("disk");
    let data = noise(5, LARGE_BYTES);
    let pipeline = Pipeline::builder().hash_threads(2).create(&path, 64 * MIB).build().unwrap();
    let write = pipeline.write(&data).checksum(Checksum::Blake3).compression(Compression::Off);
    let bp = write.copies(2).wait().unwrap();
    let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
    let first = zio_pipeline::DATA_START_BYTES + bp.dvas().next().unwrap().offset_bytes();
    file.write_all_at(&[0xaa; 4096], first + 2_000_000).unwrap();
    let checksum_errors = || pipeline.leaf_errors(VdevId(0), 0).unwrap().checksum;
    for _ in 0..2 {
        assert!(pipeline.read(&bp).wait().unwrap() == data);
        pipeline.wait_idle();
        assert_eq!(checksum_errors(), 1, "mended at once");
    }
}

/// Half of the sum is a MAC there; and the same block again is the same block.
#[test]
fn encrypted_and_shared_blocks() {
    let keys = DatasetKeys::new(Suite::Aes256Gcm, &[3; 32]).unwrap().hmac(&[9; 64]).unwrap();
    let pipeline = builder().hash_threads(2).keys(keys).build().unwrap();
    let data = noise(6, LARGE_BYTES);
    let write = || pipeline.write(&data).checksum(Checksum::Blake3).compression(Compression::Off);
    let secret = write().encrypt(true).object_type(19).wait().unwrap();
    assert!(secret.is_encrypted() && pipeline.read(&secret).wait().unwrap() == data);
    let handles = [(); 6].map(|()| write().dedup(true).start().unwrap());
    let shared = handles.map(|handle| handle.wait().unwrap());
    assert!(shared.iter().all(|bp| bp.same_block(&shared[0])));
    assert_eq!(pipeline.dedup_references(), 6);
    assert!(pipeline.read(&shared[0]).wait().unwrap() == data);
    shared.iter().for_each(|bp| pipeline.free(bp).wait().unwrap());
    pipeline.free(&secret).wait().unwrap();
    assert_eq!(pipeline.allocated_bytes(), 0);
}

/// Whoever is cancelled meanwhile ends, and keeps no space; a hash is not interrupted.
#[test]
fn cancelled_while_they_are_hashed() {
    let pipeline = builder().hash_threads(2).build().unwrap();
    let data = noise(7, LARGE_BYTES);
    for round in 0..10 {
        let control = Control::new();
        let write = || pipeline.write(data.clone()).checksum(Checksum::Blake3).control(&control);
        let handles = [(); 8].map(|()| write().start().unwrap());
        thread::sleep(std::time::Duration::from_micros(300 * round));
        control.cancel();
        for result in handles.map(|handle| handle.wait()) {
            match result {
                Ok(bp) => pipeline.free(&bp).wait().unwrap(),
                Err(error) => assert_eq!(error.kind(), ErrorKind::Cancelled),
            }
        }
        assert_eq!(pipeline.allocated_bytes(), 0);
    }
}

/// Many at once, from many threads, beside small ones; and a pipeline that ends while they are
/// under way answers all.
#[test]
fn many_at_once_and_an_end_in_the_middle() {
    let pipeline = builder().hash_threads(2).build().unwrap();
    let (small, large) = (noise(1, 8192), noise(2, LARGE_BYTES));
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..5 {
                    let (a, b) = (written(&pipeline, &large), written(&pipeline, &small));
                    assert!(pipeline.read(&a).wait().unwrap() == large);
                    assert!(pipeline.read(&b).wait().unwrap() == small);
                    pipeline.free(&a).wait().unwrap();
                    pipeline.free(&b).wait().unwrap();
                }
            });
        }
    });
    assert_eq!(pipeline.allocated_bytes(), 0);
    let write = || pipeline.write(large.clone()).checksum(Checksum::Blake3);
    let handles: Vec<_> = (0..8).map(|_| write().start().unwrap()).collect();
    drop(pipeline);
    assert!(handles.into_iter().all(|handle| handle.wait().is_ok()));
}
