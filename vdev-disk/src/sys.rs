//! The few calls that the libraries do not offer, and the facts about a
//! device that stand in `/sys`.

use std::fs;
use std::os::fd::BorrowedFd;

use rustix::io::Errno;
use rustix::ioctl;

/// `BLKDISCARD`: `_IO(0x12, 119)`.
const BLKDISCARD: ioctl::Opcode = ioctl::opcode::none(0x12, 119);

/// Tells a block device that a range is unused. Blocks until it knows.
#[expect(unsafe_code, reason = "the ioctl has no safe wrapper")]
pub(crate) fn discard_block_device(
    fd: BorrowedFd<'_>,
    offset_bytes: u64,
    len_bytes: u64,
) -> Result<(), Errno> {
    // SAFETY: BLKDISCARD takes a pointer to two u64, start and length, and reads them only; on
    // anything but a block device the kernel answers ENOTTY without looking at them.
    unsafe {
        ioctl::ioctl(fd, ioctl::Setter::<BLKDISCARD, [u64; 2]>::new([offset_bytes, len_bytes]))
    }
}

/// Buses of virtual machines, as parts of a device's path in `/sys`.
const VIRTUAL_BUSES: [&str; 3] = ["/virtio", "/vbd-", "/VMBUS:"];

/// Does a seek cost time on this block device? `None` where nobody knows. A
/// partition's facts stand with its disk.
///
/// A disk of a virtual machine claims to rotate unless its maker thought of
/// it; what stands behind it is anything but one spindle, so the claim is not believed.
pub(crate) fn rotational(major: u32, minor: u32) -> Option<bool> {
    let base = format!("/sys/dev/block/{major}:{minor}");
    let place = fs::canonicalize(&base).ok()?;
    let is_virtual = VIRTUAL_BUSES.iter().any(|bus| place.to_string_lossy().contains(bus));
    ["queue/rotational", "../queue/rotational"]
        .iter()
        .find_map(|name| fs::read_to_string(format!("{base}/{name}")).ok())
        .map(|text| text.trim() == "1" && !is_virtual)
}
