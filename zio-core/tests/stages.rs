//! Stages and pipelines: A1, A2 (spec 1.5, 1.6, 1.8).

mod support {
    pub(crate) mod engine;
    pub(crate) mod immediate;
    pub(crate) mod stage;
}

use std::sync::{Arc, Mutex};

use proptest::prelude::*;
use support::{engine::engine, immediate::Immediate, stage::stage};
use zio_core::stages::{PIPELINES, STAGE_COUNT, stage_table};
use zio_core::{Done, Engine, Flags, Next, Ready, Request, Stage, Stages, ZioBox, ZioType};

/// Spec 1.5: all stages of the base, in order, with the types that use them.
const STAGES: [(&str, &str); STAGE_COUNT] = [
    ("OPEN", "RWFCIT"),
    ("READ_BP_INIT", "R"),
    ("WRITE_BP_INIT", "W"),
    ("FREE_BP_INIT", "F"),
    ("ISSUE_ASYNC", "WFT"),
    ("WRITE_COMPRESS", "W"),
    ("ENCRYPT", "W"),
    ("CHECKSUM_GENERATE", "W"),
    ("NOP_WRITE", "W"),
    ("DDT_READ_START", "R"),
    ("DDT_READ_DONE", "R"),
    ("DDT_WRITE", "W"),
    ("DDT_FREE", "F"),
    ("GANG_ASSEMBLE", "RWFC"),
    ("GANG_ISSUE", "RWFC"),
    ("DVA_THROTTLE", "W"),
    ("DVA_ALLOCATE", "W"),
    ("DVA_FREE", "F"),
    ("DVA_CLAIM", "C"),
    ("READY", "RWFCIT"),
    ("VDEV_IO_START", "RWIT"),
    ("VDEV_IO_DONE", "RWT"),
    ("VDEV_IO_ASSESS", "RWIT"),
    ("CHECKSUM_VERIFY", "R"),
    ("DONE", "RWFCIT"),
];

/// Spec 1.6, base: name, stages in execution order. Bracketed stages of the
/// spec (gang pair, NOP_WRITE, the ISSUE_ASYNC of some frees) join later.
const ROADS: [(&str, &str); 17] = [
    ("INTERLOCK", "READY DONE"),
    ("ROOT", "DONE"),
    ("VDEV_CHILD", "VDEV_IO_START VDEV_IO_DONE VDEV_IO_ASSESS DONE"),
    ("READ_PHYS", "READY VDEV_IO_START VDEV_IO_DONE VDEV_IO_ASSESS CHECKSUM_VERIFY DONE"),
    ("READ", "READ_BP_INIT READY VDEV_IO_START VDEV_IO_DONE VDEV_IO_ASSESS CHECKSUM_VERIFY DONE"),
    ("DDT_CHILD_READ", "READY VDEV_IO_START VDEV_IO_DONE VDEV_IO_ASSESS CHECKSUM_VERIFY DONE"),
    ("DDT_READ", "READ_BP_INIT DDT_READ_START DDT_READ_DONE READY DONE"),
    (
        "WRITE_PHYS",
        "ISSUE_ASYNC CHECKSUM_GENERATE READY VDEV_IO_START VDEV_IO_DONE VDEV_IO_ASSESS DONE",
    ),
    (
        "REWRITE",
        "WRITE_BP_INIT ISSUE_ASYNC WRITE_COMPRESS ENCRYPT CHECKSUM_GENERATE READY VDEV_IO_START \
         VDEV_IO_DONE VDEV_IO_ASSESS DONE",
    ),
    (
        "WRITE",
        "WRITE_BP_INIT ISSUE_ASYNC WRITE_COMPRESS ENCRYPT CHECKSUM_GENERATE DVA_THROTTLE \
         DVA_ALLOCATE READY VDEV_IO_START VDEV_IO_DONE VDEV_IO_ASSESS DONE",
    ),
    (
        "DDT_CHILD_WRITE",
        "DVA_THROTTLE DVA_ALLOCATE READY VDEV_IO_START VDEV_IO_DONE VDEV_IO_ASSESS DONE",
    ),
    (
        "DDT_WRITE",
        "WRITE_BP_INIT ISSUE_ASYNC WRITE_COMPRESS ENCRYPT CHECKSUM_GENERATE DDT_WRITE READY DONE",
    ),
    ("FREE", "FREE_BP_INIT DVA_FREE READY DONE"),
    ("DDT_FREE", "FREE_BP_INIT ISSUE_ASYNC DDT_FREE READY DONE"),
    ("CLAIM", "DVA_CLAIM READY DONE"),
    ("IOCTL", "READY VDEV_IO_START VDEV_IO_ASSESS DONE"),
    ("TRIM", "ISSUE_ASYNC READY VDEV_IO_START VDEV_IO_DONE VDEV_IO_ASSESS DONE"),
];

#[test]
fn stages_stand_in_the_order_of_the_spec() {
    let ours: Vec<_> = Stages::all()
        .ordered()
        .map(|stage| (stage.name(), stage.users().replace('-', "")))
        .collect();
    let spec: Vec<_> = STAGES.map(|(name, users)| (name, users.to_owned())).into();
    assert_eq!(ours, spec);
}

#[test]
fn pipelines_are_those_of_the_spec() {
    for ((name, _, stages), (spec_name, road)) in PIPELINES.into_iter().zip(ROADS) {
        assert_eq!(name, spec_name);
        let ours: Vec<_> = stages.ordered().map(Stages::name).collect();
        assert_eq!(ours, road.split_whitespace().collect::<Vec<_>>(), "{name}");
    }
    assert_eq!(
        Stages::VDEV_CHILD_VERIFY,
        Stages::VDEV_CHILD | Stages::CHECKSUM_VERIFY,
        "a vdev read that was given the pointer verifies before DONE"
    );
    assert_eq!(Stages::GANG, Stages::GANG_ASSEMBLE | Stages::GANG_ISSUE);
}

#[test]
fn every_pipeline_uses_only_stages_of_its_type() {
    for (name, ty, stages) in PIPELINES {
        let letter = match ty {
            ZioType::Null => continue,
            ZioType::Read => 'R',
            ZioType::Write => 'W',
            ZioType::Free => 'F',
            ZioType::Claim => 'C',
            ZioType::Ioctl => 'I',
            ZioType::Trim => 'T',
        };
        for stage in stages.ordered() {
            assert!(stage.users().contains(letter), "{name} runs {}", stage.name());
        }
    }
}

/// The printed table is part of the documentation. When a stage or pipeline
/// changes on purpose, put what this test prints into the file.
#[test]
fn printed_table_is_golden() {
    let printed = stage_table();
    assert_eq!(printed, include_str!("golden/stages.md"), "printed now:\n{printed}");
}

#[test]
fn a_set_has_no_name_of_its_own() {
    assert_eq!(Stages::empty().name(), "none");
    assert_eq!(Stages::empty().users(), "------");
    assert_eq!(Stages::READ.name(), "READ_BP_INIT", "the name of the lowest");
}

/// An engine whose stages all write their name down.
fn recorder() -> (Arc<Engine>, Arc<Mutex<Vec<Stages>>>) {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let stages = Stages::all().ordered().filter(|s| *s != Stages::OPEN).map(|bit| {
        let seen = Arc::clone(&seen);
        let work: Box<dyn Fn(ZioBox) -> Next + Send + Sync> = match bit {
            Stages::READY => Box::new(|zio| Ready.run(zio)),
            Stages::DONE => Box::new(|zio| Done.run(zio)),
            _ => Box::new(Some),
        };
        stage(bit, move |zio| {
            assert_eq!(zio.stage(), bit, "the zio knows where it is");
            seen.lock().unwrap().push(bit);
            work(zio)
        })
    });
    (engine(stages.collect(), Arc::new(Immediate), Vec::new()), seen)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn order_is_lowest_bit_first(bits in 0_u32..1 << STAGE_COUNT, at in 0..STAGE_COUNT) {
        let set = Stages::from_bits_retain(bits);
        let ascending: Vec<u32> = (0..32).map(|i| 1 << i).filter(|b| bits & b != 0).collect();
        prop_assert_eq!(set.ordered().map(|s| s.bits()).collect::<Vec<_>>(), &ascending[..]);
        let next = ascending.iter().copied().find(|b| *b > 1 << at);
        let ours = set.next_after(Stages::from_bits_retain(1 << at)).map(|s| s.bits());
        prop_assert_eq!(ours, next);
    }

    #[test]
    fn executor_runs_exactly_the_mask(bits in 0_u32..1 << STAGE_COUNT) {
        let mask = Stages::from_bits_retain(bits) | Stages::DONE;
        let road: Vec<_> = mask.ordered().filter(|s| *s != Stages::OPEN).collect();
        let (engine, seen) = recorder();
        let finished = Request::new(engine.make(ZioType::Null, Flags::empty(), mask)).wait();
        let traced = finished.map(|f| f.get().traced());
        prop_assert_eq!(traced.unwrap(), mask - Stages::OPEN);
        prop_assert_eq!(&*seen.lock().unwrap(), &road);
        prop_assert_eq!(engine.live(), 0);
        engine.close();
    }
}

/// Changing the road in flight: only what lies ahead can be added or dropped.
#[test]
fn a_stage_may_change_the_road_ahead() {
    let (plain, seen) = recorder();
    let stages: Vec<Arc<dyn Stage>> = vec![
        stage(Stages::READ_BP_INIT, |mut zio| {
            zio.add_stages(Stages::ENCRYPT);
            zio.drop_stages(Stages::CHECKSUM_VERIFY);
            Some(zio)
        }),
        stage(Stages::ENCRYPT, |mut zio| {
            // Once back, then on.
            if zio.tried == 0 {
                zio.tried = 1;
                zio.rerun_from(Stages::READ_BP_INIT);
            } else {
                zio.become_interlock();
            }
            Some(zio)
        }),
        Arc::new(Ready),
        Arc::new(Done),
    ];
    let changing = engine(stages, Arc::new(Immediate), Vec::new());
    let pipeline = Stages::READ | Stages::CHECKSUM_VERIFY;
    let request = Request::new(changing.make(ZioType::Read, Flags::empty(), pipeline));
    let finished = request.wait().unwrap();
    assert_eq!(
        finished.get().traced(),
        Stages::READ_BP_INIT | Stages::ENCRYPT | Stages::READY | Stages::DONE
    );
    assert_eq!(finished.get().tried, 1);

    // From OPEN there is no way further back.
    let mut zio = plain.make(ZioType::Null, Flags::empty(), Stages::ROOT);
    zio.rerun_from(Stages::OPEN);
    assert_eq!(Request::new(zio).wait().unwrap().get().traced(), Stages::ROOT);
    assert_eq!(*seen.lock().unwrap(), [Stages::DONE]);
}

#[test]
#[should_panic(expected = "a stage object is one stage")]
fn an_engine_refuses_a_stage_that_is_two() {
    engine(vec![stage(Stages::INTERLOCK, Some)], Arc::new(Immediate), Vec::new());
}
