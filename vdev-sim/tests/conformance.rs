//! The simulated disk passes the suite; devices that break a promise do not.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use vdev_sim::conformance::{self, Fixture};
use vdev_sim::{DiskConfig, Latency, Machine, Trimmed};
use zio_core::{Buffers, Data, Geometry, Vdev, VdevDone, VdevError, VdevErrorKind, VdevIo, VdevOp};

const SIZE: u64 = 4 << 20;

#[test]
fn every_kind_of_disk_conforms() {
    let kinds = [
        DiskConfig::fixed(SIZE, 0),
        DiskConfig::fixed(SIZE, 100),
        DiskConfig::hdd(SIZE),
        DiskConfig::sata_ssd(SIZE),
        DiskConfig::nvme(SIZE),
        DiskConfig::cloud_volume(SIZE),
    ];
    for (seed, config) in kinds.into_iter().enumerate() {
        conformance::run(|| Fixture::new(Machine::new(seed as u64).disk(config.clone())));
    }
}

#[test]
fn odd_configurations_conform() {
    let base = || DiskConfig { latency: Latency::shuffled(), ..DiskConfig::fixed(SIZE, 0) };
    let kinds = [
        DiskConfig { sector_bytes: 4096, physical_bytes: 4096, ..base() },
        DiskConfig { sector_bytes: 16_384, physical_bytes: 65_536, ..base() },
        DiskConfig { read_only: true, ..base() },
        DiskConfig { cache_bytes_max: 0, ..base() },
        DiskConfig { cache_bytes_max: 8192, ..base() },
        DiskConfig { queue_depth: 1, ..base() },
        DiskConfig { inline_permille: 500, ..base() },
        DiskConfig { inline_permille: 999, trimmed: Trimmed::Zeros, ..base() },
        DiskConfig { trimmed: Trimmed::Kept, ..base() },
        DiskConfig { trimmed: Trimmed::Unsupported, ..base() },
    ];
    for (seed, config) in kinds.into_iter().enumerate() {
        conformance::run(|| Fixture::new(Machine::new(seed as u64).disk(config.clone())));
    }
}

/// One way for [`Toy`] to break its contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flaw {
    None,
    DropsWrites,
    SwapsBuffers,
    IgnoresSecondSegment,
    OtherPayload,
    NeverAnswersFlush,
    LosesIos,
    AllowsOutOfRange,
    AllowsMisaligned,
    WrongRefusal,
    TrimsTooMuch,
    OffByASector,
    ChangesGeometry,
    FailsWhenDeep,
}

/// A memory device that answers within `start`, with a flaw.
struct Toy {
    flaw: Flaw,
    bytes: Mutex<Vec<u8>>,
    seen: Mutex<u64>,
    kept: Mutex<Vec<VdevIo>>,
}

impl fmt::Debug for Toy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Toy({:?})", self.flaw)
    }
}

impl Toy {
    fn new(flaw: Flaw) -> Arc<Self> {
        let bytes = Mutex::new(vec![0; SIZE as usize]);
        Arc::new(Self { flaw, bytes, seen: Mutex::new(0), kept: Mutex::default() })
    }

    fn check(&self, io: &VdevIo) -> Result<(), VdevError> {
        let geometry = Vdev::geometry(self);
        match (self.flaw, io.check(&geometry)) {
            (Flaw::AllowsOutOfRange, Err(_)) if io.offset_bytes() >= SIZE => Ok(()),
            (Flaw::AllowsMisaligned, Err(_)) if io.offset_bytes() < 512 => Ok(()),
            (Flaw::WrongRefusal, Err(_)) => Err(VdevError::new(VdevErrorKind::Io)),
            (_, checked) => checked,
        }
    }

    fn work(&self, op: &mut VdevOp, offset: usize) {
        let mut bytes = self.bytes.lock();
        let offset =
            if self.flaw == Flaw::OffByASector { offset.saturating_sub(512) } else { offset };
        let mut at = offset.min(SIZE as usize);
        match op {
            VdevOp::Read(buffers) => {
                for buffer in buffers.iter_mut() {
                    let end = (at + buffer.len()).min(SIZE as usize);
                    buffer[..end - at].copy_from_slice(&bytes[at..end]);
                    at = end;
                }
            }
            VdevOp::Write(_) if self.flaw == Flaw::DropsWrites => {}
            VdevOp::Write(data) => {
                for (i, chunk) in data.chunks().enumerate() {
                    if i > 0 && self.flaw == Flaw::IgnoresSecondSegment {
                        break;
                    }
                    let end = (at + chunk.len()).min(SIZE as usize);
                    bytes[at..end].copy_from_slice(&chunk[..end - at]);
                    at = end;
                }
            }
            VdevOp::Flush => {}
            VdevOp::Trim { len_bytes } => {
                let more = if self.flaw == Flaw::TrimsTooMuch { 512 } else { 0 };
                let end = (at + *len_bytes as usize + more).min(SIZE as usize);
                bytes[at..end].fill(0);
            }
        }
    }
}

impl Vdev for Toy {
    fn geometry(&self) -> Geometry {
        let grown = self.flaw == Flaw::ChangesGeometry && *self.seen.lock() > 0;
        Geometry {
            size_bytes: SIZE + if grown { 512 } else { 0 },
            sector_bytes: 512,
            physical_bytes: 512,
            memory_align_bytes: 512,
            rotational: false,
            read_only: false,
        }
    }

    fn start(&self, mut io: VdevIo) {
        let seen = {
            let mut seen = self.seen.lock();
            *seen += 1;
            *seen
        };
        if let Err(error) = self.check(&io) {
            return io.finish(Err(error));
        }
        let offset = io.offset_bytes();
        match self.flaw {
            Flaw::NeverAnswersFlush if matches!(io.op(), VdevOp::Flush) => {
                return self.kept.lock().push(io);
            }
            Flaw::LosesIos if seen.is_multiple_of(50) => return self.kept.lock().push(io),
            Flaw::FailsWhenDeep if seen > 4000 => {
                return io.finish(Err(VdevError::new(VdevErrorKind::Io)));
            }
            _ => {}
        }
        self.work(io.op_mut(), offset as usize);
        let (mut op, _, token) = io.into_parts();
        match (&mut op, self.flaw) {
            (VdevOp::Read(buffers), Flaw::SwapsBuffers) => buffers.reverse(),
            (VdevOp::Write(data), Flaw::OtherPayload) => *data = Data::new(),
            (VdevOp::Read(buffers), Flaw::OtherPayload) => *buffers = Buffers::new(),
            _ => {}
        }
        token.finish(VdevDone { op: Some(op), result: Ok(()) });
    }
}

fn outcome(flaw: Flaw) -> Result<(), conformance::Violation> {
    let patience = Duration::from_millis(100);
    conformance::check(|| Fixture::new(Toy::new(flaw)).patience(patience))
}

#[test]
fn a_sound_toy_conforms() {
    outcome(Flaw::None).unwrap();
}

#[test]
fn every_flaw_is_found() {
    let flaws = [
        (Flaw::DropsWrites, "what is written is read"),
        (Flaw::SwapsBuffers, "payload is split anyhow"),
        (Flaw::IgnoresSecondSegment, "payload is split anyhow"),
        (Flaw::OtherPayload, "what is written is read"),
        (Flaw::NeverAnswersFlush, "a flush answers"),
        (Flaw::LosesIos, "what is written is read"),
        (Flaw::AllowsOutOfRange, "misaligned and out-of-range"),
        (Flaw::AllowsMisaligned, "misaligned and out-of-range"),
        (Flaw::WrongRefusal, "misaligned and out-of-range"),
        (Flaw::TrimsTooMuch, "a trim answers"),
        (Flaw::OffByASector, "what is written is read"),
        (Flaw::ChangesGeometry, "the geometry"),
        (Flaw::FailsWhenDeep, "five thousand"),
    ];
    for (flaw, check) in flaws {
        match outcome(flaw) {
            Ok(()) => panic!("{flaw:?} was not found"),
            Err(violation) => {
                assert!(violation.check.contains(check), "{flaw:?} was found as: {violation}");
            }
        }
    }
}

#[test]
fn a_lying_disk_is_found_too() {
    let config =
        DiskConfig { faults: vdev_sim::FaultProfile::lying(50), ..DiskConfig::fixed(SIZE, 100) };
    let found = conformance::check(|| Fixture::new(Machine::new(1).disk(config.clone())));
    assert!(found.is_err());
}
