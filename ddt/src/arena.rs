//! Records side by side, in chunks: growth neither moves nor doubles what is there, and removal gives
//! memory back.

const CHUNK_RECORDS: usize = 128;
/// The last chunk grows by so many records at a time: no more than that is ever unused.
const STEP_RECORDS: usize = 32;

const _: () = assert!(CHUNK_RECORDS.is_multiple_of(STEP_RECORDS));

/// A dense sequence of records numbered from 0. Removing one moves the last into its place.
pub(crate) struct Arena<T> {
    /// All full but the last, which is never empty.
    chunks: Vec<Vec<T>>,
    /// An empty chunk of one step kept back, so that a record going and coming does not reach the
    /// allocator.
    spare: Option<Vec<T>>,
}

impl<T> Arena<T> {
    pub(crate) const fn new() -> Self {
        Self { chunks: Vec::new(), spare: None }
    }

    pub(crate) fn len(&self) -> usize {
        match self.chunks.split_last() {
            Some((last, full)) => full.len() * CHUNK_RECORDS + last.len(),
            None => 0,
        }
    }

    /// Record `at`, which exists.
    pub(crate) fn get(&self, at: u32) -> &T {
        &self.chunks[at as usize / CHUNK_RECORDS][at as usize % CHUNK_RECORDS]
    }

    /// Record `at`, which exists.
    pub(crate) fn get_mut(&mut self, at: u32) -> &mut T {
        &mut self.chunks[at as usize / CHUNK_RECORDS][at as usize % CHUNK_RECORDS]
    }

    pub(crate) fn push(&mut self, record: T) {
        match self.chunks.last_mut() {
            Some(last) if last.len() < CHUNK_RECORDS => {
                if last.len() == last.capacity() {
                    last.reserve_exact(STEP_RECORDS);
                }
                last.push(record);
            }
            _ => {
                let spare = self.spare.take();
                let mut chunk = spare.unwrap_or_else(|| Vec::with_capacity(STEP_RECORDS));
                chunk.push(record);
                self.chunks.push(chunk);
            }
        }
    }

    /// Removes record `at`, which exists. The last record now has its number, unless it was the last
    /// itself.
    pub(crate) fn swap_remove(&mut self, at: u32) -> Option<T> {
        let last = self.chunks.last_mut()?;
        let mut record = last.pop()?;
        if last.is_empty() {
            self.spare = self.chunks.pop();
            if let Some(spare) = &mut self.spare {
                spare.shrink_to(STEP_RECORDS);
            }
            if self.chunks.capacity() / 4 > self.chunks.len() {
                self.chunks.shrink_to(self.chunks.len() * 2);
            }
        }
        if (at as usize) < self.len() {
            std::mem::swap(self.get_mut(at), &mut record);
        }
        Some(record)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.chunks.iter().flatten()
    }

    /// Bytes of heap in use.
    pub(crate) fn heap_bytes(&self) -> usize {
        let chunks = self.chunks.iter().chain(&self.spare);
        self.chunks.capacity() * size_of::<Vec<T>>()
            + chunks.map(|chunk| chunk.capacity() * size_of::<T>()).sum::<usize>()
    }
}
