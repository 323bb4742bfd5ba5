//! How long things take.

use super::log::OpKind;
use crate::rng::Rng;

/// Times of a disk. An I/O takes
///
/// ```text
/// positioning (mechanics) or base time, ± jitter, × tail, × slow factor
///   then its turn on the link: max(1 / iops, bytes / bandwidth)
/// ```
///
/// and up to [`Latency::served_max`] of them overlap in the first part; the
/// link is one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Latency {
    /// Base time of a read. Not used with mechanics.
    pub read_ns: u64,
    /// Base time of a write. Not used with mechanics.
    pub write_ns: u64,
    /// Time of a flush.
    pub flush_ns: u64,
    /// Base time of a trim.
    pub trim_ns: u64,
    /// Base times vary by up to this many thousandths in both directions.
    pub jitter_permille: u32,
    /// So many of a thousand I/Os meet an unlucky moment (garbage collection,
    /// a retry inside the drive) …
    pub tail_permille: u32,
    /// … and take this many times as long.
    pub tail_factor: u32,
    /// Commands served at the same moment: actuators, flash channels.
    pub served_max: u32,
    /// Commands per second over the link; 0 is without limit.
    pub iops_max: u64,
    /// Bytes per second over the link; 0 is without limit.
    pub bytes_per_s: u64,
    /// Platters, if it has any. Then a command is chosen by shortest
    /// positioning time, with a chance of one in sixteen for the oldest.
    pub mechanics: Option<Mechanics>,
}

/// The moving parts of a hard disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mechanics {
    /// Rotations per minute.
    pub rpm: u32,
    /// Seek to the next track, head settling included.
    pub seek_ns_min: u64,
    /// Seek over the whole disk. Between, it grows with the root of the distance.
    pub seek_ns_max: u64,
}

impl Latency {
    /// Everything takes exactly this long, any number of commands at a time.
    pub fn fixed(ns: u64) -> Self {
        Self {
            read_ns: ns,
            write_ns: ns,
            flush_ns: ns,
            trim_ns: ns,
            jitter_permille: 0,
            tail_permille: 0,
            tail_factor: 1,
            served_max: u32::MAX,
            iops_max: 0,
            bytes_per_s: 0,
            mechanics: None,
        }
    }

    /// 7200 rpm, seeks of 0.5 to 16 ms, 200 MB/s: about 80 random reads per
    /// second one at a time, twice that when it can choose among 32. By eye,
    /// after data sheets of 3.5" drives.
    pub fn hdd() -> Self {
        Self {
            flush_ns: 10_000_000,
            trim_ns: 100_000,
            tail_permille: 1,
            tail_factor: 20,
            served_max: 1,
            bytes_per_s: 200_000_000,
            mechanics: Some(Mechanics { rpm: 7200, seek_ns_min: 500_000, seek_ns_max: 16_000_000 }),
            ..Self::fixed(0)
        }
    }

    /// 90 µs reads, 40 µs writes into the drive's memory, 8 channels,
    /// 540 MB/s. By eye, after data sheets.
    pub fn sata_ssd() -> Self {
        Self {
            read_ns: 90_000,
            write_ns: 40_000,
            flush_ns: 1_000_000,
            trim_ns: 200_000,
            jitter_permille: 150,
            tail_permille: 2,
            tail_factor: 30,
            served_max: 8,
            bytes_per_s: 540_000_000,
            ..Self::fixed(0)
        }
    }

    /// 70 µs reads, 12 µs writes into the drive's memory, 64 channels,
    /// 6.5 GB/s. By eye, after data sheets of PCIe 4 drives.
    pub fn nvme() -> Self {
        Self {
            read_ns: 70_000,
            write_ns: 12_000,
            flush_ns: 200_000,
            trim_ns: 50_000,
            jitter_permille: 100,
            tail_permille: 1,
            tail_factor: 20,
            served_max: 64,
            bytes_per_s: 6_500_000_000,
            ..Self::fixed(0)
        }
    }

    /// A volume behind a hypervisor, as measured for the project's floors:
    /// 69 µs for one read of 8 KiB, never more than 61,000 per second, however
    /// deep the queue. Bandwidth (1 GB/s) and tail are by eye.
    pub fn cloud_volume() -> Self {
        Self {
            read_ns: 52_000,
            write_ns: 60_000,
            flush_ns: 500_000,
            trim_ns: 500_000,
            jitter_permille: 200,
            tail_permille: 5,
            tail_factor: 20,
            served_max: 256,
            iops_max: 61_000,
            bytes_per_s: 1_000_000_000,
            ..Self::fixed(0)
        }
    }

    /// A disk with no other use for time than to shuffle answers: 1 to 200 µs,
    /// evenly. Good for finding bugs of order.
    pub fn shuffled() -> Self {
        Self { jitter_permille: 990, ..Self::fixed(100_000) }
    }
}

/// One command as far as time is concerned.
#[derive(Clone, Copy, Debug)]
pub(super) struct Command {
    pub(super) op: OpKind,
    pub(super) offset_bytes: u64,
    pub(super) len_bytes: u64,
    pub(super) slow_factor: u32,
}

/// Where the moving parts are, and until when the link is taken.
#[derive(Debug)]
pub(super) struct Timing {
    latency: Latency,
    size_bytes: u64,
    head_bytes: u64,
    link_free_ns: u64,
}

impl Timing {
    pub(super) fn new(latency: Latency, size_bytes: u64) -> Self {
        Self { latency, size_bytes, head_bytes: 0, link_free_ns: 0 }
    }

    pub(super) fn served_max(&self) -> usize {
        self.latency.served_max as usize
    }

    /// Which of these waiting commands, given by their offsets, is served next.
    pub(super) fn choose(
        &self,
        now_ns: u64,
        offsets: impl ExactSizeIterator<Item = u64>,
        rng: &mut Rng,
    ) -> usize {
        let Some(mechanics) = &self.latency.mechanics else { return 0 };
        if offsets.len() == 1 || rng.below(16) == 0 {
            return 0;
        }
        let cost = |offset| self.position_ns(mechanics, now_ns, offset);
        offsets.enumerate().min_by_key(|&(_, offset)| cost(offset)).map_or(0, |(i, _)| i)
    }

    /// Seek and rotation from where the head is. Going on where the last
    /// command ended costs nothing: the track buffer has it.
    fn position_ns(&self, mechanics: &Mechanics, now_ns: u64, offset_bytes: u64) -> u64 {
        let distance = offset_bytes.abs_diff(self.head_bytes);
        if distance == 0 {
            return 0;
        }
        // Root of the distance as a fraction of the disk, in 1/65536.
        let fraction = (u128::from(distance) << 32) / u128::from(self.size_bytes.max(1));
        let root = fraction.isqrt() as u64;
        let span_ns = mechanics.seek_ns_max.saturating_sub(mechanics.seek_ns_min);
        let seek_ns = mechanics.seek_ns_min + ((span_ns * root) >> 16);
        let turn_ns = 60_000_000_000 / u64::from(mechanics.rpm.max(1));
        let track_bytes = (self.latency.bytes_per_s / 1000 * turn_ns / 1_000_000).max(1);
        let target_ns = (offset_bytes % track_bytes) * turn_ns / track_bytes;
        let arrival_ns = now_ns.wrapping_add(seek_ns) % turn_ns;
        seek_ns + (target_ns + turn_ns - arrival_ns) % turn_ns
    }

    /// When a command that is served from now on will be finished.
    pub(super) fn finish_ns(&mut self, now_ns: u64, command: Command, rng: &mut Rng) -> u64 {
        let Command { op, offset_bytes, len_bytes, slow_factor } = command;
        let latency = &self.latency;
        let base_ns = match (op, &latency.mechanics) {
            (OpKind::Flush, _) => latency.flush_ns,
            (OpKind::Trim, _) => latency.trim_ns,
            (_, Some(mechanics)) => self.position_ns(mechanics, now_ns, offset_bytes),
            (OpKind::Read, None) => latency.read_ns,
            (OpKind::Write, None) => latency.write_ns,
        };
        let mut ns = u128::from(base_ns) * u128::from(slow_factor);
        if latency.jitter_permille > 0 {
            let jitter = u64::from(latency.jitter_permille.min(1000));
            ns = ns * u128::from(1000 - jitter + rng.below(2 * jitter + 1)) / 1000;
        }
        if rng.chance(latency.tail_permille) {
            ns *= u128::from(latency.tail_factor);
        }
        // A hundred years at most: the clock never overflows.
        let ready_ns = now_ns + ns.min(1 << 61) as u64;
        if !matches!(op, OpKind::Read | OpKind::Write) {
            return ready_ns;
        }
        self.head_bytes = offset_bytes + len_bytes;
        let per_op_ns = 1_000_000_000u64.checked_div(latency.iops_max).unwrap_or(0);
        let bytes_ns = u128::from(len_bytes) * 1_000_000_000;
        let moving_ns = bytes_ns.checked_div(u128::from(latency.bytes_per_s)).unwrap_or(0) as u64;
        // The link is taken in the order in which commands are served.
        let link_ns = per_op_ns.max(moving_ns);
        self.link_free_ns = self.link_free_ns.max(now_ns) + link_ns;
        (ready_ns + link_ns).max(self.link_free_ns)
    }
}
