//! Waiting: handles, futures, callbacks, and who drives the devices (spec 1.9,
//! features A8), on real threads.

mod support {
    pub(crate) mod engine;
    pub(crate) mod immediate;
    pub(crate) mod reactor;
    pub(crate) mod stage;
    pub(crate) mod workers;
}

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex};
use std::task::{Context as TaskContext, Poll, Wake, Waker};
use std::thread::JoinHandle;
use std::time::Duration;

use support::{
    engine::engine, immediate::Immediate, reactor::Channel, stage::stage, workers::Workers,
};
use zio_core::{
    ChildSet, Completions, Done, Engine, Error, ErrorKind, Finished, Flags, Handle, Ready, Request,
    Stage, Stages, Token, VdevDone, WaitType, ZioType,
};

const READ: Stages = Stages::READ_PHYS;

/// Fails, instead of hanging, when `work` hangs.
fn watched<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let (sender, receiver) = channel();
    let thread = std::thread::spawn(move || drop(sender.send(work())));
    match receiver.recv_timeout(Duration::from_secs(60)) {
        Ok(value) => value,
        Err(RecvTimeoutError::Timeout) => panic!("it hangs"),
        Err(RecvTimeoutError::Disconnected) => {
            std::panic::resume_unwind(thread.join().expect_err("it sent nothing"))
        }
    }
}

/// An engine over a reactor; each read makes as many I/Os as its `slot` says, one
/// after another, and one if it says none.
struct House {
    engine: Arc<Engine>,
    reactor: Arc<Channel>,
    stop: Arc<AtomicBool>,
    background: Option<JoinHandle<()>>,
}

fn stages_over(reactor: &Arc<Channel>) -> Vec<Arc<dyn Stage>> {
    let device = Arc::clone(reactor);
    vec![
        stage(Stages::VDEV_IO_START, move |zio| {
            device.start(zio.park_for_device());
            None
        }),
        stage(Stages::VDEV_IO_DONE, |mut zio| {
            zio.answer.take().expect("the device has answered").result.unwrap();
            if zio.slot > 1 {
                zio.slot -= 1;
                zio.rerun_from(Stages::VDEV_IO_START);
            }
            Some(zio)
        }),
        Arc::new(Ready),
        Arc::new(Done),
    ]
}

impl House {
    fn new() -> Self {
        let reactor = Channel::new();
        let stages = stages_over(&reactor);
        let engine = engine(stages, Workers::new(), vec![Arc::clone(&reactor) as Arc<_>]);
        Self { engine, reactor, stop: Arc::default(), background: None }
    }

    fn with_background() -> Self {
        let mut house = Self::new();
        let (engine, stop) = (Arc::clone(&house.engine), Arc::clone(&house.stop));
        let reap = move || engine.reap_in_background(&|| stop.load(Ordering::SeqCst));
        house.background = Some(std::thread::spawn(reap));
        house
    }

    fn read(&self, hops: u32) -> Request {
        let mut zio = self.engine.make(ZioType::Read, Flags::empty(), READ);
        zio.slot = hops;
        Request::new(zio)
    }

    fn root(&self) -> Request {
        Request::new(self.engine.make(ZioType::Null, Flags::empty(), Stages::ROOT))
    }
}

impl House {
    /// Closes it; returns how many stages and callbacks have panicked.
    fn close(&mut self) -> u64 {
        self.engine.close();
        assert_eq!(self.engine.live(), 0);
        self.stop.store(true, Ordering::SeqCst);
        self.engine.wake_background();
        if let Some(background) = self.background.take() {
            background.join().unwrap();
        }
        self.engine.stats().panics.get()
    }
}

impl Drop for House {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.close();
        }
    }
}

/// The smallest executor there is: parks the thread until the waker unparks it.
fn block_on<F: Future>(future: F) -> F::Output {
    struct Unpark(std::thread::Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut TaskContext::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => std::thread::park(),
        }
    }
}

#[test]
fn wait_drives_the_device() {
    watched(|| {
        let house = House::new();
        for hops in 0..20 {
            let finished = house.read(hops).wait().unwrap();
            assert_eq!(finished.get().ty(), ZioType::Read);
            assert_eq!(house.engine.live(), 0, "finished when its waiter knows");
        }
        let handles: Vec<Handle> = (0..100).map(|hops| house.read(hops % 5).start()).collect();
        for handle in handles.into_iter().rev() {
            handle.wait().unwrap();
        }
    });
}

#[test]
fn a_callback_needs_a_background_reaper_only() {
    watched(|| {
        let house = House::with_background();
        let (sender, receiver) = channel();
        for i in 0..100 {
            let sender = sender.clone();
            house.read(i % 3).nowait(Box::new(move |finished| {
                sender.send(finished.result().is_ok()).unwrap();
            }));
        }
        drop(sender);
        assert_eq!(receiver.iter().collect::<Vec<_>>(), [true; 100]);
    });
}

#[test]
fn a_future_runs_on_any_executor() {
    watched(|| {
        let house = House::with_background();
        for hops in 0..20 {
            block_on(house.read(hops).start()).unwrap();
        }
        // Without anybody in the background, a waiter drives for the future too.
        let house = House::new();
        let future = house.read(3).start();
        let waiter = house.read(10).start();
        std::thread::scope(|scope| {
            scope.spawn(|| block_on(future).unwrap());
            waiter.wait().unwrap();
            house.engine.wait_idle();
        });
    });
}

#[test]
fn a_future_that_has_answered_is_closed() {
    watched(|| {
        let house = House::new();
        let mut handle = house.read(1).start();
        house.engine.wait_idle();
        let mut poll = || {
            std::pin::Pin::new(&mut handle)
                .poll(&mut TaskContext::from_waker(Waker::noop()))
                .map(|result| result.map(drop).map_err(|error| error.kind()))
        };
        assert_eq!(poll(), Poll::Ready(Ok(())));
        assert_eq!(poll(), Poll::Ready(Err(ErrorKind::Closed)));
    });
}

#[test]
fn a_dropped_handle_lets_its_zio_go_on() {
    watched(|| {
        let house = House::with_background();
        for hops in 0..50 {
            drop(house.read(hops % 4).start());
        }
        // Nobody waits for them, and yet they finish.
        while house.engine.live() > 0 {
            std::thread::yield_now();
        }
        // A future that is given up half-way.
        for hops in 0..50 {
            let mut handle = house.read(hops % 4).start();
            let waker = Waker::noop();
            let _ = std::pin::Pin::new(&mut handle).poll(&mut TaskContext::from_waker(waker));
        }
        house.engine.close();
        assert_eq!(house.engine.live(), 0);
    });
}

#[test]
fn waiting_inside_a_completion_is_an_error_and_not_a_hang() {
    watched(|| {
        let house = House::with_background();
        let (sender, receiver) = channel();
        let (direct, handle, over) = (house.read(1), house.read(1), house.read(1).start());
        house.read(1).nowait(Box::new(move |_| {
            let kind = |result: Result<Finished, Error>| result.err().map(|e| e.kind());
            sender.send(kind(direct.wait())).unwrap();
            sender.send(kind(handle.start().wait())).unwrap();
        }));
        assert_eq!(receiver.recv(), Ok(Some(ErrorKind::Invalid)));
        assert_eq!(receiver.recv(), Ok(Some(ErrorKind::Invalid)));
        over.wait().unwrap();
        house.engine.wait_idle();

        // What is finished already can be had anywhere.
        let (sender, receiver) = channel();
        let finished = house.read(1).start();
        house.engine.wait_idle();
        house.read(1).nowait(Box::new(move |_| sender.send(finished.wait().is_ok()).unwrap()));
        assert_eq!(receiver.recv(), Ok(true));
    });
}

#[test]
fn close_waits_for_what_nobody_waits_for() {
    watched(|| {
        for background in [false, true] {
            let house = if background { House::with_background() } else { House::new() };
            let called = Arc::new(AtomicUsize::new(0));
            for hops in 0..64 {
                let called = Arc::clone(&called);
                house.read(hops % 7).nowait(Box::new(move |_| {
                    called.fetch_add(1, Ordering::SeqCst);
                }));
            }
            house.engine.close();
            assert_eq!((called.load(Ordering::SeqCst), house.engine.live()), (64, 0));
        }
    });
}

// -- Who reaps. --

/// Tokens that the test answers itself, on the reactor or on any thread.
type Held = Receiver<Token>;

/// An engine whose device hands its tokens to the test.
fn by_hand() -> (Arc<Engine>, Arc<Channel>, Held) {
    let reactor = Channel::new();
    let (sender, held) = channel();
    let stages: Vec<Arc<dyn Stage>> = vec![
        stage(Stages::VDEV_IO_START, move |zio| {
            sender.send(zio.park_for_device()).unwrap();
            None
        }),
        Arc::new(Ready),
        Arc::new(Done),
    ];
    let engine = engine(stages, Workers::new(), vec![Arc::clone(&reactor) as Arc<_>]);
    (engine, reactor, held)
}

fn read_of(engine: &Arc<Engine>) -> Request {
    Request::new(engine.make(ZioType::Read, Flags::empty(), READ))
}

/// The leader leaves while others wait: one of them takes over, each time.
#[test]
fn the_role_is_handed_on() {
    watched(|| {
        let (engine, reactor, held) = by_hand();
        std::thread::scope(|scope| {
            let (sender, finished) = channel();
            for i in 0..8 {
                let (engine, sender) = (&engine, sender.clone());
                scope.spawn(move || {
                    read_of(engine).wait().unwrap();
                    sender.send(i).unwrap();
                });
            }
            let tokens: Vec<Token> = (0..8).map(|_| held.recv().unwrap()).collect();
            // Everybody sleeps or is about to; the answers come one by one, and
            // only through the reactor.
            for token in tokens {
                assert!(finished.try_recv().is_err(), "nobody is done before its answer");
                reactor.start(token);
                zio_core::Reactor::submit(&*reactor);
                finished.recv().unwrap();
            }
        });
        engine.close();
    });
}

/// The background reaper drives what nobody waits for, until a client comes.
#[test]
fn a_client_takes_over_from_the_background_reaper() {
    watched(|| {
        let (engine, reactor, held) = by_hand();
        let stop = AtomicBool::new(false);
        let turner = |thread: std::thread::ThreadId| {
            while reactor.turner() != Some(thread) {
                std::thread::yield_now();
            }
        };
        std::thread::scope(|scope| {
            let reap = || engine.reap_in_background(&|| stop.load(Ordering::SeqCst));
            let background = scope.spawn(reap).thread().id();
            let (sender, called) = channel();
            read_of(&engine).nowait(Box::new(move |_| sender.send(()).unwrap()));
            let first = held.recv().unwrap();
            turner(background);

            let client = scope.spawn(|| read_of(&engine).wait().map(drop));
            let second = held.recv().unwrap();
            turner(client.thread().id());
            reactor.start(second);
            zio_core::Reactor::submit(&*reactor);
            client.join().unwrap().unwrap();

            turner(background);
            reactor.start(first);
            zio_core::Reactor::submit(&*reactor);
            called.recv().unwrap();
            engine.close();
            stop.store(true, Ordering::SeqCst);
            engine.wake_background();
        });
    });
}

/// The leader sleeps in its reactor; its zio is finished by another thread.
#[test]
fn a_sleeping_leader_is_woken_by_others() {
    watched(|| {
        let (engine, _reactor, held) = by_hand();
        for _ in 0..200 {
            std::thread::scope(|scope| {
                scope.spawn(|| read_of(&engine).wait().unwrap());
                scope.spawn(|| read_of(&engine).wait().unwrap());
                for token in [held.recv().unwrap(), held.recv().unwrap()] {
                    scope.spawn(|| token.finish(VdevDone { op: None, result: Ok(()) }));
                }
            });
        }
        engine.close();
    });
}

/// All kinds of clients at once, for many rounds: no wake-up is lost.
#[test]
fn no_wake_up_is_lost() {
    const ROUNDS: u32 = 300;
    watched(|| {
        let house = House::with_background();
        let called = Arc::new(AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for client in 0..8_u32 {
                let (house, called) = (&house, Arc::clone(&called));
                scope.spawn(move || {
                    for round in 0..ROUNDS {
                        let request = house.read((client + round) % 3);
                        match (client + round / 8) % 6 {
                            0 => drop(request.wait().unwrap()),
                            1 => drop(request.start().wait().unwrap()),
                            2 => drop(block_on(request.start()).unwrap()),
                            3 => drop(request.start()),
                            4 => {
                                let called = Arc::clone(&called);
                                request.nowait(Box::new(move |_| {
                                    called.fetch_add(1, Ordering::SeqCst);
                                }));
                            }
                            _ => {
                                let root = house.root();
                                let child = request.under(&root.as_parent()).start();
                                root.wait().unwrap();
                                assert!(child.wait().is_ok());
                            }
                        }
                    }
                });
            }
        });
        house.engine.wait_idle();
        let expected = (0..8).flat_map(|c| (0..ROUNDS).filter(move |r| (c + r / 8) % 6 == 4));
        assert_eq!(called.load(Ordering::SeqCst), expected.count());
        assert_eq!(house.engine.stats().panics.get(), 0);
        assert_eq!(zio_core::Reactor::in_flight(&*house.reactor), 0);
    });
}

/// The background reaper steps back for a client and takes over again.
#[test]
fn the_background_reaper_comes_and_goes() {
    watched(|| {
        let house = House::with_background();
        let (sender, receiver) = channel();
        for _ in 0..300 {
            let sender = sender.clone();
            house.read(8).nowait(Box::new(move |finished| sender.send(finished).unwrap()));
            house.read(1).wait().unwrap();
            receiver.recv().unwrap().result().unwrap();
        }
        // With nothing outstanding it lets go of the reactor.
        house.engine.wait_idle();
        while house.reactor.turner().is_some() {
            std::thread::yield_now();
        }
    });
}

/// Two reactors: clients drive the first, a thread of its own the second. I/O
/// for the second that was started in a turn of the first is submitted.
#[test]
fn further_reactors_are_submitted_too() {
    watched(|| {
        let (first, second) = (Channel::new(), Channel::new());
        let devices = [Arc::clone(&first), Arc::clone(&second)];
        let stages: Vec<Arc<dyn Stage>> = vec![
            stage(Stages::VDEV_IO_START, move |zio| {
                // First, second, first, second …
                let device = &devices[zio.slot as usize % 2];
                device.start(zio.park_for_device());
                None
            }),
            stage(Stages::VDEV_IO_DONE, |mut zio| {
                if zio.slot > 0 {
                    zio.slot -= 1;
                    zio.rerun_from(Stages::VDEV_IO_START);
                }
                Some(zio)
            }),
            Arc::new(Ready),
            Arc::new(Done),
        ];
        let reactors = vec![Arc::clone(&first) as Arc<_>, Arc::clone(&second) as Arc<_>];
        let engine = engine(stages, Workers::new(), reactors);
        assert_eq!(engine.further_reactors().len(), 1);
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !stop.load(Ordering::SeqCst) {
                    zio_core::Reactor::turn(&*second, zio_core::Wait::Block);
                }
            });
            for hops in 0..50 {
                let mut request = read_of(&engine);
                request.zio().slot = hops % 6;
                request.wait().unwrap();
            }
            engine.close();
            stop.store(true, Ordering::SeqCst);
            zio_core::Reactor::wake(&*second);
        });
    });
}

/// I/O of another engine, started by a callback, is submitted although the
/// thread is inside a turn of the first engine's reactor.
#[test]
fn an_engine_on_top_of_another_is_submitted() {
    watched(|| {
        let (lower, upper) = (House::new(), House::new());
        let (sender, receiver) = channel();
        for _ in 0..21 {
            let (request, sender) = (upper.read(1), sender.clone());
            let start = move |_| sender.send(request.start()).unwrap();
            lower.read(1).nowait(Box::new(start));
        }
        lower.engine.wait_idle();
        assert_eq!(upper.reactor.unsubmitted(), 0);
        for _ in 0..21 {
            receiver.recv().unwrap().wait().unwrap();
        }
    });
}

/// What the last turn started goes to the device although no turn follows.
#[test]
fn a_leader_that_leaves_submits_what_its_turn_started() {
    /// Answers everything submitted in one turn, and what that starts in the next.
    #[derive(Default)]
    struct Lists {
        started: Mutex<Vec<Token>>,
        submitted: Mutex<Vec<Token>>,
    }
    impl zio_core::Reactor for Lists {
        fn turn(&self, _wait: zio_core::Wait) -> usize {
            self.submit();
            let answers = std::mem::take(&mut *self.submitted.lock().unwrap());
            let count = answers.len();
            for token in answers {
                token.finish(VdevDone { op: None, result: Ok(()) });
            }
            count
        }
        fn submit(&self) {
            let mut started = self.started.lock().unwrap();
            self.submitted.lock().unwrap().append(&mut started);
        }
        fn wake(&self) {}
        fn in_flight(&self) -> usize {
            self.started.lock().unwrap().len() + self.submitted.lock().unwrap().len()
        }
    }
    let lists = Arc::new(Lists::default());
    let device = Arc::clone(&lists);
    let stages: Vec<Arc<dyn Stage>> = vec![
        stage(Stages::VDEV_IO_START, move |zio| {
            let token = zio.park_for_device();
            device.started.lock().unwrap().push(token);
            None
        }),
        stage(Stages::VDEV_IO_DONE, |mut zio| {
            if zio.slot > 0 {
                zio.slot -= 1;
                zio.rerun_from(Stages::VDEV_IO_START);
            }
            Some(zio)
        }),
        Arc::new(Ready),
        Arc::new(Done),
    ];
    let engine = engine(stages, Arc::new(Immediate), vec![Arc::clone(&lists) as Arc<_>]);
    let mut long = read_of(&engine);
    long.zio().slot = 1;
    let long = long.start();
    read_of(&engine).wait().unwrap();
    assert!(!long.is_finished() && lists.started.lock().unwrap().is_empty());
    assert_eq!(lists.submitted.lock().unwrap().len(), 1);

    // The same when the waiter's own zio needed no device, and so no turn.
    let request = read_of(&engine);
    let mut null = engine.make(ZioType::Null, Flags::empty(), Stages::INTERLOCK);
    null.on_ready(Box::new(move |_| drop(request.start())));
    Request::new(null).wait().unwrap();
    assert_eq!(lists.submitted.lock().unwrap().len(), 2);
    assert!(lists.started.lock().unwrap().is_empty());
    long.wait().unwrap();
    engine.close();
    assert_eq!(engine.live(), 0);
}

// -- Collections. --

#[test]
fn a_collection_gives_each_zio_once_under_its_tag() {
    watched(|| {
        let house = House::new();
        let completions = Completions::new(Arc::clone(&house.engine));
        assert!(completions.next().is_none(), "nothing is outstanding");
        for tag in 0..100 {
            house.read((tag % 4) as u32).send_to(completions.expect_one(), tag);
        }
        let mut tags: Vec<u64> = std::iter::from_fn(|| completions.next())
            .map(|(tag, finished)| finished.result().map(|()| tag).unwrap())
            .collect();
        tags.sort_unstable();
        assert_eq!(tags, (0..100).collect::<Vec<_>>());
        assert_eq!(completions.outstanding(), 0);
    });
}

/// Answers that come on the device's own threads wake who waits for the collection.
#[test]
fn a_collection_wakes_its_taker() {
    watched(|| {
        let (engine, _reactor, held) = by_hand();
        let completions = Completions::new(Arc::clone(&engine));
        let answering = std::thread::spawn(move || {
            for token in held.iter().take(50) {
                token.finish(VdevDone { op: None, result: Ok(()) });
            }
        });
        for tag in 0..50 {
            read_of(&engine).send_to(completions.expect_one(), tag);
            let next = completions.next().map(|(tag, finished)| (tag, finished.result().is_ok()));
            assert_eq!(next, Some((tag, true)));
        }
        answering.join().unwrap();
        engine.close();
    });
}

#[test]
fn two_threads_may_take_from_one_collection() {
    watched(|| {
        for _ in 0..50 {
            let house = House::new();
            let completions = Completions::new(Arc::clone(&house.engine));
            for tag in 0..32 {
                house.read(3).send_to(completions.expect_one(), tag);
            }
            let taken = AtomicUsize::new(0);
            std::thread::scope(|scope| {
                for _ in 0..3 {
                    scope.spawn(|| {
                        while let Some((_, finished)) = completions.next() {
                            finished.result().unwrap();
                            taken.fetch_add(1, Ordering::SeqCst);
                        }
                    });
                }
            });
            assert_eq!(taken.load(Ordering::SeqCst), 32);
        }
    });
}

// -- Panics. --

/// Panics at READ_BP_INIT (on the submitting thread), and at VDEV_IO_DONE of
/// zios with a slot (where completions are handled).
fn fragile(house_reactor: &Arc<Channel>) -> Vec<Arc<dyn Stage>> {
    let mut stages = stages_over(house_reactor);
    stages.push(stage(Stages::READ_BP_INIT, |_| panic!("at once")));
    stages.push(stage(Stages::VDEV_IO_DONE, |zio| {
        assert!(zio.slot == 0, "after the answer");
        zio.wait_children(ChildSet::VDEV, WaitType::Done)
    }));
    stages
}

fn fragile_house() -> House {
    let reactor = Channel::new();
    let stages = fragile(&reactor);
    let engine = engine(stages, Workers::new(), vec![Arc::clone(&reactor) as Arc<_>]);
    House { engine, reactor, stop: Arc::default(), background: None }
}

fn message(panic: &(dyn std::any::Any + Send)) -> &str {
    panic.downcast_ref::<&str>().copied().or(panic.downcast_ref::<String>().map(|s| &**s)).unwrap()
}

#[test]
fn a_panic_on_the_client_s_thread_reaches_the_client_and_the_parents() {
    watched(|| {
        let house = fragile_house();
        let root = house.root();
        let make = || house.engine.make(ZioType::Read, Flags::empty(), Stages::READ);
        let (sender, receiver) = channel();

        let child = Request::new(make()).under(&root.as_parent());
        let sent = sender.clone();
        let callback = Box::new(move |finished: Finished| {
            sent.send(finished.result().unwrap_err().kind()).unwrap();
        });
        let panic = catch_unwind(AssertUnwindSafe(|| child.nowait(callback))).unwrap_err();
        assert_eq!(message(&*panic), "at once");
        assert_eq!(receiver.recv(), Ok(ErrorKind::Lost));
        assert_eq!(root.wait().unwrap_err().kind(), ErrorKind::Lost);

        for _ in 0..3 {
            let wait = AssertUnwindSafe(|| Request::new(make()).wait());
            assert_eq!(message(&*catch_unwind(wait).unwrap_err()), "at once");
            let start = AssertUnwindSafe(|| Request::new(make()).start());
            assert_eq!(message(&*catch_unwind(start).unwrap_err()), "at once");
        }
        assert_eq!((house.engine.live(), house.engine.stats().panics.get()), (0, 7));
        assert!(!zio_core::Context::is_executing());
        house.read(0).wait().unwrap();
    });
}

#[test]
fn a_panic_where_completions_are_handled_hurts_its_own_zio_only() {
    watched(|| {
        let house = fragile_house();
        let lost: Vec<Handle> = (0..5).map(|_| house.read(1).start()).collect();
        let fine: Vec<Handle> = (0..5).map(|_| house.read(0).start()).collect();
        for handle in fine {
            handle.wait().unwrap();
        }
        for handle in lost {
            assert_eq!(handle.wait().unwrap_err().kind(), ErrorKind::Lost);
        }
        assert_eq!(house.read(1).wait().unwrap_err().kind(), ErrorKind::Lost, "its own leader");
        assert_eq!(house.engine.stats().panics.get(), 6);
    });
}

/// What was on the run list of the thread is executed all the same.
#[test]
fn the_run_list_survives_a_panic() {
    watched(|| {
        let house = fragile_house();
        let null =
            || Request::new(house.engine.make(ZioType::Null, Flags::empty(), Stages::INTERLOCK));
        let (before, after) = (null(), null());
        let (sender, receiver) = channel();
        let call = |name: &'static str| {
            let sender = sender.clone();
            Box::new(move |_: Finished| sender.send(name).unwrap())
        };
        let (first, second) = (call("before"), call("after"));
        let broken = Request::new(house.engine.make(ZioType::Read, Flags::empty(), Stages::READ));
        let outer = null();
        let panic = catch_unwind(AssertUnwindSafe(|| {
            outer.nowait(Box::new(move |_| {
                before.nowait(first);
                drop(broken.start());
                after.nowait(second);
                panic!("the callback too");
            }));
        }));
        assert_eq!(message(&*panic.unwrap_err()), "the callback too", "the first one goes on");
        assert_eq!(receiver.try_iter().collect::<Vec<_>>(), ["before", "after"]);
        assert_eq!((house.engine.live(), house.engine.stats().panics.get()), (0, 2));
    });
}

#[test]
fn a_callback_that_panics_does_not_keep_its_parents_waiting() {
    watched(|| {
        let mut house = House::with_background();
        let root = house.root();
        let child = house.read(2).under(&root.as_parent());
        child.nowait(Box::new(|_| panic!("in a callback")));
        root.wait().expect("the child itself went well");
        let (sender, receiver) = channel();
        house.read(1).nowait(Box::new(move |_| sender.send(()).unwrap()));
        receiver.recv().expect("the background reaper lives on");
        assert_eq!(house.close(), 1);
    });
}

/// A zio is lost by a panic, and its callback panics over that.
#[test]
fn a_callback_that_panics_about_a_panic_does_not_end_the_process() {
    watched(|| {
        let house = fragile_house();
        let broken = Request::new(house.engine.make(ZioType::Read, Flags::empty(), Stages::READ));
        let callback = Box::new(|finished: Finished| finished.result().unwrap());
        let panic = catch_unwind(AssertUnwindSafe(|| broken.nowait(callback))).unwrap_err();
        assert_eq!(message(&*panic), "at once");
        assert_eq!((house.engine.live(), house.engine.stats().panics.get()), (0, 2));
    });
}

#[test]
fn workers_and_handles_survive_a_panic() {
    let reached = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&reached);
    watched(move || {
        let stages: Vec<Arc<dyn Stage>> = vec![
            Arc::new(zio_core::IssueAsync::new(|_| false)),
            stage(Stages::WRITE_COMPRESS, move |zio| {
                log.lock().unwrap().push(zio.slot);
                assert!(zio.slot % 3 != 0, "on a worker");
                Some(zio)
            }),
            Arc::new(Ready),
            Arc::new(Done),
        ];
        let engine = engine(stages, Workers::new(), Vec::new());
        let road = Stages::INTERLOCK | Stages::ISSUE_ASYNC | Stages::WRITE_COMPRESS;
        let start = |slot| {
            let mut zio = engine.make(ZioType::Write, Flags::empty(), road);
            zio.slot = slot;
            Request::new(zio).start()
        };
        let handles: Vec<Handle> = (0..30).map(start).collect();
        for (slot, handle) in handles.into_iter().enumerate() {
            let kind = handle.wait().err().map(|error| error.kind());
            assert_eq!(kind, (slot % 3 == 0).then_some(ErrorKind::Lost));
        }
        engine.close();
        assert_eq!((engine.live(), engine.stats().panics.get()), (0, 10));
    });
    assert_eq!(reached.lock().unwrap().len(), 30);
}

/// A reactor whose turn panics: the role does not die with the thread.
#[test]
fn a_reactor_that_panics_gives_the_role_back() {
    struct Fragile(Arc<Channel>, AtomicUsize);
    impl zio_core::Reactor for Fragile {
        fn turn(&self, wait: zio_core::Wait) -> usize {
            assert!(self.1.fetch_add(1, Ordering::SeqCst) > 0, "the first turn");
            self.0.turn(wait)
        }
        fn submit(&self) {
            self.0.submit();
        }
        fn wake(&self) {
            self.0.wake();
        }
        fn in_flight(&self) -> usize {
            self.0.in_flight()
        }
    }
    watched(|| {
        let reactor = Channel::new();
        let fragile = Arc::new(Fragile(Arc::clone(&reactor), AtomicUsize::new(0)));
        let engine = engine(stages_over(&reactor), Arc::new(Immediate), vec![fragile as Arc<_>]);
        let wait = AssertUnwindSafe(|| read_of(&engine).wait());
        assert_eq!(message(&*catch_unwind(wait).unwrap_err()), "the first turn");
        std::thread::scope(|scope| {
            scope.spawn(|| read_of(&engine).wait().unwrap());
        });
        engine.close();
        assert_eq!(engine.live(), 0, "the zio whose waiter panicked has finished too");
    });
}
