//! Flush of every leaf, and what a failed one means (spec 8.3; a failed flush is never swallowed).
//!
//! A vdev is flushed when one of its leaves is that has missed nothing of what the others were to make
//! durable. A leaf of a mirror that failed beside such a one may have lost what was written since its last
//! flush: those groups are missing on it from now on.

use smallvec::SmallVec;
use zio_core::{Error, ErrorKind, VdevId, Zio};

use crate::shared::Shared;
use crate::txg_ranges::TxgRanges;

/// A leaf of a mirror when the flush began.
struct Noted {
    vdev: VdevId,
    leaf: u32,
    /// Birth groups of what it is to make durable.
    unflushed: TxgRanges,
    /// Those of what it has not got.
    missing: TxgRanges,
}

/// All of them: attachment of the flush.
struct Begun(Vec<Noted>);

/// Notes what the flush covers: what is on the leaves at this moment.
pub(crate) fn begin(shared: &Shared, zio: &mut Zio) {
    let of_mirrors: Vec<_> = shared
        .leaves()
        .filter_map(|leaf| {
            let (place, health) = (leaf.place(), leaf.health());
            let (vdev, leaf) = (place.vdev, place.leaf?);
            let unflushed = health.begin_flush();
            Some(Noted { vdev, leaf, unflushed, missing: health.missing() })
        })
        .collect();
    if !of_mirrors.is_empty() {
        zio.attachment = Some(Box::new(Begun(of_mirrors)));
    }
}

/// Can the block do without this leaf's flush, as far as the kind of error goes?
fn is_of_device(error: &Error) -> bool {
    use ErrorKind::{DeviceGone, Io, NoSpace, TimedOut};
    matches!(error.kind(), Io | DeviceGone | TimedOut | NoSpace)
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
    let begun = zio.attachment.take().and_then(|it| it.downcast::<Begun>().ok());
    let noted = begun.map(|begun| begun.0).unwrap_or_default();
    let is_good = |noted: &Noted| {
        !failed.iter().any(|(vdev, leaf, _)| *vdev == noted.vdev && *leaf == Some(noted.leaf))
    };
    for (vdev, leaf, error) in &failed {
        let of_vdev = || noted.iter().filter(|noted| noted.vdev == *vdev);
        let this = of_vdev().find(|noted| Some(noted.leaf) == *leaf);
        let lost = this.map(|noted| &noted.unflushed);
        let survives = is_of_device(error)
            && lost.is_some_and(|lost| {
                let has_all =
                    |other: &Noted| !lost.iter().any(|txgs| other.missing.intersects(txgs));
                of_vdev().any(|other| is_good(other) && has_all(other))
            });
        if !survives {
            zio.fail(error.clone());
        }
        let health = shared.vdev(*vdev).ok().and_then(|top| {
            let leaf = top.leaves().get((*leaf)? as usize)?;
            Some(leaf.health())
        });
        if let Some((health, lost)) = health.zip(lost) {
            // The next flush is to answer for it as well.
            health.put_back(lost);
            if survives {
                health.flush_failed(lost);
            }
        }
    }
}
