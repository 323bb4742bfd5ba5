//! Writing all copies of a block, and what becomes of those that were not (spec 1.13).
//!
//! A write succeeds when each of its addresses has at least one good leaf. A leaf that failed
//! is tried once more at once; if that fails as well, the block's birth group is noted as
//! missing on it. A leaf known to be dead is not even tried, but now and then.

use smallvec::SmallVec;
use zio_core::{Dva, Error, ErrorKind, Flags, Stages, Zio, ZioType};

use crate::shared::Shared;
use crate::stages::vdev_child;
use crate::top_vdev::{TopVdev, places};

type Located<'a> = SmallVec<[(Dva, &'a TopVdev); 3]>;

fn locate<'a>(shared: &'a Shared, zio: &Zio) -> Result<Located<'a>, Error> {
    let bytes = zio.size_bytes as u64;
    zio.bp.dvas().map(|dva| Ok((dva, shared.locate(dva, bytes)?))).collect()
}

/// Starts one child for every leaf of every address. `tried` are the places they stand for.
///
/// # Errors
/// An address that is nowhere; then nothing was started.
pub(crate) fn write_all(shared: &Shared, zio: &mut Zio) -> Result<(), Error> {
    let located = locate(shared, zio)?;
    (zio.tried, zio.bad) = (0, 0);
    for (index, (dva, vdev)) in located.into_iter().enumerate() {
        let wanted = |leaf: &usize| !vdev.is_mirror() || vdev.leaves()[*leaf].may_write();
        let mut leaves: SmallVec<[usize; 4]> = (0..vdev.leaves().len()).filter(wanted).collect();
        if leaves.is_empty() {
            // None is thought alive: they had better prove it.
            leaves = (0..vdev.leaves().len()).collect();
        }
        for leaf in leaves {
            write_place(shared, zio, index, dva, leaf, vdev);
        }
    }
    Ok(())
}

fn write_place(
    shared: &Shared,
    zio: &mut Zio,
    index: usize,
    dva: Dva,
    leaf: usize,
    vdev: &TopVdev,
) {
    let place = places::number(index, leaf);
    zio.tried |= 1 << place;
    let leaf = &vdev.leaves()[leaf];
    let mut child = vdev_child(zio, ZioType::Write, dva, leaf, Stages::VDEV_CHILD);
    child.slot = place;
    child.data = zio.data.clone();
    // All leaves together are one vdev.
    let bytes = dva.asize_bytes() / vdev.leaves().len() as u64;
    child.slots = shared.allocator.sent(vdev.id(), bytes);
    child.start();
}

/// Could a second try of the same write go well?
fn may_pass(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Io | ErrorKind::DeviceGone)
}

/// Is it a device that failed, or did not answer? A mirror can do without one of its leaves then.
pub(crate) fn is_of_device(error: &Error) -> bool {
    use ErrorKind::{DeviceGone, Io, NoSpace, TimedOut};
    matches!(error.kind(), Io | DeviceGone | NoSpace | TimedOut)
}

/// Looks at the children that came home. Starts those that failed once more and returns true;
/// or decides how the write went.
pub(crate) fn write_again(shared: &Shared, zio: &mut Zio) -> bool {
    let mut failed: SmallVec<[(u32, Error); 2]> = SmallVec::new();
    while let Some(mut child) = zio.take_finished_child() {
        if let Some(error) = child.take_error() {
            failed.push((child.get().slot, error));
        }
    }
    if zio.error.is_some() || zio.tried == 0 {
        return false;
    }
    let hopeless = zio.is_cancelled()
        || shared.suspension.is_closed()
        || zio.flags().intersects(Flags::IO_RETRY | Flags::DONT_RETRY)
        || failed.iter().any(|(_, error)| !may_pass(error));
    match locate(shared, zio) {
        Ok(located) if !failed.is_empty() && !hopeless => {
            // What comes now is the second try, of these places alone.
            zio.add_flags(Flags::IO_RETRY | Flags::DONT_AGGREGATE);
            let bad = bits(&failed);
            let mut again: SmallVec<[u32; 4]> = failed.iter().map(|(place, _)| *place).collect();
            for (index, (_, vdev)) in located.iter().enumerate() {
                let all = places::of_dva(index, vdev.leaves().len());
                if zio.tried & !bad & all == 0 {
                    // Those that were left alone are its last hope.
                    let left = all & !zio.tried;
                    again.extend(places::each(left));
                }
            }
            for place in again {
                let (index, leaf) = places::of(place);
                if let Some((dva, vdev)) = located.get(index) {
                    write_place(shared, zio, index, *dva, leaf, vdev);
                }
            }
            true
        }
        Ok(located) => {
            settle(zio, &located, failed);
            false
        }
        Err(error) => {
            zio.fail(error);
            false
        }
    }
}

fn bits(failed: &[(u32, Error)]) -> u64 {
    failed.iter().fold(0, |bad, (place, _)| bad | 1 << place)
}

/// Places that took the block while others failed, on leaves where a flush has failed for its
/// group: perhaps after the block was there, and then nobody would answer for it.
fn doubtful(zio: &Zio, located: &Located<'_>, bad: u64) -> u64 {
    let mut doubtful = 0;
    for (index, (dva, vdev)) in located.iter().enumerate() {
        let all = places::of_dva(index, vdev.leaves().len());
        if bad & all == 0 || !vdev.is_mirror() {
            continue;
        }
        let place = vdev.units(dva.offset_bytes(), zio.size_bytes);
        for (number, leaf) in vdev.leaves().iter().enumerate() {
            if leaf.health().is_missing(zio.bp.physical_birth(), &place) {
                doubtful |= 1 << places::number(index, number);
            }
        }
    }
    doubtful
}

/// Each address must have a good leaf. Leaves that are not good have missed the block.
fn settle(zio: &mut Zio, located: &Located<'_>, failed: SmallVec<[(u32, Error); 2]>) {
    let bad = bits(&failed);
    let good = zio.tried & !bad & !doubtful(zio, located, bad);
    let has_good =
        |index: usize, vdev: &TopVdev| good & places::of_dva(index, vdev.leaves().len()) != 0;
    for (place, error) in failed {
        let (index, _) = places::of(place);
        let has_good = located.get(index).is_some_and(|(_, vdev)| has_good(index, vdev));
        if !has_good || !is_of_device(&error) {
            zio.fail(error);
        }
    }
    if zio.error.is_some() {
        return;
    }
    let mirrors = located.iter().enumerate().filter(|(_, (_, vdev))| vdev.is_mirror());
    for (index, (dva, vdev)) in mirrors {
        let place = vdev.units(dva.offset_bytes(), zio.size_bytes);
        for (number, leaf) in vdev.leaves().iter().enumerate() {
            if good & (1 << places::number(index, number)) == 0 {
                leaf.health().missed(zio.bp.physical_birth(), place.clone());
            }
        }
    }
}
