//! Names of threads that survive the kernel's limit.

use zio_core::{QueueKind, ZioType};

/// Longest thread name Linux keeps.
pub(crate) const NAME_BYTES_MAX: usize = 15;

const fn short(kind: QueueKind) -> &'static str {
    match kind {
        QueueKind::Issue => "iss",
        QueueKind::IssueHigh => "ish",
        QueueKind::Interrupt => "int",
        QueueKind::InterruptHigh => "inh",
    }
}

/// `zio-read-int`.
pub(crate) fn queue_name(prefix: &str, ty: ZioType, kind: QueueKind) -> String {
    format!("{prefix}-{}-{}", ty.name(), short(kind))
}

/// `zio-read-int-0`, `zio-write-int10`: at most 15 bytes, and the number always whole.
pub(crate) fn thread_name(queue: &str, number: usize) -> String {
    let mut stem = clean(queue);
    let mut number = format!("-{number}");
    if stem.len() + number.len() > NAME_BYTES_MAX {
        number.remove(0);
    }
    truncate(&mut stem, NAME_BYTES_MAX.saturating_sub(number.len()));
    stem + &number
}

/// A name the operating system takes: no zero bytes, at most 15 bytes.
pub(crate) fn plain_name(name: &str) -> String {
    let mut name = clean(name);
    truncate(&mut name, NAME_BYTES_MAX);
    name
}

fn clean(name: &str) -> String {
    name.chars().filter(|&c| c != '\0').collect()
}

fn truncate(name: &mut String, bytes_max: usize) {
    while name.len() > bytes_max {
        name.pop();
    }
}
