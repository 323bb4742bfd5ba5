//! The hand-overs under a model checker, which tries many schedules of the same
//! few threads: `RUSTFLAGS="--cfg shuttle" cargo test -p zio-core --test shuttle`.
#![cfg(shuttle)]

use std::collections::VecDeque;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll, Wake, Waker};

use shuttle::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use shuttle::sync::{Condvar, Mutex};
use shuttle::thread;
use zio_core::{
    BufferPool, ChildSet, Completions, Done, Engine, Flags, Next, Parts, QueueKind, Reactor, Ready,
    Request, Route, Stage, Stages, Task, TaskQueue, Token, VdevDone, VdevId, Wait, WaitType,
    ZioBox, ZioType,
};

const SCHEDULES: usize = 5000;

/// Random schedules, then some with few preemptions at chosen places, which
/// find other bugs.
fn explore(model: impl Fn() + Send + Sync + Copy + 'static) {
    shuttle::check_random(model, SCHEDULES);
    shuttle::check_pct(model, SCHEDULES, 3);
}

// -- Doubles. --

struct Double<F>(Stages, F);

impl<F: Fn(ZioBox) -> Next + Send + Sync> Stage for Double<F> {
    fn stage(&self) -> Stages {
        self.0
    }

    fn run(&self, zio: ZioBox) -> Next {
        (self.1)(zio)
    }
}

struct Immediate;

impl<T: Task> TaskQueue<T> for Immediate {
    fn dispatch(&self, task: T, _route: Route) {
        task.run();
    }

    fn on_worker(&self) -> Option<(ZioType, QueueKind)> {
        None
    }

    fn shutdown(&self) {}
}

/// A device without threads: I/O is answered by whoever calls `answer_one`, or
/// by a turn.
#[derive(Default)]
struct Device {
    state: Mutex<State>,
    changed: Condvar,
    turning: AtomicBool,
}

#[derive(Default)]
struct State {
    started: VecDeque<Token>,
    submitted: VecDeque<Token>,
    woken: bool,
}

impl Device {
    fn start(&self, token: Token) {
        self.state.lock().unwrap().started.push_back(token);
        self.changed.notify_all();
    }

    /// Waits for an I/O and answers it on this thread, as a device with
    /// completion threads does.
    fn answer_one(&self) {
        let token = {
            let mut state = self.state.lock().unwrap();
            loop {
                if let Some(token) = state.started.pop_front() {
                    break token;
                }
                state = self.changed.wait(state).unwrap();
            }
        };
        answer(token);
    }
}

fn answer(token: Token) {
    token.finish(VdevDone { op: None, result: Ok(()) });
}

impl Reactor for Device {
    fn turn(&self, wait: Wait) -> usize {
        assert!(!self.turning.swap(true, Ordering::SeqCst), "two threads turn one reactor");
        self.submit();
        let token = {
            let mut state = self.state.lock().unwrap();
            while wait == Wait::Block && state.submitted.is_empty() && !state.woken {
                state = self.changed.wait(state).unwrap();
            }
            state.woken = false;
            // One at a time: the next waiter has to take over for the rest.
            state.submitted.pop_front()
        };
        let count = usize::from(token.is_some());
        token.into_iter().for_each(answer);
        self.turning.store(false, Ordering::SeqCst);
        count
    }

    fn submit(&self) {
        let mut state = self.state.lock().unwrap();
        let State { started, submitted, .. } = &mut *state;
        submitted.append(started);
        drop(state);
        self.changed.notify_all();
    }

    fn wake(&self) {
        self.state.lock().unwrap().woken = true;
        self.changed.notify_all();
    }

    fn in_flight(&self) -> usize {
        let state = self.state.lock().unwrap();
        state.started.len() + state.submitted.len()
    }
}

fn engine(device: &Arc<Device>, reacting: bool) -> Arc<Engine> {
    let starting = Arc::clone(device);
    let stages: Vec<Arc<dyn Stage>> = vec![
        Arc::new(Double(Stages::VDEV_IO_START, move |zio: ZioBox| {
            starting.start(zio.park_for_device());
            None
        })),
        Arc::new(Ready),
        Arc::new(Done),
    ];
    let reactors: Vec<Arc<dyn Reactor>> =
        if reacting { vec![Arc::clone(device) as Arc<_>] } else { Vec::new() };
    build(stages, reactors)
}

fn build(stages: Vec<Arc<dyn Stage>>, reactors: Vec<Arc<dyn Reactor>>) -> Arc<Engine> {
    Engine::new(Parts {
        stages,
        queue: Arc::new(Immediate),
        reactors,
        buffers: BufferPool::new(),
        shared: Arc::new(()),
        hand_over: true,
    })
}

fn read(engine: &Arc<Engine>) -> Request {
    Request::new(engine.make(ZioType::Read, Flags::empty(), Stages::READ_PHYS))
}

fn block_on<F: Future>(future: F) -> F::Output {
    struct Unpark(thread::Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut TaskContext::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => thread::park(),
        }
    }
}

// -- Models. --

/// The device answers as soon as it has the token: before the stage that parked
/// has returned, before the client waits, or after.
#[test]
fn an_answer_may_overtake_the_park() {
    explore(|| {
        let device = Arc::new(Device::default());
        let engine = engine(&device, false);
        let answering = Arc::clone(&device);
        let answering = thread::spawn(move || (0..3).for_each(|_| answering.answer_one()));
        read(&engine).wait().unwrap();
        let handle = read(&engine).start();
        let other = Arc::clone(&engine);
        let other = thread::spawn(move || read(&other).wait().map(drop));
        handle.wait().unwrap();
        other.join().unwrap().unwrap();
        answering.join().unwrap();
        assert_eq!(engine.live(), 0);
        engine.close();
    });
}

/// Two children finish on two threads while their parent parks on a third: it
/// is resumed once, and finds both.
#[test]
fn children_that_finish_together_resume_their_parent_once() {
    explore(|| {
        let runs = Arc::new(AtomicUsize::new(0));
        let device = Arc::new(Device::default());
        let (starting, counted) = (Arc::clone(&device), Arc::clone(&runs));
        let stages: Vec<Arc<dyn Stage>> = vec![
            Arc::new(Double(Stages::VDEV_IO_START, move |zio: ZioBox| {
                if zio.vdev.is_some() {
                    starting.start(zio.park_for_device());
                    return None;
                }
                for _ in 0..2 {
                    let road = Stages::VDEV_CHILD;
                    let child = Engine::make_vdev_child(&zio, ZioType::Read, VdevId(0), 0, road);
                    // Started elsewhere, so that it can finish while the parent parks.
                    thread::spawn(move || child.start());
                }
                Some(zio)
            })),
            Arc::new(Double(Stages::VDEV_IO_DONE, move |zio: ZioBox| {
                let mut zio = zio.wait_children(ChildSet::VDEV, WaitType::Done)?;
                if zio.vdev.is_none() {
                    counted.fetch_add(1, Ordering::SeqCst);
                    let home = std::iter::from_fn(|| zio.take_finished_child()).count();
                    assert_eq!(home, 2);
                }
                Some(zio)
            })),
            Arc::new(Ready),
            Arc::new(Done),
        ];
        let engine = build(stages, Vec::new());
        let devices = [(); 2].map(|()| {
            let device = Arc::clone(&device);
            thread::spawn(move || device.answer_one())
        });
        read(&engine).wait().unwrap();
        assert_eq!(runs.load(Ordering::SeqCst), 1);
        for device in devices {
            device.join().unwrap();
        }
        assert_eq!(engine.live(), 0);
        engine.close();
    });
}

/// Clients drive the reactor in turns; each answer goes to whom it belongs.
#[test]
fn the_role_is_handed_on_and_no_waiter_sleeps_for_ever() {
    explore(|| {
        let device = Arc::new(Device::default());
        let engine = engine(&device, true);
        let clients = [(); 3].map(|()| {
            let engine = Arc::clone(&engine);
            thread::spawn(move || (0..2).try_for_each(|_| read(&engine).wait().map(drop)))
        });
        for client in clients {
            client.join().unwrap().unwrap();
        }
        assert_eq!((engine.live(), device.in_flight()), (0, 0));
        engine.close();
    });
}

/// Some answers come through the reactor, some from a thread of the device's
/// own, while the leader sleeps in its turn.
#[test]
fn a_leader_is_woken_by_answers_that_come_another_way() {
    explore(|| {
        let device = Arc::new(Device::default());
        let engine = engine(&device, true);
        let clients = [(); 2].map(|()| {
            let engine = Arc::clone(&engine);
            thread::spawn(move || read(&engine).wait().map(drop))
        });
        let thief = {
            let device = Arc::clone(&device);
            thread::spawn(move || {
                let token = device.state.lock().unwrap().submitted.pop_front();
                token.into_iter().for_each(answer);
            })
        };
        for client in clients {
            client.join().unwrap().unwrap();
        }
        thief.join().unwrap();
        assert_eq!(engine.live(), 0);
        engine.close();
    });
}

fn background(engine: &Arc<Engine>) -> impl FnOnce() + use<> {
    let stop = Arc::new(AtomicBool::new(false));
    let (reaping, stopped) = (Arc::clone(engine), Arc::clone(&stop));
    let reaper = thread::spawn(move || {
        reaping.reap_in_background(&|| stopped.load(Ordering::SeqCst));
    });
    let engine = Arc::clone(engine);
    move || {
        stop.store(true, Ordering::SeqCst);
        engine.wake_background();
        reaper.join().unwrap();
    }
}

/// A callback that starts another one, beside a client that comes and goes:
/// nobody but the background reaper drives the callbacks to their end.
#[test]
fn the_background_reaper_takes_over_from_clients() {
    explore(|| {
        let device = Arc::new(Device::default());
        let engine = engine(&device, true);
        let stop = background(&engine);
        let called = Arc::new((Mutex::new(0), Condvar::new()));
        let (again, first, second) = (read(&engine), Arc::clone(&called), Arc::clone(&called));
        let count = |called: &(Mutex<i32>, Condvar)| {
            *called.0.lock().unwrap() += 1;
            called.1.notify_all();
        };
        read(&engine).nowait(Box::new(move |_| {
            count(&first);
            again.nowait(Box::new(move |_| count(&second)));
        }));
        let client = {
            let engine = Arc::clone(&engine);
            thread::spawn(move || read(&engine).wait().map(drop))
        };
        let mut calls = called.0.lock().unwrap();
        while *calls < 2 {
            calls = called.1.wait(calls).unwrap();
        }
        drop(calls);
        client.join().unwrap().unwrap();
        engine.close();
        stop();
        assert_eq!((engine.live(), device.in_flight()), (0, 0));
    });
}

/// A future, a dropped handle and a client at once.
#[test]
fn futures_and_dropped_handles_go_on() {
    explore(|| {
        let device = Arc::new(Device::default());
        let engine = engine(&device, true);
        let stop = background(&engine);
        let future = {
            let engine = Arc::clone(&engine);
            thread::spawn(move || block_on(read(&engine).start()).map(drop))
        };
        let client = {
            let engine = Arc::clone(&engine);
            thread::spawn(move || read(&engine).wait().map(drop))
        };
        drop(read(&engine).start());
        future.join().unwrap().unwrap();
        client.join().unwrap().unwrap();
        engine.close();
        stop();
        assert_eq!((engine.live(), device.in_flight()), (0, 0));
    });
}

/// Somebody closes while the last I/O is being answered elsewhere.
#[test]
fn close_waits_for_the_last_completion() {
    for reacting in [false, true] {
        let model = move || {
            let device = Arc::new(Device::default());
            let engine = engine(&device, reacting);
            let called = Arc::new(AtomicUsize::new(0));
            let counted = Arc::clone(&called);
            read(&engine).nowait(Box::new(move |_| {
                counted.fetch_add(1, Ordering::SeqCst);
            }));
            let request = read(&engine);
            let client = thread::spawn(move || request.wait().map(drop));
            let answering = (!reacting).then(|| {
                let device = Arc::clone(&device);
                thread::spawn(move || (0..2).for_each(|_| device.answer_one()))
            });
            // The client may not have started its request yet: it is waited for all the same.
            engine.close();
            assert_eq!((called.load(Ordering::SeqCst), engine.live()), (1, 0));
            client.join().unwrap().unwrap();
            if let Some(answering) = answering {
                answering.join().unwrap();
            }
        };
        explore(model);
    }
}

/// Two threads take from one collection, a third one waits for a zio of its own.
#[test]
fn a_collection_with_two_takers() {
    explore(|| {
        let device = Arc::new(Device::default());
        let engine = engine(&device, true);
        let completions = Arc::new(Completions::new(Arc::clone(&engine)));
        for tag in 0..3 {
            read(&engine).send_to(completions.expect_one(), tag);
        }
        let takers = [(); 2].map(|()| {
            let completions = Arc::clone(&completions);
            thread::spawn(move || std::iter::from_fn(|| completions.next()).count())
        });
        read(&engine).wait().unwrap();
        let taken: usize = takers.into_iter().map(|taker| taker.join().unwrap()).sum();
        assert_eq!((taken, engine.live()), (3, 0));
        engine.close();
    });
}
