//! What this process has used: time, CPU, context switches, heap allocations.

use std::alloc::System;
use std::fs;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

#[global_allocator]
static HEAP: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// The counters at one moment.
pub(super) struct Usage {
    wall: Instant,
    cpu: Duration,
    switches: u64,
    allocations: usize,
}

/// What was used between two moments.
#[derive(Clone, Copy, Debug)]
pub(super) struct Used {
    pub(super) wall: Duration,
    /// User and system time of all threads.
    pub(super) cpu: Duration,
    /// Voluntary and involuntary, of the threads that live.
    pub(super) switches: u64,
    /// New ones and those that moved or grew.
    pub(super) allocations: usize,
}

impl Usage {
    /// Before what is to be measured.
    pub(super) fn before() -> Self {
        let switches = context_switches();
        let allocations = allocations();
        let cpu = cpu_time();
        Self { wall: Instant::now(), cpu, switches, allocations }
    }

    /// After it. The order is turned round, so that counting is not counted.
    pub(super) fn after(self) -> Used {
        let wall = self.wall.elapsed();
        let cpu = cpu_time().saturating_sub(self.cpu);
        let allocations = allocations() - self.allocations;
        let switches = context_switches().saturating_sub(self.switches);
        Used { wall, cpu, switches, allocations }
    }
}

fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}

fn allocations() -> usize {
    let stats = HEAP.stats();
    stats.allocations + stats.reallocations
}

fn context_switches() -> u64 {
    let Ok(tasks) = fs::read_dir("/proc/self/task") else { return 0 };
    let status = |task: fs::DirEntry| fs::read_to_string(task.path().join("status")).ok();
    tasks.flatten().filter_map(status).map(|status| switches_in(&status)).sum()
}

fn switches_in(status: &str) -> u64 {
    let counts = status.lines().filter_map(|line| line.split_once("_ctxt_switches:"));
    counts.filter_map(|(_, count)| count.trim().parse::<u64>().ok()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_kinds_of_switches_count() {
        let status = "Name:\tx\nvoluntary_ctxt_switches:\t40\nnonvoluntary_ctxt_switches:\t2\n";
        assert_eq!(switches_in(status), 42);
    }

    #[test]
    fn work_is_seen() {
        let before = Usage::before();
        let mut kept = Vec::new();
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_millis(30) {
            kept.push(vec![0_u8; 100]);
        }
        std::thread::sleep(Duration::from_millis(1));
        let used = before.after();
        assert!(used.allocations >= kept.len(), "{used:?} of {}", kept.len());
        assert!(used.switches > 0 && used.cpu > Duration::ZERO, "{used:?}");
        assert!(used.wall >= Duration::from_millis(31), "{used:?}");
    }
}
