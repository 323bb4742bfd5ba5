//! Records side by side, in chunks: growth never moves or doubles what is there, and removal gives
//! memory back.

const CHUNK_RECORDS: usize = 256;

/// A dense sequence of records numbered from 0. Removing one moves the last into its place.
pub(crate) struct Arena<T> {
    /// All full but the last, which is never empty.
    chunks: Vec<Vec<T>>,
    /// An empty chunk kept back, so that a record going and coming does not reach the allocator.
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
            Some(last) if last.len() < CHUNK_RECORDS => last.push(record),
            _ => {
                let spare = self.spare.take();
                let mut chunk = spare.unwrap_or_else(|| Vec::with_capacity(CHUNK_RECORDS));
                chunk.push(record);
                self.chunks.push(chunk);
            }
        }
    }

    /// Removes record `at`. The last record now has its number, unless it was the last itself.
    pub(crate) fn swap_remove(&mut self, at: u32) {
        let Some(last) = self.chunks.last_mut() else { return };
        let Some(record) = last.pop() else { return };
        if last.is_empty() {
            self.spare = self.chunks.pop();
        }
        if (at as usize) < self.len() {
            *self.get_mut(at) = record;
        }
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
