//! The executor: A3, A4, A9 (spec 1.8), routes (spec 5.1), and recycling.

mod support {
    pub(crate) mod immediate;
    pub(crate) mod rng;
    pub(crate) mod scrambled;
    pub(crate) mod stage;
}

use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex};

use support::{immediate::Immediate, rng::Rng, scrambled::Scrambled, stage::stage};
use zio_core::bp::ByteOrder;
use zio_core::task::Place;
use zio_core::{
    BlockPointer, Bookmark, BufferPool, ChildSet, Context, Data, Done, Engine, Error, ErrorKind,
    Flags, IssueAsync, Next, Parts, Priority, QueueKind, Ready, Request, Route, Stage, Stages,
    TaskQueue, Token, VdevDone, VdevId, WaitType, WriteProps, Zio, ZioBox, ZioType,
};

fn engine_with(
    mut stages: Vec<Arc<dyn Stage>>,
    queue: Arc<dyn TaskQueue<ZioBox>>,
    hand_over: bool,
) -> Arc<Engine> {
    stages.extend([Arc::new(Ready) as Arc<dyn Stage>, Arc::new(Done)]);
    let (buffers, shared) = (BufferPool::new(), Arc::new(()));
    Engine::new(Parts { stages, queue, reactors: Vec::new(), buffers, shared, hand_over })
}

/// A thread with as little stack as the platform gives.
fn on_a_small_stack(work: impl FnOnce() + Send + 'static) {
    std::thread::Builder::new().stack_size(64 << 10).spawn(work).unwrap().join().unwrap();
}

#[test]
fn a_chain_of_nested_zios_does_not_deepen_the_stack() {
    const DEPTH: usize = 5000;
    for adopted in [false, true] {
        on_a_small_stack(move || {
            let engine = engine_with(Vec::new(), Arc::new(Immediate), true);
            let make = || engine.make(ZioType::Null, Flags::empty(), Stages::INTERLOCK);
            let mut chain: Vec<ZioBox> = (0..DEPTH).map(|_| make()).collect();
            for i in 1..DEPTH {
                let (parents, children) = chain.split_at_mut(i);
                if adopted {
                    parents[i - 1].adopt(&mut children[0]);
                } else {
                    parents[i - 1].as_parent().add(&mut children[0]);
                }
            }
            let leaf = chain.pop().unwrap();
            let mut rest = chain.into_iter();
            let root = Request::new(rest.next().unwrap()).start();
            rest.for_each(Zio::start);
            assert_eq!(engine.live(), DEPTH);
            leaf.start();
            root.wait().unwrap();
            assert_eq!(engine.live(), 0);
            engine.close();
        });
    }
}

/// A wide tree whose children nobody takes, dropped by the thousand.
#[test]
fn many_children_that_came_home_do_not_deepen_the_stack() {
    on_a_small_stack(|| {
        let engine = engine_with(Vec::new(), Arc::new(Immediate), true);
        let root = engine.make(ZioType::Null, Flags::empty(), Stages::INTERLOCK);
        for _ in 0..5000 {
            Engine::make_vdev_child(&root, ZioType::Read, VdevId(0), 0, Stages::ROOT).start();
        }
        Request::new(root).wait().unwrap();

        // The parent is lost while its children are home already.
        let root = engine.make(ZioType::Null, Flags::empty(), Stages::INTERLOCK);
        for _ in 0..5000 {
            Engine::make_vdev_child(&root, ZioType::Read, VdevId(0), 0, Stages::ROOT).start();
        }
        drop(root);
        assert_eq!(engine.live(), 0);
        engine.close();
    });
}

/// A device that answers inside `start`.
fn instant() -> Arc<dyn Stage> {
    stage(Stages::VDEV_IO_START, |zio| {
        zio.park_for_device().finish(VdevDone { op: None, result: Ok(()) });
        None
    })
}

fn next_in_chain(engine: &Arc<Engine>, left: usize, done: Sender<()>) {
    let zio = engine.make(ZioType::Read, Flags::empty(), Stages::READ_PHYS);
    let again = Arc::clone(engine);
    Request::new(zio).nowait(Box::new(move |finished| {
        finished.result().unwrap();
        if left > 0 { next_in_chain(&again, left - 1, done) } else { done.send(()).unwrap() }
    }));
}

#[test]
fn a_device_that_answers_at_once_does_not_deepen_the_stack() {
    on_a_small_stack(|| {
        let engine = engine_with(vec![instant()], Arc::new(Immediate), true);
        let (sender, receiver) = channel();
        next_in_chain(&engine, 100_000, sender);
        receiver.try_recv().expect("the whole chain ran inside the first call");
        assert_eq!((engine.live(), engine.stats().entries_submit.get()), (0, 1));
        assert_eq!(engine.stats().zios.get(), 100_001);
        engine.close();
    });
}

/// Devices and queues under test hold their tokens here.
type Held = Arc<Mutex<Vec<Token>>>;

fn holding(held: &Held) -> Arc<dyn Stage> {
    let held = Arc::clone(held);
    stage(Stages::VDEV_IO_START, move |zio| {
        if zio.vdev.is_some() {
            let token = zio.park_for_device();
            held.lock().unwrap().push(token);
            return None;
        }
        let (ty, road) = (zio.ty(), Stages::VDEV_CHILD);
        Engine::make_vdev_child(&zio, ty, VdevId(0), 0, road).start();
        Some(zio)
    })
}

fn waiting_for_vdev() -> Arc<dyn Stage> {
    stage(Stages::VDEV_IO_DONE, |zio| zio.wait_children(ChildSet::VDEV, WaitType::Done))
}

/// Spec 1.8: the DONE stages of device, block and root zio run in one entry.
#[test]
fn a_read_of_one_leaf_completes_without_a_dispatch() {
    for (hand_over, dispatches) in [(true, 0), (false, 2)] {
        let held = Held::default();
        let queue = Arc::new(Scrambled::new());
        let stages = vec![holding(&held), waiting_for_vdev()];
        let engine = engine_with(stages, Arc::clone(&queue) as Arc<_>, hand_over);
        let root = Request::new(engine.make(ZioType::Null, Flags::empty(), Stages::ROOT));
        let read = engine.make(ZioType::Read, Flags::empty(), Stages::READ);
        let read = Request::new(read).under(&root.as_parent());
        let (read, root) = (read.start(), root.start());
        let token = held.lock().unwrap().pop().unwrap();
        std::thread::spawn(|| token.finish(VdevDone { op: None, result: Ok(()) })).join().unwrap();
        let stats = engine.stats();
        assert_eq!(stats.entries_completion.get(), 1);
        assert_eq!(stats.handovers.get(), if hand_over { 2 } else { 0 });
        while queue.step(&mut Rng(0)) {}
        assert_eq!(stats.dispatches.get(), dispatches);
        assert!(read.is_finished() && root.is_finished());
        assert_eq!(stats.zios.get(), 3);
        engine.close();
    }
}

/// A zio that waits for a device holds no thread: ten thousand of them, and one
/// worker with nothing to do.
#[test]
fn waiting_zios_hold_no_thread() {
    let held = Held::default();
    let queue = Arc::new(Scrambled::new());
    let stages = vec![holding(&held), waiting_for_vdev()];
    let engine = engine_with(stages, Arc::clone(&queue) as Arc<_>, true);
    let read = || engine.make(ZioType::Read, Flags::empty(), Stages::READ);
    let reads: Vec<_> = (0..10_000).map(|_| Request::new(read()).start()).collect();
    assert_eq!(engine.live(), 20_000);
    assert!(!queue.step(&mut Rng(0)), "nothing to do");
    assert!(reads.iter().all(|read| !read.is_finished()));
    for token in std::mem::take(&mut *held.lock().unwrap()) {
        token.finish(VdevDone { op: None, result: Ok(()) });
    }
    assert!(reads.into_iter().all(|read| read.wait().is_ok()));
    engine.close();
}

/// Heavy stages run on workers, unless the work is light and the thread is the client's.
#[test]
fn heavy_stages_never_run_where_completions_are_handled() {
    let seen: Arc<Mutex<Vec<(Context, bool)>>> = Arc::default();
    let log = Arc::clone(&seen);
    let queue = Arc::new(Scrambled::new());
    let stages: Vec<Arc<dyn Stage>> = vec![
        Arc::new(IssueAsync::new(|zio| zio.size_bytes < 4096)),
        stage(Stages::WRITE_COMPRESS, move |zio| {
            log.lock().unwrap().push((Context::current(), Context::is_executing()));
            Some(zio)
        }),
        instant(),
    ];
    let engine = engine_with(stages, Arc::clone(&queue) as Arc<_>, true);
    let road = Stages::WRITE_PHYS | Stages::WRITE_COMPRESS;
    let write = |size_bytes| {
        let mut zio = engine.make(ZioType::Write, Flags::empty(), road);
        zio.size_bytes = size_bytes;
        Request::new(zio)
    };
    let contexts = || {
        while queue.step(&mut Rng(0)) {}
        std::mem::take(&mut *seen.lock().unwrap())
    };
    assert_eq!((Context::current(), Context::is_executing()), (Context::Submit, false));
    drop(write(512).start());
    assert_eq!(contexts(), [(Context::Submit, true)], "light work stays");
    drop(write(1 << 20).start());
    assert_eq!(contexts(), [(Context::Task, true)], "heavy work goes to a worker");

    // Whatever a completion sets off is dispatched, light or not.
    let held = Held::default();
    let device = engine_with(vec![holding(&held), waiting_for_vdev()], Arc::new(Immediate), true);
    let (light, heavy) = (write(512), write(1 << 20));
    let read = device.make(ZioType::Read, Flags::empty(), Stages::READ);
    Request::new(read).nowait(Box::new(move |_| {
        drop(light.start());
        drop(heavy.start());
    }));
    let token = held.lock().unwrap().pop().unwrap();
    token.finish(VdevDone { op: None, result: Ok(()) });
    assert_eq!(contexts(), [(Context::Task, true); 2]);
    assert_eq!((Context::current(), Context::is_executing()), (Context::Submit, false));
    engine.close();
    device.close();
}

/// On a completion worker the blocking stages of a block's zio move to the
/// ISSUE side; the one that leads to the device cuts in line.
#[test]
fn blocking_stages_leave_completion_workers() {
    struct Recorder(Mutex<Vec<(ZioBox, Route)>>);
    impl TaskQueue<ZioBox> for Recorder {
        fn dispatch(&self, task: ZioBox, route: Route) {
            self.0.lock().unwrap().push((task, route));
        }
        fn on_worker(&self) -> Option<(ZioType, QueueKind)> {
            Some((ZioType::Read, QueueKind::InterruptHigh))
        }
        fn shutdown(&self) {}
    }
    let queue = Arc::new(Recorder(Mutex::default()));
    let engine = engine_with(Vec::new(), Arc::clone(&queue) as Arc<_>, true);
    let sent = |zio: ZioBox| {
        zio.start();
        let sent = queue.0.lock().unwrap().pop();
        sent.map(|(zio, route)| {
            // Finished without the executor, which would send it off again.
            drop(zio);
            (route.ty, route.kind, route.place)
        })
    };
    let make = |ty, road| engine.make(ty, Flags::empty(), road);
    let issue = QueueKind::Issue;
    assert_eq!(sent(make(ZioType::Read, Stages::READ)), Some((ZioType::Read, issue, Place::Front)));
    assert_eq!(
        sent(make(ZioType::Write, Stages::WRITE)),
        Some((ZioType::Write, issue, Place::Back))
    );
    assert_eq!(
        sent(make(ZioType::Claim, Stages::CLAIM)),
        Some((ZioType::Claim, issue, Place::Back))
    );
    assert_eq!(sent(make(ZioType::Free, Stages::FREE)), None);
    let vdev = engine.make_on_vdev(ZioType::Read, VdevId(0), 0, Flags::empty(), Stages::VDEV_CHILD);
    assert_eq!(sent(vdev), None, "a device's zio takes no lock");

    // Spec 5.1: who holds the configuration, and probes, use the NULL queue.
    for flags in [Flags::CONFIG_WRITER, Flags::PROBE] {
        let zio = engine.make(ZioType::Read, flags, Stages::READ);
        assert_eq!(sent(zio), Some((ZioType::Null, issue, Place::Front)));
    }
    let mut urgent = make(ZioType::Write, Stages::WRITE);
    urgent.priority = Priority::SyncWrite;
    assert_eq!(sent(urgent), Some((ZioType::Write, QueueKind::IssueHigh, Place::Back)));
    assert_eq!(engine.live(), 0);
}

fn public_state(zio: &Zio) -> impl PartialEq + std::fmt::Debug + use<> {
    let flow = (zio.stage(), zio.pipeline(), zio.traced(), zio.flags());
    let who = (zio.ty(), zio.child_type(), zio.priority, zio.txg, zio.bookmark, zio.props);
    let block = (zio.bp, zio.bp_before, zio.data.to_vec(), zio.size_bytes, zio.lsize_bytes);
    let device = (zio.vdev, zio.leaf, zio.offset_bytes, zio.answer.is_some(), zio.slots.is_some());
    let private = (zio.slot, zio.tried, zio.bad, zio.attachment.is_some(), zio.error.clone());
    (flow, who, block, device, private, zio.is_allocating())
}

/// Nothing of its former life is left in a recycled zio.
#[test]
fn a_recycled_zio_is_as_good_as_new() {
    let engine = engine_with(Vec::new(), Arc::new(Immediate), true);
    let make = || engine.make(ZioType::Free, Flags::CANFAIL, Stages::FREE);
    let mut used = make();
    let fresh = public_state(&used);
    let address = std::ptr::from_ref(&*used).addr();
    used.add_flags(Flags::all() - Flags::GODFATHER);
    used.priority = Priority::Scrub;
    used.txg = 7;
    used.bookmark = Bookmark { objset: 1, object: 2, level: 3, block: 4 };
    used.props = WriteProps {
        checksum: 8,
        compression: 15,
        compression_level: 3,
        object_type: 20,
        level: 1,
        copies: 3,
        dedup: true,
        dedup_verify: true,
        encrypt: true,
        replaces: true,
        nop_write: false,
        sync_pass: 2,
        uses_slop: true,
        class: Some(zio_core::SpaceClass::Log),
        leaves_reserve: true,
        small_block_bytes_max: 4096,
        order: ByteOrder::Big,
    };
    used.bp = BlockPointer::hole(4096, 1, 1, 1);
    used.bp_before = used.bp;
    used.data = engine.buffers().copy_of(b"secret").into();
    used.push_transform(None);
    used.data = Data::new();
    used.size_bytes = 512;
    used.lsize_bytes = 512;
    used.vdev = Some(VdevId(1));
    used.leaf = Some(1);
    used.offset_bytes = 512;
    used.answer = Some(VdevDone { op: None, result: Ok(()) });
    let counter = Arc::default();
    used.slots = zio_core::Slots::take(&counter, 10, 10);
    used.slot = 1;
    used.tried = 1;
    used.bad = 1;
    used.attachment = Some(Box::new(()));
    used.on_ready(Box::new(|_| ()));
    used.fail(Error::new(ErrorKind::Again));
    assert!(Request::new(used).start().wait().is_err());
    assert_eq!(counter.load(std::sync::atomic::Ordering::Relaxed), 0, "reservation given back");

    let again = make();
    assert_eq!(std::ptr::from_ref(&*again).addr(), address, "the same box");
    assert_eq!(public_state(&again), fresh);
    Request::new(again).wait().unwrap();
    engine.close();
}

fn plus_one(_: &Zio, current: Data, size_bytes: usize) -> Result<Data, Error> {
    let mut bytes = current.to_vec();
    bytes.iter_mut().for_each(|byte| *byte += 1);
    bytes.resize(size_bytes, 0);
    Ok(BufferPool::new().copy_of(&bytes).into())
}

fn refuse(_: &Zio, _: Data, _: usize) -> Result<Data, Error> {
    Err(Error::new(ErrorKind::Io))
}

#[test]
fn transforms_are_undone_last_first() {
    let engine = engine_with(Vec::new(), Arc::new(Immediate), true);
    let data = |bytes: &[u8]| Data::from(engine.buffers().copy_of(bytes));
    let run = |undo: &[(Option<zio_core::Undo>, &'static [u8])], error: Option<Error>| {
        let mut zio = engine.make(ZioType::Read, Flags::empty(), Stages::INTERLOCK);
        (zio.data, zio.size_bytes) = (data(b"\x00\x00\x00"), 3);
        for (undo, next) in undo {
            zio.push_transform(*undo);
            (zio.data, zio.size_bytes) = (data(next), next.len());
        }
        zio.error = error;
        let (sender, receiver) = channel();
        Request::new(zio).nowait(Box::new(move |mut finished| {
            let size_bytes = finished.get().size_bytes;
            let kind = finished.result().err().map(|error| error.kind());
            sender.send((finished.take_data().to_vec(), size_bytes, kind)).unwrap();
        }));
        receiver.recv().unwrap()
    };
    assert_eq!(run(&[(Some(plus_one), b"\x07\x08")], None), (vec![8, 9, 0], 3, None));
    let two: &[(Option<zio_core::Undo>, &'static [u8])] =
        &[(Some(plus_one), b"\x07\x08"), (Some(plus_one), b"\x01")];
    assert_eq!(run(two, None), (vec![3, 1, 0], 3, None), "the inner one fills up to two bytes");
    assert_eq!(run(&[(None, b"\x07")], None), (vec![0, 0, 0], 3, None), "the old data returns");
    let (_, size, kind) = run(&[(Some(plus_one), b"\x07"), (Some(refuse), b"\x01")], None);
    assert_eq!((size, kind), (3, Some(ErrorKind::Io)));
    let error = Error::new(ErrorKind::Checksum);
    let (_, size, kind) = run(&[(Some(refuse), b"\x01")], Some(error));
    assert_eq!((size, kind), (3, Some(ErrorKind::Checksum)), "nothing is computed after an error");
    engine.close();
}

/// A callback may start work of another engine; it is executed and submitted too.
#[test]
fn two_engines_on_one_thread() {
    let outer = engine_with(vec![instant()], Arc::new(Immediate), true);
    let inner = engine_with(vec![instant()], Arc::new(Immediate), true);
    let (sender, receiver) = channel();
    let read = |engine: &Arc<Engine>| {
        Request::new(engine.make(ZioType::Read, Flags::empty(), Stages::READ_PHYS))
    };
    let (first, second) = (read(&outer), read(&inner));
    first.nowait(Box::new(move |_| {
        second.nowait(Box::new(move |finished| sender.send(finished.result().is_ok()).unwrap()));
    }));
    assert_eq!(receiver.try_recv(), Ok(true));
    assert_eq!((outer.live(), inner.live()), (0, 0));
    outer.close();
    inner.close();
}

/// NODATA: allocates only; a gang's headers are written all the same.
#[test]
fn nodata_skips_the_device() {
    let device = stage(Stages::VDEV_IO_START, |mut zio| -> Next {
        zio.tried = 1;
        Some(zio)
    });
    let engine = engine_with(vec![device], Arc::new(Immediate), true);
    for gang in [false, true] {
        let mut zio = engine.make(ZioType::Write, Flags::NODATA, Stages::WRITE_PHYS);
        zio.bp.set_dva(0, zio_core::Dva::new(VdevId(0), 0, 512).with_gang(gang));
        let finished = Request::new(zio).wait().unwrap();
        assert_eq!(finished.get().tried, u64::from(gang));
        assert_eq!(finished.get().flags().contains(Flags::NODATA), !gang);
    }
    engine.close();
}

#[test]
fn an_io_that_is_dropped_is_answered_as_lost() {
    let held = Held::default();
    let engine = engine_with(vec![holding(&held), waiting_for_vdev()], Arc::new(Immediate), true);
    let road = Stages::VDEV_CHILD;
    let zio = engine.make_on_vdev(ZioType::Read, VdevId(0), 0, Flags::empty(), road);
    let handle = Request::new(zio).start();
    // Dropped without an answer: that is one, too.
    drop(held.lock().unwrap().pop());
    let finished = handle.wait().unwrap();
    let answer = finished.get().answer.as_ref().unwrap();
    assert!(answer.op.is_none());
    assert_eq!(
        answer.result.as_ref().unwrap_err().kind(),
        zio_core::VdevErrorKind::Lost,
        "the stage sees it as an answer of the device"
    );
    engine.close();
}
