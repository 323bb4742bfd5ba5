//! On a real block device.

use vdev_disk::{Direct, Disk, OpenError, OpenOptions, Ring};
use zio_core::{Vdev, VdevOp};

use crate::common::{bytes_of, one, pattern, read_op, write_op};

/// Overwrites the first MiB of the block device that `VDEV_DISK_TEST_DEVICE` names.
#[test]
#[ignore = "needs a block device to overwrite, in VDEV_DISK_TEST_DEVICE"]
fn a_block_device_is_direct_and_claimed_and_trims() {
    let path = std::env::var("VDEV_DISK_TEST_DEVICE").expect("the path of a block device");
    let on_ring = OpenOptions::new().ring(Ring::new(8).unwrap());
    let on_threads = OpenOptions::new().threads(2);
    for (options, generation) in [(&on_ring, 1), (&on_threads, 2)] {
        let disk = Disk::open(&path, options).unwrap();
        assert!(disk.is_direct() && disk.is_block_device());
        let error = Disk::open(&path, &on_ring).unwrap_err();
        assert!(matches!(error, OpenError::InUse { .. }), "{error}");

        let bytes = pattern(0, 1 << 20, generation);
        assert_eq!(one(&disk, write_op(&bytes, &[1 << 19, 1 << 19]), 0).result, Ok(()));
        assert_eq!(one(&disk, VdevOp::Flush, 0).result, Ok(()));
        let trim = VdevOp::Trim { len_bytes: 1 << 18 };
        assert_eq!(one(&disk, trim, 1 << 18).result, Ok(()));
        let got = bytes_of(one(&disk, read_op(&[1 << 20]), 0));
        assert!(got[..1 << 18] == bytes[..1 << 18], "before the range");
        assert!(got[1 << 19..] == bytes[1 << 19..], "after the range");
        let geometry = disk.geometry();
        assert!(geometry.physical_bytes >= geometry.sector_bytes);
        drop(disk);
        let cached = Disk::open(&path, &options.clone().direct(Direct::Never)).unwrap();
        assert!(!cached.is_direct());
        assert!(bytes_of(one(&cached, read_op(&[4096]), 0)) == bytes[..4096]);
    }
}
