//! [`Client`]: one I/O at a time, or many, against any device, for tests.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use zio_core::{
    BufferPool, Buffers, Complete, Data, Reactor, Token, Vdev, VdevDone, VdevError, VdevErrorKind,
    VdevIo, VdevOp, Wait,
};

/// How long a client waits for an answer, on the real clock.
const PATIENCE: Duration = Duration::from_secs(10);

/// Time between two looks at a device that answers by itself.
const NAP: Duration = Duration::from_millis(1);

/// A reactor that has had nothing in flight for so long will not answer.
const HOPELESS: Duration = Duration::from_millis(50);

/// Names an I/O started by a [`Client`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ticket(u64);

/// An answer did not come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{missing} I/Os without an answer after {waited_ms} ms, {in_flight} in flight by the reactor's count"
)]
pub struct NoAnswer {
    /// I/Os that were waited for.
    pub missing: usize,
    /// Time waited.
    pub waited_ms: u64,
    /// What the device's reactor says; 0 without a reactor.
    pub in_flight: usize,
}

#[derive(Debug, Default)]
struct Inbox {
    answers: Mutex<HashMap<u64, VdevDone>>,
    arrived: Condvar,
}

impl Inbox {
    fn missing(&self, tickets: &[Ticket]) -> usize {
        let answers = self.answers.lock();
        tickets.iter().filter(|ticket| !answers.contains_key(&ticket.0)).count()
    }
}

impl Complete for Inbox {
    fn complete(self: Arc<Self>, ticket: u64, done: VdevDone) {
        self.answers.lock().insert(ticket, done);
        self.arrived.notify_all();
    }
}

/// A plain client of one device of any kind. It drives the device's reactor
/// when there is one and waits for the device's own threads when there is none.
///
/// ```
/// use vdev_sim::{Client, DiskConfig, Machine};
///
/// let machine = Machine::new(1);
/// let client = Client::new(machine.disk(DiskConfig::fixed(1 << 20, 100)));
/// client.write(4096, &[7; 512])?;
/// assert_eq!(client.read(4096, 512)?, [7; 512]);
/// # Ok::<(), zio_core::VdevError>(())
/// ```
pub struct Client {
    vdev: Arc<dyn Vdev>,
    reactor: Option<Arc<dyn Reactor>>,
    inbox: Arc<Inbox>,
    pool: BufferPool,
    next: Mutex<u64>,
    patience: Duration,
}

impl Client {
    /// A client of this device.
    pub fn new(vdev: Arc<dyn Vdev>) -> Self {
        Self::with_patience(vdev, PATIENCE)
    }

    /// A client that gives up after this time on the real clock instead of ten seconds.
    pub fn with_patience(vdev: Arc<dyn Vdev>, patience: Duration) -> Self {
        Self {
            reactor: vdev.reactor(),
            vdev,
            inbox: Arc::default(),
            pool: BufferPool::new(),
            next: Mutex::new(0),
            patience,
        }
    }

    /// The device.
    pub fn vdev(&self) -> &Arc<dyn Vdev> {
        &self.vdev
    }

    /// Where this client's buffers come from.
    pub fn pool(&self) -> &BufferPool {
        &self.pool
    }

    /// An I/O addressed to this client, not started.
    pub fn prepare(&self, op: VdevOp, offset_bytes: u64) -> (Ticket, VdevIo) {
        let mut next = self.next.lock();
        let ticket = *next;
        *next += 1;
        let inbox = Arc::clone(&self.inbox) as Arc<dyn Complete>;
        (Ticket(ticket), VdevIo::new(op, offset_bytes, Token::new(inbox, ticket)))
    }

    /// Starts an I/O.
    pub fn start(&self, op: VdevOp, offset_bytes: u64) -> Ticket {
        let (ticket, io) = self.prepare(op, offset_bytes);
        self.vdev.start(io);
        ticket
    }

    /// Starts a read into buffers of these lengths.
    pub fn start_read(&self, offset_bytes: u64, lens: &[usize]) -> Ticket {
        let buffers: Buffers = lens.iter().map(|&len| self.pool.take(len)).collect();
        self.start(VdevOp::Read(buffers), offset_bytes)
    }

    /// Starts a write of a copy of these bytes.
    pub fn start_write(&self, offset_bytes: u64, bytes: &[u8]) -> Ticket {
        self.start(VdevOp::Write(self.pool.copy_of(bytes).into()), offset_bytes)
    }

    /// The answer, if it is there; it is taken out.
    pub fn poll(&self, ticket: Ticket) -> Option<VdevDone> {
        self.inbox.answers.lock().remove(&ticket.0)
    }

    /// Answers that are there and not taken.
    pub fn answers(&self) -> usize {
        self.inbox.answers.lock().len()
    }

    /// Lets go of the device, and keeps what is needed to wait for its last answers.
    #[must_use]
    pub fn drop_vdev(self) -> Remains {
        Remains { reactor: self.reactor, inbox: self.inbox, patience: self.patience }
    }

    /// Waits for an answer and takes it.
    ///
    /// # Errors
    /// [`NoAnswer`], when patience ends or the reactor has nothing left to answer.
    pub fn wait(&self, ticket: Ticket) -> Result<VdevDone, NoAnswer> {
        self.wait_all(&[ticket])?;
        self.poll(ticket).ok_or(NoAnswer { missing: 1, waited_ms: 0, in_flight: 0 })
    }

    /// Waits for all of these answers, without taking them.
    ///
    /// # Errors
    /// As [`Client::wait`].
    pub fn wait_all(&self, tickets: &[Ticket]) -> Result<(), NoAnswer> {
        self.wait_until(|| self.inbox.missing(tickets))
    }

    /// Drives the device until the count of what is missing is 0. For answers
    /// that go elsewhere than to this client.
    ///
    /// # Errors
    /// As [`Client::wait`].
    pub fn wait_until(&self, missing: impl FnMut() -> usize) -> Result<(), NoAnswer> {
        wait_until(&self.inbox, self.reactor.as_deref(), self.patience, missing)
    }

    fn run(&self, op: VdevOp, offset_bytes: u64) -> Result<Option<VdevOp>, VdevError> {
        let ticket = self.start(op, offset_bytes);
        let done =
            self.wait(ticket).map_err(|e| VdevError::msg(VdevErrorKind::Lost, e.to_string()))?;
        done.result.map(|()| done.op)
    }

    /// Reads.
    ///
    /// # Errors
    /// The device's; [`VdevErrorKind::Lost`] when no answer came.
    pub fn read(&self, offset_bytes: u64, len_bytes: usize) -> Result<Vec<u8>, VdevError> {
        let buffers = Buffers::from_iter([self.pool.take(len_bytes)]);
        match self.run(VdevOp::Read(buffers), offset_bytes)? {
            Some(VdevOp::Read(buffers)) => Ok(Data::from_buffers(buffers).to_vec()),
            other => Err(VdevError::msg(
                VdevErrorKind::Lost,
                format!("a read came back with {other:?} for its buffers"),
            )),
        }
    }

    /// Writes a copy of these bytes.
    ///
    /// # Errors
    /// The device's; [`VdevErrorKind::Lost`] when no answer came.
    pub fn write(&self, offset_bytes: u64, bytes: &[u8]) -> Result<(), VdevError> {
        let data = self.pool.copy_of(bytes).into();
        self.run(VdevOp::Write(data), offset_bytes).map(drop)
    }

    /// Flushes.
    ///
    /// # Errors
    /// The device's; [`VdevErrorKind::Lost`] when no answer came.
    pub fn flush(&self) -> Result<(), VdevError> {
        self.run(VdevOp::Flush, 0).map(drop)
    }

    /// Trims.
    ///
    /// # Errors
    /// The device's; [`VdevErrorKind::Lost`] when no answer came.
    pub fn trim(&self, offset_bytes: u64, len_bytes: u64) -> Result<(), VdevError> {
        self.run(VdevOp::Trim { len_bytes }, offset_bytes).map(drop)
    }
}

/// What is left of a [`Client`] whose device was dropped.
pub struct Remains {
    reactor: Option<Arc<dyn Reactor>>,
    inbox: Arc<Inbox>,
    patience: Duration,
}

impl Remains {
    /// Waits for all of these answers.
    ///
    /// # Errors
    /// As [`Client::wait`].
    pub fn wait_all(&self, tickets: &[Ticket]) -> Result<(), NoAnswer> {
        let missing = || self.inbox.missing(tickets);
        wait_until(&self.inbox, self.reactor.as_deref(), self.patience, missing)
    }
}

fn wait_until(
    inbox: &Inbox,
    reactor: Option<&dyn Reactor>,
    patience: Duration,
    mut missing: impl FnMut() -> usize,
) -> Result<(), NoAnswer> {
    let begin = Instant::now();
    loop {
        let missing = missing();
        if missing == 0 {
            return Ok(());
        }
        let waited = begin.elapsed();
        let in_flight = reactor.map_or(0, Reactor::in_flight);
        let mut handled = 0;
        match reactor {
            // The count is dear when much is missing: several turns for each.
            Some(reactor) => {
                while handled < missing && reactor.turn(Wait::Poll) > 0 {
                    handled += 1;
                }
            }
            None => {
                inbox.arrived.wait_for(&mut inbox.answers.lock(), NAP);
            }
        }
        let hopeless = reactor.is_some() && in_flight == 0 && waited > HOPELESS;
        if handled == 0 && (hopeless || waited >= patience) {
            return Err(NoAnswer { missing, waited_ms: waited.as_millis() as u64, in_flight });
        }
        if handled == 0 && reactor.is_some() && waited > NAP {
            std::thread::sleep(NAP / 10);
        }
    }
}
