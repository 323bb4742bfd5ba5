//! Faults of devices: what a leaf does instead of its work, or besides.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use zio_core::{
    Complete, Geometry, Reactor, Token, Vdev, VdevDone, VdevError, VdevErrorKind, VdevId, VdevIo,
    VdevOp, ZioType,
};

use crate::inject::{Delays, Fault, Frequency, Injections};
use crate::leaf::LeafPlace;

/// What is done to an I/O of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DeviceAction {
    /// It is answered with this error, and the device hears nothing of it.
    Fail(VdevErrorKind),
    /// A bit of what was read is flipped. Other I/O is left as it is.
    Corrupt,
    /// It is answered with "done", and the device hears nothing of it. A read gives what the memory held.
    Ignore,
    /// The answer comes so long after the start, or later: the device itself takes its time besides.
    Delay(Duration),
}

/// A fault of a device: what, on which I/O and how often. Without further words it hits
/// the next I/O of any leaf.
///
/// ```
/// use std::time::Duration;
/// use zio_pipeline::VdevId;
/// use zio_pipeline::inject::{DeviceAction, DeviceFault, Injections, ZioType};
///
/// // Each tenth write to the second leaf of vdev 0 takes a second.
/// let slow = DeviceFault::new(DeviceAction::Delay(Duration::from_secs(1)))
///     .on(ZioType::Write)
///     .leaf(VdevId(0), 1)
///     .every(10)
///     .always();
/// let faults = Injections::new();
/// let number = faults.add(slow);
/// assert_eq!(faults.hits(number), 0);
/// ```
#[derive(Clone, Debug)]
#[must_use = "a fault does nothing until it is injected"]
pub struct DeviceFault {
    action: DeviceAction,
    ty: Option<ZioType>,
    leaf: Option<(VdevId, u32)>,
    range_bytes: Range<u64>,
    pub(super) frequency: Frequency,
}

impl DeviceFault {
    /// `action` on the next I/O.
    pub fn new(action: DeviceAction) -> Self {
        let range_bytes = 0..u64::MAX;
        Self { action, ty: None, leaf: None, range_bytes, frequency: Frequency::ONCE }
    }

    /// Only I/O of this type; a flush is [`ZioType::Ioctl`].
    pub fn on(mut self, ty: ZioType) -> Self {
        self.ty = Some(ty);
        self
    }

    /// Only that of one leaf; the only one of a vdev without a mirror is 0.
    pub fn leaf(mut self, vdev: VdevId, leaf: u32) -> Self {
        self.leaf = Some((vdev, leaf));
        self
    }

    /// Only what touches this range of the device, labels included. Flushes touch every range.
    pub fn range(mut self, offset_bytes: u64, len_bytes: u64) -> Self {
        self.range_bytes = offset_bytes..offset_bytes.saturating_add(len_bytes);
        self
    }

    /// Spares so many first.
    pub fn skip(mut self, ios: u64) -> Self {
        self.frequency.skip = ios;
        self
    }

    /// Only each so manyth of the rest, beginning with the first.
    pub fn every(mut self, ios: u64) -> Self {
        self.frequency.every = ios.max(1);
        self
    }

    /// Hits so many.
    pub fn times(mut self, ios: u64) -> Self {
        self.frequency.times = ios;
        self
    }

    /// Hits whatever comes.
    pub fn always(self) -> Self {
        self.times(u64::MAX)
    }

    fn fits(&self, place: LeafPlace, io: &VdevIo) -> bool {
        let ty = match io.op() {
            VdevOp::Read(_) => ZioType::Read,
            VdevOp::Write(_) => ZioType::Write,
            VdevOp::Trim { .. } => ZioType::Trim,
            VdevOp::Flush => ZioType::Ioctl,
        };
        let (start, end) = (io.offset_bytes(), io.offset_bytes().saturating_add(io.len_bytes()));
        let touches = start < self.range_bytes.end && self.range_bytes.start < end;
        self.ty.is_none_or(|only| only == ty)
            && self.leaf.is_none_or(|only| only == (place.vdev, place.leaf.unwrap_or(0)))
            && (touches || ty == ZioType::Ioctl)
    }
}

/// A device with faults.
pub(crate) struct FaultyDevice {
    inner: Arc<dyn Vdev>,
    place: LeafPlace,
    faults: Injections,
    delays: Arc<Delays>,
}

impl Injections {
    /// The same device, with faults.
    pub(crate) fn around_device(
        &self,
        inner: Arc<dyn Vdev>,
        place: LeafPlace,
        delays: &Arc<Delays>,
    ) -> Arc<dyn Vdev> {
        let (faults, delays) = (self.clone(), Arc::clone(delays));
        Arc::new(FaultyDevice { inner, place, faults, delays })
    }
}

impl fmt::Debug for FaultyDevice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

impl Vdev for FaultyDevice {
    fn geometry(&self) -> Geometry {
        self.inner.geometry()
    }

    fn start(&self, io: VdevIo) {
        let action = self.faults.first(|fault| match fault {
            Fault::Device(fault) if fault.fits(self.place, &io) => {
                fault.frequency.takes().then_some(fault.action)
            }
            _ => None,
        });
        let change = match action {
            None => return self.inner.start(io),
            Some(DeviceAction::Fail(kind)) => {
                return io.finish(Err(VdevError::msg(kind, "injected")));
            }
            Some(DeviceAction::Ignore) => return io.finish(Ok(())),
            Some(DeviceAction::Corrupt) => Change::Flip,
            Some(DeviceAction::Delay(delay)) => {
                Change::Delay(Arc::clone(&self.delays), self.delays.target_ns(delay))
            }
        };
        let (op, offset_bytes, token) = io.into_parts();
        let between = Token::new(Arc::new(Between { change, token: Some(token).into() }), 0);
        self.inner.start(VdevIo::new(op, offset_bytes, between));
    }

    fn reactor(&self) -> Option<Arc<dyn Reactor>> {
        self.inner.reactor()
    }
}

/// What becomes of an answer.
enum Change {
    Flip,
    Delay(Arc<Delays>, u64),
}

/// Stands between a device and whoever waits for its answer.
struct Between {
    change: Change,
    token: parking_lot::Mutex<Option<Token>>,
}

impl Complete for Between {
    fn complete(self: Arc<Self>, _: u64, mut done: VdevDone) {
        let Some(token) = self.token.lock().take() else { return };
        match &self.change {
            Change::Flip => {
                flip(&mut done);
                token.finish(done);
            }
            Change::Delay(delays, target_ns) => {
                delays.hold(*target_ns, Box::new(move || token.finish(done)));
            }
        }
    }
}

/// Flips a bit in the middle of what a device has read.
pub(super) fn flip(done: &mut VdevDone) {
    if let Some(VdevOp::Read(buffers)) = &mut done.op
        && let Some(buffer) = buffers.first_mut()
        && let Some(byte) = {
            let middle = buffer.len() / 2;
            buffer.get_mut(middle)
        }
    {
        *byte ^= 0x10;
    }
}
