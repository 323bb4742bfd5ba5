//! A queue in front of a simulated device, and clients that keep it busy, in virtual time.

use vdev_queue::{Class, Config, Issue, Kind, Queue, Request, Ticket};
use vdev_sim::{Client, DiskConfig, Machine, Rng};

/// Requests of one class that are outstanding all the time: a new one for each that ended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stream {
    pub(crate) class: Class,
    pub(crate) outstanding: usize,
    pub(crate) len_bytes: u64,
}

/// What became of a stream.
#[derive(Clone, Debug, Default)]
pub(crate) struct Outcome {
    /// Requests that ended in the time measured.
    pub(crate) ended: u64,
    /// From enqueue to end, of each.
    pub(crate) latencies_ns: Vec<u64>,
}

struct AtDevice {
    answer: vdev_sim::Ticket,
    ticket: Ticket,
    /// Stream and arrival of each member.
    members: Vec<(usize, u64)>,
}

pub(crate) struct Bed {
    machine: Machine,
    client: Client,
    pub(crate) queue: Queue<usize>,
    at_device: Vec<AtDevice>,
    rng: Rng,
    size_bytes: u64,
    buffer: Vec<u8>,
    /// Most I/Os that were at the device at a time.
    pub(crate) active_max_seen: u32,
}

impl Bed {
    pub(crate) fn new(seed: u64, device: DiskConfig, config: Config) -> Self {
        let machine = Machine::new(seed);
        let size_bytes = device.size_bytes;
        let client = Client::new(machine.disk(device));
        Self {
            machine,
            client,
            queue: Queue::new(config).expect("valid"),
            at_device: Vec::new(),
            rng: Rng::new(seed ^ 0x5eed),
            size_bytes,
            buffer: vec![0; 1 << 20],
            active_max_seen: 0,
        }
    }

    /// Lets the streams run for so many requests in all; of the last `measured`, what became of
    /// them, and how long they took.
    pub(crate) fn run(
        &mut self,
        streams: &[Stream],
        warm_up: u64,
        measured: u64,
    ) -> (Vec<Outcome>, u64) {
        let mut outcomes = vec![Outcome::default(); streams.len()];
        for (number, stream) in streams.iter().enumerate() {
            for _ in 0..stream.outstanding {
                self.enqueue(number, *stream);
            }
        }
        self.issue();
        let (mut ended, mut since_ns) = (0, self.machine.now_ns());
        while ended < warm_up + measured {
            let client = &self.client;
            self.machine.run_until(|| client.answers() > 0);
            let now_ns = self.machine.now_ns();
            while let Some(nth) =
                self.at_device.iter().position(|io| self.client.poll(io.answer).is_some())
            {
                let io = self.at_device.swap_remove(nth);
                self.queue.complete(io.ticket, now_ns);
                for (stream, arrived_ns) in io.members {
                    ended += 1;
                    if ended > warm_up {
                        outcomes[stream].ended += 1;
                        outcomes[stream].latencies_ns.push(now_ns - arrived_ns);
                    } else {
                        since_ns = now_ns;
                    }
                    self.enqueue(stream, streams[stream]);
                }
                if self.client.answers() == 0 {
                    break;
                }
            }
            self.issue();
        }
        (outcomes, self.machine.now_ns() - since_ns)
    }

    /// Takes back what waits, and lets what is at the device end.
    pub(crate) fn drain(&mut self) {
        self.queue.cancel_all();
        self.machine.run_until_idle();
        let now_ns = self.machine.now_ns();
        for io in self.at_device.drain(..) {
            assert!(self.client.poll(io.answer).is_some(), "an I/O without an answer");
            self.queue.complete(io.ticket, now_ns);
        }
    }

    fn enqueue(&mut self, number: usize, stream: Stream) {
        let Stream { class, len_bytes, .. } = stream;
        let kind = if class.fit(Kind::Read) == class { Kind::Read } else { Kind::Write };
        let offset_bytes = self.rng.below(self.size_bytes / len_bytes) * len_bytes;
        let request = Request::new(kind, class, offset_bytes, len_bytes, Default::default());
        self.queue.enqueue(request.expect("valid"), number, self.machine.now_ns());
    }

    fn issue(&mut self) {
        let now_ns = self.machine.now_ns();
        while let Some(issue) = self.queue.poll_issue(now_ns) {
            let Issue::Io(io) = issue else { panic!("nothing is optional here") };
            let len_bytes = io.len_bytes as usize;
            let answer = match io.kind {
                Kind::Read => self.client.start_read(io.offset_bytes, &[len_bytes]),
                _ => self.client.start_write(io.offset_bytes, &self.buffer[..len_bytes]),
            };
            let members = io.members.iter().map(|m| (m.payload, m.enqueued_ns)).collect();
            self.at_device.push(AtDevice { answer, ticket: io.ticket, members });
        }
        self.active_max_seen = self.active_max_seen.max(self.queue.active());
    }
}
