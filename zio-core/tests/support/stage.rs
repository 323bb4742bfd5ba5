//! A stage made of a closure.

use std::sync::Arc;

use zio_core::{Next, Stage, Stages, ZioBox};

struct Double<F> {
    bit: Stages,
    run: F,
}

impl<F: Fn(ZioBox) -> Next + Send + Sync> Stage for Double<F> {
    fn stage(&self) -> Stages {
        self.bit
    }

    fn run(&self, zio: ZioBox) -> Next {
        (self.run)(zio)
    }
}

/// A stage that does what `run` says.
pub(crate) fn stage(
    bit: Stages,
    run: impl Fn(ZioBox) -> Next + Send + Sync + 'static,
) -> Arc<dyn Stage> {
    Arc::new(Double { bit, run })
}
