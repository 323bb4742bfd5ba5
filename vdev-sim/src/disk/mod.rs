//! [`SimDisk`]: a disk that lies.
//!
//! * `config`, `latency`: what kind of disk, how long things take
//! * `fault`: what is done to whom
//! * `store`: the bytes, durable and not
//! * `perform`: what one I/O does to the bytes
//! * `log`: what was seen

mod config;
mod fault;
mod latency;
mod log;
mod perform;
mod state;
mod store;

use std::fmt;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use zio_core::{Geometry, Reactor, Vdev, VdevError, VdevIo};

pub use config::{DiskConfig, Trimmed};
pub use fault::{Effect, Fault, FaultId, FaultProfile};
pub use latency::{Latency, Mechanics};
pub use log::{Answer, Counters, LogEntry, OpKind};

use crate::rng::Rng;
use crate::scheduler::{Device, Event, Scheduler};
use state::{Power, State};

/// A simulated disk, made by [`Machine::disk`](crate::Machine::disk): real
/// bytes, virtual time, and faults by script, by chance and by hand.
///
/// * Answers come while somebody turns the machine; the order among I/Os is
///   free. A read sees, and a write takes effect, at the moment of its answer.
/// * A write is answered when it is in the volatile cache. It is durable after
///   a flush that was *started* after that answer, no sooner.
/// * What is stored and never written reads as zeros.
pub struct SimDisk {
    geometry: Geometry,
    strict: bool,
    inline_permille: u32,
    scheduler: Arc<Scheduler>,
    me: Weak<dyn Device>,
    state: Mutex<State>,
}

/// One flipped bit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Flip {
    /// Byte that holds it.
    pub offset_bytes: u64,
    /// Bit within the byte, 0 the lowest.
    pub bit: u8,
}

impl SimDisk {
    pub(crate) fn new(scheduler: &Arc<Scheduler>, config: DiskConfig) -> Arc<Self> {
        let geometry = config.geometry();
        Arc::new_cyclic(|me: &Weak<Self>| {
            let me: Weak<dyn Device> = me.clone();
            let number = scheduler.add_device(me.clone());
            let rng = Rng::stream(scheduler.seed(), number);
            Self {
                geometry,
                strict: config.strict,
                inline_permille: config.inline_permille.min(999),
                scheduler: Arc::clone(scheduler),
                me,
                state: Mutex::new(State::new(config, rng)),
            }
        })
    }

    // ---- faults ------------------------------------------------------

    /// Adds a scripted fault. Of several that meet the same I/O the first one
    /// injected acts.
    pub fn inject(&self, fault: Fault) -> FaultId {
        self.state.lock().script.add(fault)
    }

    /// How many times a scripted fault has acted.
    pub fn fired(&self, fault: FaultId) -> u64 {
        self.state.lock().script.fired(fault)
    }

    /// Takes a scripted fault away.
    pub fn heal(&self, fault: FaultId) {
        self.state.lock().script.heal(fault);
    }

    /// Takes all scripted and random faults away. What is rotten stays rotten.
    pub fn heal_all(&self) {
        let mut state = self.state.lock();
        state.script.heal_all();
        state.profile = FaultProfile::none();
    }

    /// Sets the random faults from now on.
    pub fn set_faults(&self, profile: FaultProfile) {
        self.state.lock().profile = profile;
    }

    /// From now on writes and trims answer
    /// [`ReadOnly`](zio_core::VdevErrorKind::ReadOnly), though the geometry does not
    /// say so: an SSD at the end of its life.
    pub fn set_read_only(&self, read_only: bool) {
        self.state.lock().read_only = read_only;
    }

    /// Flips one to eight bits in a range, durably, drawn from the seed.
    /// Returns them in order.
    ///
    /// # Panics
    /// When the range is empty or does not lie within the disk.
    pub fn corrupt(&self, offset_bytes: u64, len_bytes: u64) -> Vec<Flip> {
        let (bits, drawn) = {
            let rng = &mut self.state.lock().rng;
            (1 + rng.below(8.min(len_bytes * 8)), rng.next_u64())
        };
        let flips = perform::draw_flips(&mut Rng::new(drawn), len_bytes, bits as u32);
        let mut bytes = self.peek(offset_bytes, len_bytes as usize);
        perform::flip(&mut bytes, &flips);
        self.poke(offset_bytes, &bytes);
        let place = |f: &Flip| Flip { offset_bytes: offset_bytes + f.offset_bytes, bit: f.bit };
        flips.iter().map(place).collect()
    }

    // ---- the bytes, behind everybody's back ----------------------------

    /// What is stored, cache included.
    ///
    /// # Panics
    /// When the range does not lie within the disk.
    pub fn peek(&self, offset_bytes: u64, len_bytes: usize) -> Vec<u8> {
        self.assert_inside(offset_bytes, len_bytes);
        let mut bytes = vec![0; len_bytes];
        self.state.lock().store.read(offset_bytes, &mut bytes);
        bytes
    }

    /// What would be left if the power failed now and the whole cache was lost.
    ///
    /// # Panics
    /// When the range does not lie within the disk.
    pub fn peek_durable(&self, offset_bytes: u64, len_bytes: usize) -> Vec<u8> {
        self.assert_inside(offset_bytes, len_bytes);
        let mut bytes = vec![0; len_bytes];
        self.state.lock().store.read_durable(offset_bytes, &mut bytes);
        bytes
    }

    /// Stores bytes durably, at once and unseen by the log. Need not be aligned.
    ///
    /// # Panics
    /// When the range does not lie within the disk.
    pub fn poke(&self, offset_bytes: u64, bytes: &[u8]) {
        self.assert_inside(offset_bytes, bytes.len());
        self.state.lock().poke(offset_bytes, bytes);
    }

    fn assert_inside(&self, offset_bytes: u64, len_bytes: usize) {
        let end = offset_bytes.checked_add(len_bytes as u64);
        assert!(
            end.is_some_and(|end| end <= self.geometry.size_bytes),
            "{len_bytes} bytes at {offset_bytes:#x} of a disk of {} bytes",
            self.geometry.size_bytes
        );
    }

    /// Answered writes and trims that a power cut could still undo.
    pub fn unflushed(&self) -> usize {
        self.state.lock().store.unsettled()
    }

    // ---- holding, unplugging, power ------------------------------------

    /// From now on nothing is answered until [`SimDisk::release`].
    pub fn hold(&self) {
        self.state.lock().holding = true;
    }

    /// Answers what was held, also by [`Effect::Stall`], and holds no longer.
    pub fn release(&self) {
        let now_ns = self.scheduler.now_ns();
        for (key, ticket) in self.state.lock().release() {
            self.scheduler.at(now_ns, Event::Io(self.me.clone(), key, ticket));
        }
    }

    /// Unplugs the disk: everything in flight is answered with
    /// [`Gone`](zio_core::VdevErrorKind::Gone) as soon as the machine turns, and so is
    /// everything that is started from now on. Writes in flight may have
    /// landed, whole or in part. The cache keeps its power.
    pub fn offline(&self) {
        self.go_away(Power::Unplugged, None);
    }

    /// Cuts the disk's power: as [`SimDisk::offline`], and every write that no
    /// flush covers, in flight or answered, is kept, dropped or torn at sector
    /// granularity, each by itself and in any order.
    pub fn power_cut(&self, rng: &mut Rng) {
        self.go_away(Power::Off, Some(rng));
    }

    /// The disk is back, with what it still has.
    pub fn online(&self) {
        self.state.lock().power = Power::On;
    }

    /// Is it there?
    pub fn is_online(&self) -> bool {
        self.state.lock().power == Power::On
    }

    fn go_away(&self, power: Power, rng: Option<&mut Rng>) {
        let now_ns = self.scheduler.now_ns();
        let mut state = self.state.lock();
        for (key, ticket) in state.go_away(power, rng) {
            self.scheduler.at(now_ns, Event::Io(self.me.clone(), key, ticket));
        }
    }

    // ---- what was seen -------------------------------------------------

    /// Every I/O the disk saw, in order of arrival.
    pub fn log(&self) -> Vec<LogEntry> {
        self.state.lock().log.entries().to_vec()
    }

    /// The log so far; it starts afresh. I/Os still in flight keep `answer: None`.
    pub fn take_log(&self) -> Vec<LogEntry> {
        self.state.lock().log.take()
    }

    /// Switches the log on or off, for long runs. On at first.
    pub fn set_logging(&self, on: bool) {
        self.state.lock().log.off = !on;
    }

    /// Sums over the disk's life.
    pub fn counters(&self) -> Counters {
        self.state.lock().counters
    }

    /// I/Os started and not yet answered.
    pub fn in_flight(&self) -> usize {
        self.state.lock().in_flight()
    }

    fn refuse(&self, io: VdevIo, error: VdevError) {
        assert!(!self.strict, "a disk was asked for what it cannot do: {error}; {io:?}");
        self.state.lock().refused(self.scheduler.now_ns(), &io, error.kind());
        io.finish(Err(error));
    }

    /// Gives waiting commands to free servers.
    fn serve(&self, state: &mut State) {
        let now_ns = self.scheduler.now_ns();
        while let Some((finish_ns, key, ticket)) = state.serve_next(now_ns) {
            self.scheduler.at(finish_ns, Event::Io(self.me.clone(), key, ticket));
        }
    }
}

impl Vdev for SimDisk {
    fn geometry(&self) -> Geometry {
        self.geometry
    }

    /// # Panics
    /// When the disk is strict and the I/O is out of range or misaligned.
    fn start(&self, io: VdevIo) {
        if let Err(error) = io.check(&self.geometry) {
            return self.refuse(io, error);
        }
        self.scheduler.started();
        let now_ns = self.scheduler.now_ns();
        let mut state = self.state.lock();
        let (key, ticket) = state.arrive(now_ns, io);
        if state.may_answer_inline(key, self.inline_permille) {
            drop(state);
            self.come_due(key, ticket);
        } else if let Some(finish_ns) = state.finish_without_server(now_ns, key) {
            self.scheduler.at(finish_ns, Event::Io(self.me.clone(), key, ticket));
        } else {
            state.waiting.push_back(key);
            self.serve(&mut state);
        }
    }

    fn reactor(&self) -> Option<Arc<dyn Reactor>> {
        Some(Arc::clone(&self.scheduler) as Arc<dyn Reactor>)
    }
}

impl Device for SimDisk {
    fn come_due(&self, key: usize, ticket: u64) -> bool {
        let (io, result) = {
            let mut state = self.state.lock();
            if !state.is_due(key, ticket) {
                return false;
            }
            let answer = state.answer(self.scheduler.now_ns(), key);
            self.serve(&mut state);
            answer
        };
        self.scheduler.answered(1);
        io.finish(result);
        true
    }

    fn lose_power(&self, rng: &mut Rng) {
        self.power_cut(rng);
    }
}

impl Drop for SimDisk {
    /// I/Os still in flight answer for themselves as lost.
    fn drop(&mut self) {
        self.scheduler.answered(self.state.get_mut().in_flight());
    }
}

impl fmt::Debug for SimDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimDisk")
            .field("size_bytes", &self.geometry.size_bytes)
            .field("in_flight", &self.in_flight())
            .finish_non_exhaustive()
    }
}
