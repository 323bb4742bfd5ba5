//! What is opened, what is refused, and in which words.

use std::fs;
use std::os::unix::net::UnixListener;
use std::path::Path;

use crate::common::{Threads, bytes_of, one, read_op, run, write_op};
use vdev_disk::{Direct, Disk, OpenError, OpenOptions, Ring, RingError};
use zio_core::{TaskQueue, Vdev, VdevErrorKind, VdevOp};

const MIB: u64 = 1 << 20;

#[test]
fn a_file_is_made_and_found_again() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("disk");
    let disk = Disk::open(&path, &OpenOptions::new().create(MIB)).unwrap();
    assert_eq!(disk.path(), path);
    assert!(!disk.is_block_device());
    assert_eq!(one(&disk, write_op(&[5; 512], &[512]), 512).result, Ok(()));
    drop(disk);
    // Made once: what is there stays there.
    let disk = Disk::open(&path, &OpenOptions::new().create(MIB)).unwrap();
    assert_eq!(bytes_of(one(&disk, read_op(&[512]), 512)), [5; 512]);
    assert!(format!("{disk:?}").contains("ring"));
}

#[test]
fn a_second_open_is_refused_until_the_first_is_gone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("disk");
    let options = OpenOptions::new().create(MIB);
    let shared = Ring::new(4).unwrap();
    for options in [options.clone(), options.clone().ring(shared), options.read_only()] {
        fs::write(&path, vec![0; MIB as usize]).unwrap();
        let first = Disk::open(&path, &OpenOptions::new()).unwrap();
        let error = Disk::open(&path, &options).unwrap_err();
        assert!(matches!(&error, OpenError::InUse { path: p, .. } if *p == path), "{error}");
        drop(first);
        let second = Disk::open(&path, &options).unwrap();
        let error = Disk::open(&path, &OpenOptions::new()).unwrap_err();
        assert!(matches!(error, OpenError::InUse { .. }), "{error}");
        drop(second);
    }
}

#[test]
fn readers_share() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("disk");
    fs::write(&path, vec![3; MIB as usize]).unwrap();
    let options = OpenOptions::new().read_only();
    let (a, b) = (Disk::open(&path, &options).unwrap(), Disk::open(&path, &options).unwrap());
    for disk in [a, b] {
        assert_eq!(bytes_of(one(&disk, read_op(&[512]), 0)), [3; 512]);
    }
}

#[test]
fn a_read_only_disk_refuses_writes() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("disk");
    fs::write(&path, vec![3; MIB as usize]).unwrap();
    let disk = Disk::open(&path, &OpenOptions::new().read_only()).unwrap();
    assert!(disk.geometry().read_only);
    for op in [write_op(&[1; 512], &[512]), VdevOp::Trim { len_bytes: 512 }] {
        assert_eq!(one(&disk, op, 0).result.unwrap_err().kind(), VdevErrorKind::ReadOnly);
    }
    assert_eq!(one(&disk, VdevOp::Flush, 0).result, Ok(()));
    drop(disk);
    assert!(fs::read(&path).unwrap().iter().all(|&b| b == 3));
}

#[test]
fn a_wrong_size_is_refused_with_both_numbers() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("disk");
    fs::write(&path, [0; 5000]).unwrap();
    let error = Disk::open(&path, &OpenOptions::new()).unwrap_err();
    let told =
        matches!(error, OpenError::SizeNotSectors { size_bytes: 5000, sector_bytes: 512, .. });
    assert!(told, "{error}");

    fs::write(&path, [0; 8192]).unwrap();
    for options in [
        OpenOptions::new().expect_size_bytes(MIB),
        OpenOptions::new().create(MIB),
        OpenOptions::new().create(4096).expect_size_bytes(MIB),
    ] {
        let error = Disk::open(&path, &options).unwrap_err();
        let told =
            matches!(error, OpenError::TooSmall { size_bytes: 8192, expected_bytes: MIB, .. });
        assert!(told, "{error}");
        assert!(error.to_string().contains(path.to_str().unwrap()), "{error}");
    }
    Disk::open(&path, &OpenOptions::new().expect_size_bytes(8192)).unwrap();
}

#[test]
fn a_file_that_could_not_be_opened_is_not_left_behind() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("disk");
    let error = Disk::open(&path, &OpenOptions::new().create(1000)).unwrap_err();
    assert!(matches!(error, OpenError::SizeNotSectors { size_bytes: 1000, .. }), "{error}");
    let error =
        Disk::open(&path, &OpenOptions::new().create(512).expect_size_bytes(MIB)).unwrap_err();
    assert!(matches!(error, OpenError::TooSmall { .. }), "{error}");
    let error = Disk::open(&path, &OpenOptions::new().create(u64::MAX)).unwrap_err();
    assert!(matches!(error, OpenError::System { call: "ftruncate", .. }), "{error}");
    assert!(!path.exists());
}

#[test]
fn a_larger_sector_can_be_asked_for_and_a_silly_one_not() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("disk");
    let disk = Disk::open(&path, &OpenOptions::new().create(MIB).sector_bytes(4096)).unwrap();
    assert_eq!(disk.geometry().sector_bytes, 4096);
    let error = one(&disk, read_op(&[512]), 0).result.unwrap_err();
    assert_eq!(error.kind(), VdevErrorKind::Invalid);
    drop(disk);
    for asked in [0, 256, 768] {
        let error = Disk::open(&path, &OpenOptions::new().sector_bytes(asked)).unwrap_err();
        let told = matches!(error, OpenError::SectorRefused { asked_bytes, device_bytes: 512, .. } if asked_bytes == asked);
        assert!(told, "{error}");
    }
}

#[test]
fn what_is_no_device_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("socket");
    let _listener = UnixListener::bind(&socket).unwrap();
    for path in [dir.path(), Path::new("/dev/null"), &socket] {
        for options in [OpenOptions::new(), OpenOptions::new().read_only()] {
            let error = Disk::open(path, &options).unwrap_err();
            assert!(matches!(error, OpenError::NotADevice { .. }), "{error}");
        }
    }
    let missing = dir.path().join("missing");
    for options in [OpenOptions::new(), OpenOptions::new().create(MIB).read_only()] {
        let error = Disk::open(&missing, &options).unwrap_err();
        assert!(matches!(error, OpenError::System { call: "open", .. }), "{error}");
    }
    assert!(!missing.exists());
}

#[test]
fn memory_file_systems_are_not_direct_and_say_so() {
    if !Path::new("/dev/shm").is_dir() {
        return;
    }
    let dir = tempfile::tempdir_in("/dev/shm").unwrap();
    let path = dir.path().join("disk");
    let disk = Disk::open(&path, &OpenOptions::new().create(MIB)).unwrap();
    assert!(!disk.is_direct());
    drop(disk);
    let error = Disk::open(&path, &OpenOptions::new().direct(Direct::Require)).unwrap_err();
    assert!(matches!(error, OpenError::NotDirect { .. }), "{error}");
}

#[test]
fn direct_is_not_used_when_it_is_not_wanted() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("disk");
    let disk = Disk::open(&path, &OpenOptions::new().create(MIB).direct(Direct::Never)).unwrap();
    assert!(!disk.is_direct());
    assert_eq!(disk.geometry().memory_align_bytes, 1);
    // Memory at odd addresses is fine then.
    let pool = zio_core::BufferPool::new();
    let odd = pool.copy_of(&[8; 1024]).freeze().slice(3..515);
    assert_eq!(one(&disk, VdevOp::Write(odd.into()), 0).result, Ok(()));
    assert_eq!(bytes_of(one(&disk, read_op(&[512]), 0)), [8; 512]);
}

#[test]
fn a_disk_on_threads_has_no_reactor() {
    let dir = tempfile::tempdir().unwrap();
    let threads = Threads::start(1);
    let options = OpenOptions::new().create(MIB).rotational(true).pool(threads.clone());
    let disk = Disk::open(dir.path().join("disk"), &options).unwrap();
    assert!(disk.reactor().is_none() && disk.ring().is_none());
    assert!(disk.geometry().rotational);
    assert!(format!("{disk:?} {options:?}").contains("threads"));
    threads.shutdown();
}

#[test]
fn a_disk_brings_its_own_threads() {
    let dir = tempfile::tempdir().unwrap();
    let options = OpenOptions::new().create(MIB).threads(2);
    let disk = Disk::open(dir.path().join("disk"), &options).unwrap();
    assert!(disk.reactor().is_none());
    let writes = (0..100).map(|i| (write_op(&[i as u8; 512], &[512]), i * 512));
    assert!(run(&disk, writes).iter().all(|done| done.result == Ok(())));
    assert_eq!(bytes_of(one(&disk, read_op(&[512]), 99 * 512)), [99; 512]);
}

#[test]
fn a_ring_of_no_depth_is_refused() {
    for depth in [0, vdev_disk::RING_DEPTH_MAX + 1] {
        let error = Ring::new(depth).unwrap_err();
        assert!(matches!(error, RingError::Depth { .. }) && !error.is_refused(), "{error}");
    }
    assert_eq!(Ring::new(1).unwrap().depth(), 1);
}
