//! The requests of one class in order of offset.
//!
//! A sorted list in two levels: chunks of at most [`CHUNK_MAX`] entries. Finding a place is two
//! binary searches, inserting and removing move one chunk's tail. Against a B-tree map: the
//! neighbours of a place are at hand, emptied chunks are kept and used again, so a queue whose
//! length moves up and down allocates nothing, and at queue lengths up to some ten thousand it
//! is faster.

/// Entries of 32 bytes: a chunk is 1 KiB, its tail half of that on average.
const CHUNK_MAX: usize = 32;
/// A chunk with fewer entries is joined with a neighbour if the two fill less than
/// [`JOINED_MAX`]: far enough from `CHUNK_MAX` that joining and splitting do not alternate.
const SPARSE: usize = CHUNK_MAX / 4;
const JOINED_MAX: usize = CHUNK_MAX * 3 / 4;
const _: () = assert!(SPARSE < JOINED_MAX && JOINED_MAX < CHUNK_MAX);

/// Sort key: batch first (see `Elevator::batch_ns_log2`), then offset, ties by age.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    pub(crate) batch: u64,
    pub(crate) offset_bytes: u64,
    pub(crate) id: u64,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry {
    pub(crate) key: Key,
    pub(crate) slot: u32,
}

/// Where an entry stands, until the next insertion or removal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    chunk: usize,
    index: usize,
}

#[derive(Debug, Default)]
pub(crate) struct Sweep {
    /// None is empty.
    chunks: Vec<Vec<Entry>>,
    /// Empty chunks with their memory, kept for good, as the slab of requests keeps its own.
    spare: Vec<Vec<Entry>>,
}

impl Sweep {
    pub(crate) fn first(&self) -> Option<Place> {
        (!self.chunks.is_empty()).then_some(Place { chunk: 0, index: 0 })
    }

    /// The first entry whose key is not below `key`.
    pub(crate) fn seek(&self, key: Key) -> Option<Place> {
        let chunk = self.chunk_of(key);
        let entries = self.chunks.get(chunk)?;
        Some(Place { chunk, index: entries.partition_point(|entry| entry.key < key) })
    }

    pub(crate) fn get(&self, place: Place) -> Entry {
        self.chunks[place.chunk][place.index]
    }

    pub(crate) fn next(&self, place: Place) -> Option<Place> {
        if place.index + 1 < self.chunks[place.chunk].len() {
            Some(Place { index: place.index + 1, ..place })
        } else {
            (place.chunk + 1 < self.chunks.len())
                .then_some(Place { chunk: place.chunk + 1, index: 0 })
        }
    }

    pub(crate) fn prev(&self, place: Place) -> Option<Place> {
        if let Some(index) = place.index.checked_sub(1) {
            return Some(Place { index, ..place });
        }
        let chunk = place.chunk.checked_sub(1)?;
        Some(Place { chunk, index: self.chunks[chunk].len() - 1 })
    }

    pub(crate) fn insert(&mut self, entry: Entry) {
        let found = self.chunk_of(entry.key);
        // Past the end: the last chunk takes it.
        let mut chunk = found.min(self.chunks.len().saturating_sub(1));
        match self.chunks.get(chunk).map(Vec::len) {
            None => self.add_chunk(0),
            Some(CHUNK_MAX) if found == self.chunks.len() => {
                // Ascending arrivals fill chunks to the brim instead of leaving halves behind.
                chunk += 1;
                self.add_chunk(chunk);
            }
            Some(CHUNK_MAX) => {
                self.split(chunk);
                if self.chunks[chunk].last().is_some_and(|last| last.key < entry.key) {
                    chunk += 1;
                }
            }
            Some(_) => {}
        }
        let entries = &mut self.chunks[chunk];
        let index = entries.partition_point(|other| other.key < entry.key);
        entries.insert(index, entry);
    }

    pub(crate) fn remove(&mut self, place: Place) {
        let Place { chunk, index } = place;
        self.chunks[chunk].remove(index);
        let left = self.chunks[chunk].len();
        if left == 0 {
            self.drop_chunk(chunk);
        } else if left < SPARSE {
            let fits = |other: usize| {
                self.chunks.get(other).is_some_and(|entries| entries.len() + left < JOINED_MAX)
            };
            if fits(chunk + 1) {
                self.join_with_next(chunk);
            } else if chunk > 0 && fits(chunk - 1) {
                self.join_with_next(chunk - 1);
            }
        }
    }

    pub(crate) fn clear(&mut self) {
        while !self.chunks.is_empty() {
            self.drop_chunk(self.chunks.len() - 1);
        }
    }

    /// The chunk in which `key` is, or would be; the number of chunks if above all.
    fn chunk_of(&self, key: Key) -> usize {
        self.chunks.partition_point(|chunk| chunk.last().is_some_and(|last| last.key < key))
    }

    fn add_chunk(&mut self, at: usize) {
        let empty = self.spare.pop().unwrap_or_else(|| Vec::with_capacity(CHUNK_MAX));
        self.chunks.insert(at, empty);
    }

    fn drop_chunk(&mut self, at: usize) {
        let mut chunk = self.chunks.remove(at);
        chunk.clear();
        self.spare.push(chunk);
    }

    fn split(&mut self, chunk: usize) {
        self.add_chunk(chunk + 1);
        if let [lower, upper] = &mut self.chunks[chunk..chunk + 2] {
            upper.extend(lower.drain(CHUNK_MAX / 2..));
        }
    }

    fn join_with_next(&mut self, chunk: usize) {
        if let [lower, upper] = &mut self.chunks[chunk..chunk + 2] {
            lower.append(upper);
        }
        self.drop_chunk(chunk + 1);
    }
}
