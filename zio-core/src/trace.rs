//! A request's own story: which stages it and its children ran, when, on which device, and how
//! it went.
//!
//! A trace is given to a request before it starts; the children it makes inherit it, as they do
//! its [`Control`](crate::Control). A request without one pays for a test of a field at each stage.

use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::error::{Error, Place};
use crate::stages::Stages;
use crate::types::{ChildType, ZioType};
use crate::zio::Zio;

/// Writes down what happens to requests. Clones are the same record.
///
/// Printed, it is a tree with times in ns since its first event: each zio with what it was for
/// and how it ended, its stages in order, and its children at the stage that made them.
///
/// ```text
/// Read, 8192 bytes: ok after 10000 ns
///          0  READ_BP_INIT
///          0  READY
///          0  VDEV_IO_START
///             Read, 8192 bytes at 0x5000 of vdev 0: ok after 10000 ns
///          0    VDEV_IO_START
///      10000    VDEV_IO_DONE
/// …
/// ```
#[derive(Clone)]
pub struct Trace(Arc<Record>);

struct Record {
    now_ns: Box<dyn Fn() -> u64 + Send + Sync>,
    zios: Mutex<Vec<TracedZio>>,
}

/// What a trace knows of one zio.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct TracedZio {
    /// Its parent's number in the trace; none for a request that the trace was given to.
    pub parent: Option<usize>,
    /// How many stages of its parent had begun when it was made.
    pub born_at: usize,
    /// What it does.
    pub ty: ZioType,
    /// What it is to its parent.
    pub child_type: ChildType,
    /// Which device, where on it, how long: as of its last stage.
    pub place: Place,
    /// The stages it ran, and when each began, in ns of the trace's clock. A stage stands here
    /// again when the zio went on after having waited in it, or was sent back to it.
    pub stages: Vec<(Stages, u64)>,
    /// When it ended, in ns, and its error; none while it is under way.
    pub end: Option<(u64, Option<Error>)>,
}

impl Trace {
    /// An empty record, by a clock in nanoseconds that never goes backwards.
    pub fn new(now_ns: impl Fn() -> u64 + Send + Sync + 'static) -> Self {
        Self(Arc::new(Record { now_ns: Box::new(now_ns), zios: Mutex::default() }))
    }

    /// What was written down so far: parents before their children.
    pub fn zios(&self) -> Vec<TracedZio> {
        self.0.zios.lock().clone()
    }

    /// A zio that the record is to follow.
    pub(crate) fn follow(&self, zio: &Zio, parent: Option<usize>) -> Traced {
        let mut zios = self.0.zios.lock();
        let born_at = parent.and_then(|at| zios.get(at)).map_or(0, |parent| parent.stages.len());
        let number = zios.len();
        zios.push(TracedZio {
            parent,
            born_at,
            ty: zio.ty(),
            child_type: zio.child_type(),
            place: zio.place(),
            stages: Vec::new(),
            end: None,
        });
        drop(zios);
        Traced { trace: self.clone(), number }
    }

    fn change(&self, number: usize, change: impl FnOnce(&mut TracedZio, u64)) {
        let mut zios = self.0.zios.lock();
        // Under the lock, so that times are in the order of the record.
        let now_ns = (self.0.now_ns)();
        if let Some(zio) = zios.get_mut(number) {
            change(zio, now_ns);
        }
    }
}

/// A zio's place in its trace.
#[derive(Clone)]
pub(crate) struct Traced {
    trace: Trace,
    number: usize,
}

impl Traced {
    /// The same for a child.
    pub(crate) fn child(&self, child: &Zio) -> Self {
        self.trace.follow(child, Some(self.number))
    }

    /// The zio begins a stage.
    #[cold]
    pub(crate) fn stage(&self, stage: Stages, place: Place) {
        self.trace.change(self.number, |zio, now_ns| {
            zio.place = place;
            zio.stages.push((stage, now_ns));
        });
    }

    /// The zio is over.
    #[cold]
    pub(crate) fn end(&self, error: Option<&Error>) {
        self.trace.change(self.number, |zio, now_ns| zio.end = Some((now_ns, error.cloned())));
    }
}

impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let zios = self.zios();
        let start_ns = zios.iter().filter_map(|zio| zio.stages.first()).map(|(_, ns)| *ns).min();
        let mut children = vec![Vec::new(); zios.len()];
        for (number, zio) in zios.iter().enumerate() {
            if let Some(parent) = zio.parent {
                children[parent].push(number);
            }
        }
        let tree = Tree { zios: &zios, children: &children, start_ns: start_ns.unwrap_or(0) };
        let roots = (0..zios.len()).filter(|number| zios[*number].parent.is_none());
        roots.into_iter().try_for_each(|root| tree.write(f, root, 0))
    }
}

impl fmt::Debug for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trace").field("zios", &self.0.zios.lock().len()).finish()
    }
}

/// Columns that a time takes.
const TIME_WIDTH: usize = 10;

struct Tree<'a> {
    zios: &'a [TracedZio],
    /// By number of the parent, in order of birth.
    children: &'a [Vec<usize>],
    start_ns: u64,
}

impl Tree<'_> {
    fn write(&self, f: &mut fmt::Formatter<'_>, number: usize, depth: usize) -> fmt::Result {
        let zio = &self.zios[number];
        let indent = 2 * depth;
        // The head of a child stands where its parent's stages do.
        let margin = if depth == 0 { 0 } else { TIME_WIDTH + indent };
        writeln!(f, "{:margin$}{}", "", self.head(zio))?;
        let mut children = self.children[number].iter().copied().peekable();
        for (at, (stage, ns)) in zio.stages.iter().enumerate() {
            let again = zio.stages[..at].iter().any(|(earlier, _)| earlier == stage);
            let again = if again { ", again" } else { "" };
            let since_ns = ns.saturating_sub(self.start_ns);
            writeln!(f, "{since_ns:TIME_WIDTH$}  {:indent$}{}{again}", "", stage.name())?;
            while let Some(child) = children.next_if(|child| self.zios[*child].born_at <= at + 1) {
                self.write(f, child, depth + 1)?;
            }
        }
        children.try_for_each(|child| self.write(f, child, depth + 1))
    }

    /// What it was for, and how it ended.
    fn head(&self, zio: &TracedZio) -> String {
        let mut head = format!("{:?}", zio.ty);
        if !matches!(zio.child_type, ChildType::Logical | ChildType::Vdev) {
            head += &format!(" ({:?})", zio.child_type);
        }
        let Place { vdev, leaf, offset_bytes, len_bytes } = zio.place;
        if let Some(len_bytes) = len_bytes {
            head += &format!(", {len_bytes} bytes");
        }
        if let (Some(vdev), Some(offset_bytes)) = (vdev, offset_bytes) {
            head += &format!(" at {offset_bytes:#x} of {vdev}");
        }
        if let Some(leaf) = leaf {
            head += &format!(", leaf {leaf}");
        }
        let first_ns = zio.stages.first().map_or(self.start_ns, |(_, ns)| *ns);
        match &zio.end {
            None => head + ": under way",
            Some((ns, None)) => head + &format!(": ok after {} ns", ns.saturating_sub(first_ns)),
            Some((ns, Some(error))) => {
                head + &format!(": {error} after {} ns", ns.saturating_sub(first_ns))
            }
        }
    }
}
