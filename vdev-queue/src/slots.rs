//! Who may have the next slot of the device: counts of active I/Os, limits, and the choice of
//! a class (spec 4.3 and the class rules of 4.8).

use crate::budget::{Pace, Sample};
use crate::class::{Class, ClassSet, PerClass};
use crate::config::{Config, Depth, MinPass};
use crate::depth::DepthSearch;
use crate::load::Load;

/// What is at the device now, class by class.
#[derive(Debug)]
pub(crate) struct Slots {
    active: PerClass<u32>,
    active_total: u32,
    /// Active I/Os of classes that are not background ones.
    interactive_active: u32,
    /// Background I/Os that may still be issued, or, with no interactive I/O at the device, that
    /// have ended since.
    credit: u32,
    /// What finds the share of background I/Os beside others; `None` where credit alone is the rule.
    pace: Option<Pace>,
    /// Background I/Os that have been issued, modulo 2^32.
    background_issued: u32,
    /// I/Os at the device at most.
    depth: u32,
    /// What finds `depth`; `None` where it is a setting.
    search: Option<DepthSearch>,
    load: Load,
    /// Limits of the classes under the present load and depth, background rules apart.
    limits: PerClass<Limits>,
    /// The class that has the device to itself, and how many of its I/Os have ended since.
    solo: (Class, u32),
    issued_last: Class,
    /// The last issue was made because it was overdue; the ordinary choice has the next.
    overdue_turn_taken: bool,
    /// Overdue classes take their turns in rotation.
    overdue_last: Class,
}

#[derive(Clone, Copy, Debug, Default)]
struct Limits {
    min: u32,
    max: u32,
}

/// I/Os of a class alone at the device that must end for its limit to grow by one. By eye: a
/// limit of 32 takes a hard disk two seconds, so a read that comes now and then does not meet
/// it, and other devices some milliseconds.
const SOLO_COMPLETIONS_PER_SLOT: u32 = 8;

/// A class to issue from, and why it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Choice {
    pub(crate) class: Class,
    /// Chosen ahead of the ordinary order because its oldest request is overdue.
    pub(crate) overdue: bool,
}

impl Slots {
    pub(crate) fn new(config: &Config, load: Load) -> Self {
        // As if the last class had just been served: the first turn is the first class's.
        let last = Class::ALL[Class::COUNT - 1];
        let mut slots = Self {
            active: PerClass::default(),
            active_total: 0,
            interactive_active: 0,
            credit: 0,
            pace: None,
            background_issued: 0,
            depth: config.active_max,
            search: None,
            load,
            limits: PerClass::default(),
            solo: (last, 0),
            issued_last: last,
            overdue_turn_taken: false,
            overdue_last: last,
        };
        slots.adjust(config, load);
        slots
    }

    /// Takes a new load or configuration into account.
    pub(crate) fn adjust(&mut self, config: &Config, load: Load) {
        self.load = load;
        match (config.depth, &mut self.search) {
            (Depth::Fixed, search) => *search = None,
            (Depth::Measured(rules), Some(search)) => search.adjust(rules, config.active_max),
            (Depth::Measured(rules), search) => {
                *search = Some(DepthSearch::new(rules, config.active_max));
            }
        }
        match (config.background.and_then(|rules| rules.budget), &mut self.pace) {
            (Some(budget), Some(pace)) => pace.adjust(budget),
            (budget, pace) => *pace = budget.map(Pace::new),
        }
        self.take_depth(config);
    }

    /// An I/O ended, or is about to be taken off the counts: the depth may change.
    pub(crate) fn measure(
        &mut self,
        config: &Config,
        now_ns: u64,
        len_bytes: u64,
        something_waits: bool,
    ) {
        let Some(search) = &mut self.search else { return };
        let pressed = something_waits && self.active_total >= self.depth;
        search.completed(now_ns, len_bytes, pressed);
        if search.depth() != self.depth {
            self.take_depth(config);
        }
    }

    fn take_depth(&mut self, config: &Config) {
        self.depth = self.search.as_ref().map_or(config.active_max, DepthSearch::depth);
        self.limits = PerClass::from_fn(|class| {
            let shipped = config.classes[class];
            let (min, mut max) = (shipped.active_min, self.scaled(config, shipped.active_max));
            let Some(curve) = config.dirty_curve.filter(|_| class == Class::AsyncWrite) else {
                return Limits { min, max: max.max(min) };
            };
            max = curve.limit(self.load, min, max.max(min));
            let is_sure = self.search.is_some() && self.load.dirty_bytes_max > 0;
            Limits { min: if is_sure { min.max(max.min(self.depth / 2)) } else { min }, max }
        });
    }

    /// A limit made for the depth to begin with, at the present depth.
    fn scaled(&self, config: &Config, limit: u32) -> u32 {
        match config.depth {
            Depth::Fixed => limit,
            Depth::Measured(rules) => {
                let scaled = u64::from(limit) * u64::from(self.depth) / u64::from(rules.start);
                // Not above the depth, a u32.
                scaled.clamp(1, u64::from(self.depth)) as u32
            }
        }
    }

    pub(crate) fn depth(&self) -> u32 {
        self.depth
    }

    pub(crate) fn active_total(&self) -> u32 {
        self.active_total
    }

    /// Active I/Os up to which `class` is served in the first pass, while `waiting` wait.
    fn min_now(&self, config: &Config, waiting: ClassSet, class: Class) -> u32 {
        let Limits { min, max } = self.limits[class];
        if config.background.is_some() && class.is_background() {
            self.limit_in_company(waiting, min, max).map_or(min, |limit| limit.min(min))
        } else {
            min
        }
    }

    /// Active I/Os that `class` may have at most, under the present load and company.
    pub(crate) fn max_now(&self, config: &Config, waiting: ClassSet, class: Class) -> u32 {
        let Limits { min, max } = self.limits[class];
        let Some(rules) = config.background.filter(|_| class.is_background()) else {
            return self.grown(class, max);
        };
        match self.limit_in_company(waiting, min, max) {
            Some(limit) => limit,
            // Not less than beside others.
            None if self.credit < rules.delay => {
                self.pace.as_ref().map_or(min, |pace| pace.share(min, max)).max(1)
            }
            None => self.grown(class, max),
        }
    }

    /// The limit of a background class beside interactive I/Os; `None`: there are none.
    fn limit_in_company(&self, waiting: ClassSet, min: u32, max: u32) -> Option<u32> {
        let Some(pace) = &self.pace else {
            return (self.interactive_active > 0).then(|| min.min(self.credit));
        };
        if self.interactive_active > 0 {
            Some(pace.limit(min, max).min(self.credit))
        } else {
            // One that waits is company as well: all that were at the device may have ended at
            // once. Credit is for those that are there.
            waiting.has_interactive().then(|| pace.limit(min, max))
        }
    }

    /// A limit where the class has had the device to itself for a while.
    fn grown(&self, class: Class, max: u32) -> u32 {
        let (solo, completions) = self.solo;
        if self.search.is_none() || solo != class || !class.may_grow() {
            return max;
        }
        max.max((completions / SOLO_COMPLETIONS_PER_SLOT).min(self.depth))
    }

    /// True if an I/O of `class` could be issued now.
    pub(crate) fn has_room(&self, config: &Config, class: Class) -> bool {
        // Nothing waits, or there would be nothing to ask.
        let limit = self.max_now(config, ClassSet::default(), class);
        self.active_total < self.depth && self.active[class] < limit
    }

    /// The class to issue from, of those that wait, of which some are `overdue`.
    pub(crate) fn choose(
        &self,
        config: &Config,
        waiting: ClassSet,
        overdue: ClassSet,
    ) -> Option<Choice> {
        if self.active_total >= self.depth {
            return None;
        }
        let below_max = |class: Class| self.active[class] < self.max_now(config, waiting, class);
        if !self.overdue_turn_taken
            && let Some(class) = overdue.find_after(self.overdue_last, below_max)
        {
            return Some(Choice { class, overdue: true });
        }
        let below_min = |class: Class| self.active[class] < self.min_now(config, waiting, class);
        let starved = match config.min_pass {
            MinPass::BestFirst => waiting.find(below_min),
            MinPass::RoundRobin => waiting.find_after(self.issued_last, below_min),
        };
        let class = starved.or_else(|| waiting.find(below_max))?;
        Some(Choice { class, overdue: false })
    }

    pub(crate) fn issued(&mut self, choice: Choice) {
        let class = choice.class;
        self.active[class] += 1;
        self.active_total += 1;
        self.issued_last = class;
        if self.solo.0 != class {
            self.solo = (class, 0);
        }
        self.overdue_turn_taken = choice.overdue;
        if choice.overdue {
            self.overdue_last = class;
        }
        if !class.is_background() {
            self.interactive_active += 1;
            if self.interactive_active == 1 {
                self.credit = 1;
            }
        } else {
            self.background_issued = self.background_issued.wrapping_add(1);
            if self.interactive_active > 0 {
                self.credit = self.credit.saturating_sub(1);
            }
        }
    }

    /// A mark by which an I/O issued now can tell when it ends whether it
    /// [had the device](Self::was_alone) without any background I/O. `None`: one is there.
    pub(crate) fn alone_mark(&self) -> Option<u32> {
        (self.active_total == self.interactive_active).then_some(self.background_issued)
    }

    fn was_alone(&self, mark: Option<u32>) -> bool {
        mark == Some(self.background_issued)
    }

    /// An I/O of `class` ended that was issued with this mark and took so long at the device.
    pub(crate) fn completed(
        &mut self,
        config: &Config,
        class: Class,
        mark: Option<u32>,
        service_ns: u64,
    ) {
        let was_alone = self.was_alone(mark);
        self.active[class] = self.active[class].saturating_sub(1);
        self.active_total = self.active_total.saturating_sub(1);
        self.solo =
            if self.solo.0 == class { (class, self.solo.1.saturating_add(1)) } else { (class, 0) };
        if !class.is_background() {
            self.interactive_active = self.interactive_active.saturating_sub(1);
            let credit = config.background.map_or(0, |rules| rules.credit);
            self.credit = if self.interactive_active == 0 { 0 } else { credit };
            if let Some(pace) = &mut self.pace {
                let sample = class.is_sync().then_some(Sample { service_ns, was_alone });
                pace.interactive_ended(sample);
            }
        } else {
            if self.interactive_active == 0 {
                self.credit = self.credit.saturating_add(1);
            }
            if let Some(pace) = &mut self.pace {
                pace.background_ended();
            }
        }
    }
}
