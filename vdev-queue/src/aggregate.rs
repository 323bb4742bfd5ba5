//! Which neighbours of a picked request leave with it (spec 4.5).

use slab::Slab;

use crate::class::Kind;
use crate::config::AggregationLimits;
use crate::queued::Queued;
use crate::request::{Flags, Request};
use crate::sweep::{Place, Sweep};

/// What is decided about a picked request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Run {
    /// Where the merged I/O begins.
    pub(crate) first: Place,
    /// Requests it holds; 1: no merging, the picked request goes alone.
    pub(crate) members: usize,
    /// The request after the run must be written, optional or not: the run was allowed its
    /// optional tail because something follows.
    pub(crate) obliged_slot: Option<u32>,
}

/// The neighbourhood of one picked request.
struct Walk<'a, T> {
    sweep: &'a Sweep,
    queued: &'a Slab<Queued<T>>,
    limits: AggregationLimits,
    picked: Request,
    picked_batch: u64,
}

/// The run around `picked`.
pub(crate) fn find_run<T>(
    sweep: &Sweep,
    queued: &Slab<Queued<T>>,
    limits: AggregationLimits,
    picked: Place,
) -> Run {
    let entry = sweep.get(picked);
    let request = queued[entry.slot as usize].request;
    if request.flags().contains(Flags::DONT_AGGREGATE) {
        return Run { first: picked, members: 1, obliged_slot: None };
    }
    let batch = entry.key.batch;
    Walk { sweep, queued, limits, picked: request, picked_batch: batch }.run_around(picked)
}

impl<T> Walk<'_, T> {
    fn run_around(&self, picked: Place) -> Run {
        let (mut first, mut last, mut members) = (picked, picked, 1);
        let mut mandatory = (!is_optional(self.request(picked))).then_some(picked);

        while let Some(prev) = self.sweep.prev(first)
            && members < self.limits.members_max
            && self.reaches(prev, last)
            && self.joins(prev, first, prev, last)
        {
            first = prev;
            members += 1;
            if mandatory.is_none() && !is_optional(self.request(first)) {
                mandatory = Some(first);
            }
        }
        // A run does not begin with padding, unless that was picked and nothing precedes it.
        while first != last
            && is_optional(self.request(first))
            && let Some(next) = self.sweep.next(first)
        {
            first = next;
            members -= 1;
        }
        while let Some(next) = self.sweep.next(last)
            && members < self.limits.members_max
            && self.reaches(first, next)
            && self.joins(last, next, first, next)
        {
            last = next;
            members += 1;
            if !is_optional(self.request(last)) {
                mandatory = Some(last);
            }
        }

        let mut obliged_slot = None;
        if self.is_continued(last, mandatory) {
            obliged_slot = self.sweep.next(last).map(|next| self.sweep.get(next).slot);
        } else {
            // Nor does it end with padding that leads nowhere.
            while last != first
                && Some(last) != mandatory
                && let Some(prev) = self.sweep.prev(last)
            {
                last = prev;
                members -= 1;
            }
        }
        Run { first, members, obliged_slot }
    }

    /// False if an I/O from `first` to `last` would be too long or in two batches, as far as the
    /// sweep itself can tell: most neighbours are strangers, and are not looked up for this.
    fn reaches(&self, first: Place, last: Place) -> bool {
        let (first, last) = (self.sweep.get(first).key, self.sweep.get(last).key);
        first.batch == last.batch
            && last.offset_bytes - first.offset_bytes < self.limits.len_bytes_max
    }

    /// True if `left` and `right`, neighbours, may be in one I/O that reaches from `first` to
    /// `last`. Overlapping requests may not: their bytes would be transferred twice, in an order
    /// that a merged I/O cannot express.
    fn joins(&self, left: Place, right: Place, first: Place, last: Place) -> bool {
        if !(self.is_akin(left) && self.is_akin(right)) {
            return false;
        }
        let gap_bytes_max = match self.picked.kind() {
            Kind::Read => self.limits.read_gap_bytes_max,
            Kind::Write | Kind::Trim => 0,
        };
        // Kin are sorted by offset, so `last` ends after `first` begins.
        let span_bytes = self.request(last).end_bytes() - self.request(first).offset_bytes();
        span_bytes <= self.limits.len_bytes_max
            && self.gap_bytes(left, right).is_some_and(|gap| gap <= gap_bytes_max)
    }

    /// True if a write that must be made follows `last` without a hole and not far behind the
    /// last mandatory one: then the optional tail is worth writing.
    fn is_continued(&self, last: Place, mandatory: Option<Place>) -> bool {
        let (Kind::Write, Some(mandatory)) = (self.picked.kind(), mandatory) else {
            return false;
        };
        let mut at = last;
        while let Some(next) = self.sweep.next(at)
            && self.is_same_sweep(next)
            && self.gap_bytes(at, next) == Some(0)
            && self
                .gap_bytes(mandatory, next)
                .is_some_and(|gap| gap <= self.limits.write_gap_bytes_max)
        {
            if !is_optional(self.request(next)) {
                return true;
            }
            at = next;
        }
        false
    }

    /// Bytes from the end of `left` to the start of `right`; `None` if they overlap.
    fn gap_bytes(&self, left: Place, right: Place) -> Option<u64> {
        self.request(right).offset_bytes().checked_sub(self.request(left).end_bytes())
    }

    /// Same batch and kind: one direction of one sweep.
    fn is_same_sweep(&self, place: Place) -> bool {
        self.sweep.get(place).key.batch == self.picked_batch
            && self.request(place).kind() == self.picked.kind()
    }

    fn is_akin(&self, place: Place) -> bool {
        let request = self.request(place);
        self.is_same_sweep(place)
            && request.flavour() == self.picked.flavour()
            && !request.flags().contains(Flags::DONT_AGGREGATE)
    }

    fn request(&self, place: Place) -> &Request {
        &self.queued[self.sweep.get(place).slot as usize].request
    }
}

fn is_optional(request: &Request) -> bool {
    request.flags().contains(Flags::OPTIONAL)
}
