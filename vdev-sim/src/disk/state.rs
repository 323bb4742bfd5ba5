//! What a disk has under way, and what becomes of it.

use std::collections::VecDeque;

use slab::Slab;
use zio_core::{Data, VdevError, VdevErrorKind, VdevIo, VdevOp};

use super::config::{DiskConfig, Trimmed};
use super::fault::{Acts, Effect, FaultProfile, Script};
use super::latency::{Command, Timing};
use super::log::{Answer, Counters, Log, LogEntry, OpKind};
use super::perform::{self, Work};
use super::store::{Store, Survival};
use crate::rng::Rng;

/// How long a disk that is not there takes to say so.
const REFUSAL_NS: u64 = 1000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Power {
    On,
    /// Not reachable; the cache keeps what it has.
    Unplugged,
    Off,
}

/// An I/O under way.
#[derive(Debug)]
struct Pending {
    io: VdevIo,
    kind: OpKind,
    len_bytes: u64,
    /// Names the event that answers it; changes when that event is replaced.
    ticket: u64,
    log_number: u64,
    acts: Acts,
    /// Decided before it did anything: the error to answer with.
    verdict: Option<VdevErrorKind>,
    /// Has one of the disk's servers.
    served: bool,
    /// Waits for the disk's release, by [`Effect::Stall`].
    stalls: bool,
    /// Writes answered before it was started: what a flush covers.
    covers: u64,
}

/// Everything of a disk that changes.
#[derive(Debug)]
pub(super) struct State {
    pub(super) rng: Rng,
    pub(super) power: Power,
    pub(super) read_only: bool,
    pub(super) holding: bool,
    pub(super) script: Script,
    pub(super) profile: FaultProfile,
    pub(super) store: Store,
    pub(super) log: Log,
    pub(super) counters: Counters,
    /// Waiting for a server, in order of arrival.
    pub(super) waiting: VecDeque<usize>,
    slots: Slab<Pending>,
    held: Vec<usize>,
    serving: usize,
    timing: Timing,
    queue_depth: usize,
    trimmed: Trimmed,
    sector_bytes: usize,
    size_bytes: u64,
    memory_align_bytes: usize,
    tickets: u64,
    /// Changes answered so far.
    changes: u64,
}

impl State {
    pub(super) fn new(config: DiskConfig, rng: Rng) -> Self {
        Self {
            rng,
            power: Power::On,
            read_only: false,
            holding: false,
            script: Script::default(),
            profile: config.faults,
            store: Store::new(config.cache_bytes_max),
            log: Log::default(),
            counters: Counters::default(),
            waiting: VecDeque::new(),
            slots: Slab::new(),
            held: Vec::new(),
            serving: 0,
            timing: Timing::new(config.latency, config.size_bytes),
            queue_depth: config.queue_depth as usize,
            trimmed: config.trimmed,
            sector_bytes: config.sector_bytes as usize,
            size_bytes: config.size_bytes,
            memory_align_bytes: config.memory_align_bytes as usize,
            tickets: 0,
            changes: 0,
        }
    }

    pub(super) fn in_flight(&self) -> usize {
        self.slots.len()
    }

    fn next_ticket(&mut self) -> u64 {
        self.tickets += 1;
        self.tickets
    }

    fn entry(&mut self, now_ns: u64, io: &VdevIo) -> LogEntry {
        let (pieces, unaligned) = perform::count_pieces(io.op(), self.memory_align_bytes);
        self.counters.unaligned_memory += unaligned;
        LogEntry {
            op: OpKind::of(io.op()),
            offset_bytes: io.offset_bytes(),
            len_bytes: io.len_bytes(),
            pieces,
            start_ns: now_ns,
            answer: None,
            effect: None,
            slow_factor: 1,
        }
    }

    /// Files an I/O that was refused at the door.
    pub(super) fn refused(&mut self, now_ns: u64, io: &VdevIo, why: VdevErrorKind) {
        let mut entry = self.entry(now_ns, io);
        entry.answer = Some(Answer { end_ns: now_ns, result: Err(why) });
        self.log.push(entry);
        self.counters.refused += 1;
        self.counters.errors += 1;
    }

    /// Takes an I/O in and decides what will be done to it. Returns its slot
    /// and the ticket of the event that will answer it.
    pub(super) fn arrive(&mut self, now_ns: u64, io: VdevIo) -> (usize, u64) {
        let mut entry = self.entry(now_ns, &io);
        let (kind, offset_bytes, len_bytes) = (entry.op, entry.offset_bytes, entry.len_bytes);
        self.counters.arrived(kind);
        let verdict = match self.power {
            Power::Unplugged | Power::Off => Some(VdevErrorKind::Gone),
            Power::On if self.read_only && kind.changes() => Some(VdevErrorKind::ReadOnly),
            Power::On if kind == OpKind::Trim && self.trimmed == Trimmed::Unsupported => {
                Some(VdevErrorKind::Unsupported)
            }
            Power::On => None,
        };
        let mut acts = Acts::default();
        if verdict.is_none() {
            acts = self.script.act(kind, offset_bytes, len_bytes);
            self.profile.act(kind, &mut acts, &mut self.rng);
            acts.effect = acts.effect.map(|e| self.settle_effect(e, offset_bytes, len_bytes));
            if acts.effect.is_some() || acts.slow_factor > 1 {
                self.counters.faults += 1;
            }
        }
        entry.effect = acts.effect;
        entry.slow_factor = acts.slow_factor;
        let log_number = self.log.push(entry);
        let ticket = self.next_ticket();
        let key = self.slots.insert(Pending {
            io,
            kind,
            len_bytes,
            ticket,
            log_number,
            acts,
            verdict,
            served: false,
            stalls: acts.effect == Some(Effect::Stall),
            covers: self.changes,
        });
        self.counters.in_flight_max = self.counters.in_flight_max.max(self.slots.len());
        (key, ticket)
    }

    /// Draws what an effect leaves open.
    fn settle_effect(&mut self, effect: Effect, offset_bytes: u64, len_bytes: u64) -> Effect {
        match effect {
            Effect::Misdirect { other_bytes: None } => {
                let sector = self.sector_bytes as u64;
                let places = (self.size_bytes - len_bytes) / sector;
                let here = offset_bytes / sector;
                // One of the other places; on a disk with no other place the same one.
                let there = self.rng.below(places);
                let there = if places > 0 && there >= here { there + 1 } else { there };
                Effect::Misdirect { other_bytes: Some(there.min(places) * sector) }
            }
            Effect::Misdirect { other_bytes: Some(there) } => {
                let there = there.min(self.size_bytes - len_bytes);
                Effect::Misdirect { other_bytes: Some(there) }
            }
            other => other,
        }
    }

    /// When an I/O that needs no server will be answered: a refusal, a flush.
    pub(super) fn finish_without_server(&mut self, now_ns: u64, key: usize) -> Option<u64> {
        let pending = &self.slots[key];
        match pending.kind {
            _ if pending.verdict.is_some() => Some(now_ns + REFUSAL_NS),
            OpKind::Flush | OpKind::Trim => {
                Some(self.timing.finish_ns(now_ns, pending.command(), &mut self.rng))
            }
            OpKind::Read | OpKind::Write => None,
        }
    }

    pub(super) fn may_answer_inline(&mut self, key: usize, permille: u32) -> bool {
        !self.holding && !self.slots[key].stalls && self.rng.chance(permille)
    }

    /// Gives the next waiting command a server, if one is free. Returns when
    /// it will be finished, its slot and its ticket.
    pub(super) fn serve_next(&mut self, now_ns: u64) -> Option<(u64, usize, u64)> {
        if self.waiting.is_empty() || self.serving >= self.timing.served_max() {
            return None;
        }
        let window = self.waiting.len().min(self.queue_depth);
        let offsets = self.waiting.iter().take(window).map(|&k| self.slots[k].io.offset_bytes());
        let at = self.timing.choose(now_ns, offsets, &mut self.rng);
        let key = self.waiting.remove(at)?;
        self.serving += 1;
        let pending = &mut self.slots[key];
        pending.served = true;
        let finish_ns = self.timing.finish_ns(now_ns, pending.command(), &mut self.rng);
        Some((finish_ns, key, pending.ticket))
    }

    /// Is this the event the I/O waits for, and may it be answered now?
    pub(super) fn is_due(&mut self, key: usize, ticket: u64) -> bool {
        let Some(pending) = self.slots.get(key).filter(|p| p.ticket == ticket) else {
            return false;
        };
        if (self.holding || pending.stalls) && pending.verdict.is_none() {
            self.held.push(key);
            return false;
        }
        true
    }

    /// Does an I/O's work and files the answer.
    pub(super) fn answer(&mut self, now_ns: u64, key: usize) -> (VdevIo, Result<(), VdevError>) {
        let mut pending = self.slots.remove(key);
        if pending.served {
            self.serving -= 1;
        }
        let effect = pending.acts.effect;
        let result = match pending.verdict {
            Some(kind) => Err(VdevError::new(kind)),
            None => {
                let mut work = Work {
                    store: &mut self.store,
                    rng: &mut self.rng,
                    changes: &mut self.changes,
                    sector_bytes: self.sector_bytes,
                    trimmed: self.trimmed,
                };
                work.perform(&mut pending.io, pending.covers, effect)
            }
        };
        self.counters.answered(pending.kind, pending.len_bytes, result.is_ok());
        let told = match &result {
            Ok(()) => Ok(()),
            Err(error) => Err(error.kind()),
        };
        let answer = Answer { end_ns: now_ns, result: told };
        self.log.answer(pending.log_number, answer, effect);
        (pending.io, result)
    }

    pub(super) fn poke(&mut self, offset_bytes: u64, bytes: &[u8]) {
        self.store.poke(self.changes, offset_bytes, bytes);
        self.changes += 1;
    }

    /// Holds no longer; returns what was held, with the tickets of the events
    /// that shall answer it.
    pub(super) fn release(&mut self) -> Vec<(usize, u64)> {
        self.holding = false;
        self.slots.iter_mut().for_each(|(_, pending)| pending.stalls = false);
        let held = std::mem::take(&mut self.held);
        held.into_iter().map(|key| (key, self.slots[key].ticket)).collect()
    }

    /// The disk is gone. Everything in flight gets a new event, now, that says so.
    pub(super) fn go_away(&mut self, power: Power, rng: Option<&mut Rng>) -> Vec<(usize, u64)> {
        self.power = power;
        self.waiting.clear();
        self.held.clear();
        self.serving = 0;
        let mut in_flight = Vec::new();
        let mut events = Vec::new();
        let mut tickets = self.tickets;
        for (key, pending) in &mut self.slots {
            let landing = pending.verdict.is_none()
                && matches!(pending.acts.effect, None | Some(Effect::Stall));
            if let VdevOp::Write(data) = pending.io.op()
                && landing
            {
                in_flight.push((pending.io.offset_bytes(), data.clone()));
            }
            pending.verdict.get_or_insert(VdevErrorKind::Gone);
            pending.acts.effect = None;
            pending.served = false;
            tickets += 1;
            pending.ticket = tickets;
            events.push((key, tickets));
        }
        self.tickets = tickets;
        match rng {
            Some(rng) => self.store.power_cut(rng, &in_flight, self.sector_bytes),
            None => self.land(in_flight),
        }
        events
    }

    /// Writes that were in flight to a disk that was unplugged.
    fn land(&mut self, mut in_flight: Vec<(u64, Data)>) {
        self.rng.shuffle(&mut in_flight);
        for (offset_bytes, data) in in_flight {
            let mut work = Work {
                store: &mut self.store,
                rng: &mut self.rng,
                changes: &mut self.changes,
                sector_bytes: self.sector_bytes,
                trimmed: self.trimmed,
            };
            match Survival::draw(work.rng) {
                Survival::Dropped => {}
                Survival::Kept => work.store_data(offset_bytes, &data),
                Survival::Torn => work.store_torn(offset_bytes, &data.to_vec()),
            }
        }
    }
}

impl Pending {
    fn command(&self) -> Command {
        Command {
            op: self.kind,
            offset_bytes: self.io.offset_bytes(),
            len_bytes: self.len_bytes,
            slow_factor: self.acts.slow_factor,
        }
    }
}
