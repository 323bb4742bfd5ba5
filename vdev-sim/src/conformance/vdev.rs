//! The suite for [`Vdev`]: fixture and list of checks.

use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

use zio_core::{Vdev, VdevDone, VdevErrorKind, VdevOp};

use super::{Check, Violation, content, ensure, refusal, run_checks, traffic};
use crate::client::{Client, NoAnswer, Ticket};

/// A device to be tested. Its content will be overwritten.
pub struct Fixture {
    vdev: Arc<dyn Vdev>,
    keep: Vec<Box<dyn Any>>,
    patience: Duration,
}

impl Fixture {
    /// A device of at least 128 sectors.
    pub fn new(vdev: Arc<dyn Vdev>) -> Self {
        Self { vdev, keep: Vec::new(), patience: Duration::from_secs(10) }
    }

    /// Something that must live as long as the device: a temporary directory.
    #[must_use]
    pub fn keep(mut self, thing: impl Any) -> Self {
        self.keep.push(Box::new(thing));
        self
    }

    /// How long an answer may take on the real clock; ten seconds at first.
    #[must_use]
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    pub(super) fn client(&self) -> Client {
        Client::with_patience(Arc::clone(&self.vdev), self.patience)
    }

    /// Lets go of the device; what it stands on stays until the result is dropped.
    pub(super) fn drop_vdev(self) -> Vec<Box<dyn Any>> {
        self.keep
    }

    pub(super) fn time_limit(&self) -> Duration {
        self.patience
    }
}

const CHECKS: [Check<Fixture>; 17] = [
    ("the geometry makes sense", geometry),
    ("what is written is read", content::round_trip),
    ("the first and the last sector work", content::both_ends),
    ("payload is split anyhow", content::split_anyhow),
    ("the payload comes back", content::payload_comes_back),
    ("overlapping I/O is answered, each byte from one of the writers", content::overlap),
    ("a trim answers and stays in its range", content::trim),
    ("a flush answers", content::flush),
    ("misaligned and out-of-range I/O is refused and changes nothing", refusal::refused),
    ("a read-only device refuses writes", refusal::read_only),
    ("an empty I/O is answered", refusal::empty),
    ("an I/O that never starts is answered as lost", refusal::never_started),
    ("five thousand I/Os are in flight", traffic::deep_queue),
    ("many threads start I/O", traffic::many_starters),
    ("the next I/O is started from an answer", traffic::chain),
    ("a reactor that sleeps can be woken", traffic::wakes),
    ("a device that is let go answers what it has", traffic::let_go),
];

/// Runs the suite against devices made by `make`.
///
/// # Errors
/// The first violation.
pub fn check(make: impl Fn() -> Fixture) -> Result<(), Violation> {
    run_checks("Vdev", &CHECKS, make)
}

/// Runs the suite against devices made by `make`.
///
/// # Panics
/// On the first violation, with its description.
pub fn run(make: impl Fn() -> Fixture) {
    if let Err(violation) = check(make) {
        panic!("{violation}");
    }
}

fn geometry(fixture: Fixture) -> Result<(), String> {
    let geometry = fixture.vdev.geometry();
    let (sector, physical) = (geometry.sector_bytes, geometry.physical_bytes);
    ensure!(sector.is_power_of_two() && sector >= 512, "a sector of {sector} bytes");
    ensure!(
        physical.is_power_of_two() && physical >= sector,
        "a physical sector of {physical} bytes over sectors of {sector}"
    );
    let align = geometry.memory_align_bytes;
    ensure!(align.is_power_of_two() && align <= 4096, "memory aligned to {align} bytes");
    ensure!(
        geometry.size_bytes.is_multiple_of(u64::from(sector)),
        "{} bytes are not whole sectors of {sector}",
        geometry.size_bytes
    );
    ensure!(
        geometry.size_bytes >= 128 * u64::from(sector),
        "{} bytes are too few for this suite: 128 sectors, please",
        geometry.size_bytes
    );
    let client = fixture.client();
    read(&client, 0, sector as usize)?;
    ensure!(fixture.vdev.geometry() == geometry, "the geometry changed while the device was open");
    Ok(())
}

// ---- words shared by the checks ---------------------------------------

pub(super) fn no_answer(error: NoAnswer) -> String {
    error.to_string()
}

pub(super) fn wait(client: &Client, ticket: Ticket) -> Result<VdevDone, String> {
    client.wait(ticket).map_err(no_answer)
}

pub(super) fn read(client: &Client, offset: u64, len: usize) -> Result<Vec<u8>, String> {
    client.read(offset, len).map_err(|e| format!("read of {len} bytes at {offset:#x}: {e}"))
}

pub(super) fn write(client: &Client, offset: u64, bytes: &[u8]) -> Result<(), String> {
    let len = bytes.len();
    client.write(offset, bytes).map_err(|e| format!("write of {len} bytes at {offset:#x}: {e}"))
}

/// "done" or "cannot do that".
pub(super) fn done_or_unsupported(done: &VdevDone, what: &str) -> Result<bool, String> {
    match &done.result {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == VdevErrorKind::Unsupported => Ok(false),
        Err(error) => Err(format!("{what}: {error}")),
    }
}

/// The payload of a finished read.
pub(super) fn bytes_of(done: VdevDone) -> Result<Vec<u8>, String> {
    done.result.map_err(|e| e.to_string())?;
    match done.op {
        Some(VdevOp::Read(buffers)) => Ok(buffers.iter().flat_map(|b| b.to_vec()).collect()),
        other => Err(format!("a read came back with {other:?} for its buffers")),
    }
}

/// Where two byte strings part.
pub(super) fn same(found: &[u8], expected: &[u8], what: &str) -> Result<(), String> {
    if found == expected {
        return Ok(());
    }
    let at = found.iter().zip(expected).position(|(a, b)| a != b);
    Err(match at {
        Some(at) => format!(
            "{what}: byte {at} of {} is {:#04x}, expected {:#04x}",
            expected.len(),
            found[at],
            expected[at]
        ),
        None => format!("{what}: {} bytes, expected {}", found.len(), expected.len()),
    })
}
