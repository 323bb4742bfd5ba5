//! How strong a queue's threads are against other programs, and the lane for background work.

use crate::config::Mode;

/// How strong a worker's thread is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Lane {
    /// As strong as the thread that made the set.
    Normal,
    /// One step weaker: work for the CPU in bulk ([`Mode::Batch`], [`Mode::Sync`]).
    Batch,
    /// For work that nobody waits for ([`Background`]).
    Background,
}

/// The lane for background classes (scrub, removal, initializing, trim, rebuild): tasks whose
/// [`Route::class`](zio_core::Route::class) is one of them go to a queue of its own, whatever
/// their type and kind. Its threads
///
/// * are weaker than any other program's, by [`Self::nice`];
/// * yield the CPU before each task;
/// * keep to a share of the CPUs, [`Self::cpu_percent`], as long as others want them: when tasks
///   find themselves off the CPU for more than an eighth of the time, the lane is contended, and
///   its workers pause. On an idle machine it may use all CPUs it has threads for.
///
/// The delay is the back-pressure: a scrub whose reads complete late has fewer of them under way.
///
/// ```
/// use taskq::{Background, Config, Mode};
///
/// let config = Config::zfs(16).background(Background { cpu_percent: 10, ..Background::default() });
/// assert_eq!(config.background_threads().unwrap().threads, 16);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Background {
    /// How many threads.
    pub threads: Mode,
    /// Steps of niceness above that of the thread that made the set; the sum ends at 19, where a
    /// thread weighs 1/68 of a plain one. On Linux only: elsewhere niceness belongs to the
    /// process, and threads stay as they are. What came of it is in
    /// [`WorkerInfo`](crate::WorkerInfo); a refusal is told to
    /// [`Config::on_trouble`](crate::Config::on_trouble).
    pub nice: u8,
    /// Share of all CPUs that the lane's threads together may use while others want them; 100 and
    /// more is no limit.
    pub cpu_percent: u32,
}

impl Default for Background {
    /// A thread for each CPU, as weak as can be, a quarter of the CPUs under contention (by eye,
    /// from the complaints about scrubs on desktops).
    fn default() -> Self {
        Self { threads: Mode::Percent(100), nice: 19, cpu_percent: 25 }
    }
}
