//! `Metaslabs` against a bitmap: one entry per unit, every question answered
//! by looking at all of them. Vdevs are of any class, and may have a region set apart for logs.

use metaslab::{Config, Metaslabs};
use proptest::prelude::*;
use zio_core::{Allocator, Dva, SpaceClass, SpaceError, Txg, VdevId, Want};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unit {
    Free,
    /// By the group that allocated it; `None` after a claim.
    Allocated(Option<Txg>),
    /// By the group that freed it.
    Deferred(Txg),
}

/// Which units of a vdev.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Open,
    OfLogs,
    Whole,
}

struct ModelVdev {
    id: VdevId,
    class: SpaceClass,
    ashift: u32,
    units: Vec<Unit>,
    /// From here on the units are set apart for logs.
    open: usize,
}

impl ModelVdev {
    fn new(id: VdevId, (ashift, units, class): (u32, usize, SpaceClass), config: &Config) -> Self {
        // 64 regions of a power of two at most, the last one with what is left over.
        let least = units.div_ceil(64).max((config.region_bytes_min >> ashift) as usize);
        let region = least.next_power_of_two();
        let regions = (units / region).max(1);
        let has_logs = matches!(class, SpaceClass::Normal | SpaceClass::Special)
            && config.log_regions_min > 0
            && regions >= config.log_regions_min.max(2);
        let open = if has_logs { (regions - 1) * region } else { units };
        Self { id, class, ashift, units: vec![Unit::Free; units], open }
    }

    fn part(&self, part: Part) -> &[Unit] {
        match part {
            Part::Open => &self.units[..self.open],
            Part::OfLogs => &self.units[self.open..],
            Part::Whole => &self.units,
        }
    }

    fn free_bytes(&self, part: Part) -> u64 {
        (self.part(part).iter().filter(|u| **u == Unit::Free).count() as u64) << self.ashift
    }

    fn units_for(&self, bytes: u64) -> usize {
        bytes.div_ceil(1 << self.ashift) as usize
    }

    /// Lengths of all maximal free runs.
    fn free_runs(&self, part: Part) -> Vec<usize> {
        let runs = self.part(part).split(|u| *u != Unit::Free).map(<[Unit]>::len);
        runs.filter(|&len| len > 0).collect()
    }

    fn longest(&self, part: Part) -> usize {
        self.free_runs(part).into_iter().max().unwrap_or(0)
    }

    fn bytes_where(&self, is: impl Fn(&Unit) -> bool) -> u64 {
        (self.units.iter().filter(|u| is(u)).count() as u64) << self.ashift
    }
}

struct Model {
    vdevs: Vec<ModelVdev>,
    config: Config,
    ended: Txg,
}

enum Place {
    Outside,
    Misfit,
    At(usize, std::ops::Range<usize>),
}

impl Model {
    fn open(&self, txg: Txg) -> Txg {
        txg.max(self.ended + 1)
    }

    fn place(&self, dva: Dva) -> Place {
        let Some(index) = self.vdevs.iter().position(|v| v.id == dva.vdev()) else {
            return Place::Outside;
        };
        let vdev = &self.vdevs[index];
        let [word0, word1] = dva.words();
        let unit = 1_u128 << vdev.ashift;
        let start = u128::from(word1 & (u64::MAX >> 1)) * 512;
        let is_gang = word1 >> 63 == 1;
        let asize = u128::from(word0 & 0xff_ffff) * 512;
        let size = if is_gang { unit } else { asize };
        if start + size > unit * vdev.units.len() as u128 {
            return Place::Outside;
        }
        if asize == 0 || start % unit != 0 || size % unit != 0 {
            return Place::Misfit;
        }
        Place::At(index, (start / unit) as usize..((start + size) / unit) as usize)
    }

    fn all(&self, index: usize, range: std::ops::Range<usize>, is: impl Fn(Unit) -> bool) -> bool {
        self.vdevs[index].units[range].iter().all(|u| is(*u))
    }

    fn fill(&mut self, index: usize, range: std::ops::Range<usize>, with: Unit) {
        self.vdevs[index].units[range].fill(with);
    }

    fn free(&mut self, dva: Dva, txg: Txg) -> Result<(), SpaceError> {
        match self.place(dva) {
            Place::Outside => Err(SpaceError::Outside { dva }),
            Place::At(i, range)
                if self.all(i, range.clone(), |u| matches!(u, Unit::Allocated(_))) =>
            {
                let defers = self.config.defer_txgs > 0;
                let to = if defers { Unit::Deferred(self.open(txg)) } else { Unit::Free };
                self.fill(i, range, to);
                Ok(())
            }
            Place::At(..) | Place::Misfit => Err(SpaceError::NotAllocated { dva }),
        }
    }

    fn unallocate(&mut self, dva: Dva, txg: Txg) -> Result<(), SpaceError> {
        if self.config.defer_txgs == 0 {
            return self.free(dva, txg);
        }
        let txg = self.open(txg);
        match self.place(dva) {
            Place::Outside => Err(SpaceError::Outside { dva }),
            Place::At(i, range)
                if self.all(i, range.clone(), |u| u == Unit::Allocated(Some(txg))) =>
            {
                self.fill(i, range, Unit::Free);
                Ok(())
            }
            Place::At(..) | Place::Misfit => Err(SpaceError::NotAllocated { dva }),
        }
    }

    fn check_claim(&self, dva: Dva) -> Result<(usize, std::ops::Range<usize>), SpaceError> {
        match self.place(dva) {
            Place::Outside => Err(SpaceError::Outside { dva }),
            Place::At(i, range) if self.all(i, range.clone(), |u| u == Unit::Free) => {
                Ok((i, range))
            }
            Place::At(..) | Place::Misfit => Err(SpaceError::NotFree { dva }),
        }
    }

    fn end_of_txg(&mut self, txg: Txg) {
        self.ended = self.ended.max(txg);
        for class in SpaceClass::ALL {
            let of_class = || self.vdevs.iter().filter(|v| v.class == class);
            let size: u64 = of_class().map(|v| v.bytes_where(|_| true)).sum();
            let allocated: u64 =
                of_class().map(|v| v.bytes_where(|u| matches!(u, Unit::Allocated(_)))).sum();
            let skip = (size - allocated) * self.config.skip_deferral_divisor < size
                && self.config.skip_deferral_divisor > 0;
            let vdevs = self.vdevs.iter_mut().filter(|v| v.class == class);
            for unit in vdevs.flat_map(|v| &mut v.units) {
                if let Unit::Deferred(freed) = *unit
                    && (freed + self.config.defer_txgs <= txg || (skip && freed <= txg))
                {
                    *unit = Unit::Free;
                }
            }
        }
    }

    fn of(&self, classes: &[SpaceClass]) -> impl Iterator<Item = &ModelVdev> {
        self.vdevs.iter().filter(move |v| classes.contains(&v.class))
    }

    /// The classes with vdevs that a block may stand on.
    fn classes(&self, want: &Want) -> Vec<SpaceClass> {
        let order: &[SpaceClass] = match (want.class, want.leaves_reserve) {
            (SpaceClass::Normal, _) => &[SpaceClass::Normal],
            (SpaceClass::Log, _) => &[SpaceClass::Log, SpaceClass::Special, SpaceClass::Normal],
            (SpaceClass::Special, _) => &[SpaceClass::Special, SpaceClass::Normal],
            (SpaceClass::Dedup, true) => &[SpaceClass::Dedup, SpaceClass::Normal],
            (SpaceClass::Dedup, false) => {
                &[SpaceClass::Dedup, SpaceClass::Special, SpaceClass::Normal]
            }
        };
        order.iter().copied().filter(|&class| self.of(&[class]).next().is_some()).collect()
    }

    /// What is held back from a block: the slop of ordinary space, here always of a small
    /// pool, and the reserve of what is set apart.
    fn kept_bytes(&self, class: SpaceClass, want: &Want) -> u64 {
        let size: u64 = self.of(&[class]).map(|v| v.bytes_where(|_| true)).sum();
        match (class, self.config.slop_divisor) {
            (SpaceClass::Normal, 0) => 0,
            (SpaceClass::Normal, _) if want.uses_slop => 0,
            (SpaceClass::Normal, divisor) => (size / divisor).max(size / 8).min(size / 2),
            _ if want.leaves_reserve => size * self.config.special_reserve_percent / 100,
            _ => 0,
        }
    }

    fn may_take(&self, class: SpaceClass, part: Part, want: &Want) -> bool {
        let kept = self.kept_bytes(class, want);
        let free: u64 = self.of(&[class]).map(|v| v.free_bytes(Part::Whole)).sum();
        kept == 0 || part == Part::OfLogs || free >= want.all_bytes() + kept
    }

    /// The places of a block in the order in which they are tried.
    fn steps(&self, want: &Want) -> Vec<(Vec<SpaceClass>, Part)> {
        let is_log = want.class == SpaceClass::Log;
        let (classes, mut steps) = (self.classes(want), Vec::new());
        for &class in &classes {
            if is_log && class != SpaceClass::Log {
                steps.push((vec![class], Part::OfLogs));
            }
            steps.push((vec![class], Part::Open));
        }
        let several = |part| {
            let may = |class: &SpaceClass| self.may_take(*class, part, want);
            (classes.iter().copied().filter(may).collect(), part)
        };
        steps.push(several(Part::Open));
        if is_log || self.is_used_up_for(want) {
            steps.extend(classes.iter().map(|&class| (vec![class], Part::Whole)));
            steps.push(several(Part::Whole));
        }
        steps.retain(|(classes, part)| classes.iter().all(|c| self.may_take(*c, *part, want)));
        steps
    }

    /// Nothing but what is set apart for logs is left for the block, in pieces of any size.
    fn is_used_up_for(&self, want: &Want) -> bool {
        let classes = self.classes(want);
        let smallest = self.of(&classes).map(|v| 1 << v.ashift).min().unwrap_or(0);
        let open = |&class: &SpaceClass| {
            let free: u64 = self.of(&[class]).map(|v| v.free_bytes(Part::Open)).sum();
            let left = self.free_bytes(&[class]).saturating_sub(self.kept_bytes(class, want));
            free.min(left)
        };
        let open: u64 = classes.iter().map(open).sum();
        want.size_bytes <= smallest || open < want.all_bytes()
    }

    /// The first step that has room for all copies.
    fn first_step(&self, want: &Want) -> Option<(Vec<SpaceClass>, Part)> {
        let fits = |(classes, part): &(Vec<SpaceClass>, Part)| {
            self.slots(classes, *part, want.size_bytes) >= usize::from(want.copies)
        };
        self.steps(want).into_iter().find(fits)
    }

    /// Copies of `bytes` that could be placed, all extents filled from the front.
    fn slots(&self, classes: &[SpaceClass], part: Part, bytes: u64) -> usize {
        let of_vdev = |v: &ModelVdev| {
            v.free_runs(part).iter().map(|len| len / v.units_for(bytes)).sum::<usize>()
        };
        self.of(classes).map(of_vdev).sum()
    }

    fn vdevs_with_room(&self, class: SpaceClass, bytes: u64) -> usize {
        self.of(&[class]).filter(|v| v.longest(Part::Open) >= v.units_for(bytes)).count()
    }

    /// The largest ordinary block that would find a place.
    fn largest_bytes(&self) -> u64 {
        let runs = |v: &ModelVdev| -> Vec<u64> {
            let lens = [Part::Open, Part::Whole].map(|part| v.free_runs(part));
            lens.iter().flatten().map(|&len| (len as u64) << v.ashift).collect()
        };
        let fits = |&size_bytes: &u64| {
            let want = Want { size_bytes, copies: 1, uses_slop: true, ..Want::default() };
            self.first_step(&want).is_some()
        };
        let mut lens: Vec<u64> = self.of(&[SpaceClass::Normal]).flat_map(runs).collect();
        lens.sort_unstable_by(|a, b| b.cmp(a));
        lens.dedup();
        lens.into_iter().find(fits).unwrap_or(0)
    }

    /// The longest extent where a block may stand that found no place.
    fn longest_bytes(&self, want: &Want) -> u64 {
        let is_whole = want.class == SpaceClass::Log || self.is_used_up_for(want);
        let part = if is_whole { Part::Whole } else { Part::Open };
        let longest = |v: &ModelVdev| (v.longest(part) as u64) << v.ashift;
        self.of(&self.classes(want)).map(longest).max().unwrap_or(0)
    }

    fn free_bytes(&self, classes: &[SpaceClass]) -> u64 {
        self.of(classes).map(|v| v.free_bytes(Part::Whole)).sum()
    }

    /// What there is for a block, less what is held back from it.
    fn room_bytes(&self, want: &Want) -> u64 {
        let room = |&class: &SpaceClass| {
            let of_logs: u64 = self.of(&[class]).map(|v| v.free_bytes(Part::OfLogs)).sum();
            let of_logs = if want.class == SpaceClass::Log { of_logs } else { 0 };
            let kept = self.kept_bytes(class, want);
            self.free_bytes(&[class]).saturating_sub(kept).max(of_logs)
        };
        self.classes(want).iter().map(room).sum()
    }
}

#[derive(Clone, Debug)]
enum Op {
    Allocate {
        bytes: u64,
        copies: u8,
        txg: u64,
        prefer: Option<u32>,
        affinity: u32,
        of: (SpaceClass, bool, bool),
    },
    FreeLive {
        nth: usize,
        txg: u64,
    },
    UnallocateLive {
        nth: usize,
        txg: u64,
    },
    Free {
        words: [u64; 2],
        txg: u64,
    },
    Unallocate {
        words: [u64; 2],
        txg: u64,
    },
    Claim {
        words: [u64; 2],
        really: bool,
    },
    EndOfTxg {
        by: u64,
    },
}

/// Addresses: mostly near the devices, some absurd.
fn words() -> impl Strategy<Value = [u64; 2]> {
    let near = (
        0..4_u64,
        prop_oneof![0..300_u64, 0..2000_u64, 0..12_000_u64],
        prop_oneof![Just(3_u32), Just(5), Just(7)],
        0..64_u64,
    )
        .prop_map(|(vdev, at, shift, len)| [vdev << 32 | len << (shift - 3), at >> shift << shift]);
    let gang = near.clone().prop_map(|[a, b]| [a | 0xff_fff1, b | 1 << 63]);
    let absurd = (0..4_u64, any::<u64>(), any::<u64>())
        .prop_map(|(vdev, a, b)| [vdev << 32 | a & 0xff_ffff, b]);
    prop_oneof![8 => near, 1 => gang, 1 => absurd, 1 => any::<[u64; 2]>()]
}

/// A class, whether the block leaves a reserve, and whether it may take what is held back.
fn of() -> impl Strategy<Value = (SpaceClass, bool, bool)> {
    (class(), any::<bool>(), any::<bool>())
}

fn class() -> impl Strategy<Value = SpaceClass> {
    prop_oneof![
        3 => Just(SpaceClass::Normal),
        1 => Just(SpaceClass::Log),
        2 => Just(SpaceClass::Special),
        1 => Just(SpaceClass::Dedup),
    ]
}

fn op() -> impl Strategy<Value = Op> {
    // Relative to the last group that ended: 0 is too late, the rest open.
    let txg = 0..4_u64;
    prop_oneof![
        10 => (0..200_000_u64, prop_oneof![8 => 1..=3_u8, 1 => any::<u8>()], txg.clone(),
               proptest::option::weighted(0.2, 0..5_u32), 0..9_u32, of())
            .prop_map(|(bytes, copies, txg, prefer, affinity, of)| {
                Op::Allocate { bytes, copies, txg, prefer, affinity, of }
            }),
        10 => (512..4096_u64, 1..=3_u8, txg.clone(), 0..9_u32, of())
            .prop_map(|(bytes, copies, txg, affinity, of)| {
                Op::Allocate { bytes, copies, txg, prefer: None, affinity, of }
            }),
        12 => (any::<usize>(), txg.clone()).prop_map(|(nth, txg)| Op::FreeLive { nth, txg }),
        5 => (any::<usize>(), txg.clone()).prop_map(|(nth, txg)| Op::UnallocateLive { nth, txg }),
        2 => (words(), txg.clone()).prop_map(|(words, txg)| Op::Free { words, txg }),
        2 => (words(), txg).prop_map(|(words, txg)| Op::Unallocate { words, txg }),
        4 => (words(), any::<bool>()).prop_map(|(words, really)| Op::Claim { words, really }),
        6 => (0..3_u64).prop_map(|by| Op::EndOfTxg { by }),
    ]
}

fn check_allocation(model: &mut Model, want: &Want, dvas: &[Dva]) {
    assert_eq!(dvas.len(), usize::from(want.copies));
    let (first_classes, first_part) = model.first_step(want).expect("there is no place for it");
    let place = |dva: &Dva| model.check_claim(*dva).expect("handed out what is not free");
    let places: Vec<_> = dvas.iter().map(place).collect();
    let of: Vec<SpaceClass> = places.iter().map(|(i, _)| model.vdevs[*i].class).collect();
    let is_open = places.iter().all(|(i, range)| range.end <= model.vdevs[*i].open);
    let is_of_logs = places.iter().all(|(i, range)| range.start >= model.vdevs[*i].open);
    assert!(of.iter().all(|class| model.classes(want).contains(class)), "{of:?}");
    if want.copies == 1 {
        // Several copies may be placed so that less room is left than there was.
        assert!(first_classes.contains(&of[0]), "on {of:?}, not {first_classes:?}");
        match first_part {
            Part::Open => assert!(is_open),
            Part::OfLogs => assert!(is_of_logs),
            Part::Whole => {}
        }
    }
    if want.class != SpaceClass::Log && !model.is_used_up_for(want) {
        assert!(is_open, "what is set apart for logs is left to them");
    }
    let mut used: Vec<VdevId> = dvas.iter().map(|dva| dva.vdev()).collect();
    used.sort();
    used.dedup();
    if is_open && of.iter().all(|class| *class == of[0]) {
        let room = model.vdevs_with_room(of[0], want.size_bytes);
        assert!(
            used.len() >= dvas.len().min(room),
            "copies on distinct vdevs while they have room"
        );
    }

    let longest: Vec<usize> = model.vdevs.iter().map(|v| v.longest(Part::Open)).collect();
    let txg = model.open(want.txg);
    let mut ranges = Vec::new();
    for &dva in dvas {
        let (i, range) = model.check_claim(dva).expect("handed out what is not free");
        assert!(!dva.is_gang());
        assert_eq!(range.len(), model.vdevs[i].units_for(want.size_bytes));
        model.fill(i, range.clone(), Unit::Allocated(Some(txg)));
        ranges.push((i, range));
    }
    for (i, vdev) in model.vdevs.iter().enumerate() {
        let mut here: Vec<_> = ranges.iter().filter(|(v, _)| *v == i).map(|(_, r)| r).collect();
        here.sort_by_key(|r| r.start);
        let (c, n, gap) =
            (here.len(), vdev.units_for(want.size_bytes), vdev.units.len().div_ceil(8));
        if !is_open {
            continue;
        }
        // So long an extent has room for the last copy wherever the others stand.
        if c > 1 && longest[i] >= (c - 1) * (n + 2 * gap) + c * n {
            for pair in here.windows(2) {
                assert!(pair[1].start - pair[0].end >= gap, "an eighth apart");
            }
        }
    }
}

fn run(config: Config, shapes: &[(u32, usize, SpaceClass)], ops: &[Op]) {
    let space = Metaslabs::new(config);
    let mut model = Model { vdevs: Vec::new(), config, ended: 0 };
    for (i, &shape) in shapes.iter().enumerate() {
        let (id, (ashift, units, class)) = (VdevId(i as u32), shape);
        // A tail of less than a unit is not space.
        space.add_vdev_for(class, id, ((units as u64) << ashift) + 511, ashift).unwrap();
        model.vdevs.push(ModelVdev::new(id, shape, &config));
    }
    let mut live: Vec<Dva> = Vec::new();
    for op in ops {
        match *op {
            Op::Allocate { bytes, copies, txg, prefer, affinity, of } => {
                let want = Want {
                    size_bytes: bytes,
                    copies,
                    txg: model.ended + txg,
                    prefer: prefer.map(VdevId),
                    affinity,
                    class: of.0,
                    leaves_reserve: of.1,
                    uses_slop: of.2,
                };
                let possible =
                    bytes > 0 && (1..=3).contains(&copies) && model.first_step(&want).is_some();
                let room = model.room_bytes(&want);
                assert_eq!(space.free_bytes_for(&want), room);
                assert_eq!(space.admit(&want).is_ok(), room >= want.all_bytes());
                match space.allocate(&want) {
                    Ok(dvas) => {
                        assert!(possible);
                        check_allocation(&mut model, &want, &dvas);
                        live.extend(dvas);
                    }
                    Err(no) => {
                        assert!(!possible, "{no}");
                        assert_eq!((no.size_bytes, no.copies), (bytes, copies));
                        assert_eq!(no.free_bytes, model.free_bytes(&model.classes(&want)));
                        assert_eq!(no.largest_bytes, model.longest_bytes(&want));
                    }
                }
            }
            // Live ones stay in the list after a free, so that double frees happen too.
            Op::FreeLive { nth, txg } if !live.is_empty() => {
                let dva = live[nth % live.len()];
                let txg = model.ended + txg;
                assert_eq!(space.free(dva, txg), model.free(dva, txg));
                if nth % 4 > 0 {
                    live.retain(|d| *d != dva);
                }
            }
            Op::UnallocateLive { nth, txg } if !live.is_empty() => {
                let dva = live[nth % live.len()];
                let txg = model.ended + txg;
                assert_eq!(space.unallocate(dva, txg), model.unallocate(dva, txg));
            }
            Op::FreeLive { .. } | Op::UnallocateLive { .. } => {}
            Op::Free { words, txg } => {
                let (dva, txg) = (Dva::from_words(words), model.ended + txg);
                assert_eq!(space.free(dva, txg), model.free(dva, txg));
            }
            Op::Unallocate { words, txg } => {
                let (dva, txg) = (Dva::from_words(words), model.ended + txg);
                assert_eq!(space.unallocate(dva, txg), model.unallocate(dva, txg));
            }
            Op::Claim { words, really } => {
                let dva = Dva::from_words(words);
                let expected = model.check_claim(dva);
                assert_eq!(space.check_claim(dva), expected.clone().map(|_| ()));
                if really {
                    assert_eq!(space.claim(dva, 1), expected.clone().map(|_| ()));
                    if let Ok((i, range)) = expected {
                        model.fill(i, range, Unit::Allocated(None));
                        live.push(dva);
                    }
                }
            }
            Op::EndOfTxg { by } => {
                let txg = model.ended + by;
                space.end_of_txg(txg);
                model.end_of_txg(txg);
            }
        }
        let deferred: u64 =
            model.vdevs.iter().map(|v| v.bytes_where(|u| matches!(u, Unit::Deferred(_)))).sum();
        let all_free = model.free_bytes(&SpaceClass::ALL);
        assert_eq!(space.free_bytes(), all_free, "after {op:?}");
        assert_eq!(space.deferred_bytes(), deferred, "after {op:?}");
        assert_eq!(space.allocated_bytes(), space.size_bytes() - all_free);
        assert_eq!(space.largest_bytes(), model.largest_bytes(), "after {op:?}");
        for class in SpaceClass::ALL {
            let free_of_logs: u64 = model.of(&[class]).map(|v| v.free_bytes(Part::OfLogs)).sum();
            let seen = space.class_space(class);
            assert_eq!(seen.free_bytes, model.free_bytes(&[class]), "after {op:?}");
            assert_eq!(seen.free_of_logs_bytes, free_of_logs, "after {op:?}");
        }
    }
}

fn shapes() -> impl Strategy<Value = Vec<(u32, usize)>> {
    proptest::collection::vec((9..=16_u32, 1..200_usize), 1..4)
}

fn shapes_of_classes() -> impl Strategy<Value = Vec<(u32, usize, SpaceClass)>> {
    proptest::collection::vec((9..=16_u32, 1..200_usize, class()), 1..5)
}

/// None set apart, one of few, one of many.
fn log_regions_min() -> impl Strategy<Value = usize> {
    prop_oneof![Just(0_usize), Just(2), Just(16)]
}

fn shards() -> impl Strategy<Value = Option<usize>> {
    prop_oneof![Just(Some(1)), Just(Some(2)), Just(Some(5))]
}

/// As many regions as can be, a few, one.
fn region_bytes_min() -> impl Strategy<Value = u64> {
    prop_oneof![Just(0_u64), Just(64 << 10), Just(1 << 40)]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1024, ..ProptestConfig::default() })]

    #[test]
    fn same_as_a_bitmap(
        shapes in shapes(),
        defer_txgs in 0..4_u64,
        skip_deferral_divisor in prop_oneof![Just(0), Just(32), Just(2)],
        shards in shards(),
        region_bytes_min in region_bytes_min(),
        log_regions_min in log_regions_min(),
        ops in proptest::collection::vec(op(), 1..200),
    ) {
        let config = Config { defer_txgs, skip_deferral_divisor, shards, region_bytes_min, log_regions_min, ..Config::default() };
        let shapes: Vec<_> = shapes.into_iter().map(|(a, u)| (a, u, SpaceClass::Normal)).collect();
        run(config, &shapes, &ops);
    }

    /// Blocks fall back as they are told to, and nobody gets what is for others.
    #[test]
    fn same_as_a_bitmap_in_classes(
        shapes in shapes_of_classes(),
        defer_txgs in 0..3_u64,
        shards in shards(),
        region_bytes_min in region_bytes_min(),
        log_regions_min in log_regions_min(),
        special_reserve_percent in prop_oneof![Just(0_u64), Just(25), Just(100)],
        slop_divisor in prop_oneof![Just(0_u64), Just(32), Just(3)],
        ops in proptest::collection::vec(op(), 1..200),
    ) {
        let config = Config { defer_txgs, shards, region_bytes_min, log_regions_min, special_reserve_percent, slop_divisor, ..Config::default() };
        run(config, &shapes, &ops);
    }

    /// One small device, so that copies stand side by side and space runs out.
    #[test]
    fn same_as_a_bitmap_on_one_crowded_vdev(
        ashift in 9..=16_u32,
        units in 8..80_usize,
        shards in shards(),
        region_bytes_min in region_bytes_min(),
        log_regions_min in log_regions_min(),
        ops in proptest::collection::vec(op(), 1..200),
    ) {
        let config = Config { shards, region_bytes_min, log_regions_min, ..Config::default() };
        run(config, &[(ashift, units, SpaceClass::Normal)], &ops);
    }

    /// Everything allocated to the last unit comes back as one piece.
    #[test]
    fn exhaustion_and_back(shapes in shapes(), copies in 1..=3_u8, region_bytes_min in region_bytes_min(), sizes in proptest::collection::vec(1..40_000_u64, 1..8)) {
        let space = Metaslabs::new(Config { skip_deferral_divisor: 0, region_bytes_min, ..Config::default() });
        for (i, &(ashift, units)) in shapes.iter().enumerate() {
            space.add_vdev(VdevId(i as u32), (units as u64) << ashift, ashift).unwrap();
        }
        let whole = (space.free_bytes(), space.largest_bytes());
        let mut taken: Vec<Dva> = Vec::new();
        let mut sizes = sizes.into_iter().cycle();
        let want = |size_bytes, copies| Want { size_bytes, copies, txg: 1, ..Want::default() };
        while let Ok(dvas) = space.allocate(&want(sizes.next().unwrap(), copies)) {
            taken.extend(dvas);
        }
        while let Ok(dvas) = space.allocate(&want(1, 1)) {
            taken.extend(dvas);
        }
        prop_assert_eq!((space.free_bytes(), space.largest_bytes()), (0, 0));
        prop_assert_eq!(taken.iter().map(|dva| dva.asize_bytes()).sum::<u64>(), space.size_bytes());
        for dva in taken {
            space.free(dva, 1).unwrap();
        }
        for (txg, free_bytes) in [(1, 0), (2, 0), (3, whole.0)] {
            space.end_of_txg(txg);
            prop_assert_eq!(space.free_bytes(), free_bytes, "after the end of {}", txg);
        }
        prop_assert_eq!(space.largest_bytes(), whole.1);
    }
}
