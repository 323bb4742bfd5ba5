//! Intrusive lists in safe Rust: every task owns the one behind it.

use zio_core::Task;

/// Last in, first out. Two of them make a first-in-first-out queue: one takes what comes, the
/// other gives what goes, and when it is empty the first is poured over, which turns it round.
/// Each task is moved twice, so a queue operation is O(1) amortised.
pub(crate) struct Stack<T: Task> {
    head: Option<T>,
    len: usize,
}

impl<T: Task> Stack<T> {
    pub(crate) const fn new() -> Self {
        Self { head: None, len: 0 }
    }

    pub(crate) fn push(&mut self, mut task: T) {
        debug_assert!(task.link().is_none(), "a task is in one queue at a time");
        *task.link() = self.head.take();
        self.head = Some(task);
        self.len += 1;
    }

    pub(crate) fn pop(&mut self) -> Option<T> {
        let mut task = self.head.take()?;
        self.head = task.link().take();
        self.len -= 1;
        Some(task)
    }

    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Everything, leaving nothing.
    pub(crate) const fn take(&mut self) -> Self {
        std::mem::replace(self, Self::new())
    }

    /// Moves all of `other` onto this stack, so that what went into `other` first comes out first.
    pub(crate) fn pour(&mut self, mut other: Self) {
        while let Some(task) = other.pop() {
            self.push(task);
        }
    }
}

impl<T: Task> Drop for Stack<T> {
    /// One by one: dropping the head alone would recurse down the chain.
    fn drop(&mut self) {
        while self.pop().is_some() {}
    }
}

#[cfg(test)]
mod tests {
    use super::Stack;
    use crate::Job;

    #[test]
    fn a_long_one_is_dropped_without_recursion() {
        let mut stack = Stack::new();
        for _ in 0..1_000_000 {
            stack.push(Job::new(|| ()));
        }
        assert_eq!(stack.len(), 1_000_000);
    }
}
