//! How often the zios of an operation change threads: a budget that a row keeps to.

use anyhow::ensure;
use zio_pipeline::Pipeline;

use super::contest::Contender;

/// The same side. A round fails in which its pipeline dispatched more than so many tasks for each
/// operation.
pub(super) fn at_most<'a>(
    per_op_max: u64,
    pipeline: &'a Pipeline,
    mut side: Contender<'a>,
) -> Contender<'a> {
    Box::new(move |round| {
        let counts = || pipeline.stats().engine.dispatches;
        let (before, ops_before) = (counts(), round.ops());
        side(round)?;
        let (dispatches, ops) = (counts() - before, round.ops() - ops_before);
        ensure!(
            dispatches <= per_op_max * ops,
            "{dispatches} dispatches for {ops} operations, which may have {per_op_max} each"
        );
        Ok(())
    })
}
