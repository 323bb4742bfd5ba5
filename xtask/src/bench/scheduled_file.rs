//! A file behind a device queue, or behind none, kept busy from one thread.

use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::Instant;

use anyhow::{Result, anyhow};
use parking_lot::Mutex;
use vdev_disk::{Disk, OpenOptions, Ring};
use vdev_queue::{Class, Config, DeviceIo, Issue, Kind, Queue, Request, Ticket};
use zio_core::{
    BufferPool, Buffers, Complete, Data, Segment, Token, Vdev, VdevDone, VdevIo, VdevOp, Wait,
};

use super::contest::Round;
use super::random::Random;

const RING_DEPTH: u32 = 1024;

/// Where the requests of a load go.
#[derive(Clone, Copy, Debug)]
pub(super) enum Order {
    Random,
    Sequential,
}

/// Requests of one class, so many outstanding all the time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Load {
    pub(super) class: Class,
    pub(super) order: Order,
    pub(super) block_bytes: u64,
    pub(super) outstanding: usize,
}

/// What the queue keeps for a request.
struct Job {
    load: usize,
    begun: Instant,
    op: VdevOp,
}

/// What is at the device: the queue's ticket, if there is a queue, and whose answer it is.
struct Flight {
    ticket: Option<Ticket>,
    members: Vec<(usize, Instant)>,
}

#[derive(Default)]
struct Answers(Mutex<Vec<(u64, VdevDone)>>);

impl Complete for Answers {
    fn complete(self: Arc<Self>, number: u64, done: VdevDone) {
        self.0.lock().push((number, done));
    }
}

pub(super) struct ScheduledFile {
    disk: Arc<Disk>,
    queue: Option<Queue<Job>>,
    answers: Arc<Answers>,
    /// By number; `None`: free.
    flights: Vec<Option<Flight>>,
    in_flight: usize,
    started: Instant,
    random: Random,
    /// Of each load, where its next request goes.
    next_bytes: [u64; 2],
    file_bytes: u64,
    pool: BufferPool,
    written: Segment,
    requests: u64,
    device_ios: u64,
}

/// Opens the file for both sides: nobody else may have it open.
pub(super) fn open(path: &Path) -> Result<Arc<Disk>> {
    let mut options = OpenOptions::new();
    // Where the system has no ring, the disk has threads.
    if let Ok(ring) = Ring::new(RING_DEPTH) {
        options = options.ring(ring);
    }
    Ok(Arc::new(Disk::open(path, &options)?))
}

impl ScheduledFile {
    /// A file behind a queue with these settings; `None`: all goes to the device at once.
    pub(super) fn new(disk: &Arc<Disk>, file_bytes: u64, config: Option<Config>) -> Result<Self> {
        let pool = BufferPool::new();
        Ok(Self {
            disk: Arc::clone(disk),
            queue: config.map(Queue::new).transpose()?,
            answers: Arc::default(),
            flights: Vec::new(),
            in_flight: 0,
            started: Instant::now(),
            random: Random::new(17),
            next_bytes: [0; 2],
            file_bytes,
            written: pool.copy_of(&[0x5a; 4096]).freeze(),
            pool,
            requests: 0,
            device_ios: 0,
        })
    }

    /// Requests made so far.
    pub(super) fn requests(&self) -> u64 {
        self.requests
    }

    /// I/Os given to the device for them.
    pub(super) fn device_ios(&self) -> u64 {
        self.device_ios
    }

    /// One round of these loads, of which one is counted.
    pub(super) fn round(
        &mut self,
        round: &mut Round,
        loads: &[Load],
        counted: usize,
    ) -> Result<()> {
        for (number, load) in loads.iter().enumerate() {
            for _ in 0..load.outstanding {
                self.request(number, *load)?;
            }
        }
        self.issue();
        let mut is_open = true;
        while is_open {
            for (number, done) in self.wait() {
                for (load, begun) in self.land(number, done)? {
                    if load == counted {
                        let now = round.finished(begun);
                        is_open = is_open && round.is_open(now);
                    }
                    self.request(load, loads[load])?;
                }
            }
            self.issue();
        }
        self.drain()
    }

    fn now_ns(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    fn request(&mut self, number: usize, load: Load) -> Result<()> {
        let blocks = (self.file_bytes / load.block_bytes).max(1);
        let block = match load.order {
            Order::Random => self.random.below(blocks),
            Order::Sequential => {
                let block = self.next_bytes[number] / load.block_bytes % blocks;
                self.next_bytes[number] = (block + 1) * load.block_bytes;
                block
            }
        };
        let (kind, op) = if load.class.fit(Kind::Read) == load.class {
            let buffer = self.pool.take(load.block_bytes as usize);
            (Kind::Read, VdevOp::Read(Buffers::from_iter([buffer])))
        } else {
            let mut data = Data::new();
            data.push(self.written.clone());
            (Kind::Write, VdevOp::Write(data))
        };
        let offset_bytes = block * load.block_bytes;
        let job = Job { load: number, begun: Instant::now(), op };
        self.requests += 1;
        let now_ns = self.now_ns();
        match &mut self.queue {
            Some(queue) => {
                let flags = vdev_queue::Flags::empty();
                let request =
                    Request::new(kind, load.class, offset_bytes, load.block_bytes, flags)?;
                queue.enqueue(request, job, now_ns);
            }
            None => self.start(None, offset_bytes, vec![(job.load, job.begun)], job.op),
        }
        Ok(())
    }

    /// Gives the device what the queue lets go.
    fn issue(&mut self) {
        let now_ns = self.now_ns();
        while let Some(issue) = self.queue.as_mut().and_then(|queue| queue.poll_issue(now_ns)) {
            if let Issue::Io(io) = issue {
                let offset_bytes = io.offset_bytes;
                let (ticket, members, op) = pack(&self.pool, io);
                self.start(Some(ticket), offset_bytes, members, op);
            }
        }
    }

    fn start(
        &mut self,
        ticket: Option<Ticket>,
        offset_bytes: u64,
        members: Vec<(usize, Instant)>,
        op: VdevOp,
    ) {
        let flight = Some(Flight { ticket, members });
        let number = match self.flights.iter().position(Option::is_none) {
            Some(free) => {
                self.flights[free] = flight;
                free
            }
            None => {
                self.flights.push(flight);
                self.flights.len() - 1
            }
        };
        self.in_flight += 1;
        self.device_ios += 1;
        let token = Token::new(Arc::clone(&self.answers) as Arc<dyn Complete>, number as u64);
        self.disk.start(VdevIo::new(op, offset_bytes, token));
    }

    fn wait(&self) -> Vec<(u64, VdevDone)> {
        loop {
            let answers = std::mem::take(&mut *self.answers.0.lock());
            if !answers.is_empty() {
                return answers;
            }
            match self.disk.reactor() {
                Some(reactor) => _ = reactor.turn(Wait::Block),
                None => thread::yield_now(),
            }
        }
    }

    fn land(&mut self, number: u64, done: VdevDone) -> Result<Vec<(usize, Instant)>> {
        done.result?;
        let flight = self.flights.get_mut(number as usize).and_then(Option::take);
        let flight = flight.ok_or_else(|| anyhow!("an answer to I/O {number}, which is none"))?;
        self.in_flight -= 1;
        let now_ns = self.now_ns();
        if let (Some(queue), Some(ticket)) = (&mut self.queue, flight.ticket) {
            queue.complete(ticket, now_ns);
        }
        Ok(flight.members)
    }

    /// Leaves nothing behind for the other side's round.
    fn drain(&mut self) -> Result<()> {
        if let Some(queue) = &mut self.queue {
            self.requests -= queue.cancel_all().len() as u64;
        }
        while self.in_flight > 0 {
            for (number, done) in self.wait() {
                self.land(number, done)?;
            }
        }
        Ok(())
    }
}

/// One device I/O of the members' own buffers; what lies between two reads goes to scratch.
fn pack(pool: &BufferPool, io: DeviceIo<Job>) -> (Ticket, Vec<(usize, Instant)>, VdevOp) {
    let (mut buffers, mut data) = (Buffers::new(), Data::new());
    let mut at = io.offset_bytes;
    let mut members = Vec::with_capacity(io.members.len());
    for member in io.members {
        let gap_bytes = member.request.offset_bytes() - at;
        at = member.request.end_bytes();
        members.push((member.payload.load, member.payload.begun));
        match member.payload.op {
            VdevOp::Read(own) => {
                if gap_bytes > 0 {
                    buffers.push(pool.take(gap_bytes as usize));
                }
                buffers.extend(own);
            }
            VdevOp::Write(own) => data.append(own),
            VdevOp::Flush | VdevOp::Trim { .. } => {}
        }
    }
    let op = if io.kind == Kind::Read { VdevOp::Read(buffers) } else { VdevOp::Write(data) };
    (io.ticket, members, op)
}
