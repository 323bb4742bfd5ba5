//! Flush of every leaf, and what a failed one means (spec 8.3; a failed flush is never swallowed).
//!
//! A vdev is flushed when one of its leaves is. A leaf of a mirror that failed beside one that did
//! not may have lost what was written since its last flush: those groups are missing on it from now on.

use smallvec::SmallVec;
use zio_core::{Error, ErrorKind, VdevId, Zio};

use crate::shared::Shared;
use crate::txg_ranges::TxgRanges;

/// What each leaf of a mirror is to make durable: attachment of the flush.
struct Unflushed(Vec<(VdevId, u32, TxgRanges)>);

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
    let mut failed: SmallVec<[(VdevId, Option<u32>, Error); 2]> = SmallVec::new();
    while let Some(mut child) = zio.take_finished_child() {
        if let Some(error) = child.take_error() {
            let child = child.get();
            failed.push((child.vdev.unwrap_or_default(), child.leaf, error));
        }
    }
    if failed.is_empty() {
        return;
    }
    let noted = zio.attachment.take().and_then(|it| it.downcast::<Unflushed>().ok());
    for (vdev, leaf, error) in &failed {
        let leaves = shared.vdev(*vdev).map_or(1, |vdev| vdev.leaves().len());
        let elsewhere = failed.iter().filter(|other| other.0 == *vdev).count() < leaves;
        let device = matches!(
            error.kind(),
            ErrorKind::Io | ErrorKind::DeviceGone | ErrorKind::TimedOut | ErrorKind::NoSpace
        );
        let survives = elsewhere && device;
        if !survives {
            zio.fail(error.clone());
        }
        let of_this = noted.iter().flat_map(|noted| &noted.0);
        let of_this = of_this.filter(|noted| noted.0 == *vdev && Some(noted.1) == *leaf);
        for (_, number, unflushed) in of_this {
            let Ok(top) = shared.vdev(*vdev) else { continue };
            let Some(leaf) = top.leaves().get(*number as usize) else { continue };
            if survives {
                leaf.health().flush_failed(unflushed);
            } else {
                leaf.health().put_back(unflushed);
            }
        }
    }
}
