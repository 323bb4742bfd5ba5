//! Parents and children: A6, A7, A8 (spec 1.3, 1.4, 1.10, 1.11), on a
//! deterministic executor: no threads, every order drawn from a seed.

mod support {
    pub(crate) mod engine;
    pub(crate) mod rng;
    pub(crate) mod scrambled;
    pub(crate) mod stage;
}

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex};

use proptest::prelude::*;
use support::{engine::engine, rng::Rng, scrambled::Scrambled, stage::stage};
use zio_core::{
    ChildSet, ChildType, Done, Engine, Error, ErrorKind, Flags, Handle, QueueKind, Ready, Request,
    Stage, Stages, TaskQueue, Token, VdevDone, VdevError, VdevErrorKind, VdevId, WaitType, ZioBox,
    ZioType, done,
};

/// What can be planned for a zio.
#[derive(Clone, Debug)]
struct Plan {
    parents: Vec<usize>,
    child_type: ChildType,
    road: Stages,
    flags: Flags,
    fails: Option<VdevErrorKind>,
    /// Vdev children that its VDEV_IO_START makes, and how many of them fail.
    fans_out: (usize, usize),
    delivery: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Event {
    Compress(usize),
    Ready(usize),
    Done(usize),
    Called(usize),
}

/// I/Os that the device has not answered, and how it will.
type Held = Vec<(Token, Option<VdevErrorKind>)>;

/// The machine: everything that can happen next is in one of its lists.
struct Machine {
    engine: Arc<Engine>,
    queue: Arc<Scrambled<ZioBox>>,
    device: Arc<Mutex<Held>>,
    events: Arc<Mutex<Vec<Event>>>,
}

/// What a zio is to do at the device; `index` is its place in the plan.
struct Work {
    index: usize,
    fails: Option<VdevErrorKind>,
    fans_out: (usize, usize),
}

fn work(zio: &zio_core::Zio) -> &Work {
    zio.attachment.as_ref().unwrap().downcast_ref().unwrap()
}

const CHILD_ROAD: Stages = Stages::VDEV_CHILD;

fn new_machine() -> Machine {
    let queue = Arc::new(Scrambled::new());
    let device: Arc<Mutex<Held>> = Arc::default();
    let events: Arc<Mutex<Vec<Event>>> = Arc::default();
    let log = |events: &Arc<Mutex<Vec<Event>>>| {
        let events = Arc::clone(events);
        move |event| events.lock().unwrap().push(event)
    };

    let note = log(&events);
    let compress = stage(Stages::WRITE_COMPRESS, move |zio| {
        let zio = zio.wait_children(ChildSet::LOGICAL | ChildSet::GANG, WaitType::Ready)?;
        note(Event::Compress(work(&zio).index));
        Some(zio)
    });
    let note = log(&events);
    let ready = stage(Stages::READY, move |zio| {
        let zio = zio.wait_children(ChildSet::GANG | ChildSet::DDT, WaitType::Ready)?;
        note(Event::Ready(work(&zio).index));
        Some(done::ready(zio))
    });
    let tokens = Arc::clone(&device);
    let workers = Arc::clone(&queue);
    let start = stage(Stages::VDEV_IO_START, move |zio| {
        let on_interrupt = workers.on_worker().is_some_and(|(_, kind)| kind.is_interrupt());
        assert!(!on_interrupt || zio.vdev.is_some(), "a blocking stage on a completion worker");
        let &Work { fails, fans_out: (children, failing), .. } = work(&zio);
        if children == 0 {
            let token = zio.park_for_device();
            tokens.lock().unwrap().push((token, fails));
            return None;
        }
        for i in 0..children {
            let mut child =
                Engine::make_vdev_child(&zio, ZioType::Read, VdevId(0), i as u64, CHILD_ROAD);
            let fails = (i < failing).then_some(VdevErrorKind::Io);
            let work = Work { index: usize::MAX, fails, fans_out: (0, 0) };
            child.attachment = Some(Box::new(work));
            child.start();
        }
        Some(zio)
    });
    let io_done = stage(Stages::VDEV_IO_DONE, |zio| {
        let mut zio = zio.wait_children(ChildSet::VDEV, WaitType::Done)?;
        let mut offsets = Vec::new();
        while let Some(mut child) = zio.take_finished_child() {
            if child.get().vdev == Some(VdevId(0)) && child.get().pipeline() == CHILD_ROAD {
                offsets.push(child.get().offset_bytes);
                if let Some(error) = child.take_error() {
                    zio.fail(error);
                }
            }
        }
        offsets.sort_unstable();
        let expected: Vec<u64> = (0..work(&zio).fans_out.0 as u64).collect();
        assert_eq!(offsets, expected, "every child came home, once");
        if let Some(Err(error)) = zio.answer.take().map(|done| done.result) {
            zio.fail(error.into());
        }
        Some(zio)
    });
    let note = log(&events);
    let finish = stage(Stages::DONE, move |zio| {
        let mut zio = zio.wait_children(ChildSet::all(), WaitType::Done)?;
        done::settle(&mut zio);
        if work(&zio).index != usize::MAX {
            note(Event::Done(work(&zio).index));
        }
        done::finish(zio)
    });
    let stages = vec![compress, ready, start, io_done, finish];
    let engine = engine(stages, Arc::clone(&queue) as Arc<_>, Vec::new());
    Machine { engine, queue, device, events }
}

impl Machine {
    fn make(&self, index: usize, plan: &Plan) -> Request {
        let mut zio = match plan.child_type {
            ChildType::Vdev => {
                self.engine.make_on_vdev(ZioType::Read, VdevId(1), 0, plan.flags, plan.road)
            }
            ChildType::Gang => {
                self.engine.make(ZioType::Write, plan.flags | Flags::GANG_CHILD, plan.road)
            }
            ChildType::Ddt => {
                self.engine.make(ZioType::Write, plan.flags | Flags::DDT_CHILD, plan.road)
            }
            ChildType::Logical => self.engine.make(ZioType::Write, plan.flags, plan.road),
        };
        assert_eq!(zio.child_type(), plan.child_type);
        let work = Work { index, fails: plan.fails, fans_out: plan.fans_out };
        zio.attachment = Some(Box::new(work));
        Request::new(zio)
    }

    fn start(&self, index: usize, request: Request, delivery: usize) -> Option<Handle> {
        match delivery {
            0 => return Some(request.start()),
            1 => drop(request.start()),
            _ => {
                let events = Arc::clone(&self.events);
                request
                    .nowait(Box::new(move |_| events.lock().unwrap().push(Event::Called(index))));
            }
        }
        None
    }

    /// Lets one thing happen besides starting: a task, or an answer.
    fn step(&self, rng: &mut Rng) -> bool {
        if rng.below(2) == 0 && self.queue.step(rng) {
            return true;
        }
        let answer = {
            let mut device = self.device.lock().unwrap();
            (!device.is_empty()).then(|| rng.below(device.len())).map(|i| device.swap_remove(i))
        };
        match answer {
            None => self.queue.step(rng),
            Some((token, fails)) => {
                let result = fails.map_or(Ok(()), |kind| Err(VdevError::new(kind)));
                token.finish(VdevDone { op: None, result });
                true
            }
        }
    }
}

fn plan(i: usize, plans: &[Plan], rng: &mut Rng) -> Plan {
    let mut parents: Vec<usize> = Vec::new();
    for _ in 0..if i == 0 { 0 } else { 1 + rng.below(4).saturating_sub(1) } {
        // Near ones as often as far ones, so that there are chains and fans.
        let back = if rng.below(2) == 0 { 1 + rng.below(i.min(3)) } else { 1 + rng.below(i) };
        if !parents.contains(&(i - back)) {
            parents.push(i - back);
        }
    }
    let highest = parents.iter().map(|p| plans[*p].child_type).min().unwrap_or(ChildType::Logical);
    let child_type = ChildType::ALL[highest.index().saturating_sub(rng.below(4).saturating_sub(2))];
    let device = Stages::VDEV_IO_START | Stages::VDEV_IO_DONE;
    let road = match rng.below(4) {
        0 => Stages::ROOT,
        1 => Stages::INTERLOCK | Stages::WRITE_COMPRESS,
        2 => Stages::INTERLOCK | device | Stages::WRITE_COMPRESS,
        _ => Stages::DONE | device,
    };
    let errors = [VdevErrorKind::Gone, VdevErrorKind::Io, VdevErrorKind::NoSpace];
    let at_device = road.contains(device);
    let fans_out = if at_device && rng.below(3) == 0 { 1 + rng.below(5) } else { 0 };
    let failing = if rng.below(3) == 0 { fans_out } else { 0 };
    let fails = at_device && fans_out == 0 && rng.below(4) == 0;
    let flags = match rng.below(8) {
        0 => Flags::DONT_PROPAGATE,
        1 => Flags::GODFATHER | Flags::CANFAIL,
        _ => Flags::CANFAIL,
    };
    let fails = fails.then(|| errors[rng.below(3)]);
    let delivery = rng.below(3);
    Plan { parents, child_type, road, flags, fails, fans_out: (fans_out, failing), delivery }
}

/// What each zio's error is to be: the slow, obvious way, from the leaves up.
fn expected_errors(plans: &[Plan]) -> Vec<Option<ErrorKind>> {
    let worst = |a: Option<ErrorKind>, b: Option<ErrorKind>| {
        Error::worst(a.map(Error::new), b.map(Error::new)).map(|error| error.kind())
    };
    let mut errors: Vec<Option<ErrorKind>> = vec![None; plans.len()];
    for i in (0..plans.len()).rev() {
        let plan = &plans[i];
        let of_children = |ty: ChildType| {
            let children = plans.iter().enumerate().filter(|(_, child)| {
                child.parents.contains(&i)
                    && child.child_type == ty
                    && !child.flags.contains(Flags::DONT_PROPAGATE)
            });
            children.fold(None, |error, (j, _)| worst(error, errors[j]))
        };
        let own = plan.fails.map(|kind| Error::from(VdevError::new(kind)).kind());
        let own = own.or((plan.fans_out.1 > 0).then_some(ErrorKind::Io));
        errors[i] = if plan.flags.contains(Flags::GODFATHER) {
            own
        } else {
            let first = own
                .or_else(|| of_children(ChildType::Vdev))
                .or_else(|| of_children(ChildType::Gang))
                .or_else(|| of_children(ChildType::Ddt));
            worst(first, of_children(ChildType::Logical))
        };
    }
    errors
}

fn run_graph(nodes: usize, seed: u64) {
    let rng = &mut Rng(seed);
    let machine = new_machine();
    let mut plans: Vec<Plan> = Vec::new();
    let mut requests: Vec<Option<Request>> = Vec::new();
    for i in 0..nodes {
        let plan = plan(i, &plans, rng);
        let mut request = machine.make(i, &plan);
        for parent in &plan.parents {
            let parent = requests[*parent].as_ref().unwrap().as_parent();
            parent.add(request.zio());
        }
        requests.push(Some(request));
        plans.push(plan);
    }
    let mut unstarted: Vec<usize> = (0..nodes).collect();
    let mut handles: HashMap<usize, Handle> = HashMap::new();
    loop {
        let start = !unstarted.is_empty() && rng.below(3) == 0;
        if start || !machine.step(rng) {
            if unstarted.is_empty() {
                break;
            }
            let i = unstarted.swap_remove(rng.below(unstarted.len()));
            let request = requests[i].take().unwrap();
            if let Some(handle) = machine.start(i, request, plans[i].delivery) {
                handles.insert(i, handle);
            }
        }
    }
    assert_eq!(machine.engine.live(), 0, "nothing is left, although nothing can happen any more");
    assert_eq!(machine.engine.stats().panics.get(), 0, "a stage saw something wrong");
    check_events(&plans, &machine.events.lock().unwrap());
    let errors = expected_errors(&plans);
    for (i, handle) in handles {
        assert!(handle.is_finished());
        assert_eq!(handle.wait().err().map(|error| error.kind()), errors[i], "zio {i}");
    }
    machine.engine.close();
}

fn check_events(plans: &[Plan], events: &[Event]) {
    let mut at: HashMap<Event, usize> = HashMap::new();
    for (time, event) in events.iter().enumerate() {
        assert_eq!(at.insert(*event, time), None, "{event:?} happened twice");
    }
    for (i, plan) in plans.iter().enumerate() {
        let done = at[&Event::Done(i)];
        assert_eq!(at.contains_key(&Event::Called(i)), plan.delivery == 2);
        let ready = at.get(&Event::Ready(i));
        assert_eq!(ready.is_some(), plan.road.contains(Stages::READY));
        assert!(ready.is_none_or(|ready| *ready < done), "READY of {i} before its DONE");
        for parent in &plan.parents {
            assert!(done < at[&Event::Done(*parent)], "DONE of {i} before that of {parent}");
            let Some(ready) = ready else { continue };
            if matches!(plan.child_type, ChildType::Gang | ChildType::Ddt)
                && let Some(parents) = at.get(&Event::Ready(*parent))
            {
                assert!(ready < parents, "READY of {i} before that of {parent}");
            }
            if matches!(plan.child_type, ChildType::Gang | ChildType::Logical)
                && let Some(compress) = at.get(&Event::Compress(*parent))
            {
                assert!(ready < compress, "READY of {i} before {parent} looks at its pointer");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn any_graph_finishes_in_order(nodes in 1_usize..=200, seed in any::<u64>()) {
        run_graph(nodes, seed);
    }
}

// -- Single properties. --

/// 64 children that finish at the same moment on 64 threads resume their parent once.
#[test]
fn many_children_resume_their_parent_once() {
    const CHILDREN: usize = 64;
    for hand_over in [true, false] {
        let tokens: Arc<Mutex<Vec<Token>>> = Arc::default();
        let runs = Arc::new(AtomicUsize::new(0));
        let (held, counted) = (Arc::clone(&tokens), Arc::clone(&runs));
        let stages: Vec<Arc<dyn Stage>> = vec![
            stage(Stages::VDEV_IO_START, move |zio| {
                if zio.vdev.is_none() {
                    for i in 0..CHILDREN as u64 {
                        let ty = ZioType::Read;
                        Engine::make_vdev_child(&zio, ty, VdevId(0), i, CHILD_ROAD).start();
                    }
                    return Some(zio);
                }
                let token = zio.park_for_device();
                held.lock().unwrap().push(token);
                None
            }),
            stage(Stages::VDEV_IO_ASSESS, move |zio| {
                if zio.vdev.is_none() {
                    counted.fetch_add(1, Ordering::SeqCst);
                }
                let zio = zio.wait_children(ChildSet::VDEV, WaitType::Done)?;
                Some(zio)
            }),
            Arc::new(Ready),
            Arc::new(Done),
        ];
        let queue = Arc::new(Scrambled::new());
        let engine = Engine::new(zio_core::Parts {
            stages,
            queue: Arc::clone(&queue) as Arc<_>,
            reactors: Vec::new(),
            buffers: zio_core::BufferPool::new(),
            shared: Arc::new(()),
            hand_over,
        });
        for round in 1..=30 {
            let zio = engine.make(ZioType::Read, Flags::empty(), Stages::READ_PHYS);
            let handle = Request::new(zio).start();
            let tokens = std::mem::take(&mut *tokens.lock().unwrap());
            assert_eq!(tokens.len(), CHILDREN);
            let barrier = Barrier::new(CHILDREN);
            std::thread::scope(|scope| {
                for token in tokens {
                    let barrier = &barrier;
                    scope.spawn(move || {
                        barrier.wait();
                        token.finish(VdevDone { op: None, result: Ok(()) });
                    });
                }
            });
            while queue.step(&mut Rng(round)) {}
            handle.wait().unwrap();
            assert_eq!(runs.load(Ordering::SeqCst), 2 * round as usize, "once to wait, once after");
        }
        assert_eq!(engine.stats().handovers.get(), if hand_over { 30 } else { 0 });
        assert_eq!(engine.live(), 0);
        engine.close();
    }
}

#[test]
fn a_child_that_was_never_started_does_not_hold_its_parent() {
    let machine = new_machine();
    let plain = Plan {
        parents: Vec::new(),
        child_type: ChildType::Logical,
        road: Stages::INTERLOCK,
        flags: Flags::empty(),
        fails: None,
        fans_out: (0, 0),
        delivery: 0,
    };
    let root = machine.make(0, &plain);
    let child = machine.make(1, &plain).under(&root.as_parent());
    let handle = root.start();
    assert_eq!((handle.is_finished(), machine.engine.live()), (false, 2));
    drop(child);
    while machine.step(&mut Rng(0)) {}
    handle.wait().unwrap();
    assert_eq!(machine.engine.live(), 0);
    machine.engine.close();
}

/// A zio that a stage loses is reported as lost: to its handle, its parents, and theirs.
#[test]
fn a_zio_that_a_stage_loses_is_lost() {
    let lose = stage(Stages::VDEV_IO_START, |zio| {
        drop(zio);
        None
    });
    let queue = Arc::new(Scrambled::new());
    let stages = vec![lose, Arc::new(Ready) as _, Arc::new(Done) as _];
    let engine = engine(stages, Arc::clone(&queue) as Arc<_>, Vec::new());
    let null = || Request::new(engine.make(ZioType::Null, Flags::empty(), Stages::INTERLOCK));
    let root = null();
    let middle = null().under(&root.as_parent());
    let road = Stages::INTERLOCK | Stages::VDEV_IO_START;
    let lost = Request::new(engine.make(ZioType::Read, Flags::DONT_PROPAGATE, road));
    let lost = lost.under(&middle.as_parent());
    let (root, middle, lost) = (root.start(), middle.start(), lost.start());
    while queue.step(&mut Rng(0)) {}
    for handle in [lost, middle, root] {
        assert_eq!(handle.wait().unwrap_err().kind(), ErrorKind::Lost);
    }
    assert_eq!(engine.live(), 0);
    engine.close();
}

#[test]
fn links_that_cannot_be_are_refused() {
    let machine = new_machine();
    let other = new_machine();
    let make = |flags| machine.engine.make(ZioType::Null, flags, Stages::INTERLOCK);
    let refused = |parent: &zio_core::Parent, child: &mut zio_core::Zio| {
        let add = std::panic::AssertUnwindSafe(|| parent.add(child));
        let panic = std::panic::catch_unwind(add).expect_err("a link that cannot be");
        match panic.downcast::<String>() {
            Ok(message) => *message,
            Err(panic) => (*panic.downcast::<&str>().unwrap()).to_owned(),
        }
    };
    let mut logical = make(Flags::empty());
    let gang = make(Flags::GANG_CHILD);
    let message = refused(&gang.as_parent(), &mut logical);
    assert_eq!(message, "a Logical child for a Gang zio");
    let own = logical.as_parent();
    assert_eq!(refused(&own, &mut logical), "a zio as a child of its own");
    let stranger = other.engine.make(ZioType::Null, Flags::empty(), Stages::ROOT);
    assert_eq!(refused(&stranger.as_parent(), &mut logical), "a child of another engine");

    let mut over = make(Flags::empty());
    over.attachment = Some(Box::new(Work { index: 0, fails: None, fans_out: (0, 0) }));
    let parent = over.as_parent();
    over.start();
    assert_eq!(refused(&parent, &mut logical), "a child for a zio that is done");
    drop((logical, gang, stranger));
    machine.engine.close();
    other.engine.close();
}

/// A zio whose road loses READY on the way still tells its parents, at DONE.
#[test]
fn a_road_without_ready_is_ready_at_its_end() {
    let seen = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&seen);
    let stages: Vec<Arc<dyn Stage>> = vec![
        stage(Stages::READ_BP_INIT, |mut zio| {
            zio.become_pipeline(Stages::ROOT);
            Some(zio)
        }),
        stage(Stages::WRITE_COMPRESS, move |zio| {
            let zio = zio.wait_children(ChildSet::LOGICAL, WaitType::Ready)?;
            counted.fetch_add(1, Ordering::SeqCst);
            Some(zio)
        }),
        Arc::new(Ready),
        Arc::new(Done),
    ];
    let queue = Arc::new(Scrambled::new());
    let engine = engine(stages, Arc::clone(&queue) as Arc<_>, Vec::new());
    let road = Stages::INTERLOCK | Stages::WRITE_COMPRESS;
    let parent = Request::new(engine.make(ZioType::Write, Flags::empty(), road));
    let child = engine.make(ZioType::Read, Flags::empty(), Stages::READ);
    let child = Request::new(child).under(&parent.as_parent());
    let parent = parent.start();
    assert_eq!(seen.load(Ordering::SeqCst), 0, "it waits for its child's pointer");
    child.start().wait().unwrap();
    while queue.step(&mut Rng(0)) {}
    parent.wait().unwrap();
    assert_eq!((seen.load(Ordering::SeqCst), engine.live()), (1, 0));
    engine.close();
}

/// Children that a stage does not ask for go back to the engine all the same.
#[test]
fn children_nobody_asks_for_are_recycled() {
    let stages: Vec<Arc<dyn Stage>> = vec![
        stage(Stages::READ_BP_INIT, |zio| {
            for _ in 0..3 {
                Engine::make_vdev_child(&zio, ZioType::Read, VdevId(0), 0, Stages::ROOT).start();
            }
            Some(zio)
        }),
        // Looks at the first three, leaves two of them, and makes three more.
        stage(Stages::DDT_READ_START, |zio| {
            let mut zio = zio.wait_children(ChildSet::VDEV, WaitType::Done)?;
            assert_eq!(zio.take_finished_child().map(|child| child.get().slot), Some(0));
            for _ in 0..3 {
                let ty = ZioType::Read;
                let mut child = Engine::make_vdev_child(&zio, ty, VdevId(0), 0, Stages::ROOT);
                child.slot = 1;
                child.start();
            }
            Some(zio)
        }),
        stage(Stages::DDT_READ_DONE, |zio| {
            let mut zio = zio.wait_children(ChildSet::VDEV, WaitType::Done)?;
            let slots: Vec<u32> = std::iter::from_fn(|| zio.take_finished_child())
                .map(|child| child.get().slot)
                .collect();
            assert_eq!(slots, [1, 1, 1, 0, 0], "last come first");
            Some(zio)
        }),
        Arc::new(Ready),
        Arc::new(Done),
    ];
    let queue = Arc::new(Scrambled::new());
    let engine = engine(stages, Arc::clone(&queue) as Arc<_>, Vec::new());
    let zio = engine.make(ZioType::Read, Flags::empty(), Stages::DDT_READ);
    Request::new(zio).start().wait().unwrap();
    engine.close();
}

/// Parents that wait for READY continue on the ISSUE side, never in the thread
/// that made the child ready.
#[test]
fn a_parent_that_waited_for_ready_goes_to_a_queue() {
    let machine = new_machine();
    let plan = |child_type, road, parents| Plan {
        parents,
        child_type,
        road,
        flags: Flags::empty(),
        fails: None,
        fans_out: (0, 0),
        delivery: 0,
    };
    let road = Stages::INTERLOCK | Stages::WRITE_COMPRESS;
    let parent = machine.make(0, &plan(ChildType::Logical, road, Vec::new()));
    let child = plan(ChildType::Logical, Stages::INTERLOCK, vec![0]);
    let child = machine.make(1, &child).under(&parent.as_parent());
    let parent = parent.start();
    let before = machine.engine.stats().dispatches.get();
    let child = child.start();
    assert!(child.is_finished() && !parent.is_finished());
    assert_eq!(machine.engine.stats().dispatches.get(), before + 1);
    assert_eq!(*machine.events.lock().unwrap(), [Event::Ready(1), Event::Done(1)]);
    assert!(machine.queue.step(&mut Rng(0)));
    parent.wait().unwrap();
    child.wait().unwrap();
    assert_eq!(machine.queue.on_worker(), None::<(ZioType, QueueKind)>);
    machine.engine.close();
}
