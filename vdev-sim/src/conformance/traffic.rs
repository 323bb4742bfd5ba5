//! Many I/Os, many threads, and who wakes whom.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;

use zio_core::{BufferPool, Buffers, Complete, Token, Vdev, VdevDone, VdevIo, VdevOp, Wait};

use super::ensure;
use super::vdev::{Fixture, no_answer, wait};
use crate::client::Ticket;

const DEEP: usize = 5000;
const STARTERS: usize = 4;
const EACH: usize = 500;
/// Short enough for a device that answers within `start`: each link is a recursion there.
const CHAIN: usize = 200;

pub(super) fn deep_queue(fixture: Fixture) -> Result<(), String> {
    let client = fixture.client();
    let sector = client.vdev().geometry().sector_bytes as usize;
    let start = |i: usize| client.start_read((i % 128 * sector) as u64, &[sector]);
    let tickets: Vec<Ticket> = (0..DEEP).map(start).collect();
    client.wait_all(&tickets).map_err(no_answer)?;
    ensure!(client.answers() == DEEP, "{DEEP} I/Os, {} answers", client.answers());
    for ticket in tickets {
        wait(&client, ticket)?.result.map_err(|e| format!("read in a deep queue: {e}"))?;
    }
    Ok(())
}

pub(super) fn many_starters(fixture: Fixture) -> Result<(), String> {
    let client = fixture.client();
    let sector = client.vdev().geometry().sector_bytes as usize;
    let writes = !client.vdev().geometry().read_only;
    let client = &client;
    let tickets: Vec<Ticket> = thread::scope(|scope| {
        let starters: Vec<_> = (0..STARTERS)
            .map(|thread| {
                scope.spawn(move || {
                    let start = |i: usize| {
                        let at = ((thread * EACH + i) % 128 * sector) as u64;
                        if writes && i.is_multiple_of(2) {
                            client.start_write(at, &vec![thread as u8; sector])
                        } else {
                            client.start_read(at, &[sector])
                        }
                    };
                    (0..EACH).map(start).collect::<Vec<_>>()
                })
            })
            .collect();
        starters.into_iter().flat_map(|s| s.join().unwrap_or_default()).collect()
    });
    ensure!(tickets.len() == STARTERS * EACH, "a thread that started I/O panicked");
    client.wait_all(&tickets).map_err(no_answer)?;
    for ticket in tickets {
        wait(client, ticket)?.result.map_err(|e| format!("I/O from several threads: {e}"))?;
    }
    Ok(())
}

/// Starts the next read from the answer to the one before.
struct Chain {
    vdev: Arc<dyn Vdev>,
    pool: BufferPool,
    left: AtomicUsize,
    failed: AtomicUsize,
}

impl Chain {
    fn next(self: Arc<Self>) {
        let sector = self.vdev.geometry().sector_bytes as usize;
        let op = VdevOp::Read(Buffers::from_iter([self.pool.take(sector)]));
        let vdev = Arc::clone(&self.vdev);
        vdev.start(VdevIo::new(op, 0, Token::new(self, 0)));
    }
}

impl Complete for Chain {
    fn complete(self: Arc<Self>, _: u64, done: VdevDone) {
        if done.result.is_err() {
            self.failed.fetch_add(1, Ordering::Relaxed);
        }
        if self.left.fetch_sub(1, Ordering::AcqRel) > 1 {
            self.next();
        }
    }
}

pub(super) fn chain(fixture: Fixture) -> Result<(), String> {
    let client = fixture.client();
    let chain = Arc::new(Chain {
        vdev: Arc::clone(client.vdev()),
        pool: BufferPool::new(),
        left: AtomicUsize::new(CHAIN),
        failed: AtomicUsize::new(0),
    });
    Arc::clone(&chain).next();
    client.wait_until(|| chain.left.load(Ordering::Acquire)).map_err(no_answer)?;
    let failed = chain.failed.load(Ordering::Relaxed);
    ensure!(failed == 0, "{failed} of {CHAIN} reads started from answers failed");
    Ok(())
}

/// A blocking turn returns when it is woken before, and when an answer arrives.
pub(super) fn wakes(fixture: Fixture) -> Result<(), String> {
    let client = fixture.client();
    let Some(reactor) = client.vdev().reactor() else { return Ok(()) };
    let sector = client.vdev().geometry().sector_bytes as usize;
    let blocking_turn = |what: &str| {
        let (send, receive) = mpsc::channel();
        let reactor = Arc::clone(&reactor);
        let sleeper = thread::spawn(move || {
            reactor.turn(Wait::Block);
            // The receiver is gone only when patience has ended.
            send.send(()).unwrap_or_default();
        });
        match receive.recv_timeout(fixture.time_limit()) {
            Ok(()) => sleeper.join().map_err(|_| format!("a turn panicked: {what}")),
            Err(mpsc::RecvTimeoutError::Disconnected) => Err(format!("a turn panicked: {what}")),
            Err(mpsc::RecvTimeoutError::Timeout) => Err(format!("a turn sleeps on: {what}")),
        }
    };
    reactor.wake();
    blocking_turn("it was woken before it slept")?;
    let ticket = client.start_read(0, &[sector]);
    // Turns may return early, but not for ever without the answer.
    for _ in 0..1000 {
        if client.answers() > 0 {
            break;
        }
        blocking_turn("an I/O was in flight")?;
    }
    ensure!(client.answers() > 0, "1000 blocking turns without the answer to the only I/O");
    wait(&client, ticket)?.result.map_err(|e| format!("read: {e}"))
}

pub(super) fn let_go(fixture: Fixture) -> Result<(), String> {
    let client = fixture.client();
    let sector = client.vdev().geometry().sector_bytes as usize;
    let start = |i: usize| client.start_read((i * sector) as u64, &[sector]);
    let tickets: Vec<Ticket> = (0..100).map(start).collect();
    let remains = client.drop_vdev();
    let keep = fixture.drop_vdev();
    let outcome = remains.wait_all(&tickets).map_err(no_answer);
    drop(keep);
    outcome
}
