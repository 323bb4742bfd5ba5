//! An engine of test doubles.

use std::sync::Arc;

use zio_core::{BufferPool, Engine, Parts, Reactor, Stage, TaskQueue, ZioBox};

/// An engine with these stages and this queue.
pub(crate) fn engine(
    stages: Vec<Arc<dyn Stage>>,
    queue: Arc<dyn TaskQueue<ZioBox>>,
    reactors: Vec<Arc<dyn Reactor>>,
) -> Arc<Engine> {
    Engine::new(Parts {
        stages,
        queue,
        reactors,
        buffers: BufferPool::new(),
        shared: Arc::new(()),
        hand_over: true,
    })
}
