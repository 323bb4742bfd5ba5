//! How much CPU the background lane may use: arithmetic over what its workers report.

/// A lane is contended when its tasks are off the CPU for more than one part in this many.
const WAITED_PARTS: u64 = 8;
/// What was reported longer ago than this counts half.
const WINDOW_NS: u64 = 50_000_000;
/// A worker pauses no longer than this at a time, so that a lane notices soon when it is alone.
const PAUSE_NS_MAX: u64 = 20_000_000;

/// The account of a lane. CPU time spent while others wanted it is debt, which time pays off at the
/// rate of the lane's share; a worker pauses until the debt is paid. While nobody else wants the
/// CPU there is no debt.
///
/// Worked example: 25 % of 4 CPUs is 1 CPU. A task that computed for 3 ms, and took 4 ms over it,
/// waited for a quarter of its time, so the lane is contended. In those 4 ms 4 ms of debt could
/// have been paid, so there is none, and no pause. When four such tasks end together, that pays for
/// the first; the others find 3, 6 and 9 ms of debt, and pause for as long.
#[derive(Debug)]
pub(crate) struct Budget {
    /// CPUs that the lane may use, in thousandths.
    cpus_milli: u64,
    window_ns: u64,
    computed_ns: u64,
    waited_ns: u64,
    debt_ns: u64,
    paid_ns: u64,
}

impl Budget {
    /// A share of `cpus`; none for a share that is no limit.
    pub(crate) fn new(cpu_percent: u32, cpus: usize) -> Option<Self> {
        let cpus_milli = (cpus as u64).saturating_mul(u64::from(cpu_percent)).saturating_mul(10);
        (cpu_percent < 100).then_some(Self {
            // A share of nothing would stand still for ever.
            cpus_milli: cpus_milli.max(1),
            window_ns: 0,
            computed_ns: 0,
            waited_ns: 0,
            debt_ns: 0,
            paid_ns: 0,
        })
    }

    /// A task has computed for `cpu_ns` within `wall_ns`, until now. How long is its worker to
    /// pause?
    pub(crate) fn charge(&mut self, now_ns: u64, cpu_ns: u64, wall_ns: u64) -> u64 {
        if now_ns.saturating_sub(self.window_ns) >= WINDOW_NS {
            self.window_ns = now_ns;
            self.computed_ns /= 2;
            self.waited_ns /= 2;
        }
        self.computed_ns = self.computed_ns.saturating_add(cpu_ns);
        self.waited_ns = self.waited_ns.saturating_add(wall_ns.saturating_sub(cpu_ns));
        // Workers report out of step: the clock of the account goes forward only.
        let since_ns = now_ns.saturating_sub(self.paid_ns);
        self.paid_ns = self.paid_ns.max(now_ns);
        let paid_ns = since_ns.saturating_mul(self.cpus_milli) / 1000;
        self.debt_ns = self.debt_ns.saturating_add(cpu_ns).saturating_sub(paid_ns);
        if !self.is_contended() {
            self.debt_ns = 0;
        }
        // Older debt is forgiven: it could not be paid within the longest pause.
        let debt_ns_max = PAUSE_NS_MAX.saturating_mul(self.cpus_milli) / 1000;
        self.debt_ns = self.debt_ns.min(debt_ns_max);
        self.debt_ns.saturating_mul(1000) / self.cpus_milli
    }

    fn is_contended(&self) -> bool {
        let all_ns = self.computed_ns.saturating_add(self.waited_ns);
        self.waited_ns.saturating_mul(WAITED_PARTS) > all_ns
    }
}

#[cfg(test)]
mod tests {
    use super::{Budget, PAUSE_NS_MAX};

    const MS: u64 = 1_000_000;

    /// Runs one worker for a second: each task computes `cpu_ns` and takes `wall_ns`. Returns the
    /// share of the time that it computed, in percent.
    fn share(budget: &mut Budget, now: &mut u64, cpu_ns: u64, wall_ns: u64) -> u64 {
        let (start, mut computed) = (*now, 0);
        while *now - start < 1000 * MS {
            *now += wall_ns;
            computed += cpu_ns;
            *now += budget.charge(*now, cpu_ns, wall_ns);
        }
        computed * 100 / (*now - start)
    }

    #[test]
    fn alone_it_may_use_all() {
        let mut budget = Budget::new(25, 1).unwrap();
        assert_eq!(share(&mut budget, &mut 0, MS, MS), 100);
        assert_eq!(share(&mut budget, &mut 0, 10 * MS, 11 * MS), 90, "little waiting is none");
    }

    #[test]
    fn under_contention_it_keeps_to_its_share() {
        for percent in [10, 25, 50] {
            let mut budget = Budget::new(percent, 1).unwrap();
            let (mut now, expected) = (0, u64::from(percent));
            let got = share(&mut budget, &mut now, MS, 2 * MS);
            assert!(got.abs_diff(expected.min(50)) <= 1, "{percent} % became {got} %");
        }
    }

    #[test]
    fn a_small_share_is_kept_by_small_tasks_too() {
        let mut budget = Budget::new(5, 1).unwrap();
        let got = share(&mut budget, &mut 0, MS / 100, MS / 50);
        assert!(got.abs_diff(5) <= 1, "{got} %");
    }

    #[test]
    fn when_the_others_are_gone_it_uses_all_again() {
        let mut budget = Budget::new(10, 1).unwrap();
        let mut now = 0;
        assert!(share(&mut budget, &mut now, MS, 2 * MS) <= 11);
        share(&mut budget, &mut now, MS, MS);
        assert_eq!(share(&mut budget, &mut now, MS, MS), 100);
    }

    #[test]
    fn the_share_is_of_all_workers_together() {
        // 25 % of 4 CPUs: four tasks of 3 ms end at the same time, as in the worked example.
        let mut budget = Budget::new(25, 4).unwrap();
        let now = 100 * MS;
        budget.charge(now - 4 * MS, 0, 0);
        let pauses = [(); 4].map(|()| budget.charge(now, 3 * MS, 4 * MS));
        assert_eq!(pauses, [0, 3 * MS, 6 * MS, 9 * MS]);
    }

    #[test]
    fn no_pause_is_long_and_no_number_breaks_it() {
        for (percent, cpus) in [(0, 1), (1, 1), (99, 4096), (1, usize::MAX)] {
            let mut budget = Budget::new(percent, cpus).unwrap();
            for number in [0, 1, MS, u64::MAX] {
                assert!(budget.charge(number, number, number) <= PAUSE_NS_MAX);
                assert!(budget.charge(number, number / 2, number) <= PAUSE_NS_MAX);
                assert!(budget.charge(0, number, 0) <= PAUSE_NS_MAX);
            }
        }
        assert!(Budget::new(100, 4).is_none(), "no limit");
    }
}
