//! VDEV_IO_START, VDEV_IO_DONE, VDEV_IO_ASSESS: to the device and back
//! (spec 1.13, 1.15).
//!
//! A zio of a block (no device of its own) makes one child per place that
//! is to be read or written; a zio of a device goes through the leaf's queue.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use smallvec::SmallVec;
use zio_core::task::Place;
use zio_core::{
    Buffers, ChildSet, Data, Dva, Engine, Error, ErrorKind, Flags, Next, QueueKind, Stage, Stages,
    VdevDone, VdevId, VdevOp, WaitType, Zio, ZioBox, ZioType,
};

use crate::events::{ChecksumReport, Damage, Event, EventKind};
use crate::leaf::Leaf;
use crate::shared::Shared;
use crate::stages::checksum::BadCopy;
use crate::stages::{copies, flush, space};
use crate::top_vdev::{MIRROR_LEAVES_MAX, TopVdev, places};
use crate::{cost, heal, probe};

/// VDEV_IO_START.
pub(crate) struct IoStart {
    shared: Arc<Shared>,
}

impl IoStart {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// One child for one place not tried yet: the first address that has such a
    /// place, and of its leaves the one that answers soonest.
    fn read_one_copy(&self, zio: &mut Zio) -> Result<ZioBox, Error> {
        let mut nowhere = None;
        for (index, dva) in zio.bp.dvas().enumerate() {
            let vdev = match self.shared.locate(dva, zio.size_bytes as u64) {
                Ok(vdev) => vdev,
                Err(error) => {
                    zio.tried |= places::of_dva(index, MIRROR_LEAVES_MAX);
                    nowhere.get_or_insert(error);
                    continue;
                }
            };
            let tried = places::leaves_in(zio.tried, index);
            let birth = zio.bp.physical_birth();
            let place = vdev.units(dva.offset_bytes(), zio.size_bytes);
            let Some(leaf) = vdev.choose(tried, &place, birth) else { continue };
            return Ok(read_place(zio, index, dva, leaf, vdev));
        }
        Err(nowhere.unwrap_or_else(|| ErrorKind::Io.into()))
    }

    /// One child for every place.
    fn read_all_copies(&self, zio: &mut Zio) -> Result<(), Error> {
        let mut children: SmallVec<[ZioBox; 4]> = SmallVec::new();
        let mut nowhere = None;
        for (index, dva) in zio.bp.dvas().enumerate() {
            match self.shared.locate(dva, zio.size_bytes as u64) {
                Ok(vdev) => children.extend(
                    (0..vdev.leaves().len()).map(|leaf| read_place(zio, index, dva, leaf, vdev)),
                ),
                Err(error) => {
                    zio.tried |= places::of_dva(index, MIRROR_LEAVES_MAX);
                    nowhere.get_or_insert(error);
                }
            }
        }
        match nowhere {
            Some(error) if children.is_empty() => Err(error),
            _ => {
                children.into_iter().for_each(Zio::start);
                Ok(())
            }
        }
    }

    /// One child for every leaf of every vdev.
    fn flush_all_leaves(&self, zio: &Zio) {
        for leaf in self.shared.leaves() {
            child_on(zio, ZioType::Ioctl, leaf, 0, Stages::IOCTL).start();
        }
    }

    /// One child for every leaf of a mirror.
    fn trim_all_leaves(&self, zio: &Zio, vdev: &TopVdev) {
        for leaf in vdev.leaves() {
            let mut child =
                child_on(zio, ZioType::Trim, leaf, zio.offset_bytes, Stages::VDEV_CHILD);
            child.size_bytes = zio.size_bytes;
            child.start();
        }
    }

    /// A zio of a device: to its leaf, or to all of them.
    fn to_device(&self, mut zio: ZioBox, vdev: VdevId) -> Next {
        if zio.ty() == ZioType::Trim && zio.leaf.is_none() {
            let closed = space::close_for_trim(&self.shared, &mut zio);
            let vdev = closed.and_then(|()| self.shared.vdev(vdev));
            match vdev {
                Ok(vdev) if vdev.is_mirror() => {
                    self.trim_all_leaves(&zio, vdev);
                    return Some(zio);
                }
                Ok(_) => {}
                Err(error) => {
                    zio.fail(error);
                    return Some(zio);
                }
            }
        }
        match self.shared.leaf_of(&zio) {
            Ok(leaf) => self.to_leaf(zio, leaf),
            Err(error) => {
                zio.fail(error);
                Some(zio)
            }
        }
    }

    fn to_leaf(&self, mut zio: ZioBox, leaf: &Arc<Leaf>) -> Next {
        let asks_much = matches!(zio.ty(), ZioType::Ioctl | ZioType::Trim);
        if asks_much && leaf.place().leaf.is_some() && !leaf.may_write() {
            // A dead leaf of a mirror, which might hang besides.
            zio.fail(Error::msg(ErrorKind::DeviceGone, "the device failed its probe"));
            return Some(zio);
        }
        let op = match zio.ty() {
            ZioType::Read => {
                let io_bytes = zio.size_bytes.next_multiple_of(io_unit(&zio, leaf));
                let mut buffers = Buffers::new();
                buffers.push(zio.engine().buffers().take(io_bytes));
                VdevOp::Read(buffers)
            }
            ZioType::Write => VdevOp::Write(padded(&mut zio, leaf)),
            ZioType::Trim => VdevOp::Trim { len_bytes: zio.size_bytes as u64 },
            _ if leaf.flush_is_unsupported() => return Some(zio),
            _ => VdevOp::Flush,
        };
        let about = leaf.announce(&mut zio);
        let token = zio.park_for_device();
        leaf.start(&about, op, token);
        None
    }
}

/// A scrub looks at every copy; and who tries a gang header for the last time compares all there are.
fn wants_all_copies(zio: &Zio) -> bool {
    zio.flags().contains(Flags::SCRUB) || (is_gang_header(zio) && is_last_try(zio))
}

fn is_gang_header(zio: &Zio) -> bool {
    zio.bp.checksum_id() == checksum::Algorithm::GangHeader.id()
}

fn is_last_try(zio: &Zio) -> bool {
    zio.flags().contains(Flags::IO_RETRY)
}

/// A child that reads and verifies one place of a block.
fn read_place(zio: &mut Zio, index: usize, dva: Dva, leaf: usize, vdev: &TopVdev) -> ZioBox {
    let place = places::number(index, leaf);
    zio.tried |= 1 << place;
    let pipeline = Stages::VDEV_CHILD_VERIFY;
    let mut child = vdev_child(zio, ZioType::Read, dva, &vdev.leaves()[leaf], pipeline);
    child.slot = place;
    child.bp = zio.bp;
    // Verified once, as near to the device as possible.
    zio.drop_stages(Stages::CHECKSUM_VERIFY);
    child
}

/// A child for one leaf of one address of a block.
pub(crate) fn vdev_child(
    zio: &Zio,
    ty: ZioType,
    dva: Dva,
    leaf: &Leaf,
    pipeline: Stages,
) -> ZioBox {
    let mut child = child_on(zio, ty, leaf, dva.offset_bytes(), pipeline);
    child.size_bytes = zio.size_bytes;
    child
}

/// A child for a leaf.
pub(crate) fn child_on(
    zio: &Zio,
    ty: ZioType,
    leaf: &Leaf,
    offset_bytes: u64,
    pipeline: Stages,
) -> ZioBox {
    let place = leaf.place();
    let mut child = Engine::make_vdev_child(zio, ty, place.vdev, offset_bytes, pipeline);
    child.leaf = place.leaf;
    child
}

/// Unit a device I/O is rounded up to: the allocation unit, or the sector for
/// raw ranges.
fn io_unit(zio: &Zio, leaf: &Leaf) -> usize {
    if zio.flags().contains(Flags::PHYSICAL) {
        leaf.sector_bytes() as usize
    } else {
        leaf.unit_bytes() as usize
    }
}

/// Pieces that one write is made of at most. More are copied into one: the
/// system has a limit for one call, and pieces this small cost more than the copy.
const PIECES_MAX: usize = 64;

/// The data to write, with zeros behind it up to the unit.
fn padded(zio: &mut Zio, leaf: &Leaf) -> Data {
    let mut data = std::mem::take(&mut zio.data);
    let io_bytes = zio.size_bytes.next_multiple_of(io_unit(zio, leaf));
    let pool = zio.engine().buffers();
    if data.segments().len() > PIECES_MAX || !data.chunks().all(|chunk| leaf.takes_piece(chunk)) {
        // Pieces that a device cannot take one by one become one piece.
        let mut whole = pool.take(io_bytes);
        let len = data.len();
        data.copy_to(&mut whole);
        whole[len..].fill(0);
        return whole.into();
    }
    if io_bytes > data.len() {
        let mut tail = pool.take(io_bytes - data.len());
        tail.fill(0);
        data.push(tail.freeze());
    }
    data
}

impl Stage for IoStart {
    fn stage(&self) -> Stages {
        Stages::VDEV_IO_START
    }

    fn run(&self, mut zio: ZioBox) -> Next {
        if zio.is_cancelled() {
            zio.fail(ErrorKind::Cancelled.into());
            return Some(zio);
        }
        if self.shared.suspension.is_closed() {
            zio.fail(ErrorKind::Closed.into());
            return Some(zio);
        }
        if let Some(vdev) = zio.vdev {
            return self.to_device(zio, vdev);
        }
        let started = match zio.ty() {
            ZioType::Read if wants_all_copies(&zio) => self.read_all_copies(&mut zio),
            ZioType::Read => self.read_one_copy(&mut zio).map(Zio::start),
            ZioType::Ioctl => {
                zio = flush::enter(&self.shared, zio)?;
                self.flush_all_leaves(&zio);
                Ok(())
            }
            _ => copies::write_all(&self.shared, &mut zio),
        };
        if let Err(error) = started {
            zio.fail(error);
        }
        Some(zio)
    }
}

/// VDEV_IO_DONE.
pub(crate) struct IoDone {
    shared: Arc<Shared>,
}

impl IoDone {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }
}

/// Bad copies of a block that are to be reported once there is a good one to compare them with.
type BadCopies = SmallVec<[BadCopy; 1]>;

fn keep(zio: &mut Zio, bad: BadCopy) {
    let kept = zio.evidence.get_or_insert_with(|| Box::new(BadCopies::new()));
    if let Some(kept) = kept.downcast_mut::<BadCopies>() {
        kept.push(bad);
    }
}

/// Reports the bad copies that were met so far.
fn report(zio: &mut Zio, shared: &Shared, good: Option<&Data>) {
    let Some(kept) = zio.evidence.take().and_then(|kept| kept.downcast::<BadCopies>().ok()) else {
        return;
    };
    for BadCopy { error, data } in *kept {
        shared.events.post(EventKind::Checksum, || {
            let good = good.filter(|_| !data.is_empty());
            let damage = good.map(|good| Damage::between(good, &data));
            Event::Checksum(ChecksumReport { bookmark: zio.bookmark, error, damage })
        });
    }
}

/// Takes the first good copy among the children that came home, and notes the
/// places that gave none. Without any it is an error for now.
fn take_good_copy(shared: &Shared, zio: &mut Zio) {
    let (mut good, mut worst) = (None, None);
    let mut doubtful: SmallVec<[(u32, Data, Error); 1]> = SmallVec::new();
    while let Some(mut child) = zio.take_finished_child() {
        let slot = child.get().slot;
        let error = match (child.take_error(), staleness(shared, child.get())) {
            (Some(error), _) | (None, Staleness::Stale(error)) => error,
            (None, Staleness::Unknown(error)) => {
                doubtful.push((slot, child.take_data(), error));
                continue;
            }
            (None, Staleness::Current) => {
                good.get_or_insert_with(|| child.take_data());
                continue;
            }
        };
        if let Some(bad) = BadCopy::of(&mut child, &error) {
            keep(zio, bad);
        }
        if matches!(error.kind(), ErrorKind::Checksum | ErrorKind::Io) {
            zio.bad |= 1 << slot;
        }
        worst = Error::worst(worst, Some(error));
    }
    if good.is_none() && is_last_try(zio) {
        good = agreed(&doubtful);
    }
    for (slot, data, error) in doubtful {
        if good.as_ref().is_none_or(|good| !good.chunks().flatten().eq(data.chunks().flatten())) {
            zio.bad |= 1 << slot;
            worst = Error::worst(worst, Some(error));
        }
    }
    if good.is_some() || !has_untried_places(zio, shared) {
        report(zio, shared, good.as_ref());
    }
    match (good, worst) {
        (Some(data), _) => {
            zio.data = data;
            zio.error = None;
        }
        (None, Some(error)) => zio.fail(error),
        (None, None) => {}
    }
}

/// What all copies say of which nobody knows whether they are current.
fn agreed(doubtful: &[(u32, Data, Error)]) -> Option<Data> {
    let ((_, first, _), others) = doubtful.split_first()?;
    let agrees = |other: &Data| first.chunks().flatten().eq(other.chunks().flatten());
    others.iter().all(|(_, other, _)| agrees(other)).then(|| first.clone())
}

/// Is a copy that verifies that of an earlier block?
enum Staleness {
    Current,
    /// Perhaps: the leaf lacks blocks of this group, nobody knows which.
    Unknown(Error),
    Stale(Error),
}

/// A gang header verifies by its place and birth, so an earlier one of the same place and birth would pass: one that
/// the leaf is known to have missed is not taken for good. Where nothing is known but that the leaf lacks blocks of
/// that group, others are asked first.
fn staleness(shared: &Shared, child: &Zio) -> Staleness {
    if !is_gang_header(child) {
        return Staleness::Current;
    }
    let Ok(leaf) = shared.leaf_of(child) else { return Staleness::Current };
    let (health, birth) = (leaf.health(), child.bp.physical_birth());
    let place = leaf.units(child.offset_bytes, child.size_bytes);
    if !health.is_missing(birth, &place) {
        return Staleness::Current;
    }
    let error = |words| Error::msg(ErrorKind::Checksum, words).at(child.place());
    if health.is_missing_here(birth, &place) {
        Staleness::Stale(error("the leaf has missed this write"))
    } else {
        Staleness::Unknown(error("the leaf may have missed this write"))
    }
}

/// Is there a place left that might give the block?
fn has_untried_places(zio: &Zio, shared: &Shared) -> bool {
    zio.bp.dvas().enumerate().any(|(index, dva)| {
        let leaves = shared.vdev(dva.vdev()).map_or(1, |vdev| vdev.leaves().len());
        places::of_dva(index, leaves) & !zio.tried != 0
    })
}

/// A trim of a mirror: one leaf that has done it is enough. One that may still be at it is not to be
/// forgotten, whatever the others did.
fn assess_trim(zio: &mut Zio) {
    let (mut any_good, mut errors) = (false, SmallVec::<[Error; 2]>::new());
    while let Some(mut child) = zio.take_finished_child() {
        match child.take_error() {
            None => any_good = true,
            Some(error) => errors.push(error),
        }
    }
    let forgiven = |error: &Error| matches!(error.kind(), ErrorKind::Io | ErrorKind::DeviceGone);
    errors.retain(|error| !any_good || !forgiven(error));
    errors.into_iter().for_each(|error| zio.fail(error));
}

/// What the device answered becomes the zio's data and error.
fn take_answer(zio: &mut Zio, shared: &Shared) {
    let Some(VdevDone { op, result }) = zio.answer.take() else { return };
    zio.entered = None;
    let leaf = shared.leaf_of(zio);
    if let Ok(leaf) = leaf {
        leaf.answered();
    }
    if let Some(VdevOp::Read(buffers)) = op
        && result.is_ok()
    {
        let mut buffers = buffers;
        if let [only] = buffers.as_mut_slice()
            && only.len() > zio.size_bytes
        {
            only.resize(zio.size_bytes);
        }
        zio.data = Data::from_buffers(buffers);
    }
    let Err(error) = result else { return };
    let error = Error::from(error);
    if zio.ty() == ZioType::Ioctl && error.kind() == ErrorKind::Unsupported {
        // No write cache: there is nothing a flush could have done.
        if let Ok(leaf) = leaf {
            leaf.set_flush_unsupported();
        }
        return;
    }
    zio.fail(error);
}

/// Counts what the device did wrong. The first EIO of an I/O is not counted, since it is going
/// to be tried again; neither is what nobody counted on (spec 1.13).
fn count_error(leaf: &Leaf, zio: &Zio, kind: Option<ErrorKind>) {
    let first_try = kind == Some(ErrorKind::Io) && !zio.flags().contains(Flags::IO_RETRY);
    let told = matches!(kind, Some(ErrorKind::Io | ErrorKind::DeviceGone | ErrorKind::TimedOut));
    if !told || first_try || zio.flags().intersects(Flags::SPECULATIVE | Flags::PROBE) {
        return;
    }
    if let Some(error) = zio.error.clone() {
        leaf.post(EventKind::Device, || Event::Device { error });
    }
    let errors = leaf.health().errors();
    let counter = match zio.ty() {
        ZioType::Read => &errors.read,
        ZioType::Write => &errors.write,
        _ => return,
    };
    counter.fetch_add(1, Ordering::Relaxed);
}

/// What the answer of a leaf says about the leaf.
fn assess_leaf(shared: &Shared, zio: &mut Zio) {
    let Ok(leaf) = shared.leaf_of(zio) else { return };
    let health = leaf.health();
    let is_write = zio.ty() == ZioType::Write;
    let kind = zio.error.as_ref().map(Error::kind);
    count_error(leaf, zio, kind);
    match kind {
        None if !matches!(zio.ty(), ZioType::Read | ZioType::Write) => {}
        None => {
            leaf.proved(is_write);
            if is_write && zio.flags().contains(Flags::PHYSICAL) {
                health.wrote_physically();
            } else if is_write && leaf.place().leaf.is_some() {
                health.wrote(zio.txg, &leaf.units(zio.offset_bytes, zio.size_bytes));
            }
        }
        Some(ErrorKind::TimedOut) => leaf.found(false, false),
        Some(_) => probe::begin(zio, leaf),
    }
}

impl Stage for IoDone {
    fn stage(&self) -> Stages {
        Stages::VDEV_IO_DONE
    }

    fn run(&self, zio: ZioBox) -> Next {
        let mut zio = zio.wait_children(ChildSet::VDEV, WaitType::Done)?;
        let is_leaf = zio.answer.is_some();
        take_answer(&mut zio, &self.shared);
        if is_leaf {
            assess_leaf(&self.shared, &mut zio);
        } else if zio.ty() == ZioType::Read {
            take_good_copy(&self.shared, &mut zio);
            if zio.vdev.is_none()
                && zio.error.is_some()
                && !zio.is_cancelled()
                && !self.shared.suspension.is_closed()
                && has_untried_places(&zio, &self.shared)
            {
                zio.rerun_from(Stages::VDEV_IO_START);
                return Some(zio);
            }
            if zio.bad != 0 && zio.error.is_none() {
                heal::repair(&self.shared, &zio);
            }
        } else if zio.ty() == ZioType::Write && zio.vdev.is_none() {
            if copies::write_again(&self.shared, &mut zio) {
                zio.rerun_from(Stages::VDEV_IO_DONE);
                return Some(zio);
            }
        } else {
            assess_trim(&mut zio);
        }
        let verifies = zio.pipeline().contains(Stages::CHECKSUM_VERIFY) && zio.error.is_none();
        if verifies && cost::read_is_heavy(&zio) {
            Engine::dispatch(zio, QueueKind::Interrupt, Place::Back);
            return None;
        }
        Some(zio)
    }
}

/// VDEV_IO_ASSESS.
pub(crate) struct IoAssess {
    shared: Arc<Shared>,
}

impl IoAssess {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }
}

impl Stage for IoAssess {
    fn stage(&self) -> Stages {
        Stages::VDEV_IO_ASSESS
    }

    fn run(&self, zio: ZioBox) -> Next {
        let mut zio = zio.wait_children(ChildSet::VDEV, WaitType::Done)?;
        take_answer(&mut zio, &self.shared);
        if probe::go_on(&mut zio) {
            zio.rerun_from(Stages::VDEV_IO_ASSESS);
            return Some(zio);
        }
        match zio.ty() {
            ZioType::Ioctl => flush::assess(&mut zio),
            ZioType::Read => heal::take_repairs(&self.shared, &mut zio),
            _ => {}
        }
        if zio.error.is_none() {
            // Written: room for the next one (spec 1.11). DONE may have to wait for
            // children that want it.
            zio.slots = None;
            return Some(zio);
        }
        let once_more = Flags::DONT_RETRY | Flags::IO_RETRY;
        let hopeless = zio.is_cancelled() || self.shared.suspension.is_closed();
        if zio.vdev.is_none() && !zio.flags().intersects(once_more) && !hopeless {
            zio.error = None;
            zio.tried = 0;
            zio.bad = 0;
            zio.add_flags(Flags::IO_RETRY | Flags::DONT_CACHE | Flags::DONT_AGGREGATE);
            zio.rerun_from(Stages::VDEV_IO_START);
            Engine::dispatch(zio, QueueKind::Issue, Place::Front);
            return None;
        }
        let is_block = zio.vdev.is_none() && zio.ty() != ZioType::Ioctl;
        let mut zio = if is_block { self.shared.suspension.take_in(zio)? } else { zio };
        zio.slots = None;
        zio.become_interlock();
        Some(zio)
    }
}
