//! The bytes of a disk: what is durable, and what is only in its cache.
//!
//! ```text
//!   read  <-  cache (whole pages, newest content)  else  media  else  zeros
//!   write ->  cache, and a note of what was written ("unsettled")
//!   flush ->  unsettled writes that were answered before it: to the media
//!   power cut: the cache is gone; of the unsettled writes any subset, in any
//!              order, in any part, reaches the media
//! ```

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;
use std::sync::Arc;

use zio_core::Data;

use crate::rng::{Rng, mix};

const PAGE_BYTES: usize = 4096;

/// Always [`PAGE_BYTES`] long, once it stands in [`Pages`]. A page written as
/// a whole is one allocation, shared by the cache, the media and the note of
/// the write, until somebody changes a part of it.
type Page = Arc<[u8]>;

/// Stored pages by number; what is not here reads as zeros.
#[derive(Debug, Default)]
struct Pages(BTreeMap<u64, Page>);

/// A part of one page, and the part of the caller's buffer it belongs to.
struct Piece {
    page: u64,
    within: Range<usize>,
    of_buffer: Range<usize>,
}

fn pieces(offset_bytes: u64, len: usize) -> impl Iterator<Item = Piece> {
    let mut done = 0;
    std::iter::from_fn(move || {
        if done == len {
            return None;
        }
        let at = offset_bytes + done as u64;
        let start = (at % PAGE_BYTES as u64) as usize;
        let take = (PAGE_BYTES - start).min(len - done);
        let piece = Piece {
            page: at / PAGE_BYTES as u64,
            within: start..start + take,
            of_buffer: done..done + take,
        };
        done += take;
        Some(piece)
    })
}

fn zero_page() -> Page {
    Arc::new([0; PAGE_BYTES])
}

/// Bytes of one write that lie within one page.
#[derive(Clone, Debug)]
struct Chunk {
    page: u64,
    start: usize,
    bytes: Page,
}

/// Cuts a write at the borders of pages and of segments.
fn chunks<'a>(offset_bytes: u64, segments: impl Iterator<Item = &'a [u8]>) -> Vec<Chunk> {
    let mut cut = Vec::new();
    let mut at = offset_bytes;
    for segment in segments {
        cut.extend(pieces(at, segment.len()).map(|piece| Chunk {
            page: piece.page,
            start: piece.within.start,
            bytes: Arc::from(&segment[piece.of_buffer]),
        }));
        at += segment.len() as u64;
    }
    cut
}

impl Pages {
    /// Stores a chunk. A page of which only a part is written has the rest from `below`.
    fn put(&mut self, chunk: &Chunk, below: Option<&Self>) {
        if chunk.bytes.len() == PAGE_BYTES {
            self.0.insert(chunk.page, Arc::clone(&chunk.bytes));
        } else {
            let page = self.page_mut(chunk.page, below);
            page[chunk.start..chunk.start + chunk.bytes.len()].copy_from_slice(&chunk.bytes);
        }
    }

    /// A page to be changed in part.
    fn page_mut(&mut self, number: u64, below: Option<&Self>) -> &mut [u8] {
        let rest = || below.and_then(|b| b.0.get(&number).cloned()).unwrap_or_else(zero_page);
        Arc::make_mut(self.0.entry(number).or_insert_with(rest))
    }

    /// Makes a change. A filler only meets what was stored before.
    fn apply(&mut self, content: &Content, below: Option<&Self>) {
        match content {
            Content::Chunks(chunks) => chunks.iter().for_each(|chunk| self.put(chunk, below)),
            Content::Filler { range, filler } => {
                let mut stored = self.touched(range);
                stored.extend(below.into_iter().flat_map(|b| b.touched(range)));
                for number in stored {
                    filler.fill(number, self.page_mut(number, below), range);
                }
            }
        }
    }

    /// Numbers of the stored pages that touch a range.
    fn touched(&self, range: &Range<u64>) -> Vec<u64> {
        let page = PAGE_BYTES as u64;
        let range = range.start / page..range.end.div_ceil(page);
        self.0.range(range).map(|(&number, _)| number).collect()
    }
}

/// What a trimmed range holds from then on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Filler {
    Zeros,
    /// Bytes that follow from this seed and their place.
    Garbage(u64),
}

impl Filler {
    /// Overwrites the part of a page that lies within the range.
    fn fill(self, number: u64, page: &mut [u8], range: &Range<u64>) {
        let start = number * PAGE_BYTES as u64;
        let from = range.start.max(start) - start;
        let to = range.end.min(start + PAGE_BYTES as u64) - start;
        for (i, word) in page[from as usize..to as usize].chunks_mut(8).enumerate() {
            let value = match self {
                Self::Zeros => 0,
                Self::Garbage(seed) => mix(seed ^ (start + from + 8 * i as u64)),
            };
            word.copy_from_slice(&value.to_le_bytes()[..word.len()]);
        }
    }
}

#[derive(Debug)]
enum Content {
    Chunks(Vec<Chunk>),
    Filler { range: Range<u64>, filler: Filler },
}

impl Content {
    /// Room it takes in the cache.
    fn len_bytes(&self) -> u64 {
        match self {
            Self::Chunks(chunks) => chunks.iter().map(|c| c.bytes.len() as u64).sum(),
            Self::Filler { .. } => 0,
        }
    }
}

/// A change that is answered and not yet durable.
#[derive(Debug)]
struct Unsettled {
    content: Content,
    /// When it was answered, as a count of answers.
    answered: u64,
    /// Put there by the test itself: never lost.
    fixed: bool,
}

/// The store of one disk.
#[derive(Debug)]
pub(super) struct Store {
    media: Pages,
    cache: Pages,
    unsettled: VecDeque<Unsettled>,
    unsettled_bytes: u64,
    cache_bytes_max: u64,
}

impl Store {
    pub(super) fn new(cache_bytes_max: u64) -> Self {
        Self {
            media: Pages::default(),
            cache: Pages::default(),
            unsettled: VecDeque::new(),
            unsettled_bytes: 0,
            cache_bytes_max,
        }
    }

    pub(super) fn read(&self, offset_bytes: u64, out: &mut [u8]) {
        let cached = !self.cache.0.is_empty();
        for piece in pieces(offset_bytes, out.len()) {
            let newest = cached.then(|| self.cache.0.get(&piece.page)).flatten();
            let to = &mut out[piece.of_buffer];
            match newest.or_else(|| self.media.0.get(&piece.page)) {
                Some(page) => to.copy_from_slice(&page[piece.within]),
                None => to.fill(0),
            }
        }
    }

    /// What would be read if the power failed now and nothing of the cache survived.
    pub(super) fn read_durable(&self, offset_bytes: u64, out: &mut [u8]) {
        for piece in pieces(offset_bytes, out.len()) {
            let to = &mut out[piece.of_buffer];
            match self.media.0.get(&piece.page) {
                Some(page) => to.copy_from_slice(&page[piece.within]),
                None => to.fill(0),
            }
        }
    }

    /// A write, answered as number `answered`.
    pub(super) fn write<'a>(
        &mut self,
        answered: u64,
        offset_bytes: u64,
        segments: impl Iterator<Item = &'a [u8]>,
    ) {
        let chunks = chunks(offset_bytes, segments);
        self.change(answered, Content::Chunks(chunks), false);
    }

    /// A trim, answered as number `answered`.
    pub(super) fn fill(&mut self, answered: u64, range: Range<u64>, filler: Filler) {
        self.change(answered, Content::Filler { range, filler }, false);
    }

    /// Changes bytes behind everybody's back: in the cache and on the media.
    pub(super) fn poke(&mut self, answered: u64, offset_bytes: u64, bytes: &[u8]) {
        let content = Content::Chunks(chunks(offset_bytes, [bytes].into_iter()));
        self.media.apply(&content, None);
        if !self.unsettled.is_empty() {
            self.change(answered, content, true);
        }
    }

    fn change(&mut self, answered: u64, content: Content, fixed: bool) {
        if self.cache_bytes_max == 0 {
            return self.media.apply(&content, None);
        }
        self.cache.apply(&content, Some(&self.media));
        self.unsettled_bytes += content.len_bytes();
        self.unsettled.push_back(Unsettled { content, answered, fixed });
        while self.unsettled_bytes > self.cache_bytes_max {
            self.settle_oldest();
        }
        if self.unsettled.is_empty() {
            self.cache.0.clear();
        }
    }

    /// Changes that could still be lost.
    pub(super) fn unsettled(&self) -> usize {
        self.unsettled.iter().filter(|u| !u.fixed).count()
    }

    fn settle_oldest(&mut self) {
        if let Some(oldest) = self.unsettled.pop_front() {
            self.unsettled_bytes -= oldest.content.len_bytes();
            self.media.apply(&oldest.content, None);
        }
    }

    /// Makes durable what was answered before answer number `before`, and no more.
    pub(super) fn flush(&mut self, before: u64) {
        if self.unsettled.back().is_some_and(|last| last.answered < before) {
            // Everything: the cache is what the media shall be.
            self.media.0.extend(std::mem::take(&mut self.cache.0));
            self.unsettled.clear();
            self.unsettled_bytes = 0;
            return;
        }
        while self.unsettled.front().is_some_and(|u| u.answered < before) {
            self.settle_oldest();
        }
    }

    /// The power fails while these writes are in flight. Every write that is
    /// not durable is kept, dropped or torn, each by itself and in any order.
    pub(super) fn power_cut(
        &mut self,
        rng: &mut Rng,
        in_flight: &[(u64, Data)],
        sector_bytes: usize,
    ) {
        let cached = std::mem::take(&mut self.unsettled);
        let (fixed, loose): (Vec<_>, Vec<_>) = cached.into_iter().partition(|u| u.fixed);
        let flying = in_flight.iter().map(|(at, data)| Content::Chunks(chunks(*at, data.chunks())));
        let mut loose: Vec<Content> = loose.into_iter().map(|u| u.content).chain(flying).collect();
        rng.shuffle(&mut loose);
        for content in loose {
            match Survival::draw(rng) {
                Survival::Dropped => {}
                Survival::Kept => self.media.apply(&content, None),
                Survival::Torn => self.media.apply(&torn(content, sector_bytes, rng), None),
            }
        }
        for change in fixed {
            self.media.apply(&change.content, None);
        }
        self.cache.0.clear();
        self.unsettled_bytes = 0;
    }
}

/// Any of the sectors, or any front part of a trim.
fn torn(content: Content, sector_bytes: usize, rng: &mut Rng) -> Content {
    match content {
        Content::Chunks(chunks) => {
            let sector = sector_bytes as u64;
            let mut landed = Vec::new();
            // A sector may be larger than a page: its pages share one fate.
            let mut fate = (u64::MAX, false);
            for Chunk { page, start, bytes } in chunks {
                for (i, part) in bytes.chunks(sector_bytes).enumerate() {
                    let start = start + i * sector_bytes;
                    let number = (page * PAGE_BYTES as u64 + start as u64) / sector;
                    if fate.0 != number {
                        fate = (number, rng.coin());
                    }
                    if fate.1 {
                        landed.push(Chunk { page, start, bytes: Arc::from(part) });
                    }
                }
            }
            Content::Chunks(landed)
        }
        Content::Filler { range, filler } => {
            let sector = sector_bytes as u64;
            let len_bytes = rng.below((range.end - range.start) / sector + 1) * sector;
            Content::Filler { range: range.start..range.start + len_bytes, filler }
        }
    }
}

/// What becomes of a write that was under way or cached when the power failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Survival {
    Kept,
    Dropped,
    Torn,
}

impl Survival {
    pub(super) fn draw(rng: &mut Rng) -> Self {
        match rng.below(3) {
            0 => Self::Kept,
            1 => Self::Dropped,
            _ => Self::Torn,
        }
    }
}
