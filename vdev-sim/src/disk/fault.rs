//! How a disk lies: effects, scripted faults, random fault profiles.

use zio_core::VdevErrorKind;

use super::log::OpKind;
use crate::rng::Rng;

/// What is done to one I/O besides, or instead of, its work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Answers with this error and does nothing. A failed read scribbles over its buffers.
    Fail(VdevErrorKind),
    /// Reads, writes: moves a part (whole sectors from the start) and answers
    /// with an I/O error that says so.
    Short,
    /// Writes: some sectors land, at least one does not.
    Torn {
        /// Answers "done" if set, with an I/O error if not.
        acknowledged: bool,
    },
    /// Writes, trims, flushes: answers "done" and does nothing. A lost flush
    /// leaves everything in the volatile cache.
    Lost,
    /// Reads, writes: works on another place, and says "done".
    Misdirect {
        /// The other place; drawn from the seed if `None`.
        other_bytes: Option<u64>,
    },
    /// Reads: the answer has flipped bits, the store has not. Writes: what is
    /// stored has flipped bits.
    Rot {
        /// How many bits, all different.
        bits: u32,
    },
    /// Takes this many times as long.
    Slow {
        /// 2 doubles the service time.
        factor: u32,
    },
    /// Is not answered before [`SimDisk::release`](super::SimDisk::release).
    Stall,
}

impl Effect {
    /// Can this be done to such an operation?
    pub fn fits(self, op: OpKind) -> bool {
        match self {
            Self::Fail(_) | Self::Slow { .. } | Self::Stall => true,
            Self::Short | Self::Misdirect { .. } | Self::Rot { .. } => {
                matches!(op, OpKind::Read | OpKind::Write)
            }
            Self::Torn { .. } => op == OpKind::Write,
            Self::Lost => op != OpKind::Read,
        }
    }
}

/// A scripted fault: which I/Os it meets, and what it does to them. Without
/// further words it meets the next fitting I/O, once.
///
/// ```
/// use vdev_sim::{Effect, Fault, OpKind};
/// use zio_core::VdevErrorKind;
///
/// // The third read that touches the first MiB fails, and all later ones.
/// let fault = Fault::new(Effect::Fail(VdevErrorKind::Io))
///     .on(OpKind::Read)
///     .range(0, 1 << 20)
///     .skip(2)
///     .always();
/// # let _ = fault;
/// ```
#[derive(Clone, Debug)]
pub struct Fault {
    effect: Effect,
    op: Option<OpKind>,
    start_bytes: u64,
    end_bytes: u64,
    skip: u64,
    times: u64,
}

impl Fault {
    /// Does `effect` to the next I/O that it fits.
    pub fn new(effect: Effect) -> Self {
        Self { effect, op: None, start_bytes: 0, end_bytes: u64::MAX, skip: 0, times: 1 }
    }

    /// Only to this kind of operation.
    #[must_use]
    pub fn on(mut self, op: OpKind) -> Self {
        self.op = Some(op);
        self
    }

    /// Only to I/Os that touch this range. Flushes touch every range.
    #[must_use]
    pub fn range(mut self, offset_bytes: u64, len_bytes: u64) -> Self {
        self.start_bytes = offset_bytes;
        self.end_bytes = offset_bytes.saturating_add(len_bytes);
        self
    }

    /// Lets this many matching I/Os through first.
    #[must_use]
    pub fn skip(mut self, touches: u64) -> Self {
        self.skip = touches;
        self
    }

    /// This many times instead of once.
    #[must_use]
    pub fn times(mut self, times: u64) -> Self {
        self.times = times;
        self
    }

    /// For ever instead of once.
    #[must_use]
    pub fn always(self) -> Self {
        self.times(u64::MAX)
    }

    fn meets(&self, op: OpKind, offset_bytes: u64, len_bytes: u64) -> bool {
        let touches = op == OpKind::Flush
            || (offset_bytes < self.end_bytes && self.start_bytes < offset_bytes + len_bytes);
        touches && self.op.is_none_or(|only| only == op) && self.effect.fits(op)
    }
}

/// Names a scripted fault of one disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FaultId(usize);

#[derive(Debug)]
struct Rule {
    fault: Fault,
    touches: u64,
    fired: u64,
    healed: bool,
}

/// The scripted faults of a disk, in the order they were injected.
#[derive(Debug, Default)]
pub(super) struct Script(Vec<Rule>);

impl Script {
    pub(super) fn add(&mut self, fault: Fault) -> FaultId {
        self.0.push(Rule { fault, touches: 0, fired: 0, healed: false });
        FaultId(self.0.len() - 1)
    }

    pub(super) fn fired(&self, id: FaultId) -> u64 {
        self.0.get(id.0).map_or(0, |rule| rule.fired)
    }

    pub(super) fn heal(&mut self, id: FaultId) {
        if let Some(rule) = self.0.get_mut(id.0) {
            rule.healed = true;
        }
    }

    pub(super) fn heal_all(&mut self) {
        self.0.iter_mut().for_each(|rule| rule.healed = true);
    }

    /// All rules that meet the I/O count it; the first one that is due acts.
    /// Slowness adds up with what else happens.
    pub(super) fn act(&mut self, op: OpKind, offset_bytes: u64, len_bytes: u64) -> Acts {
        let mut acts = Acts::default();
        for rule in self.0.iter_mut().filter(|r| !r.healed) {
            if !rule.fault.meets(op, offset_bytes, len_bytes) {
                continue;
            }
            rule.touches += 1;
            let due = rule.touches > rule.fault.skip && rule.fired < rule.fault.times;
            if due && acts.add(rule.fault.effect) {
                rule.fired += 1;
            }
        }
        acts
    }
}

/// What is done to one I/O.
#[derive(Clone, Copy, Debug)]
pub(super) struct Acts {
    pub(super) effect: Option<Effect>,
    pub(super) slow_factor: u32,
}

impl Default for Acts {
    fn default() -> Self {
        Self { effect: None, slow_factor: 1 }
    }
}

impl Acts {
    /// Adds an effect; false when another one holds the place already.
    fn add(&mut self, effect: Effect) -> bool {
        match effect {
            Effect::Slow { factor } => {
                self.slow_factor = self.slow_factor.saturating_mul(factor.max(1));
            }
            other if self.effect.is_none() => self.effect = Some(other),
            _ => return false,
        }
        true
    }
}

/// Random faults: each I/O of a kind meets each effect with a probability in
/// thousandths. What happened stands in the disk's log.
#[derive(Clone, Debug, Default)]
pub struct FaultProfile(Vec<(OpKind, Effect, u32)>);

impl FaultProfile {
    /// Nothing ever happens.
    pub fn none() -> Self {
        Self::default()
    }

    /// Adds an effect that meets so many of a thousand operations of this
    /// kind. One that does not fit the kind is left out.
    #[must_use]
    pub fn with(mut self, op: OpKind, effect: Effect, permille: u32) -> Self {
        if effect.fits(op) && permille > 0 {
            self.0.push((op, effect, permille));
        }
        self
    }

    /// A disk that fails but says so: errors, short transfers, torn writes
    /// that are reported, slowness, each at this rate.
    pub fn honest(permille: u32) -> Self {
        HONEST.iter().fold(Self::none(), |p, &(op, effect)| p.with(op, effect, permille))
    }

    /// A disk that says "done" and is not: bit rot, torn, lost and misdirected
    /// I/O, each at this rate.
    pub fn lying(permille: u32) -> Self {
        LYING.iter().fold(Self::none(), |p, &(op, effect)| p.with(op, effect, permille))
    }

    /// A profile drawn from a seed: each effect of [`FaultProfile::honest`],
    /// and of [`FaultProfile::lying`] if `lies`, is in with a chance of one
    /// half, at a rate of up to `permille_max`. Different seeds so explore
    /// different mixtures, and not always all of it at once.
    pub fn draw(rng: &mut Rng, permille_max: u32, lies: bool) -> Self {
        let lying: &[(OpKind, Effect)] = if lies { &LYING } else { &[] };
        let mut profile = Self::none();
        for &(op, effect) in HONEST.iter().chain(lying) {
            if rng.coin() {
                let permille = 1 + rng.below(u64::from(permille_max.max(1))) as u32;
                profile = profile.with(op, effect, permille);
            }
        }
        profile
    }

    pub(super) fn act(&self, op: OpKind, acts: &mut Acts, rng: &mut Rng) {
        for &(of, effect, permille) in &self.0 {
            if of == op && rng.chance(permille) {
                acts.add(effect);
            }
        }
    }
}

const HONEST: [(OpKind, Effect); 9] = [
    (OpKind::Read, Effect::Fail(VdevErrorKind::Io)),
    (OpKind::Write, Effect::Fail(VdevErrorKind::Io)),
    (OpKind::Flush, Effect::Fail(VdevErrorKind::Io)),
    (OpKind::Trim, Effect::Fail(VdevErrorKind::Io)),
    (OpKind::Read, Effect::Short),
    (OpKind::Write, Effect::Short),
    (OpKind::Write, Effect::Torn { acknowledged: false }),
    (OpKind::Read, Effect::Slow { factor: 50 }),
    (OpKind::Write, Effect::Slow { factor: 50 }),
];

const LYING: [(OpKind, Effect); 6] = [
    (OpKind::Read, Effect::Rot { bits: 1 }),
    (OpKind::Write, Effect::Rot { bits: 1 }),
    (OpKind::Write, Effect::Torn { acknowledged: true }),
    (OpKind::Write, Effect::Lost),
    (OpKind::Write, Effect::Misdirect { other_bytes: None }),
    (OpKind::Read, Effect::Misdirect { other_bytes: None }),
];
