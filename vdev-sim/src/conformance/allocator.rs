//! The suite for [`Allocator`].

use std::any::Any;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread;

use parking_lot::Mutex;
use zio_core::{Allocator, Dva, NoSpace, Share, Slots, SpaceError, Txg, VdevId, Want};

use super::{Check, Violation, ensure, run_checks};
use crate::rng::Rng;

/// An allocator to be tested: fresh, with all its space free.
pub struct AllocatorFixture {
    allocator: Arc<dyn Allocator>,
    vdevs: Vec<(VdevId, u64)>,
    settle: Box<dyn Fn(Txg)>,
    keep: Vec<Box<dyn Any>>,
}

impl AllocatorFixture {
    /// `vdevs` are the devices it allocates from, with the size of each in
    /// bytes. Each has room for at least 64 extents of 8 KiB.
    pub fn new(allocator: Arc<dyn Allocator>, vdevs: &[(VdevId, u64)]) -> Self {
        Self { allocator, vdevs: vdevs.to_vec(), settle: Box::new(|_| {}), keep: Vec::new() }
    }

    /// How a txg gets so old that what was freed in it, and before, can be
    /// handed out again. Called with rising numbers.
    #[must_use]
    pub fn settle(mut self, settle: impl Fn(Txg) + 'static) -> Self {
        self.settle = Box::new(settle);
        self
    }

    /// Something that must live as long as the allocator.
    #[must_use]
    pub fn keep(mut self, thing: impl Any) -> Self {
        self.keep.push(Box::new(thing));
        self
    }

    fn bytes(&self) -> (u64, u64) {
        (self.allocator.free_bytes(), self.allocator.allocated_bytes())
    }

    /// Allocates; a mean allocator may fail now and then, but not always.
    fn some(&self, want: &Want) -> Result<Vec<Dva>, String> {
        let mut last = None;
        for _ in 0..200 {
            match self.allocator.allocate(want) {
                Ok(dvas) => return Ok(dvas.to_vec()),
                Err(error) => last = Some(error),
            }
        }
        Err(last.map_or_else(String::new, |error: NoSpace| {
            format!("200 allocations in a row failed on an almost empty allocator: {error}")
        }))
    }
}

const CHECKS: [Check<AllocatorFixture>; 9] = [
    ("extents lie inside, are large enough, and copies apart", shape),
    ("nothing has two owners", two_owners),
    ("a failed allocation changes nothing", all_or_none),
    ("a wrong free changes nothing", wrong_free),
    ("claims", claims),
    ("an allocation of this txg can be taken back", unallocate),
    ("all space comes back", comes_back),
    ("reservations end when they are dropped", reservations),
    ("many threads allocate and free", many_threads),
];

/// Runs the suite against allocators made by `make`.
///
/// # Errors
/// The first violation.
pub fn check_allocator(make: impl Fn() -> AllocatorFixture) -> Result<(), Violation> {
    run_checks("Allocator", &CHECKS, make)
}

/// Runs the suite against allocators made by `make`.
///
/// # Panics
/// On the first violation, with its description.
pub fn allocator(make: impl Fn() -> AllocatorFixture) {
    if let Err(violation) = check_allocator(make) {
        panic!("{violation}");
    }
}

fn want(size_bytes: u64, copies: u8, txg: Txg) -> Want {
    Want { size_bytes, copies, txg, ..Want::default() }
}

/// Who owns which range: by vdev and start, the end.
#[derive(Default)]
struct Owners(BTreeMap<(u32, u64), u64>);

impl Owners {
    fn add(&mut self, dva: Dva) -> Result<(), String> {
        let (vdev, start) = (dva.vdev().0, dva.offset_bytes());
        let end = start + dva.asize_bytes();
        let before = self.0.range(..(vdev, end)).next_back();
        if let Some((&(v, s), &e)) = before
            && v == vdev
            && e > start
        {
            return Err(format!("{dva} was handed out while {s:x}..{e:x} on {vdev} has an owner"));
        }
        self.0.insert((vdev, start), end);
        Ok(())
    }

    fn remove(&mut self, dva: Dva) {
        self.0.remove(&(dva.vdev().0, dva.offset_bytes()));
    }
}

fn inside(fixture: &AllocatorFixture, dva: Dva, size_bytes: u64) -> Result<(), String> {
    let (offset, asize) = (dva.offset_bytes(), dva.asize_bytes());
    ensure!(asize >= size_bytes, "{dva} for {size_bytes} bytes");
    ensure!(!dva.is_gang(), "{dva} has the gang bit");
    let vdev = fixture.vdevs.iter().find(|(id, _)| *id == dva.vdev());
    let Some((_, size)) = vdev else { return Err(format!("{dva} is on no vdev")) };
    let end = offset.checked_add(asize);
    ensure!(end.is_some_and(|end| end <= *size), "{dva} on a vdev of {size} bytes");
    Ok(())
}

fn shape(fixture: AllocatorFixture) -> Result<(), String> {
    for size in [1, 512, 513, 4096, 5000, 8192] {
        for copies in 1..=3u8 {
            let dvas = fixture.some(&want(size, copies, 1))?;
            ensure!(dvas.len() == usize::from(copies), "{copies} copies: {dvas:?}");
            for (i, &dva) in dvas.iter().enumerate() {
                inside(&fixture, dva, size)?;
                for other in &dvas[..i] {
                    apart(&fixture, dva, *other)?;
                }
            }
        }
    }
    Ok(())
}

/// Two copies of one block are on two vdevs, or far apart.
fn apart(fixture: &AllocatorFixture, a: Dva, b: Dva) -> Result<(), String> {
    if a.vdev() != b.vdev() {
        return Ok(());
    }
    let size = fixture.vdevs.iter().find(|(id, _)| *id == a.vdev()).map_or(0, |(_, size)| *size);
    let (distance, least) = (a.offset_bytes().abs_diff(b.offset_bytes()), size / 8);
    // What a device is cut into may shift the eighth by a little.
    ensure!(
        distance + least / 8 >= least,
        "copies {a} and {b} of a block are {distance} bytes apart on a vdev of {size} bytes"
    );
    Ok(())
}

/// Random allocations and frees; freed space stays out of reach until it settles.
fn two_owners(fixture: AllocatorFixture) -> Result<(), String> {
    let mut rng = Rng::new(1);
    let mut owners = Owners::default();
    let (mut live, mut deferred) = (Vec::new(), Vec::new());
    let total = fixture.bytes().0 + fixture.bytes().1;
    for txg in 1..=20 {
        for _ in 0..60 {
            let size = 512 << rng.below(5);
            if let Ok(dvas) = fixture.allocator.allocate(&want(size, 1 + rng.below(3) as u8, txg)) {
                for dva in dvas {
                    inside(&fixture, dva, size)?;
                    owners.add(dva)?;
                    live.push(dva);
                }
            }
            if rng.coin() && !live.is_empty() {
                let dva = live.swap_remove(rng.index(live.len()));
                let freed = fixture.allocator.free(dva, txg);
                ensure!(freed.is_ok(), "free of {dva}, which is allocated: {freed:?}");
                deferred.push(dva);
            }
            let (free, allocated) = fixture.bytes();
            ensure!(
                free + allocated == total,
                "{free} bytes free and {allocated} allocated make not {total}"
            );
        }
        // From here on the freed extents may have new owners.
        deferred.drain(..).for_each(|dva| owners.remove(dva));
        (fixture.settle)(txg);
    }
    Ok(())
}

fn all_or_none(fixture: AllocatorFixture) -> Result<(), String> {
    let total = fixture.bytes().0;
    let mut taken = 0u64;
    let mut failures = 0;
    // Three copies until nothing fits: the last tries find room for some copies only.
    while failures < 50 && taken <= total {
        let before = fixture.bytes();
        match fixture.allocator.allocate(&want(4096, 3, 1)) {
            Ok(dvas) => {
                let bytes: u64 = dvas.iter().map(|d| d.asize_bytes()).sum();
                taken += bytes;
                let after = fixture.bytes();
                ensure!(
                    after == (before.0.wrapping_sub(bytes), before.1 + bytes),
                    "{bytes} bytes were handed out; (free, allocated) went from {before:?} to \
                     {after:?}"
                );
            }
            Err(error) => {
                failures += 1;
                let after = fixture.bytes();
                ensure!(before == after, "{error}, and yet {before:?} became {after:?}");
                ensure!(error.size_bytes == 4096 && error.copies == 3, "asked 3 × 4096: {error}");
            }
        }
    }
    ensure!(taken <= total, "{taken} bytes handed out of {total}");
    let before = fixture.bytes();
    for size in [u64::MAX, u64::MAX - 4095, total + 1, 1 << 40] {
        let outcome = fixture.allocator.allocate(&want(size, 1, 1));
        ensure!(outcome.is_err(), "{size} bytes of {total} were handed out as {outcome:?}");
    }
    ensure!(before == fixture.bytes(), "impossible wishes changed {before:?}");
    Ok(())
}

fn wrong_free(fixture: AllocatorFixture) -> Result<(), String> {
    let allocator = &fixture.allocator;
    let (vdev, size) = fixture.vdevs[0];
    let dva = fixture.some(&want(8192, 1, 1))?[0];
    let before = fixture.bytes();
    let nowhere = [
        Dva::new(VdevId(9999), 0, 4096),
        Dva::new(vdev, size.next_multiple_of(4096), 4096),
        Dva::new(vdev, 1 << 50, 4096),
        Dva::from_words([dva.words()[0], i64::MAX as u64]),
    ];
    for wrong in nowhere {
        for (what, outcome) in [
            ("free", allocator.free(wrong, 1)),
            ("unallocate", allocator.unallocate(wrong, 1)),
            ("claim", allocator.claim(wrong, 1)),
            ("check_claim", allocator.check_claim(wrong)),
        ] {
            let outside = matches!(outcome, Err(SpaceError::Outside { .. }));
            ensure!(outside, "{what} of {wrong}, which lies outside: {outcome:?}");
        }
    }
    ensure!(fixture.bytes() == before, "errors outside changed {before:?}");
    // Twice the size: its second half is not this block's. Whether it belongs
    // to nobody or to another one, here nobody allocated anything else.
    let double = dva.with_asize_bytes(2 * dva.asize_bytes());
    if double.offset_bytes() + double.asize_bytes() <= size {
        let outcome = allocator.free(double, 1);
        ensure!(outcome.is_err(), "free of {double}, of which only {dva} is allocated");
        ensure!(fixture.bytes() == before, "a free that failed changed {before:?}");
    }
    let outcome = allocator.free(dva, 1);
    ensure!(outcome.is_ok(), "free of {dva}, which is allocated: {outcome:?}");
    let before = fixture.bytes();
    let outcome = allocator.free(dva, 1);
    ensure!(
        matches!(outcome, Err(SpaceError::NotAllocated { .. })),
        "second free of {dva}: {outcome:?}"
    );
    ensure!(fixture.bytes() == before, "a second free changed {before:?}");
    Ok(())
}

fn claims(fixture: AllocatorFixture) -> Result<(), String> {
    let allocator = &fixture.allocator;
    // A place that is known to be free: one that was handed out and taken back.
    let dva = fixture.some(&want(8192, 1, 1))?[0];
    for (what, outcome) in
        [("check_claim", allocator.check_claim(dva)), ("claim", allocator.claim(dva, 1))]
    {
        let refused = matches!(outcome, Err(SpaceError::NotFree { .. }));
        ensure!(refused, "{what} of {dva}, which is allocated: {outcome:?}");
    }
    allocator.unallocate(dva, 1).map_err(|e| format!("unallocate of {dva}: {e}"))?;
    let before = fixture.bytes();
    allocator.check_claim(dva).map_err(|e| format!("check_claim of {dva}, which is free: {e}"))?;
    ensure!(fixture.bytes() == before, "check_claim changed {before:?}");
    allocator.claim(dva, 1).map_err(|e| format!("claim of {dva}, which is free: {e}"))?;
    let size = dva.asize_bytes();
    ensure!(
        fixture.bytes() == (before.0 - size, before.1 + size),
        "a claim of {size} bytes made {:?} of {before:?}",
        fixture.bytes()
    );
    let again = allocator.claim(dva, 1);
    ensure!(matches!(again, Err(SpaceError::NotFree { .. })), "second claim: {again:?}");
    let mut owners = Owners::default();
    owners.add(dva)?;
    for _ in 0..30 {
        if let Ok(dvas) = allocator.allocate(&want(4096, 1, 2)) {
            dvas.into_iter().try_for_each(|dva| owners.add(dva))?;
        }
    }
    allocator.free(dva, 2).map_err(|e| format!("free of the claimed {dva}: {e}"))
}

fn unallocate(fixture: AllocatorFixture) -> Result<(), String> {
    let allocator = &fixture.allocator;
    let before = fixture.bytes();
    let dvas = fixture.some(&want(4096, 2, 5))?;
    for &dva in &dvas {
        let other = allocator.unallocate(dva, 6);
        ensure!(other.is_err(), "{dva} was allocated in txg 5 and taken back in 6");
        allocator.unallocate(dva, 5).map_err(|e| format!("unallocate of {dva}: {e}"))?;
    }
    ensure!(
        fixture.bytes() == before,
        "space taken back is not free at once: {:?}, was {before:?}",
        fixture.bytes()
    );
    let again = allocator.unallocate(dvas[0], 5);
    ensure!(again.is_err(), "{} was taken back twice", dvas[0]);
    Ok(())
}

/// Fills it, frees all, three times over: nothing is lost on the way.
fn comes_back(fixture: AllocatorFixture) -> Result<(), String> {
    let empty = fixture.bytes();
    for round in 1..=3 {
        let mut live = Vec::new();
        let mut failures = 0;
        while failures < 20 {
            match fixture.allocator.allocate(&want(8192, 1, round)) {
                Ok(dvas) => live.extend(dvas),
                Err(_) => failures += 1,
            }
        }
        ensure!(!live.is_empty(), "nothing could be allocated in round {round}");
        for dva in live {
            fixture.allocator.free(dva, round).map_err(|e| format!("round {round}: {e}"))?;
        }
        (fixture.settle)(round);
        ensure!(
            fixture.bytes() == empty,
            "all was freed and settled in round {round}: {:?}, was {empty:?}",
            fixture.bytes()
        );
    }
    Ok(())
}

/// Takes reservations of 1 MiB until there are none, up to a bound.
fn reserve_all(allocator: &dyn Allocator) -> Vec<Slots> {
    std::iter::from_fn(|| allocator.reserve(1 << 20)).take(100_000).collect()
}

fn reservations(fixture: AllocatorFixture) -> Result<(), String> {
    let allocator = &*fixture.allocator;
    let mut held = reserve_all(allocator);
    let most = held.len();
    ensure!(most > 0, "an idle allocator grants no reservation");
    ensure!(held.iter().all(|s| s.bytes() == 1 << 20), "a reservation of another size");
    held.pop();
    ensure!(allocator.reserve(1).is_some(), "one of {most} reservations ended: still none");
    drop(held);
    let again = reserve_all(allocator).len();
    ensure!(again == most, "{most} reservations fit at first, {again} after all had ended");
    ensure!(allocator.shards() > 0, "an allocator without a shard");
    for share in [Share::Client, Share::Background] {
        for affinity in 0..allocator.shards() as u32 {
            let reserve = || allocator.reserve_from(share, affinity, 1 << 20);
            let all = || std::iter::from_fn(reserve).take(100_000).collect::<Vec<_>>().len();
            let (most, again) = (all(), all());
            ensure!(
                most > 0 && again == most,
                "{share:?} of shard {affinity}: {most} reservations fit, then {again}"
            );
        }
    }
    Ok(())
}

fn many_threads(fixture: AllocatorFixture) -> Result<(), String> {
    let before = fixture.bytes();
    let owners = Mutex::new(Owners::default());
    let complaints = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for thread in 0..4u64 {
            let (allocator, owners, complaints) = (&fixture.allocator, &owners, &complaints);
            scope.spawn(move || {
                let mut rng = Rng::new(thread);
                for _ in 0..200 {
                    let size = 512 << rng.below(5);
                    let Ok(dvas) = allocator.allocate(&want(size, 1, 1)) else { continue };
                    for dva in dvas {
                        if let Err(words) = owners.lock().add(dva) {
                            complaints.lock().push(words);
                        }
                        if rng.coin() {
                            // First out of the books: from the call on it may be handed out.
                            owners.lock().remove(dva);
                            if let Err(error) = allocator.unallocate(dva, 1) {
                                complaints.lock().push(error.to_string());
                            }
                        }
                    }
                }
            });
        }
    });
    if let Some(first) = complaints.into_inner().into_iter().next() {
        return Err(first);
    }
    let owned: u64 = owners.into_inner().0.iter().map(|((_, start), end)| end - start).sum();
    ensure!(
        fixture.bytes() == (before.0 - owned, before.1 + owned),
        "{owned} bytes have an owner: {:?}, was {before:?}",
        fixture.bytes()
    );
    Ok(())
}
