//! Who may have the next slot of the device: counts of active I/Os, limits, and the choice of
//! a class (spec 4.3 and the class rules of 4.8).

use crate::class::{Class, ClassSet, PerClass};
use crate::config::{Config, MinPass};
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
    /// Limit of asynchronous writes under the present load.
    async_write_max: u32,
    issued_last: Class,
    /// The last issue was made because it was overdue; the ordinary choice has the next.
    overdue_turn_taken: bool,
    /// Overdue classes take their turns in rotation.
    overdue_last: Class,
}

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
            async_write_max: 0,
            issued_last: last,
            overdue_turn_taken: false,
            overdue_last: last,
        };
        slots.adjust(config, load);
        slots
    }

    /// Takes a new load or configuration into account.
    pub(crate) fn adjust(&mut self, config: &Config, load: Load) {
        let limits = config.classes[Class::AsyncWrite];
        self.async_write_max = config.dirty_curve.map_or(limits.active_max, |curve| {
            curve.limit(load, limits.active_min, limits.active_max)
        });
    }

    pub(crate) fn active(&self, class: Class) -> u32 {
        self.active[class]
    }

    pub(crate) fn active_total(&self) -> u32 {
        self.active_total
    }

    /// Active I/Os up to which `class` is served in the first pass.
    fn min_now(&self, config: &Config, class: Class) -> u32 {
        let limits = config.classes[class];
        if config.background.is_some() && class.is_background() && self.interactive_active > 0 {
            limits.active_min.min(self.credit)
        } else {
            limits.active_min
        }
    }

    /// Active I/Os that `class` may have at most, under the present load and company.
    pub(crate) fn max_now(&self, config: &Config, class: Class) -> u32 {
        if class == Class::AsyncWrite {
            return self.async_write_max;
        }
        let limits = config.classes[class];
        match config.background {
            Some(rules) if class.is_background() => {
                if self.interactive_active > 0 {
                    limits.active_min.min(self.credit)
                } else if self.credit < rules.delay {
                    limits.active_min.max(1)
                } else {
                    limits.active_max
                }
            }
            _ => limits.active_max,
        }
    }

    /// True if an I/O of `class` could be issued now.
    pub(crate) fn has_room(&self, config: &Config, class: Class) -> bool {
        self.active_total < config.active_max && self.active[class] < self.max_now(config, class)
    }

    /// The class to issue from, of those that wait; `is_overdue` tells of each whether its oldest
    /// request is past its deadline.
    pub(crate) fn choose(
        &self,
        config: &Config,
        waiting: ClassSet,
        is_overdue: impl Fn(Class) -> bool,
    ) -> Option<Choice> {
        if waiting.is_empty() || self.active_total >= config.active_max {
            return None;
        }
        let below_max = |class: &Class| self.active[*class] < self.max_now(config, *class);
        if !self.overdue_turn_taken {
            let mut overdue =
                waiting.iter_after(self.overdue_last).filter(|&class| is_overdue(class));
            if let Some(class) = overdue.find(below_max) {
                return Some(Choice { class, overdue: true });
            }
        }
        let below_min = |class: &Class| self.active[*class] < self.min_now(config, *class);
        let starved = match config.min_pass {
            MinPass::BestFirst => waiting.iter().find(below_min),
            MinPass::RoundRobin => waiting.iter_after(self.issued_last).find(below_min),
        };
        let class = starved.or_else(|| waiting.iter().find(below_max))?;
        Some(Choice { class, overdue: false })
    }

    pub(crate) fn issued(&mut self, choice: Choice) {
        let class = choice.class;
        self.active[class] += 1;
        self.active_total += 1;
        self.issued_last = class;
        self.overdue_turn_taken = choice.overdue;
        if choice.overdue {
            self.overdue_last = class;
        }
        if !class.is_background() {
            self.interactive_active += 1;
            if self.interactive_active == 1 {
                self.credit = 1;
            }
        } else if self.interactive_active > 0 {
            self.credit = self.credit.saturating_sub(1);
        }
    }

    pub(crate) fn completed(&mut self, config: &Config, class: Class) {
        self.active[class] = self.active[class].saturating_sub(1);
        self.active_total = self.active_total.saturating_sub(1);
        if !class.is_background() {
            self.interactive_active = self.interactive_active.saturating_sub(1);
            let credit = config.background.map_or(0, |rules| rules.credit);
            self.credit = if self.interactive_active == 0 { 0 } else { credit };
        } else if self.interactive_active == 0 {
            self.credit = self.credit.saturating_add(1);
        }
    }
}
