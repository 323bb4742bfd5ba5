//! What a driver's log says. Both drivers speak as libFuzzer does.

use std::fmt;

/// What one target's processes did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Inputs run.
    pub executions: u64,
    /// Branches reached; none where the driver does not see them.
    pub coverage: Option<u64>,
}

impl Figures {
    /// The figures of one process's log.
    pub fn read(log: &str) -> Self {
        let number_after = |line: &str, mark: &str| -> Option<u64> {
            line.split_once(mark)?.1.split_whitespace().next()?.parse().ok()
        };
        let mut figures = Self::default();
        for line in log.lines() {
            // "#1234  NEW    cov: 56 ft: 78 …": the number of the input stands in front. The process
            // that finds a crash comes to no sum.
            let input = line.strip_prefix('#').and_then(|line| number_after(line, ""));
            let sum = number_after(line, "stat::number_of_executed_units:");
            figures.executions = figures.executions.max(sum.or(input).unwrap_or(0));
            figures.coverage = figures.coverage.max(number_after(line, "cov:"));
        }
        figures
    }

    /// Adds another process at the same target.
    pub fn add(&mut self, other: &Self) {
        self.executions += other.executions;
        self.coverage = self.coverage.max(other.coverage);
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:>11} inputs", self.executions)?;
        match self.coverage {
            Some(branches) => write!(f, "  {branches:>6} branches"),
            None => write!(f, "  {:>6} branches", "-"),
        }
    }
}

/// Did a signal end the run before its time? libFuzzer calls that a success.
pub(super) fn was_interrupted(log: &str) -> bool {
    log.contains("libFuzzer: run interrupted")
}

/// The file with the input that failed.
pub(super) fn failed_input(log: &str) -> Option<&str> {
    log.lines().find_map(|line| Some(line.split_once("Test unit written to ")?.1.trim()))
}

/// The lines that tell why: from the panic on, or the last ones.
pub(super) fn reason(log: &str) -> String {
    const LINES_MAX: usize = 30;
    let is_start = |line: &&str| line.contains("panicked at") || line.contains("ERROR: ");
    let lines: Vec<&str> = log.lines().collect();
    let from = lines.iter().position(is_start).unwrap_or(lines.len().saturating_sub(LINES_MAX));
    let lines: Vec<String> =
        lines[from..].iter().take(LINES_MAX).map(|line| format!("  | {line}")).collect();
    lines.join("\n")
}
