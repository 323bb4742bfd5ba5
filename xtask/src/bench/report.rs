//! The figures, in the shape of the JSON file.

use std::fs;

use serde::Serialize;

use super::contest::{Clock, Outcome};
use super::target::Facts;

/// Everything measured in one run.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Where.
    pub machine: Machine,
    /// What, in the order of the list of names.
    pub rows: Vec<Row>,
}

/// The machine and the disk.
#[derive(Clone, Debug, Serialize)]
pub struct Machine {
    /// Model of the CPU.
    pub cpu: String,
    /// CPUs this process may use.
    pub cpus: usize,
    /// Memory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
    /// Name and release of the kernel.
    pub kernel: String,
    /// How xtask was compiled; figures of a debug build mean nothing.
    pub profile: &'static str,
    /// Loop compiled for fletcher4.
    pub fletcher4_kernel: &'static str,
    /// The file or device; absent if no row needed one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<Facts>,
}

impl Machine {
    pub(super) fn this(target: Option<Facts>) -> Self {
        let uname = rustix::system::uname();
        let read = |path| fs::read_to_string(path).unwrap_or_default();
        let cpu = field(&read("/proc/cpuinfo"), "model name").unwrap_or("unknown").to_owned();
        let memory = field(&read("/proc/meminfo"), "MemTotal")
            .and_then(|kb| kb.strip_suffix(" kB")?.parse::<u64>().ok());
        Self {
            cpu,
            cpus: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            memory_bytes: memory.map(|kb| kb << 10),
            kernel: format!(
                "{} {}",
                uname.sysname().to_string_lossy(),
                uname.release().to_string_lossy()
            ),
            profile: if cfg!(debug_assertions) { "debug" } else { "release" },
            fletcher4_kernel: checksum::fletcher::Kernel::fastest().name(),
            target,
        }
    }
}

/// The value of the first `key: value` line.
fn field<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    let pairs = text.lines().filter_map(|line| line.split_once(':'));
    pairs
        .map(|(name, value)| (name.trim(), value.trim()))
        .find(|(name, _)| *name == key)
        .map(|(_, value)| value)
}

/// What a row's figures count.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Unit {
    /// I/O operations per second.
    Iops,
    /// Tasks per second.
    TasksPerSecond,
    /// Nanoseconds of CPU time per operation: less is better.
    NsPerOp,
    /// GB/s, for operations on so many bytes.
    GbPerSecond(usize),
    /// Microseconds that so many percent of the latencies stay under: less is better.
    PercentileUs(u8),
}

impl Unit {
    fn name(self) -> &'static str {
        match self {
            Self::Iops => "iops",
            Self::TasksPerSecond => "tasks/s",
            Self::NsPerOp => "ns/op",
            Self::GbPerSecond(_) => "GB/s",
            Self::PercentileUs(50) => "p50 µs",
            Self::PercentileUs(99) => "p99 µs",
            Self::PercentileUs(_) => "µs",
        }
    }

    /// The clock to hold the contest by.
    pub(super) fn clock(self) -> Clock {
        match self {
            Self::NsPerOp => Clock::Cpu,
            Self::PercentileUs(percent) => Clock::Percentile(percent),
            Self::Iops | Self::TasksPerSecond | Self::GbPerSecond(_) => Clock::Wall,
        }
    }

    fn value(self, ops_per_s: f64) -> f64 {
        match self {
            Self::Iops | Self::TasksPerSecond => ops_per_s,
            Self::NsPerOp => 1e9 / ops_per_s,
            Self::GbPerSecond(bytes) => ops_per_s * bytes as f64 / 1e9,
            Self::PercentileUs(_) => 1e6 / ops_per_s,
        }
    }
}

/// One line. Figures that do not apply are left out of the JSON.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// Stable name.
    pub name: &'static str,
    /// Unit of `ours` and `baseline`.
    pub unit: &'static str,
    /// Our figure, the median of the rounds.
    pub ours: f64,
    /// The baseline's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub baseline: Option<f64>,
    /// What the baseline is.
    pub baseline_name: &'static str,
    /// How many times as good ours is: above 1 ours is better, whatever the unit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ratio: Option<f64>,
    /// Lower quartile of the ratio, round by round.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ratio_low: Option<f64>,
    /// Upper quartile of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ratio_high: Option<f64>,
    /// Ours less the baseline, where the unit is a time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub difference_ns: Option<f64>,
    /// CPU of the whole process, user and system, for one operation of ours.
    pub cpu_us_per_op: f64,
    /// The same of the baseline.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub baseline_cpu_us_per_op: Option<f64>,
    /// Context switches of the whole process for one operation of ours.
    pub ctx_switches_per_op: f64,
    /// The same of the baseline.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub baseline_ctx_switches_per_op: Option<f64>,
    /// Heap allocations for one operation of ours.
    pub allocs_per_op: f64,
    /// Latency of ours that half of the operations stay under.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p50_us: Option<f64>,
    /// Latency of ours that 99 % of the operations stay under.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p99_us: Option<f64>,
    /// The same of the baseline.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub baseline_p50_us: Option<f64>,
    /// The same of the baseline.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub baseline_p99_us: Option<f64>,
}

impl Row {
    pub(super) fn new(
        name: &'static str,
        unit: Unit,
        baseline_name: &'static str,
        outcome: &Outcome,
    ) -> Self {
        let Outcome { ours, baseline, ratio_quartiles } = outcome;
        let our_value = unit.value(ours.ops_per_s);
        let its_value = baseline.map(|side| unit.value(side.ops_per_s));
        Self {
            name,
            unit: unit.name(),
            ours: our_value,
            baseline: its_value,
            baseline_name,
            ratio: baseline.map(|side| ours.ops_per_s / side.ops_per_s),
            ratio_low: ratio_quartiles.map(|(low, _)| low),
            ratio_high: ratio_quartiles.map(|(_, high)| high),
            difference_ns: its_value.filter(|_| unit == Unit::NsPerOp).map(|its| our_value - its),
            cpu_us_per_op: ours.cpu_us_per_op,
            baseline_cpu_us_per_op: baseline.map(|side| side.cpu_us_per_op),
            ctx_switches_per_op: ours.switches_per_op,
            baseline_ctx_switches_per_op: baseline.map(|side| side.switches_per_op),
            allocs_per_op: ours.allocations_per_op,
            p50_us: ours.latencies_us.map(|(p50, _)| p50),
            p99_us: ours.latencies_us.map(|(_, p99)| p99),
            baseline_p50_us: baseline.and_then(|side| side.latencies_us).map(|(p50, _)| p50),
            baseline_p99_us: baseline.and_then(|side| side.latencies_us).map(|(_, p99)| p99),
        }
    }
}
