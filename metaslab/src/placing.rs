//! Where the copies of one block go: classes, rounds, the ring of vdevs (spec 3.8).
//!
//! ```text
//! a block of      tries, in this order
//! Normal          normal
//! Special         special, normal
//! Dedup           dedup, special, normal
//! Log             log, special's region of logs, special, normal's region of logs, normal
//! ```
//!
//! Copies on vdevs of several classes, and the regions of logs for other blocks, come after all of that.

use std::sync::Arc;

use smallvec::SmallVec;
use zio_core::{Dva, Dvas, SpaceClass, Want};

use crate::config::Config;
use crate::rotor::quota_bytes;
use crate::shard::Shard;
use crate::turns::{Crowded, crowded};
use crate::vdev_space::{Part, VdevSpace};
use crate::vdevs::{Group, Vdevs, free_bytes_in};

/// Copies a block can have.
const COPIES_MAX: u8 = 3;

/// How far apart the copies on one vdev have to be.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Round {
    /// An eighth of the vdev.
    Apart,
    /// Anywhere, as long as they do not overlap.
    Anywhere,
    /// The same, from the front of what is free, whatever region that is in: so that as
    /// many find room as possible.
    Packed,
}

impl Round {
    pub(crate) const ALL: [Self; 3] = [Self::Apart, Self::Anywhere, Self::Packed];
    /// Of somebody who is not alone.
    pub(crate) const QUICK: [Self; 2] = [Self::Apart, Self::Anywhere];
}

/// A wish on its way to its places.
pub(crate) struct Placing<'a> {
    pub(crate) config: &'a Config,
    pub(crate) vdevs: &'a Vdevs,
    pub(crate) want: &'a Want,
    pub(crate) shard: &'a Shard,
    /// Number of the shard.
    pub(crate) number: usize,
}

impl Placing<'_> {
    /// Places all copies, or none.
    pub(crate) fn place(&self, rounds: &[Round]) -> Option<Dvas> {
        let want = self.want;
        if want.size_bytes == 0 || !(1..=COPIES_MAX).contains(&want.copies) {
            return None;
        }
        let parts: &[Part] = match want.class {
            SpaceClass::Log => &[Part::OfLogs, Part::Open],
            _ => &[Part::Open],
        };
        let of_class = |class: SpaceClass| {
            // What is for logs alone needs no region set apart in it.
            let parts = if class == SpaceClass::Log { &[Part::Open] } else { parts };
            parts.iter().find_map(|&part| self.place_in_class(class, part, rounds))
        };
        self.vdevs
            .classes(want)
            .find_map(of_class)
            .or_else(|| self.place_in_classes(Part::Open, rounds))
            .or_else(|| self.place_at_last(rounds))
    }

    /// Takes of the regions of logs as well, if there is no other way. To a log they are no last
    /// resort; but what lies over their border is.
    fn place_at_last(&self, rounds: &[Round]) -> Option<Dvas> {
        if self.want.class != SpaceClass::Log && !self.vdevs.is_used_up_for(self.want, self.config)
        {
            return None;
        }
        self.vdevs
            .classes(self.want)
            .find_map(|class| self.place_in_class(class, Part::Whole, rounds))
            .or_else(|| self.place_in_classes(Part::Whole, rounds))
    }

    fn place_in_class(&self, class: SpaceClass, part: Part, rounds: &[Round]) -> Option<Dvas> {
        if !self.vdevs.may_take(class, part, self.want, self.config) {
            return None;
        }
        let group = self.vdevs.of(class);
        rounds.iter().find_map(|&round| self.place_in(group, class, part, round))
    }

    /// Copies on vdevs of several classes, when no class has room for all.
    fn place_in_classes(&self, part: Part, rounds: &[Round]) -> Option<Dvas> {
        let may_take =
            |class: &SpaceClass| self.vdevs.may_take(*class, part, self.want, self.config);
        if self.want.copies < 2 || self.vdevs.classes(self.want).filter(may_take).count() < 2 {
            return None;
        }
        let classes = self.vdevs.classes(self.want).filter(may_take);
        let group: Group = classes.flat_map(|class| self.vdevs.of(class)).map(Arc::clone).collect();
        rounds.iter().find_map(|&round| {
            let crowded = SmallVec::from_elem(false, group.len());
            self.place_on(
                &Ring { vdevs: &group, start: 0, crowded, part, shard: self.number },
                round,
            )
        })
    }

    /// Places all copies on the vdevs of one class in one round, or none.
    fn place_in(&self, vdevs: &Group, class: SpaceClass, part: Part, round: Round) -> Option<Dvas> {
        let rotor = self.shard.rotor(class);
        let preferred = self.want.prefer.and_then(|id| vdevs.iter().position(|v| v.id() == id));
        let start = preferred.unwrap_or_else(|| rotor.at(vdevs.len()));
        let on_turn = preferred.or_else(|| rotor.on_turn(vdevs.len()));
        let crowded = crowded(vdevs.iter().map(|v| &**v), self.config.aliquot_bytes, on_turn);
        let ring = Ring { vdevs, start, crowded, part, shard: self.number };
        let placed = self.place_on(&ring, round)?;
        if preferred.is_none() {
            self.charge(class, vdevs, part, placed.first().copied());
        }
        Some(placed)
    }

    fn place_on(&self, ring: &Ring<'_>, round: Round) -> Option<Dvas> {
        let mut placed = Dvas::new();
        for _ in 0..self.want.copies {
            let Some(dva) = ring.place_one(self.want, round, &placed) else {
                ring.undo(&placed);
                return None;
            };
            placed.push(dva);
        }
        Some(placed)
    }

    fn charge(&self, class: SpaceClass, vdevs: &Group, part: Part, leader: Option<Dva>) {
        let Some(dva) = leader else { return };
        let Some(index) = vdevs.iter().position(|v| v.id() == dva.vdev()) else { return };
        self.shard.rotor(class).charge(index, vdevs.len(), dva.asize_bytes(), || {
            let free = vdevs[index].free_bytes_in(part);
            let all_free = free_bytes_in(vdevs, part);
            quota_bytes(self.config.aliquot_bytes, free, all_free, vdevs.len())
        });
    }
}

/// The vdevs in the order in which one wish tries them.
struct Ring<'a> {
    vdevs: &'a [Arc<VdevSpace>],
    start: usize,
    crowded: Crowded,
    part: Part,
    shard: usize,
}

impl Ring<'_> {
    /// One more copy: on the next vdev of the ring that has room and no copy yet, those with
    /// enough to do after all others; else beside the copies on a vdev that has some.
    fn place_one(&self, want: &Want, round: Round, placed: &[Dva]) -> Option<Dva> {
        let is_used = |index: usize| placed.iter().any(|d| d.vdev() == self.vdevs[index].id());
        let ring = || (self.start..self.vdevs.len()).chain(0..self.start);
        let idle = ring().filter(|&index| !self.crowded[index]);
        let busy = ring().filter(|&index| self.crowded[index]);
        let fresh = idle
            .chain(busy)
            .filter(|&index| !is_used(index))
            .find_map(|index| self.allocate(index, want, round, &[]));
        fresh.or_else(|| {
            ring().filter(|&index| is_used(index)).find_map(|index| {
                let id = self.vdevs[index].id();
                let others: SmallVec<[Dva; 3]> = match round {
                    Round::Apart => placed.iter().copied().filter(|d| d.vdev() == id).collect(),
                    Round::Anywhere | Round::Packed => SmallVec::new(),
                };
                self.allocate(index, want, round, &others)
            })
        })
    }

    fn allocate(&self, index: usize, want: &Want, round: Round, others: &[Dva]) -> Option<Dva> {
        let vdev = &self.vdevs[index];
        match round {
            _ if !others.is_empty() => vdev.allocate_apart(want, self.part, others),
            Round::Packed => vdev.allocate_packed(want, self.part, self.shard),
            Round::Apart | Round::Anywhere => vdev.allocate(want, self.part, self.shard),
        }
    }

    fn undo(&self, placed: &[Dva]) {
        for &dva in placed {
            if let Some(vdev) = self.vdevs.iter().find(|v| v.id() == dva.vdev()) {
                vdev.retract(dva);
            }
        }
    }
}
