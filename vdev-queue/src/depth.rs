//! How many I/Os the device should have at once: found by measuring, not by a constant.
//!
//! More depth brings more throughput up to a knee, which lies at 4 for one device and at 100 for
//! another; beyond it, depth only adds latency, and takes the choice of what is next out of the
//! queue's hands. The search for the knee compares two depths at a time, in turns (low, high,
//! low, high, …), so that a load that changes meanwhile changes both:
//!
//! ```text
//!  start ──► double while that pays ──► up by half? ─no─► four times? ─no─► down by a third? ─no─► hold
//!                                           ▲   │ yes: stay there │             │                 │
//!                                           └───┴─────────────────┘             └─ again, lower   │
//!                                           └───────────────────────◄─────────────────────────────┘
//! ```
//!
//! The leap is for devices that gain little from 4 to 24 and then much, as a hard disk does that
//! is already fed in a good order.
//!
//! Mean latency at a full depth is depth / throughput, so comparing throughputs is comparing
//! latencies: the higher depth pays if latency grows by less than depth does. Throughput is taken
//! in I/Os and in bytes, and the smaller gain counts. For the mix of I/Os changes with the depth
//! where some classes have a fixed number of I/Os at the device, and small ones in place of large
//! ones look like a gain in I/Os, though the device is not faster.
//!
//! Only times count in which the limit was felt: the device full, and something waiting.

use std::cmp::Ordering;

use crate::config::DepthRules;

/// An epoch takes in so many completions, and [`EPOCH_ROUNDS`] for each slot of the depth.
const EPOCH_COMPLETIONS: u32 = 64;
const EPOCH_ROUNDS: u32 = 4;
/// Pairs of epochs before a comparison may end early, and at most.
const PAIRS_MIN: u32 = 3;
const PAIRS_MAX: u32 = 8;
/// A comparison is clear at so many standard errors.
const CLEAR_ERRORS: f64 = 2.0;
/// A doubling at the start has to bring this much; it is judged by one epoch each.
const DOUBLING_GAIN: f64 = 0.03;
/// A leap to four times the depth has to bring as much as so many steps by half. It is as long as
/// three and a half; but where it is needed, the gain lies in the last of them.
const LEAP_STEPS: f64 = 2.0;
/// After a comparison that changed nothing, so many times its completions pass undisturbed, …
const HOLD_FACTOR: u32 = 16;
/// … but not more than this: a hard disk takes half a minute for them.
const HOLD_COMPLETIONS_MAX: u32 = 4096;

/// Finds the depth of one device.
#[derive(Clone, Debug)]
pub(crate) struct DepthSearch {
    rules: DepthRules,
    depth_max: u32,
    /// The depth found so far.
    settled: u32,
    /// The depth in force: the settled one, or the one that is tried.
    depth: u32,
    state: State,
    epoch: Epoch,
    /// Time for each I/O in the last epoch, 0 before the first.
    ns_per_io: u64,
}

#[derive(Clone, Debug)]
enum State {
    /// Doubling; the rate at half the depth, once known.
    Starting {
        rate_before: Option<Rate>,
    },
    Comparing(Comparison),
    Holding {
        completions_left: u32,
    },
}

/// Two depths in turns.
#[derive(Clone, Debug)]
struct Comparison {
    step: Step,
    low: u32,
    high: u32,
    /// Rate of the low side of the present pair, once known.
    rate_low: Option<Rate>,
    pairs: u32,
    gain_sum: f64,
    gain_square_sum: f64,
    completions: u32,
}

/// Why two depths are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Up,
    Leap,
    Down,
}

/// What a comparison says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Unclear,
    Low,
    High,
}

/// One measurement at one depth.
#[derive(Clone, Debug, Default)]
struct Epoch {
    /// Completions to let pass: I/Os of another depth, or of an idle device.
    settling: u32,
    completions: u32,
    /// Completions that count for nothing, because the limit was not felt.
    unfelt: u32,
    bytes: u64,
    ns: u64,
    /// When the last completion was, if the device was pressed then.
    pressed_ns: Option<u64>,
}

/// Throughput, each ns.
#[derive(Clone, Copy, Debug)]
struct Rate {
    ios: f64,
    bytes: f64,
}

impl Rate {
    fn gain_over(self, low: Self) -> f64 {
        (self.ios / low.ios).min(self.bytes / low.bytes) - 1.0
    }
}

impl DepthSearch {
    pub(crate) fn new(rules: DepthRules, depth_max: u32) -> Self {
        let depth = rules.start.min(depth_max);
        Self {
            rules,
            depth_max,
            settled: depth,
            depth,
            state: State::Starting { rate_before: None },
            epoch: Epoch::at(depth, depth),
            ns_per_io: 0,
        }
    }

    /// The depth in force.
    pub(crate) fn depth(&self) -> u32 {
        self.depth
    }

    /// Takes new rules; what was found stays, as far as they allow it.
    pub(crate) fn adjust(&mut self, rules: DepthRules, depth_max: u32) {
        if (rules, depth_max) == (self.rules, self.depth_max) {
            return;
        }
        let found = self.settled.clamp(rules.min.min(depth_max), depth_max);
        (self.rules, self.depth_max) = (rules, depth_max);
        self.settled = found;
        self.compare_upwards();
    }

    /// An I/O ended. `pressed`: until then the device was full, and something waited.
    pub(crate) fn completed(&mut self, now_ns: u64, len_bytes: u64, pressed: bool) {
        if let State::Holding { completions_left } = &mut self.state {
            *completions_left = completions_left.saturating_sub(u32::from(pressed));
            if *completions_left == 0 {
                self.compare_upwards();
            }
            return;
        }
        if self.epoch.is_idle(self.depth) {
            self.give_up();
            return;
        }
        let Some(rate) = self.epoch.take(now_ns, len_bytes, pressed, self.depth) else { return };
        let epoch_completions = self.epoch.completions;
        self.ns_per_io = self.epoch.ns / u64::from(epoch_completions.max(1));
        match &mut self.state {
            State::Holding { .. } => {}
            State::Starting { rate_before } => match *rate_before {
                Some(before) if rate.gain_over(before) < DOUBLING_GAIN => self.compare_upwards(),
                _ => {
                    *rate_before = Some(rate);
                    self.settled = self.depth;
                    match self.above(2, 1) {
                        Some(depth) => self.go_to(depth),
                        None => self.compare_upwards(),
                    }
                }
            },
            State::Comparing(comparison) => {
                comparison.completions += epoch_completions;
                match comparison.rate_low.take() {
                    None => {
                        comparison.rate_low = Some(rate);
                        let high = comparison.high;
                        self.go_to(high);
                    }
                    Some(rate_low) => {
                        comparison.add(rate.gain_over(rate_low));
                        self.judge();
                    }
                }
            }
        }
    }

    /// The present depth cannot be measured: the load is not enough to fill it.
    fn give_up(&mut self) {
        match self.depth.cmp(&self.settled) {
            Ordering::Greater => self.compare_downwards(),
            Ordering::Less => self.hold(EPOCH_COMPLETIONS),
            Ordering::Equal => self.go_to(self.settled),
        }
    }

    fn judge(&mut self) {
        let State::Comparing(comparison) = &self.state else { return };
        let (low, high, step) = (comparison.low, comparison.high, comparison.step);
        match (step, comparison.verdict(f64::from(self.rules.gain_permille) / 1000.0)) {
            (_, Verdict::Unclear) => self.go_to(low),
            (Step::Up | Step::Leap, Verdict::High) => {
                self.settled = high;
                self.compare_upwards();
            }
            (Step::Up, Verdict::Low) => self.leap(),
            (Step::Leap, Verdict::Low) => self.compare_downwards(),
            (Step::Down, Verdict::Low) => {
                self.settled = low;
                self.compare_downwards();
            }
            (Step::Down, Verdict::High) => self.hold(comparison.completions),
        }
    }

    fn compare_upwards(&mut self) {
        match self.above(3, 2) {
            Some(high) => self.compare(Step::Up, self.settled, high),
            None => self.compare_downwards(),
        }
    }

    fn leap(&mut self) {
        match self.above(4, 1) {
            Some(high) => self.compare(Step::Leap, self.settled, high),
            None => self.compare_downwards(),
        }
    }

    fn compare_downwards(&mut self) {
        let low = (self.settled * 2 / 3).max(self.rules.min).min(self.settled);
        if low < self.settled {
            self.compare(Step::Down, low, self.settled);
        } else {
            self.hold(EPOCH_COMPLETIONS);
        }
    }

    /// So many times the settled depth, as far as the limits let it; `None` if they do not let
    /// it be higher at all.
    fn above(&self, times: u32, over: u32) -> Option<u32> {
        let depth = (self.settled.saturating_mul(times) / over).max(self.settled.saturating_add(1));
        // Were the device not to go faster at all, its I/Os would take this long.
        let in_time = self.rules.latency_ns_max.checked_div(self.ns_per_io).unwrap_or(u64::MAX);
        let depth = depth.min(self.depth_max).min(u32::try_from(in_time).unwrap_or(u32::MAX));
        (depth > self.settled).then_some(depth)
    }

    fn compare(&mut self, step: Step, low: u32, high: u32) {
        self.state = State::Comparing(Comparison {
            step,
            low,
            high,
            rate_low: None,
            pairs: 0,
            gain_sum: 0.0,
            gain_square_sum: 0.0,
            completions: 0,
        });
        self.go_to(low);
    }

    fn hold(&mut self, completions: u32) {
        let completions_left = completions.saturating_mul(HOLD_FACTOR).min(HOLD_COMPLETIONS_MAX);
        self.state = State::Holding { completions_left };
        self.depth = self.settled;
    }

    fn go_to(&mut self, depth: u32) {
        self.epoch = Epoch::at(depth, self.depth);
        self.depth = depth;
    }
}

impl Comparison {
    fn add(&mut self, gain: f64) {
        self.pairs += 1;
        self.gain_sum += gain;
        self.gain_square_sum += gain * gain;
    }

    /// Whether the high depth is worth it. In doubt, a step has to promise more than it would
    /// have to prove: up twice the gain, down no loss at all. So noise alone does not wander far.
    fn verdict(&self, gain_of_half: f64) -> Verdict {
        let (gain_wanted, doubtful_factor) = match self.step {
            Step::Up => (gain_of_half, 2.0),
            Step::Leap => (gain_of_half * LEAP_STEPS, 1.0),
            Step::Down => (gain_of_half, 0.0),
        };
        let pairs = f64::from(self.pairs);
        let gain = self.gain_sum / pairs;
        let variance = (self.gain_square_sum / pairs - gain * gain).max(0.0);
        let error = (variance / (pairs - 1.0).max(1.0)).sqrt();
        let beyond = gain - gain_wanted;
        if self.pairs >= PAIRS_MIN && beyond.abs() > CLEAR_ERRORS * error {
            if beyond > 0.0 { Verdict::High } else { Verdict::Low }
        } else if self.pairs < PAIRS_MAX {
            Verdict::Unclear
        } else if gain > gain_wanted * doubtful_factor {
            Verdict::High
        } else {
            Verdict::Low
        }
    }
}

impl Epoch {
    /// At a depth, after another.
    fn at(depth: u32, before: u32) -> Self {
        Self { settling: depth.max(before), ..Self::default() }
    }

    fn length(depth: u32) -> u32 {
        EPOCH_COMPLETIONS.saturating_add(EPOCH_ROUNDS.saturating_mul(depth))
    }

    fn is_idle(&self, depth: u32) -> bool {
        self.unfelt >= Self::length(depth)
    }

    /// Takes a completion in; the rate, when that was the last one wanted.
    fn take(&mut self, now_ns: u64, len_bytes: u64, pressed: bool, depth: u32) -> Option<Rate> {
        let since_ns = self.pressed_ns.replace(now_ns);
        if !pressed {
            // The device ran empty, or nothing waited: its next I/Os have it to themselves.
            self.pressed_ns = None;
            self.settling = self.settling.max(depth);
            self.unfelt += 1;
            return None;
        }
        if self.settling > 0 {
            self.settling -= 1;
            return None;
        }
        self.ns += now_ns - since_ns?;
        self.bytes = self.bytes.saturating_add(len_bytes);
        self.completions += 1;
        (self.completions >= Self::length(depth) && self.ns > 0).then(|| Rate {
            ios: f64::from(self.completions) / self.ns as f64,
            bytes: self.bytes as f64 / self.ns as f64,
        })
    }
}
