//! How strong a thread is against others, and how much CPU it has had. Linux knows both by thread;
//! elsewhere threads stay as they are, and count as never having waited. So do the threads of the
//! model checker in unit tests, which are all one to the system.

use std::io;

/// Makes the calling thread weaker by so many steps of niceness. Returns what it has now, in steps
/// from −20 (strong) to 19 (weak); `None` where the system does not tell.
///
/// # Errors
///
/// The system's refusal; the thread is as strong as before.
#[cfg(all(target_os = "linux", not(test)))]
pub(crate) fn weaken(steps: u8) -> io::Result<Option<i32>> {
    use rustix::process::{getpriority_process, setpriority_process};
    // On Linux "this process" is this thread.
    let now = getpriority_process(None)?;
    let wanted = (now + i32::from(steps)).min(19);
    if wanted != now {
        setpriority_process(None, wanted)?;
    }
    Ok(Some(getpriority_process(None)?))
}

#[cfg(not(all(target_os = "linux", not(test))))]
pub(crate) fn weaken(_steps: u8) -> io::Result<Option<i32>> {
    Ok(None)
}

/// CPU time of the calling thread, in ns.
#[cfg(all(target_os = "linux", not(test)))]
pub(crate) fn cpu_ns() -> Option<u64> {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    let (s, ns) = (u64::try_from(time.tv_sec).ok()?, u64::try_from(time.tv_nsec).ok()?);
    s.checked_mul(1_000_000_000)?.checked_add(ns)
}

#[cfg(not(all(target_os = "linux", not(test))))]
pub(crate) fn cpu_ns() -> Option<u64> {
    None
}
