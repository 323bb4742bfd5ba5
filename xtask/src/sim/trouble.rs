//! What happens to requests while they are under way.

use std::sync::Arc;
use std::time::Duration;

use vdev_sim::{Effect, Fault};
use zio_core::Stages;
use zio_core::ZioType;
use zio_pipeline::inject::{Action, DeviceAction, DeviceFault, Fault as Injected, StageFault};
use zio_pipeline::{Control, ErrorKind, Pipeline, Priority};

use super::history::History;
use super::world::Honesty;

/// So often something may happen before devices are given the chance to finish.
const ROUNDS_MAX: u64 = 24;

/// As often they may be resumed in vain.
const RESUMES_MAX: usize = 200;

impl History {
    /// Lets time pass, and things happen, until the condition holds. False if it
    /// does not come to hold although every device works.
    pub(super) fn drive(
        &mut self,
        pipeline: &Pipeline,
        controls: &[Control],
        done: &dyn Fn() -> bool,
    ) -> bool {
        let rounds = self.rng.below(ROUNDS_MAX);
        self.disturb(pipeline, controls, rounds, done);
        for round in 0..RESUMES_MAX {
            if done() || self.world.machine.run_until(done) {
                return true;
            }
            // Nothing moves: devices are away or hang.
            self.world.all_online();
            self.tally.suspended += pipeline.resume() as u64;
            if round == RESUMES_MAX / 2 {
                self.world.faults_off();
            }
        }
        false
    }

    /// Things happen for a while.
    pub(super) fn disturb(
        &mut self,
        pipeline: &Pipeline,
        controls: &[Control],
        rounds: u64,
        done: &dyn Fn() -> bool,
    ) {
        for _ in 0..rounds {
            if done() {
                return;
            }
            let ns = 1 << self.rng.below(28);
            self.world.machine.run_for(self.rng.below(ns));
            self.control(controls);
            if self.world.troubled {
                self.trouble(pipeline);
            }
        }
    }

    fn control(&mut self, controls: &[Control]) {
        if controls.is_empty() {
            return;
        }
        let control = &controls[self.rng.index(controls.len())];
        match self.rng.below(24) {
            0 => control.cancel(),
            1 | 2 => control.set_priority(Priority::ALL[self.rng.index(Priority::ALL.len())]),
            _ => {}
        }
    }

    fn trouble(&mut self, pipeline: &Pipeline) {
        let number = self.rng.index(self.world.disks.len());
        let disk = Arc::clone(&self.world.disks[number]);
        match self.rng.below(16) {
            0 => {
                self.tally.outages += 1;
                self.say(|| format!("disk {number} goes away"));
                disk.offline();
            }
            1..=3 => {
                self.say(|| format!("disk {number} is back"));
                disk.online();
            }
            4 => {
                self.tally.stalls += 1;
                self.say(|| format!("disk {number} hangs"));
                disk.hold();
            }
            5 => {
                self.tally.stalls += 1;
                self.say(|| format!("disk {number} forgets an I/O"));
                let stall = disk.inject(Fault::new(Effect::Stall).times(1 + self.rng.below(3)));
                self.world.stalls.push((number, stall));
            }
            6 | 7 => {
                self.say(|| format!("disk {number} answers again"));
                disk.release();
            }
            8 | 9 => {
                let after = Duration::from_nanos(1 << self.rng.below(28));
                let count = pipeline.give_up_overdue(after);
                self.say(|| format!("{count} requests are given up after {after:?}"));
                self.gave_up |= count > 0;
                self.tally.given_up += count as u64;
            }
            10 => {
                let count = pipeline.resume();
                self.say(|| format!("{count} requests are resumed"));
                self.tally.suspended += count as u64;
            }
            _ => {}
        }
    }

    /// Faults and delays for the stages and the devices of a group. Returns whether there are any.
    pub(super) fn inject(&mut self) -> bool {
        if !self.world.injected || self.rng.coin() {
            return false;
        }
        let stages: Vec<_> = Stages::all().iter().filter(|stage| *stage != Stages::OPEN).collect();
        for _ in 0..1 + self.rng.below(3) {
            let stage = stages[self.rng.index(stages.len())];
            let kind = [ErrorKind::Io, ErrorKind::NoSpace, ErrorKind::Checksum][self.rng.index(3)];
            // Not frees: one that fails may be done all the same, and the model would not know.
            let ty = [ZioType::Read, ZioType::Write, ZioType::Ioctl][self.rng.index(3)];
            let delay = Duration::from_nanos(self.rng.below(1 << 26));
            let action = if self.rng.coin() { Action::Fail(kind) } else { Action::Delay(delay) };
            let (skip, times) = (self.rng.below(12), 1 + self.rng.below(3));
            self.add_fault(StageFault::new(stage, action).on(ty).skip(skip).times(times));
            if self.rng.coin() {
                let slow = DeviceFault::new(DeviceAction::Delay(delay)).on(ty);
                let (every, times) = (1 + self.rng.below(4), 1 + self.rng.below(8));
                self.add_fault(slow.every(every).times(times));
            }
        }
        true
    }

    fn add_fault(&mut self, fault: impl Into<Injected>) {
        let fault = fault.into();
        self.say(|| format!("{fault:?}"));
        self.injected_faults.push(self.injections.add(fault));
    }

    /// No injected faults any more.
    pub(super) fn stop_injecting(&mut self) {
        for number in std::mem::take(&mut self.injected_faults) {
            self.tally.injected += self.injections.hits(number);
        }
        self.injections.clear();
    }

    /// Random faults of the disks, from now on or no more.
    pub(super) fn faults(&mut self, on: bool) {
        self.faults_are_on = on && self.world.honesty != Honesty::Sound;
        if on {
            self.world.faults_on();
        } else {
            self.world.faults_off();
        }
    }

    /// All devices are there, and whatever was left to them has come home.
    pub(super) fn calm(&mut self, pipeline: &Pipeline) {
        self.world.all_online();
        self.tally.suspended += pipeline.resume() as u64;
        self.world.machine.run_until_idle();
    }
}
