//! Flush of every leaf, and what a failed one means (spec 8.3; a failed flush is never swallowed).
//!
//! A vdev is flushed when one of its leaves is that has missed nothing of what the others were to make
//! durable. A leaf of a mirror that failed beside such a one may have lost what was written since its last
//! flush: those groups are missing on it from now on.

use std::sync::Arc;

use smallvec::SmallVec;
use zio_core::{Error, ErrorKind, VdevId, Zio};

use crate::leaf::Leaf;
use crate::shared::Shared;
use crate::txg_ranges::TxgRanges;

/// A leaf of a mirror when the flush began.
struct Noted {
    leaf: Arc<Leaf>,
    vdev: VdevId,
    number: u32,
    failed: bool,
    /// Birth groups of what it is to make durable.
    unflushed: TxgRanges,
    /// Those of what it has not got.
    missing: TxgRanges,
}

impl Drop for Noted {
    fn drop(&mut self) {
        self.leaf.health().end_flush(self.failed);
    }
}

/// All of them: attachment of the flush.
struct Begun(Vec<Noted>);

/// Notes what the flush covers: what is on the leaves at this moment.
pub(crate) fn begin(shared: &Shared, zio: &mut Zio) {
    let of_mirrors: Vec<_> = shared
        .leaves()
        .filter_map(|leaf| {
            let (place, health, leaf) = (leaf.place(), leaf.health(), Arc::clone(leaf));
            let (vdev, number) = (place.vdev, place.leaf?);
            let (unflushed, missing) = (health.begin_flush(), health.missing());
            // Until it has gone well.
            Some(Noted { leaf, vdev, number, failed: true, unflushed, missing })
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
pub(crate) fn assess(zio: &mut Zio) {
    let mut failed: SmallVec<[(VdevId, Option<u32>, Error); 2]> = SmallVec::new();
    while let Some(mut child) = zio.take_finished_child() {
        if let Some(error) = child.take_error() {
            let child = child.get();
            failed.push((child.vdev.unwrap_or_default(), child.leaf, error));
        }
    }
    let begun = zio.attachment.take().and_then(|it| it.downcast::<Begun>().ok());
    let mut noted = begun.map(|begun| begun.0).unwrap_or_default();
    for leaf in &mut noted {
        let is_this = |vdev, number| vdev == leaf.vdev && number == Some(leaf.number);
        leaf.failed = zio.error.is_some() || failed.iter().any(|one| is_this(one.0, one.1));
    }
    for (vdev, number, error) in &failed {
        let of_vdev = || noted.iter().filter(|noted| noted.vdev == *vdev);
        let this = of_vdev().find(|noted| Some(noted.number) == *number);
        let survives = is_of_device(error)
            && this.is_some_and(|this| {
                let lost = &this.unflushed;
                let has_all =
                    |other: &Noted| !lost.iter().any(|txgs| other.missing.intersects(txgs));
                of_vdev().any(|other| !other.failed && has_all(other))
            });
        if !survives {
            zio.fail(error.clone());
        } else if let Some(this) = this {
            this.leaf.health().flush_failed(&this.unflushed);
        }
    }
}
