//! A contest: ours and a baseline in turns, round by round, so that whatever
//! else the machine does hits both.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use hdrhistogram::Histogram;
use indicatif::ProgressBar;

use super::plan::Plan;
use super::usage::{Usage, Used};

/// Latencies are told apart up to this, in ns; longer ones count as this.
const LATENCY_NS_MAX: u64 = 100_000_000_000;

/// One round of one side, as the measured code sees it.
pub(super) struct Round {
    until: Instant,
    ops: u64,
    latencies_ns: Histogram<u64>,
}

impl Round {
    /// Counts an operation that began at `since`; returns the time.
    pub(super) fn finished(&mut self, since: Instant) -> Instant {
        let now = Instant::now();
        self.took(now.saturating_duration_since(since));
        now
    }

    /// Counts an operation that took so long by the caller's measure.
    pub(super) fn took(&mut self, time: Duration) {
        self.ops += 1;
        let took = u64::try_from(time.as_nanos()).unwrap_or(LATENCY_NS_MAX);
        self.latencies_ns.saturating_record(took);
    }

    /// Is there time for another operation?
    pub(super) fn is_open(&self, now: Instant) -> bool {
        now < self.until
    }

    /// Operations so far.
    pub(super) fn ops(&self) -> u64 {
        self.ops
    }

    /// Counts operations too short to be timed one by one; is there time for more?
    pub(super) fn count(&mut self, ops: usize) -> bool {
        self.ops += ops as u64;
        Instant::now() < self.until
    }
}

/// One side of a contest: does operations until its round closes.
pub(super) type Contender<'a> = Box<dyn FnMut(&mut Round) -> Result<()> + 'a>;

/// What the speed of a side is taken by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Clock {
    /// Time that went by: where a device or other threads take part.
    Wall,
    /// CPU time of the process: for work of one thread, which then is the same
    /// whatever else the machine does.
    Cpu,
    /// The latency that so many percent of a round's operations stay under: its
    /// inverse counts as the speed.
    Percentile(u8),
}

/// A side's figures: medians of its rounds, percentiles of all its operations.
#[derive(Clone, Copy, Debug)]
pub(super) struct Side {
    /// By the contest's clock.
    pub(super) ops_per_s: f64,
    pub(super) cpu_us_per_op: f64,
    pub(super) switches_per_op: f64,
    pub(super) allocations_per_op: f64,
    /// In µs: p50, p99. Absent where operations are not timed one by one.
    pub(super) latencies_us: Option<(f64, f64)>,
}

/// What came out.
#[derive(Clone, Copy, Debug)]
pub(super) struct Outcome {
    pub(super) ours: Side,
    pub(super) baseline: Option<Side>,
    /// Quartiles of our speed in one round over the baseline's in the next.
    pub(super) ratio_quartiles: Option<(f64, f64)>,
}

struct Tally {
    clock: Clock,
    rounds: Vec<RoundOver>,
    latencies_ns: Histogram<u64>,
}

/// What is kept of a round.
struct RoundOver {
    ops: u64,
    used: Used,
    /// By the clock of the contest.
    seconds_per_op: f64,
}

impl Tally {
    fn new(clock: Clock) -> Result<Self> {
        let latencies_ns = Histogram::new_with_max(LATENCY_NS_MAX, 3)?;
        Ok(Self { clock, rounds: Vec::new(), latencies_ns })
    }

    fn run(&mut self, plan: &Plan, warm_up: bool, side: &mut Contender<'_>) -> Result<()> {
        let latencies_ns = Histogram::new_with_max(LATENCY_NS_MAX, 3)?;
        let before = Usage::before();
        let mut round = Round { until: Instant::now() + plan.round_time, ops: 0, latencies_ns };
        side(&mut round)?;
        let used = before.after();
        if round.ops == 0 {
            return Err(anyhow!("a round without a single operation"));
        }
        let seconds_per_op = match self.clock {
            Clock::Wall => used.wall.as_secs_f64() / round.ops as f64,
            Clock::Cpu => used.cpu.as_secs_f64() / round.ops as f64,
            Clock::Percentile(percent) => {
                round.latencies_ns.value_at_percentile(percent.into()) as f64 / 1e9
            }
        };
        if !warm_up {
            self.rounds.push(RoundOver { ops: round.ops, used, seconds_per_op });
            self.latencies_ns.add(&round.latencies_ns)?;
        }
        Ok(())
    }

    fn speeds(&self) -> impl Iterator<Item = f64> + '_ {
        self.rounds.iter().map(|round| 1.0 / round.seconds_per_op)
    }

    fn side(&self) -> Side {
        let per_op = |of: fn(&Used) -> f64| {
            median(self.rounds.iter().map(|round| of(&round.used) / round.ops as f64).collect())
        };
        let at = |quantile| self.latencies_ns.value_at_quantile(quantile) as f64 / 1e3;
        Side {
            ops_per_s: median(self.speeds().collect()),
            cpu_us_per_op: per_op(|used| used.cpu.as_secs_f64() * 1e6),
            switches_per_op: per_op(|used| used.switches as f64),
            allocations_per_op: per_op(|used| used.allocations as f64),
            latencies_us: (!self.latencies_ns.is_empty()).then(|| (at(0.5), at(0.99))),
        }
    }
}

/// Runs the rounds of both sides in turns: ours, baseline, ours, baseline, ….
pub(super) fn contest(
    plan: &Plan,
    progress: &ProgressBar,
    clock: Clock,
    mut ours: Contender<'_>,
    mut baseline: Option<Contender<'_>>,
) -> Result<Outcome> {
    let (mut our_tally, mut its_tally) = (Tally::new(clock)?, Tally::new(clock)?);
    for round in 0..=plan.rounds {
        let warm_up = round == 0;
        our_tally.run(plan, warm_up, &mut ours).context("our side")?;
        if let Some(baseline) = &mut baseline {
            its_tally.run(plan, warm_up, baseline).context("the baseline")?;
        }
        progress.inc(1);
    }
    let ratios: Vec<f64> = our_tally.speeds().zip(its_tally.speeds()).map(|(a, b)| a / b).collect();
    Ok(Outcome {
        ours: our_tally.side(),
        baseline: baseline.is_some().then(|| its_tally.side()),
        ratio_quartiles: baseline
            .is_some()
            .then(|| (quantile(ratios.clone(), 0.25), quantile(ratios, 0.75))),
    })
}

fn median(values: Vec<f64>) -> f64 {
    quantile(values, 0.5)
}

/// Between the two nearest values where it falls between.
fn quantile(mut values: Vec<f64>, at: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let place = (values.len().saturating_sub(1)) as f64 * at;
    let get = |index: f64| values.get(index as usize).copied().unwrap_or(f64::NAN);
    let (low, high) = (get(place.floor()), get(place.ceil()));
    low + (high - low) * place.fract()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_lie_where_they_should() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), 2.5);
        assert_eq!(quantile(vec![5.0, 1.0, 3.0, 2.0, 4.0], 0.25), 2.0);
        assert_eq!(quantile(vec![7.0], 0.75), 7.0);
    }

    #[test]
    fn the_sides_take_turns_and_the_first_round_does_not_count() {
        let order = std::cell::RefCell::new(String::new());
        let side = |name: char, nth_ops: fn(usize) -> usize| {
            let order = &order;
            let mut nth = 0;
            let side: Contender<'_> = Box::new(move |round| {
                order.borrow_mut().push(name);
                nth += 1;
                round.count(nth_ops(nth));
                Ok(())
            });
            side
        };
        // Only the warm-up does so much that the median would show it.
        let ours = side('a', |nth| if nth == 1 { 1 << 40 } else { 1 });
        let baseline = side('b', |_| 1);
        let plan = Plan { rounds: 1, ..Plan::SMOKE };
        let outcome =
            contest(&plan, &ProgressBar::hidden(), Clock::Wall, ours, Some(baseline)).unwrap();
        assert_eq!(*order.borrow(), "abab");
        // 2^40 in one round would be more than 10^12 a second.
        assert!(outcome.ours.ops_per_s < 1e11);
        assert!(outcome.ours.latencies_us.is_none());
    }

    #[test]
    fn a_side_that_does_nothing_is_an_error() {
        let outcome =
            contest(&Plan::SMOKE, &ProgressBar::hidden(), Clock::Wall, Box::new(|_| Ok(())), None);
        assert!(format!("{:#}", outcome.unwrap_err()).contains("without a single operation"));
    }
}
