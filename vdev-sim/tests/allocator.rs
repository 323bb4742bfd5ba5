//! The mean allocator is correct, and mean.

use std::sync::Arc;

use vdev_sim::conformance::{self, AllocatorFixture};
use vdev_sim::{SimAllocator, SimAllocatorConfig};
use zio_core::{Allocator, Dva, Dvas, NoSpace, Slots, SpaceError, Txg, VdevId, Want};

const MIB: u64 = 1 << 20;

fn want(size_bytes: u64, copies: u8) -> Want {
    Want { size_bytes, copies, txg: 1, ..Want::default() }
}

fn fixture(config: SimAllocatorConfig) -> AllocatorFixture {
    let vdevs: Vec<_> =
        config.vdev_bytes.iter().enumerate().map(|(i, &b)| (VdevId(i as u32), b)).collect();
    let allocator = SimAllocator::new(config);
    let settler = Arc::clone(&allocator);
    AllocatorFixture::new(allocator, &vdevs).settle(move |txg| settler.settle(txg))
}

#[test]
fn it_conforms() {
    for seed in 0..5 {
        for vdevs in [&[2 * MIB][..], &[MIB, MIB], &[MIB, 2 * MIB, MIB, 3 * MIB]] {
            let base = SimAllocatorConfig::new(seed, vdevs);
            let kinds = [
                base.clone(),
                SimAllocatorConfig { unit_bytes: 512, ..base.clone() },
                SimAllocatorConfig { contiguous_bytes_max: 16_384, ..base.clone() },
                SimAllocatorConfig { fail_permille: 500, ..base.clone() },
                SimAllocatorConfig { reserve_bytes_max: 10 << 20, ..base },
            ];
            for config in kinds {
                conformance::allocator(|| fixture(config.clone()));
            }
        }
    }
}

#[test]
fn it_never_hands_out_more_than_its_limit() {
    let config = SimAllocatorConfig {
        contiguous_bytes_max: 12_288,
        ..SimAllocatorConfig::new(1, &[4 * MIB])
    };
    let allocator = SimAllocator::new(config);
    let error = allocator.allocate(&want(16_384, 1)).unwrap_err();
    assert_eq!((error.largest_bytes, error.free_bytes), (12_288, 4 * MIB));
    assert_eq!(allocator.largest_bytes(), 12_288);
    allocator.allocate(&want(12_288, 1)).unwrap();
    allocator.set_contiguous_bytes_max(u64::MAX);
    allocator.allocate(&want(16_384, 1)).unwrap();
}

#[test]
fn it_fails_at_its_rate_and_places_at_random() {
    let allocator = SimAllocator::new(SimAllocatorConfig::new(1, &[64 * MIB]));
    allocator.set_fail_permille(300);
    let outcomes: Vec<_> = (0..1000).map(|_| allocator.allocate(&want(4096, 1))).collect();
    let failed = outcomes.iter().filter(|o| o.is_err()).count();
    assert!((240..360).contains(&failed), "{failed}");
    let offsets: Vec<u64> = outcomes.iter().flatten().map(|dvas| dvas[0].offset_bytes()).collect();
    let rising = offsets.windows(2).filter(|w| w[0] < w[1]).count();
    assert!((offsets.len() * 4 / 10..offsets.len() * 6 / 10).contains(&rising), "{rising}");
}

#[test]
fn it_fills_to_the_last_unit() {
    let allocator = SimAllocator::new(SimAllocatorConfig::new(1, &[MIB, MIB]));
    for _ in 0..512 {
        allocator.allocate(&want(4096, 1)).unwrap();
    }
    assert_eq!((allocator.free_bytes(), allocator.largest_bytes()), (0, 0));
    assert!(allocator.allocate(&want(1, 1)).is_err());
    let whole = |i| (VdevId(i), 0..MIB);
    assert_eq!(allocator.taken(), [whole(0), whole(1)]);
}

#[test]
fn freed_space_waits_for_its_txg() {
    let allocator = SimAllocator::new(SimAllocatorConfig::new(1, &[8192]));
    let dva = allocator.allocate(&want(8192, 1)).unwrap()[0];
    allocator.free(dva, 7).unwrap();
    assert_eq!((allocator.free_bytes(), allocator.allocated_bytes()), (0, 8192));
    assert!(allocator.taken().is_empty());
    allocator.settle(6);
    assert!(allocator.allocate(&want(512, 1)).is_err());
    allocator.settle(7);
    allocator.allocate(&want(8192, 1)).unwrap();
}

/// Ways for [`Broken`] to break its contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flaw {
    SameExtentTwice,
    PartialFailure,
    AcceptsDoubleFree,
    ClaimsTaken,
    ReusesAtOnce,
    CopiesTogether,
    UnitTooSmall,
    ReservationsLeak,
    WrongTxg,
}

#[derive(Debug)]
struct Broken {
    sound: Arc<SimAllocator>,
    flaw: Flaw,
    last: parking_lot::Mutex<Option<Dva>>,
    count: parking_lot::Mutex<u64>,
    leaked: parking_lot::Mutex<Vec<Slots>>,
}

impl Allocator for Broken {
    fn allocate(&self, want: &Want) -> Result<Dvas, NoSpace> {
        let count = {
            let mut count = self.count.lock();
            *count += 1;
            *count
        };
        let mut last = self.last.lock();
        if let (Flaw::SameExtentTwice, Some(dva)) = (self.flaw, *last)
            && count.is_multiple_of(40)
            && want.copies == 1
            && want.size_bytes <= dva.asize_bytes()
        {
            return Ok(Dvas::from_iter([dva]));
        }
        let outcome = self.sound.allocate(want);
        match (&outcome, self.flaw) {
            (Err(_), Flaw::PartialFailure) => {
                let one = Want { copies: 1, ..want.clone() };
                self.sound.allocate(&one).map(drop).unwrap_or_default();
            }
            (Ok(dvas), Flaw::CopiesTogether) if dvas.len() > 1 => {
                return Ok(dvas.iter().map(|_| dvas[0]).collect());
            }
            (Ok(dvas), Flaw::UnitTooSmall) if want.size_bytes == 5000 => {
                return Ok(dvas.iter().map(|d| d.with_asize_bytes(4096)).collect());
            }
            (Ok(dvas), _) => *last = Some(dvas[0]),
            _ => {}
        }
        outcome
    }

    fn free(&self, dva: Dva, txg: Txg) -> Result<(), SpaceError> {
        match (self.flaw, self.sound.free(dva, txg)) {
            (Flaw::AcceptsDoubleFree, Err(SpaceError::NotAllocated { .. })) => Ok(()),
            (Flaw::ReusesAtOnce, Ok(())) => {
                self.sound.settle(txg);
                Ok(())
            }
            (_, outcome) => outcome,
        }
    }

    fn unallocate(&self, dva: Dva, txg: Txg) -> Result<(), SpaceError> {
        if self.flaw == Flaw::WrongTxg {
            return self.sound.unallocate(dva, 1).or_else(|_| self.sound.unallocate(dva, 5));
        }
        self.sound.unallocate(dva, txg)
    }

    fn claim(&self, dva: Dva, txg: Txg) -> Result<(), SpaceError> {
        match self.sound.claim(dva, txg) {
            Err(SpaceError::NotFree { .. }) if self.flaw == Flaw::ClaimsTaken => Ok(()),
            outcome => outcome,
        }
    }

    fn check_claim(&self, dva: Dva) -> Result<(), SpaceError> {
        self.sound.check_claim(dva)
    }

    fn reserve(&self, bytes: u64) -> Option<Slots> {
        let slots = self.sound.reserve(bytes)?;
        if self.flaw == Flaw::ReservationsLeak {
            self.leaked.lock().extend(self.sound.reserve(bytes));
        }
        Some(slots)
    }

    fn largest_bytes(&self) -> u64 {
        self.sound.largest_bytes()
    }

    fn free_bytes(&self) -> u64 {
        self.sound.free_bytes()
    }

    fn allocated_bytes(&self) -> u64 {
        self.sound.allocated_bytes()
    }
}

#[test]
fn the_suite_finds_every_flaw() {
    let flaws = [
        (Flaw::SameExtentTwice, "nothing has two owners"),
        (Flaw::PartialFailure, "a failed allocation changes nothing"),
        (Flaw::AcceptsDoubleFree, "a wrong free changes nothing"),
        (Flaw::ClaimsTaken, "claims"),
        (Flaw::ReusesAtOnce, "nothing has two owners"),
        (Flaw::CopiesTogether, "extents lie inside"),
        (Flaw::UnitTooSmall, "extents lie inside"),
        (Flaw::ReservationsLeak, "reservations end"),
        (Flaw::WrongTxg, "an allocation of this txg"),
    ];
    for (flaw, check) in flaws {
        let outcome = conformance::check_allocator(|| {
            let config = SimAllocatorConfig {
                reserve_bytes_max: 10 << 20,
                ..SimAllocatorConfig::new(1, &[2 * MIB, MIB])
            };
            let sound = SimAllocator::new(config);
            let settler = Arc::clone(&sound);
            let broken = Broken {
                sound,
                flaw,
                last: Default::default(),
                count: Default::default(),
                leaked: Default::default(),
            };
            AllocatorFixture::new(Arc::new(broken), &[(VdevId(0), 2 * MIB), (VdevId(1), MIB)])
                .settle(move |txg| settler.settle(txg))
        });
        match outcome {
            Ok(()) => panic!("{flaw:?} was not found"),
            Err(v) => assert!(v.check.contains(check), "{flaw:?} was found as: {v}"),
        }
    }
}
