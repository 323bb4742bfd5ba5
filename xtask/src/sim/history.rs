//! The history of a seed: lives of a pool, and how they end.

use vdev_sim::Rng;
use zio_pipeline::inject::Injections;
use zio_pipeline::{ErrorKind, Pipeline, Txg, TxgRanges, VdevId};

use super::group::Op;
use super::judge::{Excuses, Live};
use super::tally::Tally;
use super::world::World;

const SECOND_NS: u64 = 1_000_000_000;

pub(super) struct History {
    pub(super) rng: Rng,
    pub(super) world: World,
    pub(super) live: Vec<Live>,
    pub(super) tally: Tally,
    pub(super) faults_are_on: bool,
    pub(super) injections: Injections,
    pub(super) injected_faults: Vec<usize>,
    /// I/O has been given up in this life.
    pub(super) gave_up: bool,
    /// Repairs have failed since the last resilver.
    pub(super) repairs_failed: bool,
    /// What leaves had missed when the last life ended.
    pub(super) missing: Vec<(VdevId, usize, TxgRanges)>,
    tell: bool,
}

/// A pipeline that is not closed in the middle of a panic: what has gone wrong may keep it from
/// closing, and the panic is to be told.
pub(super) struct Open(Option<Pipeline>);

impl std::ops::Deref for Open {
    type Target = Pipeline;

    fn deref(&self) -> &Pipeline {
        self.0.as_ref().expect("open until it is dropped")
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        if std::thread::panicking() {
            std::mem::forget(self.0.take());
        }
    }
}

/// How a life ends.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Calm,
    PowerCut,
    CloseNow,
}

impl History {
    pub(super) fn new(seed: u64, tell: bool) -> Self {
        let mut rng = Rng::stream(seed, 0x7a10);
        let world = World::draw(seed, &mut rng);
        let machine = world.machine.clone();
        let injections =
            Injections::with_alarm(move |delay, ring| machine.after(delay.as_nanos() as u64, ring));
        let me = Self {
            rng,
            world,
            live: Vec::new(),
            tally: Tally::default(),
            faults_are_on: false,
            injections,
            injected_faults: Vec::new(),
            gave_up: false,
            repairs_failed: false,
            missing: Vec::new(),
            tell,
        };
        me.say(|| format!("{:?} disks: {}", me.world.honesty, me.world));
        me
    }

    pub(super) fn say(&self, words: impl Fn() -> String) {
        if self.tell {
            println!("{:>12} ns  {}", self.world.machine.now_ns(), words());
        }
    }

    pub(super) fn run(mut self) -> Tally {
        let lives = 1 + self.rng.below(3);
        for life in 0..lives {
            let pipeline = self.open(1 + life);
            self.claim_all(&pipeline);
            self.faults(true);
            for _ in 0..4 + self.rng.below(8) {
                self.one_group(&pipeline);
            }
            self.calm(&pipeline);
            self.hostile_pointers(&pipeline);
            let end = match self.rng.below(6) {
                0 | 1 if life + 1 < lives => End::PowerCut,
                2 => End::CloseNow,
                _ => End::Calm,
            };
            match end {
                End::PowerCut => self.power_cut(&pipeline),
                End::CloseNow => self.close_now(&pipeline),
                End::Calm => {}
            }
            self.faults(false);
            if end == End::Calm {
                self.read_all(&pipeline);
                if self.rng.coin() {
                    self.resilver(&pipeline);
                }
            }
            self.check_books(&pipeline);
            self.tally.healed += pipeline.healed().copies;
            self.keep_missing(&pipeline);
            self.end(pipeline);
            // A client forgets pointers it had not made durable. Here most are
            // kept, to see that they give the right data or none; but a shared
            // block that may be gone must not be claimed, or others would share it.
            self.live.retain(|live| !(live.shaken && live.bp.is_dedup()));
        }
        let pipeline = self.open(100);
        self.claim_all(&pipeline);
        self.read_all(&pipeline);
        self.resilver(&pipeline);
        self.free_all(&pipeline);
        self.end(pipeline);
        self.tally.steps = self.world.machine.steps();
        self.tally
    }

    fn open(&mut self, txg: Txg) -> Open {
        self.say(|| format!("opened in txg {txg}"));
        self.gave_up = false;
        let pipeline = self.world.open(&mut self.rng, txg, &self.injections);
        for (vdev, leaf, missing) in &self.missing {
            pipeline.set_missing(*vdev, *leaf, missing).expect("a leaf");
        }
        Open(Some(pipeline))
    }

    /// Once its disks have given everything back, a pipeline that is gone has left nothing behind.
    fn end(&mut self, pipeline: Open) {
        let memory = pipeline.memory().clone();
        drop(pipeline);
        self.world.all_online();
        self.world.machine.run_until_idle();
        assert_eq!(memory.lent(), 0, "buffers are left over");
    }

    fn one_group(&mut self, pipeline: &Pipeline) {
        let ops = self.draw_ops(pipeline);
        let injected = self.inject();
        let group = self.start_group(pipeline, ops);
        let ended = self.drive(pipeline, &group.controls, &|| group.is_done());
        let (live, suspended) = (pipeline.live(), pipeline.suspended().requests);
        assert!(ended, "stuck, {live} live, {suspended} suspended: {:?}", group.unfinished());
        self.stop_injecting();
        self.judge(&group, Excuses { injected, cut_off: false });
        if self.rng.coin() {
            self.calm(pipeline);
        }
        if self.rng.chance(200) {
            pipeline.end_txg();
            self.world.end_txg();
        }
    }

    /// The power fails while a group is under way. Its requests still end,
    /// each once; what was not durable may be gone.
    fn power_cut(&mut self, pipeline: &Pipeline) {
        self.tally.power_cuts += 1;
        let mut ops = self.draw_ops(pipeline);
        ops.retain(|op| !matches!(op, Op::Free(_)));
        let group = self.start_group(pipeline, ops);
        let rounds = self.rng.below(20);
        self.disturb(pipeline, &group.controls, rounds, &|| group.is_done());
        self.say(|| "power cut".to_owned());
        self.world.machine.power_cut();
        self.world.faults_off();
        if !self.world.machine.run_until(|| group.is_done()) {
            // It waits for devices that nobody will bring back in this life.
            pipeline.close_now();
            self.world.machine.run_for(SECOND_NS);
        }
        self.judge(&group, Excuses { cut_off: true, injected: false });
        for live in &mut self.live {
            live.shaken |= !live.durable && live.bp.copies() > 0;
        }
    }

    /// The end, with everything under way: a second later nothing is, and no device hears of it.
    fn close_now(&mut self, pipeline: &Pipeline) {
        self.tally.closed += 1;
        let ops = self.draw_ops(pipeline);
        let group = self.start_group(pipeline, ops);
        let rounds = self.rng.below(12);
        self.disturb(pipeline, &group.controls, rounds, &|| group.is_done());
        self.say(|| "closed at once".to_owned());
        pipeline.close_now();
        let ios = self.world.ios();
        self.world.machine.run_for(SECOND_NS);
        assert!(group.is_done() && pipeline.live() == 0, "open a second after its end");
        self.judge(&group, Excuses { cut_off: true, injected: false });
        let late = pipeline.write(vec![1; 512]).wait().map(|bp| bp.to_string());
        let refusal = late.expect_err("a write after the end").kind();
        assert!([ErrorKind::Closed, ErrorKind::NoSpace].contains(&refusal), "{refusal:?}");
        self.world.all_online();
        self.world.machine.run_until_idle();
        assert_eq!(self.world.ios(), ios, "I/O after the end");
    }
}
