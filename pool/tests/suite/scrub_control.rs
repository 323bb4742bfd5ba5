//! Pause, go on, cancel: states, not a kill (C17).

use pool::scrub::{Config, Scrub, State};
use vdev_sim::{Machine, Rng, explore};
use zio_pipeline::Pipeline;

use crate::common::{World, noise};
use crate::scrub::{draw_config, listed, plant, write_blocks};

#[test]
fn it_pauses_goes_on_and_is_cancelled_at_any_point() {
    explore(0..60, |machine| {
        let mut rng = Rng::new(machine.seed());
        let world = World::draw(machine, &mut rng);
        let pipeline = world.pipeline();
        let blocks = write_blocks(&pipeline, &mut rng, 60);
        let planted = plant(&world, &mut rng, &blocks);
        let cancels = rng.coin();
        let mut scrub = Scrub::new(&pipeline, listed(&blocks), draw_config(&mut rng));
        let control = scrub.control();
        let mut pauses = 0;
        let state = loop {
            match rng.below(20) {
                0 => control.pause(),
                1 if cancels => control.cancel(),
                _ => {}
            }
            match scrub.step() {
                State::Working => world.turn(),
                State::Paused => {
                    // Nothing is under way, and nothing begins by itself.
                    assert_eq!(pipeline.live(), 0);
                    let before = scrub.stats();
                    assert_eq!(scrub.run(), State::Paused);
                    assert_eq!(scrub.stats(), before);
                    pauses += 1;
                    control.resume();
                }
                over => break over,
            }
        };
        assert_eq!(pipeline.live(), 0);
        let checkpoint = scrub.checkpoint().clone();
        if state == State::Done {
            assert_eq!(scrub.stats().repaired, planted, "after {pauses} pauses");
            return;
        }
        assert_eq!(state, State::Cancelled);
        control.resume();
        assert_eq!(scrub.run(), State::Cancelled, "cancelled is for good");
        // Another one goes on from there.
        drop(scrub);
        let behind = checkpoint.position.map_or(0, |last| last + 1);
        let rest = listed(&blocks).skip(behind);
        let mut scrub = Scrub::resume(&pipeline, rest, Config::default(), checkpoint);
        assert_eq!(scrub.run(), State::Done);
        assert_eq!(pipeline.healed().copies, planted);
        let counted = scrub.stats();
        assert_eq!(counted.blocks + counted.met_before, 60);
    });
}

#[test]
fn paused_or_cancelled_it_starts_nothing_more() {
    for cancels in [false, true] {
        let machine = Machine::new(1);
        let world = World::new(&machine, &[1]);
        let pipeline = world.pipeline();
        let blocks: Vec<_> =
            (0..40).map(|n| pipeline.write(noise(n, 8192)).wait().unwrap()).collect();
        let mut config = Config::default();
        config.in_flight_blocks_max = 5;
        let mut scrub = Scrub::new(&pipeline, listed(&blocks), config);
        let control = scrub.control();
        assert_eq!(scrub.step(), State::Working);
        if cancels {
            control.cancel();
        } else {
            control.pause();
        }
        let over = scrub.run();
        assert_eq!(over, if cancels { State::Cancelled } else { State::Paused });
        assert_eq!((scrub.stats().blocks, pipeline.live()), (5, 0));
        assert_eq!(scrub.checkpoint().position, None);
        control.resume();
        assert_eq!(scrub.run(), if cancels { State::Cancelled } else { State::Done });
        assert_eq!(scrub.stats().blocks, if cancels { 5 } else { 40 });
    }
}

#[test]
fn a_scrub_on_files_is_paused_and_cancelled_from_another_thread() {
    let dir = tempfile::tempdir().unwrap();
    let pipeline = Pipeline::builder().create(dir.path().join("disk"), 64 << 20).build().unwrap();
    let blocks = write_blocks(&pipeline, &mut Rng::new(1), 200);
    let mut config = Config::default();
    config.in_flight_blocks_max = 1;
    config.collect_bytes_max = 1;
    let mut scrub = Scrub::new(&pipeline, listed(&blocks), config.clone());
    let control = scrub.control();
    std::thread::scope(|scope| {
        scope.spawn(|| control.pause());
        // It may be through before the pause comes.
        let state = scrub.run();
        assert!(matches!(state, State::Paused | State::Done), "{state:?}");
    });
    control.resume();
    assert_eq!(scrub.run(), State::Done);
    let stats = scrub.stats();
    assert_eq!((stats.blocks + stats.met_before, stats.unrecoverable), (200, 0));

    let mut scrub = Scrub::new(&pipeline, listed(&blocks), config);
    scrub.control().cancel();
    assert_eq!((scrub.run(), scrub.stats().blocks), (State::Cancelled, 0));
    assert_eq!(scrub.checkpoint().position, None);
}

#[test]
fn inside_a_callback_it_does_not_wait_for_itself() {
    let machine = Machine::new(1);
    let world = World::new(&machine, &[1]);
    let pipeline = std::sync::Arc::new(world.pipeline());
    let blocks = write_blocks(&pipeline, &mut Rng::new(1), 5);
    let (inner, list) = (std::sync::Arc::clone(&pipeline), blocks.clone());
    pipeline.flush().nowait(move |_| {
        let mut scrub = Scrub::new(&inner, listed(&list), Config::default());
        assert_eq!(scrub.run(), State::Working);
    });
    machine.run_until_idle();
}
