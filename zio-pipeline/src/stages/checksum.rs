//! CHECKSUM_GENERATE and CHECKSUM_VERIFY (spec 7).

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use checksum::embedded::{self, CheckError, Verifier};
use checksum::{Algorithm, Checksum, Context, Mismatch};
use zio_core::bp::GANG_HEADER_BYTES;
use zio_core::{
    Data, Error, ErrorKind, Finished, Flags, Next, QueueKind, Stage, Stages, Zio, ZioBox,
};

use super::gang;
use crate::fan_out;
use crate::shared::{Shared, order_of};

/// CHECKSUM_GENERATE: the checksum of the stored form goes into the pointer.
pub(crate) struct Generate {
    shared: Arc<Shared>,
}

impl Generate {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }
}

impl Stage for Generate {
    fn stage(&self) -> Stages {
        Stages::CHECKSUM_GENERATE
    }

    fn run(&self, mut zio: ZioBox) -> Next {
        // A log block has its place before it has its content.
        let is_log_block = zio.bp.checksum_id() == Algorithm::Zilog2.id()
            && zio.flags().contains(Flags::IO_REWRITE);
        if zio.flags().contains(Flags::PHYSICAL) || is_log_block {
            let verifier = match is_log_block {
                true => Some(Verifier::Zilog2(Checksum(zio.bp.checksum()))),
                false => label_verifier(&zio),
            };
            if let Some(verifier) = verifier
                && let Err(error) = seal_in_copy(&mut zio, &verifier)
            {
                zio.fail(error);
                zio.become_interlock();
            }
            return Some(zio);
        }
        match self.shared.checksums.get(zio.bp.checksum_id()) {
            Ok(context) => {
                if let Some(fan) = self.shared.fan.for_hash_of(&zio) {
                    let context = *context;
                    let work = move |zio: &mut Zio| sum_up(zio, &context, Effort::AllCpus);
                    fan_out::hash(fan, zio, QueueKind::Issue, work);
                    return None;
                }
                sum_up(&mut zio, context, Effort::ThisThread);
            }
            Err(error) => {
                zio.fail(error);
                zio.become_interlock();
            }
        }
        Some(zio)
    }
}

/// Who hashes.
#[derive(Clone, Copy)]
enum Effort {
    ThisThread,
    /// On threads of a fan-out only.
    AllCpus,
}

/// The checksum of what is to be stored goes into the pointer; beside a MAC, half of it.
fn sum_up(zio: &mut Zio, context: &Context, effort: Effort) {
    let order = order_of(&zio.bp);
    let words = match effort {
        _ if zio.bp.has_mac() => {
            let [a, b] = context.compute_truncated(order, zio.data.chunks());
            let [c, d] = zio.bp.mac_words();
            [a, b, c, d]
        }
        Effort::ThisThread => context.compute(order, zio.data.chunks()).0,
        Effort::AllCpus => context.compute_parallel(order, zio.data.chunks()).0,
    };
    zio.bp.set_checksum(words);
}

/// A block that holds its own checksum is sealed in a copy of the caller's data.
fn seal_in_copy(zio: &mut Zio, verifier: &Verifier) -> Result<(), Error> {
    let mut copy = zio.engine().buffers().take(zio.data.len());
    zio.data.copy_to(&mut copy);
    embedded::seal(&mut copy, verifier, checksum::ByteOrder::NATIVE)
        .map_err(|error| Error::because(ErrorKind::Invalid, error))?;
    zio.push_transform(None);
    zio.data = copy.into();
    Ok(())
}

/// What a raw range is verified by: nothing, or its offset where it is a label block.
fn label_verifier(zio: &Zio) -> Option<Verifier> {
    let is_label = zio.props.checksum == Algorithm::Label.id();
    is_label.then_some(Verifier::Label { offset_bytes: zio.offset_bytes })
}

/// A copy of a block that is not what was written: evidence of the zio that read it.
pub(crate) struct BadCopy {
    pub(crate) error: Error,
    /// As it was read, if anybody wants to see it.
    pub(crate) data: Data,
}

impl BadCopy {
    /// What a finished child tells of a bad copy.
    pub(crate) fn of(child: &mut Finished, error: &Error) -> Option<Self> {
        if error.kind() != ErrorKind::Checksum {
            return None;
        }
        child.take_evidence()?.downcast::<Self>().ok().map(|it| *it)
    }
}

/// CHECKSUM_VERIFY: what was read is what was written, or it is not given out.
pub(crate) struct Verify {
    shared: Arc<Shared>,
}

impl Verify {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    fn verify(&self, zio: &mut Zio) -> Result<(), Error> {
        if zio.flags().contains(Flags::PHYSICAL) {
            let Some(verifier) = label_verifier(zio) else { return Ok(()) };
            return verify_inside(zio, &verifier);
        }
        let seed = Checksum(zio.bp.checksum());
        match Algorithm::from_id(zio.bp.checksum_id()) {
            Ok(Algorithm::GangHeader) => verify_gang_header(zio),
            Ok(Algorithm::Zilog) => verify_inside(zio, &Verifier::Zilog(seed)),
            Ok(Algorithm::Zilog2) => verify_inside(zio, &Verifier::Zilog2(seed)),
            _ => verify_by_pointer(&self.shared, zio, Effort::ThisThread),
        }
    }
}

/// Is what was read what the pointer says?
fn verify_by_pointer(shared: &Shared, zio: &Zio, effort: Effort) -> Result<(), Error> {
    let context = shared.checksums.get(zio.bp.checksum_id())?;
    let (order, [a, b, c, d]) = (order_of(&zio.bp), zio.bp.checksum());
    let verified = match effort {
        _ if zio.bp.has_mac() => context.verify_truncated(order, zio.data.chunks(), [a, b]),
        Effort::ThisThread => context.verify(order, zio.data.chunks(), &Checksum([a, b, c, d])),
        Effort::AllCpus => {
            context.verify_parallel(order, zio.data.chunks(), &Checksum([a, b, c, d]))
        }
    };
    verified.map_err(|mismatch| Error::because(ErrorKind::Checksum, mismatch))
}

/// What was read is not what was written.
fn refuse(shared: &Shared, zio: &mut Zio, error: Error) {
    let (data, error) = (std::mem::take(&mut zio.data), error.at(zio.place()));
    report(shared, zio, &error, data);
    zio.fail(error);
}

/// Counts a copy that is not what was written, and keeps it for its parent's report, if
/// anybody wants one.
fn report(shared: &Shared, zio: &mut Zio, error: &Error, data: Data) {
    let counts = error.kind() == ErrorKind::Checksum
        && zio.vdev.is_some()
        && !zio.flags().contains(Flags::SPECULATIVE);
    if !counts {
        return;
    }
    if let Ok(leaf) = shared.leaf_of(zio) {
        leaf.health().errors().checksum.fetch_add(1, Ordering::Relaxed);
    }
    let data = if shared.events.are_heard() { data } else { Data::new() };
    zio.evidence = Some(Box::new(BadCopy { error: error.clone(), data }));
}

/// A block that holds its own checksum. Of an encrypted one the last two words of it are a MAC.
fn verify_inside(zio: &Zio, verifier: &Verifier) -> Result<(), Error> {
    match embedded::check(&in_one_piece(&zio.data), verifier) {
        Ok(_) => Ok(()),
        Err(CheckError::Mismatch(Mismatch { expected, actual, algorithm, .. }))
            if zio.bp.has_mac() && expected.0[..2] == algorithm.truncate_for_mac(actual) =>
        {
            Ok(())
        }
        Err(error) => Err(damaged(error)),
    }
}

/// A gang header is as large as its unit of allocation, or of the classic
/// 512 bytes: only its own checksum tells.
fn verify_gang_header(zio: &mut Zio) -> Result<(), Error> {
    let verifier = gang::verifier_of(&zio.bp);
    let bytes = in_one_piece(&zio.data);
    let large = embedded::check(&bytes, &verifier);
    let classic_bytes = GANG_HEADER_BYTES.min(bytes.len());
    let classic = embedded::check(&bytes[..classic_bytes], &verifier);
    match (large, classic) {
        (Ok(_), _) => Ok(()),
        (Err(_), Ok(_)) => {
            zio.data = zio.data.slice(0..classic_bytes);
            Ok(())
        }
        // Whichever has a magic says more.
        (Err(large @ CheckError::Mismatch(_)), Err(_)) => Err(damaged(large)),
        (Err(_), Err(classic)) => Err(damaged(classic)),
    }
}

fn damaged(error: CheckError) -> Error {
    let kind = if error.is_checksum_error() { ErrorKind::Checksum } else { ErrorKind::Invalid };
    Error::because(kind, error)
}

fn in_one_piece(data: &Data) -> Cow<'_, [u8]> {
    data.contiguous().map_or_else(|| Cow::Owned(data.to_vec()), Cow::Borrowed)
}

impl Stage for Verify {
    fn stage(&self) -> Stages {
        Stages::CHECKSUM_VERIFY
    }

    fn run(&self, mut zio: ZioBox) -> Next {
        if zio.error.is_some() {
            return Some(zio);
        }
        if !zio.flags().contains(Flags::PHYSICAL)
            && let Some(fan) = self.shared.fan.for_hash_of(&zio)
        {
            let shared = Arc::clone(&self.shared);
            let work = move |zio: &mut Zio| {
                if let Err(error) = verify_by_pointer(&shared, zio, Effort::AllCpus) {
                    refuse(&shared, zio, error);
                }
            };
            fan_out::hash(fan, zio, QueueKind::Interrupt, work);
            return None;
        }
        if let Err(error) = self.verify(&mut zio) {
            refuse(&self.shared, &mut zio, error);
        }
        Some(zio)
    }
}
