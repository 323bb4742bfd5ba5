//! What requests may end in, and what blocks there are then.

use zio_pipeline::{BlockPointer, Control, Data, Error, ErrorKind};

use super::content::Content;
use super::group::{Group, Op, Outcome, Sent};
use super::history::History;
use super::world::Honesty;

/// A block the client holds a pointer to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Live {
    pub(super) bp: BlockPointer,
    pub(super) content: Content,
    /// A flush that started after the write was done has succeeded.
    pub(super) durable: bool,
    /// It was not durable when the power failed: it may be gone.
    pub(super) shaken: bool,
    /// A write in its place has failed: it may be gone in part.
    pub(super) ruined: bool,
}

/// What may be an excuse.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Excuses {
    /// The pipeline was closed, or the power failed, in the middle.
    pub(super) cut_off: bool,
    /// Faults were put into stages.
    pub(super) injected: bool,
}

impl History {
    pub(super) fn judge(&mut self, group: &Group, excuses: Excuses) {
        let (outcomes, whole) = group.finish();
        let was_on = self.faults_are_on;
        self.faults_are_on |= excuses.cut_off || excuses.injected;
        // A flush covers what was live before its group began.
        let flushed = group.sent.iter().zip(&outcomes);
        if flushed.into_iter().any(|(s, r)| matches!(s.op, Op::Flush) && r.error().is_none()) {
            self.live.iter_mut().for_each(|live| live.durable = true);
        }
        for tree in &group.trees {
            let all_good = outcomes[tree.clone()].iter().all(|one| one.error().is_none());
            let parent = &outcomes[tree.end - 1];
            assert!(parent.error().is_some() || all_good, "a parent without all of its children");
        }
        let mut worst: Option<Error> = None;
        for (sent, outcome) in group.sent.iter().zip(outcomes) {
            self.say(|| format!("{sent:?} -> {:?}", outcome.error()));
            if let Some(error) = outcome.error() {
                self.tally.errors += 1;
                worst = Error::worst(worst, Some(error.clone()));
                let cancelled = group.controls.iter().any(Control::is_cancelled);
                self.judge_error(sent, error, excuses, sent.controlled && cancelled);
            }
            self.judge_one(sent, outcome);
        }
        let severity = |error: &Option<Error>| error.as_ref().map(|e| e.kind().severity());
        assert_eq!(
            severity(&whole),
            severity(&worst),
            "the group says {whole:?}, the worst is {worst:?}"
        );
        self.faults_are_on = was_on;
    }

    fn judge_error(&mut self, sent: &Sent, error: &Error, excuses: Excuses, cancelled: bool) {
        use ErrorKind::{Cancelled, Checksum, Closed, DeviceGone, Io, TimedOut};
        let kind = error.kind();
        self.tally.cancelled += u64::from(kind == Cancelled);
        assert!(kind != Closed || excuses.cut_off, "closed, and nobody has closed it: {sent:?}");
        assert!(kind != ErrorKind::Lost, "{sent:?} got lost: {error}");
        let of_devices = matches!(kind, Checksum | DeviceGone | Io | TimedOut);
        let excused = excuses.cut_off || excuses.injected || cancelled;
        assert!(
            !(sent.must_succeed && of_devices) || excused,
            "{sent:?} had to succeed, and ended in {error}"
        );
    }

    fn judge_one(&mut self, sent: &Sent, outcome: Outcome) {
        match (&sent.op, outcome) {
            (Op::Write(content), Outcome::Written(Ok(bp))) => self.born(bp, *content),
            (Op::Raw(like, _), Outcome::Written(Ok(bp))) => self.born(bp, like.content),
            (Op::Over { old, content, in_place }, Outcome::Written(Ok(bp))) => {
                self.judge_over(old, *content, *in_place, bp);
            }
            (Op::Commit(old), Outcome::Written(Ok(bp))) => {
                self.tally.committed += 1;
                // One that is to be shared from now on goes through the table.
                if old.bp.dvas().eq(bp.dvas()) {
                    self.entry(old).bp = bp;
                } else {
                    self.born(bp, old.content);
                }
            }
            (
                Op::Write(_) | Op::Raw(..) | Op::Over { .. } | Op::Commit(_),
                Outcome::Written(Err(error)),
            ) => {
                let told = error.kind() == ErrorKind::NoSpace
                    || (sent.controlled && error.kind() == ErrorKind::Cancelled);
                assert!(told || self.faults_are_on, "a write failed on sound disks: {error}");
                if let Op::Over { old, in_place: true, .. } = &sent.op {
                    self.entry(old).ruined = true;
                }
            }
            (Op::Read(live), Outcome::Read(Err(error))) if error.kind() == ErrorKind::Cancelled => {
                assert!(sent.controlled, "cancelled by nobody: {live:?}");
            }
            (Op::Read(live), Outcome::Read(result)) => self.judge_read(live, result),
            (Op::Free(gone), Outcome::Simple(Err(error))) => {
                // A gang whose headers cannot be read stays as it is.
                assert!(gone.bp.is_gang() && self.may_fail(gone), "free of {}: {error}", gone.bp);
            }
            (Op::Free(gone), Outcome::Simple(Ok(()))) => {
                let at = self.live.iter().position(|live| live.bp == gone.bp);
                self.live.swap_remove(at.expect("only live blocks are freed"));
            }
            (Op::Flush, Outcome::Simple(Err(error))) => {
                assert!(self.faults_are_on, "a flush failed on sound disks: {error}");
            }
            (Op::Trim, Outcome::Simple(Err(error))) => {
                let told = [ErrorKind::NotFound, ErrorKind::Invalid, ErrorKind::Unsupported];
                let refused = told.contains(&error.kind());
                assert!(refused || self.faults_are_on, "a trim failed on sound disks: {error}");
            }
            (Op::Flush | Op::Trim, Outcome::Simple(Ok(()))) => {}
            (op, _) => panic!("{op:?} ended as something else"),
        }
    }

    fn born(&mut self, bp: BlockPointer, content: Content) {
        self.tally.gangs += u64::from(bp.is_gang());
        self.live.push(Live { bp, content, durable: false, shaken: false, ruined: false });
    }

    fn entry(&mut self, of: &Live) -> &mut Live {
        self.live.iter_mut().find(|live| live.bp == of.bp).expect("a block that is there")
    }

    fn judge_over(&mut self, old: &Live, content: Content, in_place: bool, bp: BlockPointer) {
        if old.bp.copies() == 0 || old.bp.is_replaced_by(&bp) {
            self.born(bp, content);
            return;
        }
        if bp == old.bp {
            self.tally.kept += 1;
            assert!(content.bytes() == old.content.bytes(), "kept, and different: {old:?}");
            return;
        }
        assert!(in_place, "{} was written over in place", old.bp);
        self.tally.in_place += 1;
        let entry = self.entry(old);
        *entry = Live { bp, content, durable: false, shaken: false, ruined: false };
    }

    pub(super) fn judge_read(&self, live: &Live, result: Result<Data, Error>) {
        match result {
            Ok(data) => {
                assert!(data == live.content.bytes(), "WRONG DATA for {}: {live:?}", live.bp);
            }
            Err(error) => {
                assert!(self.may_fail(live), "{} is lost: {error} ({live:?})", live.bp);
            }
        }
    }

    /// May what is read of this block be gone, or not be readable now?
    pub(super) fn may_fail(&self, live: &Live) -> bool {
        self.faults_are_on || self.may_be_lost(live)
    }

    pub(super) fn may_be_lost(&self, live: &Live) -> bool {
        let has_lost = live.shaken || live.ruined || self.world.honesty == Honesty::Lying;
        has_lost || self.may_be_stale(live)
    }

    /// Is this a gang of which the disk may know another header? A header is proven by its place
    /// and birth; where freed space is used again in the same group, a disk that lost a write, by a
    /// lie or by a power cut, gives an older one of the same place and birth, and so other pieces.
    /// And so may a leaf of which no more is known than that it lacks something of that group: the
    /// pipeline that knew the places is gone.
    pub(super) fn may_be_stale(&self, live: &Live) -> bool {
        let birth = live.bp.physical_birth();
        let is_lacking = || self.missing.iter().any(|(.., missing)| missing.contains(birth));
        let has_lost = live.shaken || self.world.honesty == Honesty::Lying;
        live.bp.is_gang() && (has_lost || is_lacking())
    }
}
