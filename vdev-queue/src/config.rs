//! The queue's settings, and the rules they must keep.

use crate::budget::LatencyBudget;
use crate::class::{Class, PerClass};
use crate::load::DirtyCurve;

/// Settings of a queue. Checked when a queue takes them; may be changed under load.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// I/Os at the device at most, all classes together.
    pub active_max: u32,
    /// How many of these the device gets.
    pub depth: Depth,
    /// Limits of each class.
    pub classes: PerClass<ClassLimits>,
    /// How the limit of asynchronous writes follows [`Load`](crate::Load). `None`: it does not,
    /// and is the class's maximum.
    pub dirty_curve: Option<DirtyCurve>,
    /// Who is asked first while classes are below their minimum.
    pub min_pass: MinPass,
    /// How the offset-ordered classes are swept.
    pub elevator: Elevator,
    /// How the background classes yield to the others. `None`: they do not.
    pub background: Option<BackgroundRules>,
    /// Whether neighbours are merged.
    pub aggregation: Aggregation,
}

/// How many I/Os the device has at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// As many as the limits of the classes and of the device allow.
    Fixed,
    /// As many as make it faster, measured all the time; see [`DepthRules`].
    Measured(DepthRules),
}

/// How the depth of the device is found.
///
/// The depth goes up while the device then does more, and down while it does not do less. With
/// it go the limits of the classes: a class may have `active_max` × depth / `start` I/Os at the
/// device. While a class has the device to itself, its limit grows by one more I/O with each
/// eight that end, up to the whole depth. Asynchronous writes are sure of their present limit
/// up to half of the depth. Minimums are not scaled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DepthRules {
    /// Depth to begin with, and the one that the limits of the classes are made for.
    pub start: u32,
    /// Depth at least.
    pub min: u32,
    /// Throughput, in thousandths, that half as much depth again must bring to be worth its
    /// latency.
    pub gain_permille: u32,
    /// A depth at which an I/O would spend more than this at the device is not tried.
    pub latency_ns_max: u64,
}

impl DepthRules {
    /// The classes' shipped limits are made for a depth of ten. Below 2 a device waits for its
    /// submitter between any two I/Os. Steps that bring less than a hundredth are left out, which
    /// for a device without a sharp knee sums to some hundredths in all. A person notices a
    /// quarter of a second.
    pub const SHIPPED: Self =
        Self { start: 10, min: 2, gain_permille: 10, latency_ns_max: 250 * MS };
}

/// Limits of one class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClassLimits {
    /// Active I/Os up to which the class is served before any class that has its minimum.
    pub active_min: u32,
    /// Active I/Os at most.
    pub active_max: u32,
    /// Age from which a queued request is overdue: its class then takes turns with the ordinary
    /// choice, one issue each. `None`: never. It changes who goes first, not how many.
    pub deadline_ns: Option<u64>,
}

/// Order in which classes below their minimum are asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MinPass {
    /// Best class first. Needs the sum of all minimums to fit into the device's limit, or the
    /// last classes starve.
    BestFirst,
    /// In turn, beginning after the class that was issued last.
    RoundRobin,
}

/// Where the elevator stands after an I/O.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeadPosition {
    /// At its first byte; the sweep goes on with offsets above it.
    StartOfLast,
    /// After its last byte; the sweep goes on with offsets from there.
    EndOfLast,
}

/// How offset-ordered classes are swept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Elevator {
    /// Where the elevator stands after an I/O, of whichever class.
    pub head: HeadPosition,
    /// Requests that arrived in the same 2^n ns form a batch, and an older batch is emptied
    /// before a younger one is begun, so that no request waits for ever behind newer ones
    /// ahead of it. `None`: one batch.
    pub batch_ns_log2: Option<u32>,
}

/// How the background classes yield (spec 4.8).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BackgroundRules {
    /// Background I/Os that must end, with no other I/O at the device, before background
    /// classes may use their maximum.
    pub delay: u32,
    /// Background I/Os that may be issued between two completions of other I/Os.
    pub credit: u32,
    /// What they may cost those who wait; within it, their share beside others moves around the
    /// minimum of their class. `None`: it is that minimum.
    pub budget: Option<LatencyBudget>,
}

/// Whether neighbouring requests leave as one I/O.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Aggregation {
    /// Each request is its own I/O.
    Off,
    /// Neighbours of one offset-ordered class are merged.
    On(AggregationLimits),
}

/// How far merging goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AggregationLimits {
    /// Bytes of a merged I/O at most.
    pub len_bytes_max: u64,
    /// Bytes between two reads that are read along.
    pub read_gap_bytes_max: u64,
    /// Bytes of optional writes across which a merged write keeps its optional tail, because a
    /// write that must be made follows.
    pub write_gap_bytes_max: u64,
    /// Requests in one I/O at most.
    pub members_max: usize,
}

const KIB: u64 = 1024;
const MS: u64 = 1_000_000;

/// Limits of the class without a deadline.
const fn limits(active_min: u32, active_max: u32) -> ClassLimits {
    ClassLimits { active_min, active_max, deadline_ns: None }
}

impl AggregationLimits {
    /// The limits for a device that does not rotate (spec 9).
    ///
    /// 512 members, because with a gap between each two that makes 1023 pieces, and Linux takes
    /// 1024 in one call; with sectors of 512 bytes the 128 KiB bind first.
    pub const SHIPPED: Self = Self {
        len_bytes_max: 128 * KIB,
        read_gap_bytes_max: 32 * KIB,
        write_gap_bytes_max: 4 * KIB,
        members_max: 512,
    };
}

impl Config {
    /// The illumos queue of 2009–14, decision for decision (spec 4.1 to 4.6): five classes,
    /// minimums best first, elevator from the start of the last I/O, merging within a class, no
    /// deadlines. The four later classes stand behind the five and change nothing for them.
    pub fn seed() -> Self {
        let classes = PerClass::from_fn(|class| match class {
            Class::SyncRead | Class::SyncWrite => limits(10, 10),
            Class::AsyncRead => limits(1, 3),
            Class::AsyncWrite => limits(1, 10),
            Class::Scrub | Class::Removal | Class::Trim => limits(1, 2),
            Class::Initializing => limits(1, 1),
            Class::Rebuild => limits(1, 3),
        });
        Self {
            active_max: 1000,
            depth: Depth::Fixed,
            classes,
            dirty_curve: Some(DirtyCurve { low_percent: 30, high_percent: 60 }),
            min_pass: MinPass::BestFirst,
            elevator: Elevator { head: HeadPosition::StartOfLast, batch_ns_log2: None },
            background: None,
            aggregation: Aggregation::On(AggregationLimits::SHIPPED),
        }
    }

    /// For a device so fast that choosing costs more than it gains (spec 4.8, bypass): classes
    /// have no limit of their own, nothing is merged, and a request goes straight through
    /// while fewer than `active_max` I/Os are at the device. Beyond that it waits, and classes
    /// matter again. Every I/O is counted.
    pub fn bypass(active_max: u32) -> Self {
        let classes = PerClass::from_fn(|class| ClassLimits {
            active_min: 0,
            active_max,
            deadline_ns: Some(shipped_deadline_ns(class)),
        });
        Self {
            active_max,
            depth: Depth::Fixed,
            classes,
            dirty_curve: None,
            background: None,
            aggregation: Aggregation::Off,
            ..Self::default()
        }
    }
}

impl Default for Config {
    /// The classes of current OpenZFS (spec 4.8): nine classes, round-robin minimums, elevator
    /// from the end of the last I/O in batches of half a second, background classes that yield;
    /// and beyond them deadlines, so that nothing starves however small the device's limit is,
    /// and a depth that is measured.
    fn default() -> Self {
        let mut classes = PerClass::from_fn(|class| match class {
            Class::SyncRead | Class::SyncWrite => limits(10, 10),
            Class::AsyncRead | Class::Scrub | Class::Rebuild => limits(1, 3),
            Class::AsyncWrite => limits(2, 10),
            Class::Removal | Class::Trim => limits(1, 2),
            Class::Initializing => limits(1, 1),
        });
        for class in Class::ALL {
            classes[class].deadline_ns = Some(shipped_deadline_ns(class));
        }
        Self {
            depth: Depth::Measured(DepthRules::SHIPPED),
            min_pass: MinPass::RoundRobin,
            classes,
            elevator: Elevator { head: HeadPosition::EndOfLast, batch_ns_log2: Some(29) },
            background: Some(BackgroundRules {
                delay: 5,
                credit: 5,
                budget: Some(LatencyBudget::SHIPPED),
            }),
            ..Self::seed()
        }
    }
}

/// By eye: a person notices a quarter of a second, a commit takes seconds, and nobody waits
/// for the rest.
const fn shipped_deadline_ns(class: Class) -> u64 {
    match class {
        Class::SyncRead | Class::SyncWrite => 250 * MS,
        Class::AsyncRead => 500 * MS,
        Class::AsyncWrite => 1000 * MS,
        Class::Scrub | Class::Removal | Class::Initializing | Class::Rebuild => 2000 * MS,
        Class::Trim => 5000 * MS,
    }
}

/// The relation that a [`Config`] breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// The device may have no I/O at all.
    #[error("active_max is 0: no I/O could ever be issued")]
    NothingActive,
    /// A class may have no I/O at all.
    #[error("active_max of {class:?} is 0: its requests could never be issued")]
    ClassNeverActive {
        /// The class.
        class: Class,
    },
    /// A minimum above its maximum.
    #[error("{class:?}: active_min {active_min} is above active_max {active_max}")]
    MinAboveMax {
        /// The class.
        class: Class,
        /// Its minimum.
        active_min: u32,
        /// Its maximum.
        active_max: u32,
    },
    /// Minimums that cannot all be had at once, asked best first: the last classes would starve.
    #[error(
        "the minimums of all classes sum to {sum}, above the device's active_max {active_max}; \
         MinPass::BestFirst would starve the last classes"
    )]
    MinsAboveDevice {
        /// Sum of all minimums.
        sum: u64,
        /// The device's limit.
        active_max: u32,
    },
    /// A deadline of no time.
    #[error("deadline_ns of {class:?} is 0: requests would be overdue on arrival")]
    DeadlineZero {
        /// The class.
        class: Class,
    },
    /// A curve that does not rise from left to right within 0…100 %.
    #[error(
        "dirty_curve needs low_percent < high_percent <= 100, has {low_percent} and {high_percent}"
    )]
    DirtyCurve {
        /// Where the rise begins.
        low_percent: u32,
        /// Where it ends.
        high_percent: u32,
    },
    /// A curve that begins at no asynchronous write at all: with little dirty data, the rest of
    /// it would never be written.
    #[error("active_min of AsyncWrite is 0, and dirty_curve grants no more while little is dirty")]
    AsyncWriteMinZero,
    /// Background rules with a background class whose minimum is 0: while other I/O goes on, it
    /// would never be served.
    #[error("active_min of {class:?} is 0, and background rules grant it no more than its minimum")]
    BackgroundMinZero {
        /// The class.
        class: Class,
    },
    /// No credit at all has the same effect.
    #[error("background.credit is 0: background classes would never be served beside others")]
    BackgroundCreditZero,
    /// A budget that background I/O could not keep even by staying away.
    #[error(
        "background.budget.slowdown_permille is {slowdown_permille}: no slowdown is 1000, and background I/O always costs something"
    )]
    BudgetOfNothing {
        /// The setting.
        slowdown_permille: u32,
    },
    /// A depth that could not be.
    #[error("depth needs 0 < min <= start, has min {min} and start {start}")]
    Depth {
        /// Where the search ends.
        min: u32,
        /// Where it begins.
        start: u32,
    },
    /// A batch longer than the clock.
    #[error("elevator.batch_ns_log2 is {batch_ns_log2}, above 63: time has 64 bits")]
    BatchTooLong {
        /// The exponent.
        batch_ns_log2: u32,
    },
    /// Merging that cannot merge.
    #[error("aggregation.members_max is {members_max}; a merged I/O has at least 2")]
    MembersTooFew {
        /// The setting.
        members_max: usize,
    },
    /// A gap that could not be bridged within the length limit.
    #[error(
        "an aggregation gap of {gap_bytes_max} bytes is not below len_bytes_max {len_bytes_max}"
    )]
    GapAboveLength {
        /// The larger of the two gaps.
        gap_bytes_max: u64,
        /// The limit of a merged I/O.
        len_bytes_max: u64,
    },
}

impl Config {
    /// Checks the relations between the settings.
    ///
    /// # Errors
    /// The first relation found broken.
    pub fn validate(&self) -> Result<(), ConfigError> {
        if self.active_max == 0 {
            return Err(ConfigError::NothingActive);
        }
        for (class, limits) in self.classes.iter() {
            self.validate_class(class, *limits)?;
        }
        let sum = self.classes.iter().map(|(_, limits)| u64::from(limits.active_min)).sum();
        if self.min_pass == MinPass::BestFirst && sum > u64::from(self.active_max) {
            return Err(ConfigError::MinsAboveDevice { sum, active_max: self.active_max });
        }
        if let Some(DirtyCurve { low_percent, high_percent }) = self.dirty_curve {
            if low_percent >= high_percent || high_percent > 100 {
                return Err(ConfigError::DirtyCurve { low_percent, high_percent });
            }
            if self.classes[Class::AsyncWrite].active_min == 0 {
                return Err(ConfigError::AsyncWriteMinZero);
            }
        }
        if self.background.is_some_and(|rules| rules.credit == 0) {
            return Err(ConfigError::BackgroundCreditZero);
        }
        if let Some(LatencyBudget { slowdown_permille, .. }) =
            self.background.and_then(|rules| rules.budget)
            && slowdown_permille <= 1000
        {
            return Err(ConfigError::BudgetOfNothing { slowdown_permille });
        }
        if let Depth::Measured(DepthRules { start, min, .. }) = self.depth
            && (min == 0 || min > start)
        {
            return Err(ConfigError::Depth { min, start });
        }
        if let Some(batch_ns_log2) = self.elevator.batch_ns_log2.filter(|&log2| log2 > 63) {
            return Err(ConfigError::BatchTooLong { batch_ns_log2 });
        }
        match self.aggregation {
            Aggregation::Off => Ok(()),
            Aggregation::On(limits) => limits.validate(),
        }
    }

    fn validate_class(&self, class: Class, limits: ClassLimits) -> Result<(), ConfigError> {
        let ClassLimits { active_min, active_max, deadline_ns } = limits;
        if active_max == 0 {
            return Err(ConfigError::ClassNeverActive { class });
        }
        if active_min > active_max {
            return Err(ConfigError::MinAboveMax { class, active_min, active_max });
        }
        if deadline_ns == Some(0) {
            return Err(ConfigError::DeadlineZero { class });
        }
        if self.background.is_some() && class.is_background() && active_min == 0 {
            return Err(ConfigError::BackgroundMinZero { class });
        }
        Ok(())
    }
}

impl AggregationLimits {
    fn validate(self) -> Result<(), ConfigError> {
        if self.members_max < 2 {
            return Err(ConfigError::MembersTooFew { members_max: self.members_max });
        }
        let gap_bytes_max = self.read_gap_bytes_max.max(self.write_gap_bytes_max);
        if gap_bytes_max >= self.len_bytes_max {
            let len_bytes_max = self.len_bytes_max;
            return Err(ConfigError::GapAboveLength { gap_bytes_max, len_bytes_max });
        }
        Ok(())
    }
}
