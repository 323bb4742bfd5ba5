//! The rows, one file for each kind of work.

mod checksum;
mod dedup;
mod fairness;
mod handover;
mod large;
mod memory;
mod mirror;
mod queue;
mod reads;
mod scheduled;
mod scrub;
mod space;
mod taskq;
mod transform;
mod writes;

use std::path::Path;
use std::sync::LazyLock;

use anyhow::{Context, Result};
use indicatif::ProgressBar;

use super::contest::{Contender, contest};
use super::plan::Plan;
use super::report::{Row, Unit};
use super::target::{Facts, Target};

/// All rows, in the order of the table. The names are stable.
pub static NAMES: LazyLock<Vec<&'static str>> = LazyLock::new(|| {
    let of_files: [&[&str]; 16] = [
        &reads::NAMES,
        &[scrub::NAME],
        &[mirror::NAME],
        &writes::NAMES,
        &scheduled::NAMES,
        &[dedup::WRITES],
        &[memory::NAME],
        &[large::NAME],
        &handover::NAMES,
        &checksum::NAMES,
        &transform::NAMES,
        &queue::NAMES,
        &space::NAMES,
        &taskq::NAMES,
        &dedup::NAMES,
        &fairness::NAMES,
    ];
    of_files.concat()
});

/// What every row needs.
struct Bench<'a> {
    plan: &'a Plan,
    names: &'a [&'static str],
    progress: &'a ProgressBar,
    rows: Vec<Row>,
}

impl Bench<'_> {
    fn wants(&self, name: &str) -> bool {
        self.names.contains(&name)
    }

    /// Holds one contest; its outcome becomes a row.
    fn row(
        &mut self,
        name: &'static str,
        unit: Unit,
        baseline_name: &'static str,
        ours: Contender<'_>,
        baseline: Option<Contender<'_>>,
    ) -> Result<()> {
        self.progress.set_message(name);
        let outcome =
            contest(self.plan, self.progress, unit.clock(), ours, baseline).context(name)?;
        self.rows.push(Row::new(name, unit, baseline_name, &outcome));
        Ok(())
    }
}

/// Runs the rows of these names, in the order of [`NAMES`].
pub(super) fn run(
    plan: &Plan,
    names: &[&'static str],
    device: Option<&Path>,
    progress: &ProgressBar,
) -> Result<(Vec<Row>, Option<Facts>)> {
    let mut bench = Bench { plan, names, progress, rows: Vec::new() };
    let on_disk = [
        reads::NAMES.as_slice(),
        &[scrub::NAME],
        &[mirror::NAME],
        &writes::NAMES,
        &scheduled::NAMES,
        &[dedup::WRITES],
    ]
    .concat();
    let target = match on_disk.into_iter().any(|name| bench.wants(name)) {
        true => Some(Target::prepare(plan, device, progress)?),
        false => None,
    };
    if let Some(target) = &target {
        // Reads first: what is written to be read is written over afterwards.
        reads::run(&mut bench, target)?;
        scrub::run(&mut bench, target)?;
        mirror::run(&mut bench, target)?;
        writes::run(&mut bench, target)?;
        scheduled::run(&mut bench, target)?;
        dedup::run_writes(&mut bench, target)?;
    }
    memory::run(&mut bench)?;
    large::run(&mut bench)?;
    handover::run(&mut bench)?;
    checksum::run(&mut bench)?;
    transform::run(&mut bench)?;
    queue::run(&mut bench)?;
    space::run(&mut bench)?;
    taskq::run(&mut bench)?;
    dedup::run(&mut bench)?;
    fairness::run(&mut bench)?;
    Ok((bench.rows, target.map(|target| target.facts().clone())))
}
