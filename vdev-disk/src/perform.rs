//! One I/O, start to end.

use std::sync::Arc;
use std::thread::{self, Thread};
use std::time::Duration;

use parking_lot::Mutex;
use zio_core::{Complete, Token, Vdev, VdevDone, VdevIo, VdevOp, Wait};

/// Between two looks at a reactor: about what a fast device takes.
const PATIENCE: Duration = Duration::from_micros(50);

struct Slot {
    done: Mutex<Option<VdevDone>>,
    waiter: Thread,
}

impl Complete for Slot {
    fn complete(self: Arc<Self>, _ticket: u64, done: VdevDone) {
        *self.done.lock() = Some(done);
        self.waiter.unpark();
    }
}

/// Does one I/O on any device and waits for it, driving the device's reactor
/// if it has one. For tools, labels and tests, from any number of threads and
/// beside others that drive the same reactor. The fast paths keep many I/Os
/// in flight and sleep in [`Reactor::turn`](zio_core::Reactor::turn); this
/// looks in there every 50 µs.
///
/// The answers of other I/Os that arrive meanwhile are delivered on this thread.
pub fn perform(vdev: &dyn Vdev, op: VdevOp, offset_bytes: u64) -> VdevDone {
    let slot = Arc::new(Slot { done: Mutex::new(None), waiter: thread::current() });
    let token = Token::new(Arc::clone(&slot) as Arc<dyn Complete>, 0);
    vdev.start(VdevIo::new(op, offset_bytes, token));
    let reactor = vdev.reactor();
    if let Some(reactor) = &reactor {
        // Somebody else may be asleep in there, and would not see what is only queued.
        reactor.submit();
    }
    loop {
        if let Some(done) = slot.done.lock().take() {
            return done;
        }
        // Never asleep in a turn: another thread may deliver this answer, and take the wake-up too.
        match &reactor {
            None => thread::park(),
            Some(reactor) if reactor.turn(Wait::Poll) == 0 => thread::park_timeout(PATIENCE),
            Some(_) => {}
        }
    }
}
