//! Flush of every leaf, and what a failed one means (spec 8.3; a failed flush is never swallowed).
//!
//! A vdev is flushed when one of its leaves is. A leaf of a mirror that failed beside one that did
//! not may have lost what was written since its last flush: those groups are missing on it from now on.

use smallvec::SmallVec;
use zio_core::{Error, ErrorKind, VdevId, Zio};

use crate::shared::Shared;
use crate::top_vdev::TopVdev;
use crate::txg_ranges::TxgRanges;

/// What each leaf of a mirror is to make durable: attachment of the flush.
struct Unflushed(Vec<(VdevId, u32, TxgRanges)>);

/// The flush of one leaf, and why it failed.
type Failed = (VdevId, Option<u32>, Error);

/// Notes what the flush covers: what is on the leaves at this moment.
pub(crate) fn begin(shared: &Shared, zio: &mut Zio) {
    let of_mirrors: Vec<_> = shared
        .leaves()
        .filter_map(|leaf| {
            let place = leaf.place();
            Some((place.vdev, place.leaf?, leaf.health().begin_flush()))
        })
        .collect();
    if !of_mirrors.is_empty() {
        zio.attachment = Some(Box::new(Unflushed(of_mirrors)));
    }
}

/// Looks at the children that came home.
pub(crate) fn assess(shared: &Shared, zio: &mut Zio) {
    let mut failed: SmallVec<[Failed; 2]> = SmallVec::new();
    while let Some(mut child) = zio.take_finished_child() {
        if let Some(error) = child.take_error() {
            let child = child.get();
            failed.push((child.vdev.unwrap_or_default(), child.leaf, error));
        }
    }
    let noted = zio.attachment.take().and_then(|it| it.downcast::<Unflushed>().ok());
    settle(shared, zio, &failed, noted.as_deref());
    for (vdev, leaf, _) in noted.iter().flat_map(|noted| &noted.0) {
        let top = shared.vdev(*vdev).ok();
        if let Some(leaf) = top.and_then(|top| top.leaves().get(*leaf as usize)) {
            leaf.health().end_flush();
        }
    }
}

/// A leaf whose flush failed: others have everything, or the flush has failed.
fn settle(shared: &Shared, zio: &mut Zio, failed: &[Failed], noted: Option<&Unflushed>) {
    for (vdev, leaf, error) in failed {
        let of_this =
            |noted: &&(VdevId, u32, TxgRanges)| noted.0 == *vdev && Some(noted.1) == *leaf;
        let unflushed = noted.iter().flat_map(|noted| &noted.0).find(of_this);
        let top = shared.vdev(*vdev).ok();
        let (Some((_, number, unflushed)), Some(top)) = (unflushed, top) else {
            zio.fail(error.clone());
            continue;
        };
        let Some(this) = top.leaves().get(*number as usize) else { continue };
        let flushed = |leaf: u32| !failed.iter().any(|bad| bad.0 == *vdev && bad.1 == Some(leaf));
        if is_of_device(error) && has_them_elsewhere(top, unflushed, flushed) {
            this.health().flush_failed(unflushed);
        } else {
            this.health().put_back(unflushed);
            zio.fail(error.clone());
        }
    }
}

fn is_of_device(error: &Error) -> bool {
    use ErrorKind::{DeviceGone, Io, NoSpace, TimedOut};
    matches!(error.kind(), Io | DeviceGone | TimedOut | NoSpace)
}

/// Has a leaf that is flushed all that one that is not was to make durable? One that has missed
/// any of it does not count.
fn has_them_elsewhere(top: &TopVdev, groups: &TxgRanges, flushed: impl Fn(u32) -> bool) -> bool {
    (0..).zip(top.leaves()).filter(|(number, _)| flushed(*number)).any(|(_, leaf)| {
        let missing = leaf.health().missing();
        !groups.iter().any(|range| missing.intersects(range))
    })
}
