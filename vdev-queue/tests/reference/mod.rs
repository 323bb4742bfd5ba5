//! The slow, obvious queue: one `Vec`, searched and sorted for every question. It keeps no
//! index, no cached limit and no order between two calls, and follows the text of the
//! specification, sections 4.2 to 4.5 and 4.8, step by step.

use vdev_queue::{
    Aggregation, AggregationLimits, Class, Config, Depth, Flags, HeadPosition, Kind, Load, MinPass,
    Order, Request,
};

/// A waiting request; `id` is its number in order of arrival.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Waiting {
    pub(crate) id: u64,
    pub(crate) request: Request,
    pub(crate) class: Class,
    pub(crate) optional: bool,
    pub(crate) arrived_ns: u64,
}

impl Waiting {
    fn start(&self) -> u64 {
        self.request.offset_bytes()
    }

    fn end(&self) -> u64 {
        self.request.end_bytes()
    }
}

/// What the reference hands out.
#[derive(Debug, PartialEq)]
pub(crate) enum Out {
    Io { class: Class, kind: Kind, offset_bytes: u64, len_bytes: u64, ids: Vec<u64> },
    Unneeded { id: u64 },
}

#[derive(Debug)]
pub(crate) struct Reference {
    pub(crate) config: Config,
    pub(crate) load: Load,
    /// What the queue has measured; how it does that is not the reference's business.
    pub(crate) depth: u32,
    pub(crate) waiting: Vec<Waiting>,
    /// Classes of the I/Os at the device.
    pub(crate) active: Vec<Class>,
    now_ns: u64,
    last_offset: u64,
    last_class: usize,
    last_overdue_class: usize,
    last_was_overdue: bool,
    credit: u32,
    /// Class of each issue and end since there were two classes in a row, ends marked.
    solo: Vec<(Class, bool)>,
}

impl Reference {
    pub(crate) fn new(config: Config) -> Self {
        Self {
            depth: config.active_max,
            config,
            load: Load::default(),
            waiting: Vec::new(),
            active: Vec::new(),
            now_ns: 0,
            last_offset: 0,
            last_class: Class::COUNT - 1,
            last_overdue_class: Class::COUNT - 1,
            last_was_overdue: false,
            credit: 0,
            solo: Vec::new(),
        }
    }

    fn note_solo(&mut self, class: Class, ended: bool) {
        if self.solo.last().is_some_and(|&(last, _)| last != class) {
            self.solo.clear();
            // The end that brings the change is not one of a class by itself.
            self.solo.push((class, false));
        } else {
            self.solo.push((class, ended));
        }
    }

    pub(crate) fn enqueue(&mut self, id: u64, request: Request, now_ns: u64) {
        self.now_ns = self.now_ns.max(now_ns);
        let optional = request.flags().contains(Flags::OPTIONAL);
        let (class, arrived_ns) = (request.class(), self.now_ns);
        self.waiting.push(Waiting { id, request, class, optional, arrived_ns });
    }

    pub(crate) fn complete(&mut self, class: Class, now_ns: u64) {
        self.now_ns = self.now_ns.max(now_ns);
        let index = self.active.iter().position(|&active| active == class).expect("active");
        self.active.remove(index);
        self.note_solo(class, true);
        let interactive_left = self.interactive_active() > 0;
        match (class.is_background(), interactive_left) {
            (false, true) => self.credit = self.config.background.map_or(0, |rules| rules.credit),
            (false, false) => self.credit = 0,
            (true, false) => self.credit += 1,
            (true, true) => {}
        }
    }

    pub(crate) fn cancel(&mut self, id: u64) -> bool {
        let before = self.waiting.len();
        self.waiting.retain(|waiting| waiting.id != id);
        self.waiting.len() < before
    }

    pub(crate) fn reprioritise(&mut self, id: u64, class: Class) -> bool {
        let found = self.waiting.iter_mut().find(|waiting| waiting.id == id);
        found.is_some_and(|waiting| {
            let fit = class.fit(waiting.request.kind());
            let moved = fit != waiting.class;
            waiting.class = fit;
            moved
        })
    }

    pub(crate) fn active_of(&self, class: Class) -> u32 {
        self.active.iter().filter(|&&active| active == class).count() as u32
    }

    fn interactive_active(&self) -> usize {
        self.active.iter().filter(|class| !class.is_background()).count()
    }

    /// Limits of the first and the second pass.
    pub(crate) fn limits(&self, class: Class) -> (u32, u32) {
        let min = self.config.classes[class].active_min;
        let max = self.class_max(class).max(min);
        if class == Class::AsyncWrite {
            let max = self.async_write_max(min, max);
            let sure = match (self.config.depth, self.config.dirty_curve) {
                (Depth::Measured(_), Some(_)) if self.load.dirty_bytes_max > 0 => {
                    max.min(self.depth / 2)
                }
                _ => 0,
            };
            return (min.max(sure), max);
        }
        match self.config.background {
            Some(rules) if class.is_background() => {
                if self.interactive_active() > 0 {
                    (self.credit.min(min), self.credit.min(min))
                } else if self.credit < rules.delay {
                    (min, min.max(1))
                } else {
                    (min, max)
                }
            }
            _ => (min, max),
        }
    }

    /// Limit of a class at the depth that was measured.
    fn class_max(&self, class: Class) -> u32 {
        let max = self.config.classes[class].active_max;
        let Depth::Measured(rules) = self.config.depth else {
            return max;
        };
        let share = (u64::from(max) * u64::from(self.depth) / u64::from(rules.start)).max(1);
        let share = share.min(u64::from(self.depth)) as u32;
        let grows = !matches!(class, Class::AsyncWrite | Class::Trim);
        if grows && self.solo.last().is_some_and(|&(last, _)| last == class) {
            let ended = self.solo.iter().filter(|&&(_, ended)| ended).count() as u32;
            share.max((ended / 8).min(self.depth))
        } else {
            share
        }
    }

    fn async_write_max(&self, min: u32, max: u32) -> u32 {
        let (dirty, dirty_max) = (self.load.dirty_bytes, self.load.dirty_bytes_max);
        let Some(curve) = self.config.dirty_curve else {
            return max;
        };
        let low = dirty_max / 100 * u64::from(curve.low_percent);
        let high = dirty_max / 100 * u64::from(curve.high_percent);
        if dirty_max == 0 || self.load.sync_task_pending || dirty > high {
            max
        } else if dirty < low {
            min
        } else {
            ((dirty - low) * u64::from(max - min) / (high - low)) as u32 + min
        }
    }

    /// The class to issue from, and whether because of its deadline.
    pub(crate) fn choose(&self) -> Option<(Class, bool)> {
        if self.active.len() >= self.depth as usize {
            return None;
        }
        let has_waiting = |class: Class| self.waiting.iter().any(|w| w.class == class);
        let after =
            |last: usize| (1..=Class::COUNT).map(move |i| Class::ALL[(last + i) % Class::COUNT]);
        let below_max = |class: Class| self.active_of(class) < self.limits(class).1;
        if !self.last_was_overdue {
            for class in after(self.last_overdue_class) {
                let oldest = self.waiting.iter().filter(|w| w.class == class).min_by_key(|w| w.id);
                let deadline = self.config.classes[class].deadline_ns;
                if let (Some(oldest), Some(deadline)) = (oldest, deadline)
                    && self.now_ns - oldest.arrived_ns >= deadline
                    && below_max(class)
                {
                    return Some((class, true));
                }
            }
        }
        let first_pass: Vec<Class> = match self.config.min_pass {
            MinPass::BestFirst => Class::ALL.to_vec(),
            MinPass::RoundRobin => after(self.last_class).collect(),
        };
        for class in first_pass {
            if has_waiting(class) && self.active_of(class) < self.limits(class).0 {
                return Some((class, false));
            }
        }
        Class::ALL.into_iter().find(|&c| has_waiting(c) && below_max(c)).map(|c| (c, false))
    }

    pub(crate) fn poll(&mut self, now_ns: u64) -> Option<Out> {
        if self.waiting.is_empty() {
            return None;
        }
        self.now_ns = self.now_ns.max(now_ns);
        let (class, overdue) = self.choose()?;
        let run = match class.order() {
            Order::Arrival => {
                vec![*self.waiting.iter().filter(|w| w.class == class).min_by_key(|w| w.id)?]
            }
            Order::Offset => self.pick_by_offset(class, overdue),
        };
        let ids: Vec<u64> = run.iter().map(|w| w.id).collect();
        self.waiting.retain(|w| !ids.contains(&w.id));
        let (first, last) = (run[0], run[run.len() - 1]);
        if run.len() == 1 && first.request.flags().contains(Flags::NODATA) {
            return Some(Out::Unneeded { id: first.id });
        }
        self.note_issue(class, overdue);
        self.last_offset = match self.config.elevator.head {
            HeadPosition::StartOfLast => first.start(),
            HeadPosition::EndOfLast => last.end(),
        };
        let (offset_bytes, len_bytes) = (first.start(), last.end() - first.start());
        Some(Out::Io { class, kind: first.request.kind(), offset_bytes, len_bytes, ids })
    }

    fn note_issue(&mut self, class: Class, overdue: bool) {
        let interactive_before = self.interactive_active();
        self.active.push(class);
        self.note_solo(class, false);
        self.last_class = class as usize;
        self.last_was_overdue = overdue;
        if overdue {
            self.last_overdue_class = class as usize;
        }
        if class.is_background() && interactive_before > 0 {
            // Below 1 only where no background rules look at it.
            self.credit = self.credit.saturating_sub(1);
        } else if !class.is_background() && interactive_before == 0 {
            self.credit = 1;
        }
    }

    fn batch(&self, waiting: &Waiting) -> u64 {
        self.config.elevator.batch_ns_log2.map_or(0, |log2| waiting.arrived_ns >> log2)
    }

    fn pick_by_offset(&mut self, class: Class, overdue: bool) -> Vec<Waiting> {
        let mut set: Vec<Waiting> =
            self.waiting.iter().filter(|w| w.class == class).copied().collect();
        let oldest_batch = set.iter().map(|w| self.batch(w)).min().expect("not empty");
        // Merging stays within a batch, so the others need not be looked at.
        let oldest = *set.iter().min_by_key(|w| w.id).expect("not empty");
        if !(overdue && self.config.elevator.batch_ns_log2.is_none()) {
            set.retain(|w| self.batch(w) == oldest_batch);
        }
        set.sort_by_key(|w| (w.start(), w.id));
        let is_ahead = |w: &Waiting| match self.config.elevator.head {
            HeadPosition::StartOfLast => w.start() > self.last_offset,
            HeadPosition::EndOfLast => w.start() >= self.last_offset,
        };
        let picked = if overdue && self.config.elevator.batch_ns_log2.is_none() {
            set.iter().position(|w| w.id == oldest.id).expect("in the set")
        } else {
            set.iter().position(is_ahead).unwrap_or(0)
        };
        let Aggregation::On(limits) = self.config.aggregation else {
            return vec![set[picked]];
        };
        let merged = merge(&set, picked, limits);
        if let Some(obliged) = merged.obliged {
            self.waiting.iter_mut().find(|w| w.id == obliged).expect("waiting").optional = false;
        }
        merged.run
    }
}

struct Merged {
    run: Vec<Waiting>,
    obliged: Option<u64>,
}

/// Spec 4.5 on a sorted list.
fn merge(set: &[Waiting], z: usize, limits: AggregationLimits) -> Merged {
    let picked = &set[z];
    let apart = |w: &Waiting| w.request.flags().contains(Flags::DONT_AGGREGATE);
    if apart(picked) {
        return Merged { run: vec![*picked], obliged: None };
    }
    let kind = picked.request.kind();
    let gap_max = if kind == Kind::Read { limits.read_gap_bytes_max as i128 } else { 0 };
    let gap = |a: &Waiting, b: &Waiting| i128::from(b.start()) - i128::from(a.end());
    let akin = |w: &Waiting| {
        w.request.flavour() == picked.request.flavour() && w.request.kind() == kind && !apart(w)
    };
    let fits = |first: &Waiting, last: &Waiting| last.end() - first.start() <= limits.len_bytes_max;
    let near = |a: &Waiting, b: &Waiting| (0..=gap_max).contains(&gap(a, b));

    let (mut first, mut last) = (z, z);
    let mut mandatory = if picked.optional { None } else { Some(z) };
    // Step 2.
    while first > 0
        && last - first + 1 < limits.members_max
        && akin(&set[first - 1])
        && fits(&set[first - 1], &set[last])
        && near(&set[first - 1], &set[first])
    {
        first -= 1;
        if mandatory.is_none() && !set[first].optional {
            mandatory = Some(first);
        }
    }
    // Step 3.
    while set[first].optional && first < last {
        first += 1;
    }
    // Step 4.
    while last + 1 < set.len()
        && last - first + 1 < limits.members_max
        && akin(&set[last + 1])
        && fits(&set[first], &set[last + 1])
        && near(&set[last], &set[last + 1])
    {
        last += 1;
        if !set[last].optional {
            mandatory = Some(last);
        }
    }
    // Step 5.
    let mut stretch = false;
    if let (Kind::Write, Some(mandatory)) = (kind, mandatory) {
        for next in last + 1..set.len() {
            if set[next].request.kind() != kind
                || gap(&set[next - 1], &set[next]) != 0
                || gap(&set[mandatory], &set[next]) > i128::from(limits.write_gap_bytes_max)
            {
                break;
            }
            if !set[next].optional {
                stretch = true;
                break;
            }
        }
    }
    // Step 6.
    let mut obliged = None;
    if stretch {
        obliged = Some(set[last + 1].id);
    } else {
        while last > first && Some(last) != mandatory {
            last -= 1;
        }
    }
    // Step 7.
    let run = if first == last { vec![*picked] } else { set[first..=last].to_vec() };
    Merged { run, obliged }
}
