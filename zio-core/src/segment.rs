//! Segments: page-aligned buffers, owned while written, shared while read.
//!
//! * [`Buffer`] is unique: whoever holds it may write it. A read I/O owns its
//!   buffers from submission to completion and gives them back.
//! * [`Segment`] is a shared, read-only slice of such a buffer. A write to
//!   three leaves carries three clones of one segment; nothing is copied.
//! * [`Data`] is a list of segments: a block.
//! * [`BufferPool`] recycles the memory. Fresh pages are ruinous (a page fault
//!   each), so the steady state never asks the system for memory.

use std::fmt;
use std::ops::{Deref, DerefMut, Range};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use smallvec::{SmallVec, smallvec};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout};

/// Alignment of every buffer, in bytes. Covers any direct-I/O requirement seen.
pub const BUFFER_ALIGN_BYTES: usize = 4096;

/// Largest block (spec 2.1): 16 MiB.
pub const BLOCK_BYTES_MAX: usize = 1 << 24;

/// Size classes: 1, 2, 4 … 4096 pages, the last one large enough for the largest block.
const CLASSES: usize = 13;

const _: () = assert!(BUFFER_ALIGN_BYTES << (CLASSES - 1) == BLOCK_BYTES_MAX);

/// Bytes a pool keeps per size class before it lets memory go.
const CLASS_KEEP_BYTES: usize = 32 << 20;

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C, align(4096))]
struct Page([u8; BUFFER_ALIGN_BYTES]);

struct Pages {
    memory: Box<[Page]>,
    home: Weak<PoolInner>,
}

impl Pages {
    fn allocate(pages: usize, home: Weak<PoolInner>) -> Arc<Self> {
        let memory = <[Page]>::new_box_zeroed_with_elems(pages)
            .unwrap_or_else(|_| panic!("out of memory for a buffer of {pages} pages"));
        Arc::new(Self { memory, home })
    }

    fn capacity_bytes(&self) -> usize {
        self.memory.len() * BUFFER_ALIGN_BYTES
    }
}

struct PoolInner {
    classes: [Mutex<Vec<Arc<Pages>>>; CLASSES],
}

/// Gives memory back to its pool if this was the last reference to it. Two
/// holders letting go at the same moment may both see the other one; then the
/// memory goes back to the system instead, which is harmless.
fn recycle(mut pages: Arc<Pages>) {
    let Some(only) = Arc::get_mut(&mut pages) else { return };
    let Some(pool) = only.home.upgrade() else { return };
    let count = only.memory.len();
    if !count.is_power_of_two() {
        return;
    }
    if let Some(class) = pool.classes.get(count.trailing_zeros() as usize) {
        let keep_max = (CLASS_KEEP_BYTES / (count * BUFFER_ALIGN_BYTES)).max(2);
        let mut kept = class.lock();
        if kept.len() < keep_max {
            kept.push(pages);
        }
    }
}

/// A pool of page-aligned buffers, cheap to clone.
///
/// ```
/// use zio_core::BufferPool;
///
/// let pool = BufferPool::new();
/// let mut buffer = pool.take(8192);
/// buffer.fill(7);
/// let block = buffer.freeze();          // now shared and read-only
/// let again = block.clone();            // no copy
/// assert_eq!(again[8191], 7);
/// ```
#[derive(Clone)]
pub struct BufferPool(Arc<PoolInner>);

impl BufferPool {
    /// An empty pool.
    pub fn new() -> Self {
        Self(Arc::new(PoolInner { classes: std::array::from_fn(|_| Mutex::new(Vec::new())) }))
    }

    /// A buffer of `len_bytes`, aligned to [`BUFFER_ALIGN_BYTES`]. Its content
    /// is whatever the last user left; fresh memory is zero.
    ///
    /// Sizes above [`BLOCK_BYTES_MAX`] are served but not recycled.
    ///
    /// # Panics
    /// When the system has no memory left.
    pub fn take(&self, len_bytes: usize) -> Buffer {
        let count = len_bytes.div_ceil(BUFFER_ALIGN_BYTES).max(1).next_power_of_two();
        let kept = self
            .0
            .classes
            .get(count.trailing_zeros() as usize)
            .and_then(|class| class.lock().pop());
        let pages = kept.unwrap_or_else(|| Pages::allocate(count, Arc::downgrade(&self.0)));
        Buffer { pages: Some(pages), len: len_bytes }
    }

    /// A buffer with a copy of `bytes`.
    pub fn copy_of(&self, bytes: &[u8]) -> Buffer {
        let mut buffer = self.take(bytes.len());
        buffer.copy_from_slice(bytes);
        buffer
    }

    /// Buffers that somebody holds, or segments of them: taken, and not come back. Exact while nobody
    /// takes or drops any.
    pub fn lent(&self) -> usize {
        // Whatever memory there is knows its home, kept or lent.
        let kept = self.0.classes.iter().map(|class| class.lock().len()).sum();
        Arc::weak_count(&self.0).saturating_sub(kept)
    }

    /// Bytes kept for reuse.
    pub fn kept_bytes(&self) -> usize {
        let class_bytes =
            |(i, class): (usize, &Mutex<Vec<_>>)| class.lock().len() * (BUFFER_ALIGN_BYTES << i);
        self.0.classes.iter().enumerate().map(class_bytes).sum()
    }
}

impl Default for BufferPool {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for BufferPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BufferPool").field("kept_bytes", &self.kept_bytes()).finish()
    }
}

/// A unique, writable, page-aligned buffer.
pub struct Buffer {
    /// Always the only reference; `None` only while being dropped or frozen.
    pages: Option<Arc<Pages>>,
    len: usize,
}

/// The buffers of one read, in order.
pub type Buffers = SmallVec<[Buffer; 2]>;

impl Buffer {
    fn pages(&self) -> &Pages {
        self.pages.as_deref().expect("a live buffer has pages")
    }

    /// Bytes that fit without another allocation.
    pub fn capacity_bytes(&self) -> usize {
        self.pages().capacity_bytes()
    }

    /// Makes the buffer shorter, or longer within its capacity. Bytes beyond
    /// the old length hold whatever they held.
    ///
    /// # Panics
    /// When `len_bytes` is more than [`Buffer::capacity_bytes`].
    pub fn resize(&mut self, len_bytes: usize) {
        assert!(
            len_bytes <= self.capacity_bytes(),
            "a buffer of {} bytes cannot hold {len_bytes}",
            self.capacity_bytes()
        );
        self.len = len_bytes;
    }

    /// Gives up the right to write: from here on the bytes are shared and fixed.
    pub fn freeze(mut self) -> Segment {
        Segment { pages: self.pages.take(), offset: 0, len: self.len }
    }
}

impl Deref for Buffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.pages().memory.as_bytes()[..self.len]
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        let pages = self.pages.as_mut().and_then(Arc::get_mut).expect("a buffer is unique");
        &mut pages.memory.as_mut_bytes()[..self.len]
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if let Some(pages) = self.pages.take() {
            recycle(pages);
        }
    }
}

impl fmt::Debug for Buffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Buffer({} bytes)", self.len)
    }
}

/// A shared, read-only slice of a buffer.
pub struct Segment {
    pages: Option<Arc<Pages>>,
    offset: usize,
    len: usize,
}

impl Segment {
    /// A part of this segment, sharing its memory.
    ///
    /// # Panics
    /// When the range does not lie within the segment.
    #[must_use]
    pub fn slice(&self, range: Range<usize>) -> Self {
        assert!(
            range.start <= range.end && range.end <= self.len,
            "{range:?} of a segment of {} bytes",
            self.len
        );
        Self {
            pages: self.pages.clone(),
            offset: self.offset + range.start,
            len: range.end - range.start,
        }
    }

    /// The right to write again, if nobody else holds the memory.
    ///
    /// # Errors
    /// The segment itself, when it is shared or does not begin at the buffer's start.
    pub fn thaw(mut self) -> Result<Buffer, Self> {
        let unique = self.pages.as_mut().is_some_and(|p| Arc::get_mut(p).is_some());
        if unique && self.offset == 0 {
            Ok(Buffer { pages: self.pages.take(), len: self.len })
        } else {
            Err(self)
        }
    }
}

impl Clone for Segment {
    fn clone(&self) -> Self {
        Self { pages: self.pages.clone(), offset: self.offset, len: self.len }
    }
}

impl Deref for Segment {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        let pages = self.pages.as_deref().expect("a live segment has pages");
        &pages.memory.as_bytes()[self.offset..self.offset + self.len]
    }
}

impl Drop for Segment {
    fn drop(&mut self) {
        if let Some(pages) = self.pages.take() {
            recycle(pages);
        }
    }
}

impl fmt::Debug for Segment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Segment({} bytes)", self.len)
    }
}

/// A block: a list of segments, in order. Empty means "no data".
#[derive(Clone, Debug, Default)]
pub struct Data(SmallVec<[Segment; 2]>);

impl Data {
    /// No data.
    pub fn new() -> Self {
        Self::default()
    }

    /// Length in bytes of all segments together.
    pub fn len(&self) -> usize {
        self.0.iter().map(|s| s.len).sum()
    }

    /// True without any byte.
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(|s| s.len == 0)
    }

    /// The segments, in order.
    pub fn segments(&self) -> &[Segment] {
        &self.0
    }

    /// The bytes of each segment, in order.
    pub fn chunks(&self) -> impl Iterator<Item = &[u8]> + Clone {
        self.0.iter().map(|s| &**s)
    }

    /// The whole block as one slice, if it is one segment (or none).
    pub fn contiguous(&self) -> Option<&[u8]> {
        match self.0.as_slice() {
            [] => Some(&[]),
            [one] => Some(one),
            _ => None,
        }
    }

    /// Adds a segment at the end.
    pub fn push(&mut self, segment: Segment) {
        self.0.push(segment);
    }

    /// Adds another block's segments at the end.
    pub fn append(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    /// A part of the block, sharing its memory.
    ///
    /// # Panics
    /// When the range does not lie within the block.
    #[must_use]
    pub fn slice(&self, range: Range<usize>) -> Self {
        assert!(range.start <= range.end && range.end <= self.len(), "{range:?} of {}", self.len());
        let mut parts = SmallVec::new();
        let mut at = 0;
        for segment in &self.0 {
            let (from, to) = (range.start.max(at), range.end.min(at + segment.len));
            if from < to {
                parts.push(segment.slice(from - at..to - at));
            }
            at += segment.len;
        }
        Self(parts)
    }

    /// Copies the bytes out, in order, into the front of `out`.
    ///
    /// # Panics
    /// When `out` is shorter than the block.
    pub fn copy_to(&self, out: &mut [u8]) {
        let mut at = 0;
        for chunk in self.chunks() {
            out[at..at + chunk.len()].copy_from_slice(chunk);
            at += chunk.len();
        }
    }

    /// The bytes as one vector. Copies.
    pub fn to_vec(&self) -> Vec<u8> {
        let mut out = vec![0; self.len()];
        self.copy_to(&mut out);
        out
    }

    /// Unique buffers of a finished read become a block.
    pub fn from_buffers(buffers: Buffers) -> Self {
        Self(buffers.into_iter().map(Buffer::freeze).collect())
    }
}

impl From<Segment> for Data {
    fn from(segment: Segment) -> Self {
        Self(smallvec![segment])
    }
}

impl From<Buffer> for Data {
    fn from(buffer: Buffer) -> Self {
        buffer.freeze().into()
    }
}

impl<T: AsRef<[u8]> + ?Sized> PartialEq<T> for Data {
    fn eq(&self, other: &T) -> bool {
        let mut rest = other.as_ref();
        for chunk in self.chunks() {
            match rest.split_at_checked(chunk.len()) {
                Some((head, tail)) if head == chunk => rest = tail,
                _ => return false,
            }
        }
        rest.is_empty()
    }
}
