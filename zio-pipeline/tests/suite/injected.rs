//! Every stage fails, in every operation, and everything ends in order (A18, A9).

use vdev_sim::{DiskConfig, Rng};
use zio_core::{Stages, ZioType};
use zio_pipeline::inject::{Action, Injections, StageFault};
use zio_pipeline::{
    BlockPointer, Builder, Checksum, Compression, Error, ErrorKind, Mirror, Pipeline, VdevId,
};

use crate::common::{MIB, Sim, compressible, noise};

/// A pipeline of two mirrors of two, whose space is in small pieces for `gangs`.
fn pool(sim: &Sim, faults: &Injections, gangs: bool) -> Pipeline {
    let machine = sim.machine.clone();
    let sides = |pair: &[std::sync::Arc<vdev_sim::SimDisk>]| {
        pair.iter().fold(Mirror::new(), |m, disk| m.vdev(std::sync::Arc::clone(disk) as _))
    };
    let builder = sim.disks.chunks(2).fold(Builder::default(), |b, pair| b.mirror(sides(pair)));
    let pipeline = builder
        .task_queue(sim.machine.queue())
        .clock(move || machine.now_ns())
        .ashift(9)
        .inject(faults)
        .build()
        .unwrap();
    if gangs {
        // Islands of four KiB in a sea of allocated ones.
        let mut blocks = Vec::new();
        while let Ok(bp) = pipeline.write(noise(1, 128 << 10)).wait() {
            blocks.push(bp);
        }
        let mut small = Vec::new();
        for bp in blocks.drain(..8) {
            pipeline.free(&bp).wait().unwrap();
        }
        while let Ok(bp) = pipeline.write(noise(2, 4096)).wait() {
            small.push(bp);
        }
        for bp in small.iter().step_by(2) {
            pipeline.free(bp).wait().unwrap();
        }
    }
    pipeline
}

const DATA_BYTES: usize = 24 << 10;

fn data() -> Vec<u8> {
    compressible(3, DATA_BYTES)
}

type Operation = fn(&Pipeline, &BlockPointer) -> Result<Option<BlockPointer>, Error>;

/// Each operation on a block that is there, with the block it leaves behind, if it makes one.
const OPERATIONS: [(&str, Operation); 9] = [
    ("read", |pipeline, bp| {
        let read = pipeline.read(bp).wait()?;
        assert!(read == data());
        Ok(None)
    }),
    ("read every copy", |pipeline, bp| {
        let read = pipeline.read(bp).every_copy().wait()?;
        assert!(read == data());
        Ok(None)
    }),
    ("write", |pipeline, _| pipeline.write(data()).wait().map(Some)),
    ("write, packed", |pipeline, _| {
        pipeline.write(data()).compression(Compression::Lz4).copies(2).wait().map(Some)
    }),
    ("write, shared", |pipeline, _| {
        pipeline.write(data()).checksum(Checksum::Sha256).dedup(true).wait().map(Some)
    }),
    ("claim what is taken", |pipeline, bp| pipeline.claim(bp).wait().map(|()| None)),
    ("flush", |pipeline, _| pipeline.flush().wait().map(|()| None)),
    ("trim what is taken", |pipeline, _| {
        pipeline.trim(VdevId(0), 0, 60 * MIB / 4).wait().map(|()| None)
    }),
    ("group", |pipeline, bp| {
        let group = pipeline.root();
        let read = pipeline.read(bp).under(group.parent()).start()?;
        let result = group.wait();
        drop(read);
        result.map(|()| None)
    }),
];

fn each_fault(mut test: impl FnMut(Stages, Action)) {
    for stage in Stages::all().iter().filter(|stage| *stage != Stages::OPEN) {
        for action in [
            Action::Fail(ErrorKind::Io),
            Action::Fail(ErrorKind::Checksum),
            Action::Fail(ErrorKind::NoSpace),
            Action::Corrupt,
            Action::Panic,
        ] {
            test(stage, action);
        }
    }
}

/// What a fault may end in.
fn is_expected(error: &Error, action: Action) -> bool {
    match action {
        Action::Fail(kind) => {
            // A taken place is a taken place; a failed copy in a gang may be told as another's.
            [kind, ErrorKind::NotFound, ErrorKind::Io, ErrorKind::Invalid].contains(&error.kind())
        }
        Action::Panic => {
            [ErrorKind::Lost, ErrorKind::NotFound, ErrorKind::Io].contains(&error.kind())
        }
        _ => [ErrorKind::Checksum, ErrorKind::NotFound, ErrorKind::Invalid].contains(&error.kind()),
    }
}

/// They are part of the test, and need not be told.
fn keep_quiet_about_injected_panics() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        let tell = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            let words = panic.payload().downcast_ref::<String>();
            if !words.is_some_and(|words| words.starts_with("injected at")) {
                tell(panic);
            }
        }));
    });
}

fn every_stage_of_every_operation(gangs: bool) {
    keep_quiet_about_injected_panics();
    let faults = Injections::new();
    let sim = Sim::with(7, 4, DiskConfig::fixed(8 * MIB, 10_000));
    let pipeline = pool(&sim, &faults, gangs);
    let bp = pipeline.write(data()).compression(Compression::Off).wait().unwrap();
    assert_eq!(bp.is_gang(), gangs);
    let books = || (pipeline.allocated_bytes(), pipeline.dedup_references());
    let mut before = books();
    let mut hits = 0;
    each_fault(|stage, action| {
        for (name, operation) in OPERATIONS {
            for skip in 0..3 {
                let at = || format!("{name}, {action:?} at {} after {skip}", stage.name());
                let fault = faults.add(StageFault::new(stage, action).skip(skip));
                let run = || operation(&pipeline, &bp);
                let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(run));
                sim.machine.run_until_idle();
                hits += faults.hits(fault);
                faults.clear();
                assert_eq!(pipeline.live(), 0, "{}", at());
                match result {
                    Ok(Ok(Some(made))) => {
                        assert!(pipeline.read(&made).wait().unwrap() == data(), "{}", at());
                        pipeline.free(&made).wait().unwrap();
                    }
                    Ok(Ok(None)) => {}
                    Ok(Err(error)) => assert!(
                        is_expected(&error, action) || name.contains("taken"),
                        "{}: {error}",
                        at()
                    ),
                    // The panic itself comes out where a client's own thread ran the stage.
                    Err(_) => assert_eq!(action, Action::Panic, "{}", at()),
                }
                // Nothing has leaked, but for what a panic has cut off in the middle.
                if action == Action::Panic {
                    before = books();
                }
                assert_eq!(books(), before, "{}", at());
                assert!(pipeline.read(&bp).wait().unwrap() == data(), "{}", at());
                assert_eq!(pipeline.memory().lent(), 0, "{}", at());
            }
        }
    });
    assert!(hits > 300, "{hits}");
}

#[test]
fn every_stage_of_every_operation_on_plain_blocks() {
    every_stage_of_every_operation(false);
}

#[test]
fn every_stage_of_every_operation_on_gangs() {
    every_stage_of_every_operation(true);
}

/// A free that fails has changed nothing; one that goes well has given everything back.
#[test]
fn a_free_is_done_or_not() {
    for gangs in [false, true] {
        let faults = Injections::new();
        let sim = Sim::with(8, 4, DiskConfig::fixed(8 * MIB, 10_000));
        let pipeline = pool(&sim, &faults, gangs);
        let before = pipeline.allocated_bytes();
        for stage in Stages::all().iter().filter(|stage| *stage != Stages::OPEN) {
            let bp = pipeline.write(data()).wait().unwrap();
            let with = pipeline.allocated_bytes();
            faults.add(StageFault::new(stage, Action::Fail(ErrorKind::Io)).times(2));
            let freed = pipeline.free(&bp).wait();
            faults.clear();
            let now = pipeline.allocated_bytes();
            assert!(now == before || (now == with && freed.is_err()), "{stage:?}: {now}");
            if now == with {
                assert!(pipeline.read(&bp).wait().unwrap() == data());
                pipeline.free(&bp).wait().unwrap();
            }
        }
        assert_eq!(pipeline.allocated_bytes(), before);
    }
}

/// A device that says it has written and has not is found out by the next reader.
#[test]
fn an_ignored_write_is_never_given_out() {
    let faults = Injections::new();
    let sim = Sim::with(9, 4, DiskConfig::fixed(16 * MIB, 10_000));
    let pipeline = pool(&sim, &faults, false);
    let mut rng = Rng::new(9);
    for seed in 0..100 {
        let fault = StageFault::new(Stages::VDEV_IO_START, Action::Ignore).on(ZioType::Write);
        let ignored = rng.below(3);
        faults.add(fault.of_leaves(true).times(ignored));
        let bp = pipeline.write(noise(seed, 8192)).wait().unwrap();
        faults.clear();
        match pipeline.read(&bp).wait() {
            Ok(read) => assert!(read == noise(seed, 8192)),
            Err(error) => assert_eq!((error.kind(), ignored), (ErrorKind::Checksum, 2)),
        }
    }
}
