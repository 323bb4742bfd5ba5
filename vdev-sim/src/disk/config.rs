//! What kind of disk.

use zio_core::Geometry;
use zio_core::segment::BUFFER_ALIGN_BYTES;

use super::fault::FaultProfile;
use super::latency::Latency;

/// What a trimmed range reads as. Only what was written before is affected;
/// space that never held anything reads as zeros.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trimmed {
    /// Zeros.
    Zeros,
    /// Anything: the device may do as it likes with it, so code that relies on
    /// the content is found out.
    Garbage,
    /// What was there before: the trim was only a hint.
    Kept,
    /// The disk cannot trim and says so.
    Unsupported,
}

/// A disk to be made by [`Machine::disk`](crate::Machine::disk). Start from
/// one of the constructors and change what matters.
///
/// ```
/// use vdev_sim::{DiskConfig, Machine};
///
/// let machine = Machine::new(1);
/// let disk = machine.disk(DiskConfig {
///     sector_bytes: 4096,
///     physical_bytes: 4096,
///     ..DiskConfig::hdd(8 << 40)
/// });
/// # let _ = disk;
/// ```
#[derive(Clone, Debug)]
pub struct DiskConfig {
    /// Size in bytes, a multiple of the sector. Only what is written costs memory.
    pub size_bytes: u64,
    /// Unit of I/O and of tearing: a power of two from 512 to 65,536.
    pub sector_bytes: u32,
    /// Unit it writes best in: a power of two, at least the sector.
    pub physical_bytes: u32,
    /// Alignment it wants of memory: a power of two, at most 4096. Pieces that
    /// do not meet it are carried out, and counted.
    pub memory_align_bytes: u32,
    /// Refuses writes from the first day.
    pub read_only: bool,
    /// Bytes of answered writes that may wait in the volatile cache; the
    /// oldest are made durable to make room. 0: every answered write is durable.
    pub cache_bytes_max: u64,
    /// Commands it looks at when it chooses what to serve next; at least 1.
    /// More wait in order of arrival.
    pub queue_depth: u32,
    /// How long things take.
    pub latency: Latency,
    /// What a trimmed range reads as.
    pub trimmed: Trimmed,
    /// How many of a thousand I/Os are answered before
    /// [`start`](zio_core::Vdev::start) returns. Below 1000, or a caller that
    /// starts the next I/O from the answer recurses without end.
    pub inline_permille: u32,
    /// Panics on an I/O that is out of range or misaligned, instead of
    /// refusing and counting it.
    pub strict: bool,
    /// Random faults.
    pub faults: FaultProfile,
}

impl DiskConfig {
    /// Each I/O takes exactly this long, 64 at a time.
    pub fn fixed(size_bytes: u64, latency_ns: u64) -> Self {
        Self::with(size_bytes, 64, Latency::fixed(latency_ns))
    }

    /// A hard disk of 7200 rpm: see [`Latency::hdd`]. Queue depth 32.
    pub fn hdd(size_bytes: u64) -> Self {
        Self { physical_bytes: 4096, ..Self::with(size_bytes, 32, Latency::hdd()) }
    }

    /// A SATA SSD: see [`Latency::sata_ssd`]. Queue depth 32.
    pub fn sata_ssd(size_bytes: u64) -> Self {
        Self { physical_bytes: 4096, ..Self::with(size_bytes, 32, Latency::sata_ssd()) }
    }

    /// An NVMe SSD: see [`Latency::nvme`]. Queue depth 1024.
    pub fn nvme(size_bytes: u64) -> Self {
        Self { physical_bytes: 4096, ..Self::with(size_bytes, 1024, Latency::nvme()) }
    }

    /// A network volume: see [`Latency::cloud_volume`]. Queue depth 256.
    pub fn cloud_volume(size_bytes: u64) -> Self {
        Self { physical_bytes: 4096, ..Self::with(size_bytes, 256, Latency::cloud_volume()) }
    }

    fn with(size_bytes: u64, queue_depth: u32, latency: Latency) -> Self {
        Self {
            size_bytes,
            sector_bytes: 512,
            physical_bytes: 512,
            memory_align_bytes: 512,
            read_only: false,
            cache_bytes_max: 64 << 20,
            queue_depth,
            latency,
            trimmed: Trimmed::Garbage,
            inline_permille: 0,
            strict: false,
            faults: FaultProfile::none(),
        }
    }

    /// The geometry, once the numbers are found to make sense.
    pub(super) fn geometry(&self) -> Geometry {
        let Self { size_bytes, sector_bytes, physical_bytes, memory_align_bytes, .. } = *self;
        assert!(
            sector_bytes.is_power_of_two() && (512..=65_536).contains(&sector_bytes),
            "a sector of {sector_bytes} bytes"
        );
        assert!(
            physical_bytes.is_power_of_two() && physical_bytes >= sector_bytes,
            "a physical sector of {physical_bytes} bytes over sectors of {sector_bytes}"
        );
        assert!(
            memory_align_bytes.is_power_of_two()
                && memory_align_bytes as usize <= BUFFER_ALIGN_BYTES,
            "memory aligned to {memory_align_bytes} bytes"
        );
        assert!(
            size_bytes.is_multiple_of(u64::from(sector_bytes)),
            "{size_bytes} bytes are not whole sectors of {sector_bytes}"
        );
        assert!(self.queue_depth > 0 && self.latency.served_max > 0, "a disk that serves nothing");
        Geometry {
            size_bytes,
            sector_bytes,
            physical_bytes,
            memory_align_bytes,
            rotational: self.latency.mechanics.is_some(),
            read_only: self.read_only,
        }
    }
}
