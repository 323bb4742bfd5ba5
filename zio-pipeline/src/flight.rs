//! What is at a device: one I/O, and whose answers it carries.
//!
//! A flight can be given up: its passengers then get an error, and the I/O itself, with its
//! buffers, is left to the device. When that answers after all, the answer is nobody's any more; the
//! queue hears of it then, and not before: until then the device is busy with it.

use std::sync::Arc;

use parking_lot::Mutex;
use smallvec::{SmallVec, smallvec};
use vdev_queue::{DeviceIo, Ticket};
use zio_core::{Buffers, Complete, Data, Token, VdevDone, VdevError, VdevIo, VdevOp};

use crate::leaf::Leaf;
use crate::stats::OpKind;

/// One request within a flight: whose answer, and how many pieces are its own.
struct Passenger {
    token: Token,
    pieces: usize,
    /// A piece before it that nobody asked for.
    gap_before: bool,
}

type Passengers = SmallVec<[Passenger; 1]>;

struct Cargo {
    leaf: Arc<Leaf>,
    /// The queue's, which is to hear that it ended. None for what went around the queue.
    ticket: Option<Ticket>,
    kind: OpKind,
    start_ns: u64,
    offset_bytes: u64,
    len_bytes: u64,
    given_up: bool,
    passengers: Passengers,
}

/// An I/O that a device has not answered yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct InFlight {
    pub(crate) start_ns: u64,
    /// On the device.
    pub(crate) offset_bytes: u64,
    pub(crate) len_bytes: u64,
    /// It writes or trims.
    pub(crate) changes: bool,
    /// Its requests have been told that they failed.
    pub(crate) given_up: bool,
}

/// Segments or buffers of an operation.
pub(crate) fn pieces_of(op: &VdevOp) -> usize {
    match op {
        VdevOp::Read(buffers) => buffers.len(),
        VdevOp::Write(data) => data.segments().len(),
        VdevOp::Flush | VdevOp::Trim { .. } => 0,
    }
}

/// An I/O at the device. Recycled.
#[derive(Default)]
pub(crate) struct Flight(Mutex<Option<Cargo>>);

impl Flight {
    /// Packs one issued I/O: the members' own buffers, in order, are its pieces.
    pub(crate) fn load(
        self: Arc<Self>,
        leaf: &Arc<Leaf>,
        io: DeviceIo<VdevIo>,
        start_ns: u64,
    ) -> VdevIo {
        let DeviceIo { ticket, offset_bytes, members, .. } = io;
        let mut passengers = Passengers::new();
        let mut packed: Option<VdevOp> = None;
        let mut at = offset_bytes;
        for member in members {
            let gap_bytes = member.request.offset_bytes().saturating_sub(at);
            at = member.request.end_bytes();
            let (op, _, token) = member.payload.into_parts();
            let pieces = pieces_of(&op);
            passengers.push(Passenger { token, pieces, gap_before: gap_bytes > 0 });
            packed = Some(match (packed.take(), op) {
                (None, op) => op,
                (Some(VdevOp::Read(mut all)), VdevOp::Read(own)) => {
                    if gap_bytes > 0 {
                        all.push(leaf.gap_buffer(gap_bytes as usize));
                    }
                    all.extend(own);
                    VdevOp::Read(all)
                }
                (Some(VdevOp::Write(mut all)), VdevOp::Write(own)) => {
                    all.append(own);
                    VdevOp::Write(all)
                }
                (Some(all), _) => all,
            });
        }
        let op = packed.unwrap_or(VdevOp::Flush);
        self.depart(leaf, Some(ticket), start_ns, passengers, (op, offset_bytes))
    }

    /// Packs an I/O that goes around the queue.
    pub(crate) fn load_alone(
        self: Arc<Self>,
        leaf: &Arc<Leaf>,
        io: VdevIo,
        start_ns: u64,
    ) -> VdevIo {
        let (op, offset_bytes, token) = io.into_parts();
        let passenger = Passenger { token, pieces: pieces_of(&op), gap_before: false };
        self.depart(leaf, None, start_ns, smallvec![passenger], (op, offset_bytes))
    }

    fn depart(
        self: Arc<Self>,
        leaf: &Arc<Leaf>,
        ticket: Option<Ticket>,
        start_ns: u64,
        passengers: Passengers,
        (op, offset_bytes): (VdevOp, u64),
    ) -> VdevIo {
        *self.0.lock() = Some(Cargo {
            leaf: Arc::clone(leaf),
            ticket,
            kind: OpKind::of(&op),
            start_ns,
            offset_bytes,
            len_bytes: op.len_bytes(),
            given_up: false,
            passengers,
        });
        VdevIo::new(op, offset_bytes, Token::new(self, 0))
    }

    /// What is under way, if it is.
    pub(crate) fn look(&self) -> Option<InFlight> {
        let cargo = self.0.lock();
        let &Cargo { kind, start_ns, offset_bytes, len_bytes, given_up, .. } = cargo.as_ref()?;
        let changes = kind.changes();
        Some(InFlight { start_ns, offset_bytes, len_bytes, changes, given_up })
    }

    /// Answers the requests in the device's stead, if the I/O started at `before_ns` or
    /// earlier. Returns how many there were.
    pub(crate) fn give_up(&self, before_ns: u64, error: &VdevError) -> usize {
        let left = {
            let mut cargo = self.0.lock();
            let old = cargo.as_mut().filter(|cargo| cargo.start_ns <= before_ns && !cargo.given_up);
            let Some(cargo) = old else { return 0 };
            cargo.given_up = true;
            // Known before anybody hears of it: what it may write to is not to be used again.
            cargo.leaf.orphaned();
            std::mem::take(&mut cargo.passengers)
        };
        let count = left.len();
        for passenger in left {
            passenger.token.finish(VdevDone { op: None, result: Err(error.clone()) });
        }
        count
    }
}

impl Complete for Flight {
    fn complete(self: Arc<Self>, _ticket: u64, done: VdevDone) {
        let Some(cargo) = self.0.lock().take() else { return };
        let Cargo { leaf, ticket, kind, start_ns, len_bytes, given_up, passengers, .. } = cargo;
        leaf.keep(self);
        if given_up {
            leaf.orphan_came_home();
        }
        leaf.land(ticket, (kind, len_bytes), start_ns, &done);
        unload(passengers, done);
    }
}

/// Gives each passenger its own pieces and the common result.
fn unload(mut passengers: Passengers, done: VdevDone) {
    if passengers.len() == 1
        && let Some(only) = passengers.pop()
    {
        only.token.finish(done);
        return;
    }
    match done.op {
        Some(VdevOp::Read(buffers)) => {
            let mut buffers = buffers.into_iter();
            for passenger in passengers {
                if passenger.gap_before {
                    drop(buffers.next());
                }
                let own: Buffers = buffers.by_ref().take(passenger.pieces).collect();
                let op = Some(VdevOp::Read(own));
                passenger.token.finish(VdevDone { op, result: done.result.clone() });
            }
        }
        Some(VdevOp::Write(data)) => {
            let mut segments = data.segments().iter();
            for passenger in passengers {
                let mut own = Data::new();
                segments.by_ref().take(passenger.pieces).for_each(|s| own.push(s.clone()));
                let op = Some(VdevOp::Write(own));
                passenger.token.finish(VdevDone { op, result: done.result.clone() });
            }
        }
        _ => {
            for passenger in passengers {
                passenger.token.finish(VdevDone { op: None, result: done.result.clone() });
            }
        }
    }
}
