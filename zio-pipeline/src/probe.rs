//! The probe of a leaf that failed an I/O: is it one bad sector, or is it dead (spec 1.13)?
//!
//! The failed zio asks, and ends after its probe. It reads eight KiB in each of three label
//! areas, where nothing stands; after a failed write it writes back what it read there. One probe
//! per leaf at a time; who fails meanwhile does not wait for it. Leaves of mirrors alone are probed: where there
//! is no other leaf to turn to, each I/O may as well find out for itself.

use std::sync::Arc;

use smallvec::SmallVec;
use zio_core::{Data, Error, ErrorKind, Flags, Priority, Stages, Zio, ZioType};

use crate::leaf::Leaf;
use crate::stages::child_on;

/// What is read at each place, at least: the blank piece at the begin of a label.
const PROBE_BYTES: usize = 8 << 10;

const LABEL_BYTES: u64 = 256 << 10;

/// A probe under way: the attachment of the zio that asked.
struct Probe {
    leaf: Arc<Leaf>,
    step: Step,
    readable: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Step {
    Reading,
    Writing,
}

impl Drop for Probe {
    fn drop(&mut self) {
        self.leaf.health().end_probe();
    }
}

/// Starts the probe of a leaf that failed this zio's I/O, if it says anything about the leaf
/// and nobody else is at it.
pub(crate) fn begin(zio: &mut Zio, leaf: &Arc<Leaf>) {
    let asks = leaf.place().leaf.is_some()
        && !zio.flags().intersects(Flags::PROBE | Flags::SPECULATIVE)
        && matches!(zio.ty(), ZioType::Read | ZioType::Write)
        && zio.attachment.is_none();
    let tells = |error: &Error| matches!(error.kind(), ErrorKind::Io | ErrorKind::DeviceGone);
    if !asks || !zio.error.as_ref().is_some_and(tells) || !leaf.health().begin_probe() {
        return;
    }
    let probe = Probe { leaf: Arc::clone(leaf), step: Step::Reading, readable: false };
    zio.attachment = Some(Box::new(probe));
    for offset_bytes in places(leaf) {
        start(zio, leaf, ZioType::Read, offset_bytes, Data::new());
    }
}

/// Goes on with the zio's probe, all of whose I/O has come home. True if more was started.
pub(crate) fn go_on(zio: &mut Zio) -> bool {
    let mut probe = match zio.attachment.take().map(|it| it.downcast::<Probe>()) {
        Some(Ok(probe)) => probe,
        Some(Err(others)) => {
            zio.attachment = Some(others);
            return false;
        }
        None => return false,
    };
    let good = good_children(zio);
    let leaf = Arc::clone(&probe.leaf);
    let writes = zio.ty() == ZioType::Write;
    if probe.step == Step::Reading {
        probe.readable = !good.is_empty();
        if writes && probe.readable && !leaf.is_read_only() {
            probe.step = Step::Writing;
            zio.attachment = Some(probe);
            for (offset_bytes, data) in good {
                start(zio, &leaf, ZioType::Write, offset_bytes, data);
            }
            return true;
        }
    }
    let writable = match probe.step {
        // Nothing was written: what is known of it stays, unless it is dead altogether.
        Step::Reading => probe.readable && leaf.health().is_writable(),
        Step::Writing => !good.is_empty(),
    };
    leaf.found(probe.readable, writable);
    if (writes && !writable) || (!writes && !probe.readable) {
        let words = "the device failed its probe";
        zio.error = Some(Error::msg(ErrorKind::DeviceGone, words).at(zio.place()));
    }
    false
}

fn good_children(zio: &mut Zio) -> SmallVec<[(u64, Data); 3]> {
    let mut good = SmallVec::new();
    while let Some(mut child) = zio.take_finished_child() {
        if child.take_error().is_none() {
            good.push((child.get().offset_bytes, child.take_data()));
        }
    }
    good
}

/// Places of the device where nothing stands: in the second, third and last label.
fn places(leaf: &Leaf) -> [u64; 3] {
    let end_bytes = leaf.label_areas()[1].end;
    [LABEL_BYTES, end_bytes - 2 * LABEL_BYTES, end_bytes - LABEL_BYTES]
}

fn start(zio: &Zio, leaf: &Leaf, ty: ZioType, offset_bytes: u64, data: Data) {
    let mut child = child_on(zio, ty, leaf, offset_bytes, Stages::VDEV_CHILD);
    child.add_flags(Flags::PROBE | Flags::PHYSICAL | Flags::DONT_AGGREGATE);
    child.priority = Priority::Now;
    child.control = None;
    child.size_bytes = PROBE_BYTES.max(leaf.sector_bytes() as usize);
    child.data = data;
    child.start();
}
