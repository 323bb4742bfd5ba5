//! zio-core
#![forbid(unsafe_code)]

pub mod alloc;
pub mod bp;
pub mod error;
pub mod segment;
pub mod task;
pub mod types;
pub mod vdev;

pub use alloc::{Allocator, Dvas, NoSpace, Released, Slots, SpaceClass, SpaceError, Want};
pub use bp::Dva;
pub use error::{Error, ErrorKind};
pub use segment::{Buffer, BufferPool, Buffers, Data, Segment};
pub use task::{QueueKind, Route, Task, TaskQueue};
pub use types::{ChildSet, ChildType, Priority, Txg, VdevId, WaitType, ZioType};
pub use vdev::{
    Complete, Geometry, Reactor, Token, Vdev, VdevDone, VdevError, VdevErrorKind, VdevIo, VdevOp,
    Wait,
};
mod collect;
pub mod done;
mod engine;
mod flags;
mod handle;
mod node;
mod stage;
pub mod stages;
mod stats;
mod sync;
mod wait;
mod zio;

pub use bp::BlockPointer;
pub use collect::Completions;
pub use engine::{Context, Engine, Parts};
pub use flags::Flags;
pub use handle::{Handle, Request};
pub use stage::{Done, IssueAsync, Ready, Stage};
pub use stages::Stages;
pub use stats::{Counter, EngineStats};
pub use zio::{
    Bookmark, DoneCallback, Finished, Next, Parent, ReadyCallback, Sink, Undo, WriteProps, Zio,
    ZioBox,
};
