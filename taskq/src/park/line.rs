//! The workers' end of a line of tasks: it knows the number of each task without writing it down.

use zio_core::Task;

use crate::list::Stack;

/// Tasks in order of arrival, the oldest on top. Tasks leave in that order, so the next one's
/// number is one more than the last one's; the exceptions, cancelled ones, are written down.
pub(super) struct Line<T: Task> {
    tasks: Stack<T>,
    /// All tasks up to this number have been taken or cancelled.
    gone: u64,
    /// Numbers above `gone` of cancelled tasks, ascending. Empty, but for the rare canceller.
    cancelled: Vec<u64>,
}

impl<T: Task> Line<T> {
    pub(super) const fn new() -> Self {
        Self { tasks: Stack::new(), gone: 0, cancelled: Vec::new() }
    }

    pub(super) const fn len(&self) -> usize {
        self.tasks.len()
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.tasks.is_empty()
    }

    /// All up to this number have been taken or cancelled.
    pub(super) const fn gone(&self) -> u64 {
        self.gone
    }

    /// Has this one been taken or cancelled?
    pub(super) fn is_gone(&self, number: u64) -> bool {
        number <= self.gone || self.cancelled.binary_search(&number).is_ok()
    }

    /// The oldest task and its number.
    pub(super) fn take(&mut self) -> Option<(T, u64)> {
        let task = self.tasks.pop()?;
        self.gone += 1;
        let number = self.gone;
        self.skip_cancelled();
        Some((task, number))
    }

    fn skip_cancelled(&mut self) {
        while self.cancelled.first() == Some(&(self.gone + 1)) {
            self.cancelled.remove(0);
            self.gone += 1;
        }
    }

    /// Moves what came in (the newest on top) to this end, behind all that is here.
    pub(super) fn append(&mut self, came: Stack<T>) {
        if self.tasks.is_empty() {
            return self.tasks.pour(came);
        }
        let (mut all, mut here) = (Stack::new(), Stack::new());
        all.pour(came);
        here.pour(self.tasks.take());
        all.pour(here);
        self.tasks = all;
    }

    /// Takes the task of this number out of the line, if it is in it.
    pub(super) fn cancel(&mut self, number: u64) -> Option<T> {
        if number <= self.gone {
            return None;
        }
        let Err(place) = self.cancelled.binary_search(&number) else { return None };
        let before = number - self.gone - 1 - place as u64;
        if before >= self.tasks.len() as u64 {
            return None;
        }
        let mut passed = Stack::new();
        while (passed.len() as u64) < before
            && let Some(task) = self.tasks.pop()
        {
            passed.push(task);
        }
        let task = self.tasks.pop();
        self.tasks.pour(passed);
        self.cancelled.insert(place, number);
        self.skip_cancelled();
        task
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;
    use zio_core::Task;

    use super::Line;
    use crate::list::Stack;

    struct Numbered(Box<(u64, Option<Numbered>)>);

    impl Task for Numbered {
        fn run(self) {}
        fn link(&mut self) -> &mut Option<Self> {
            &mut self.0.1
        }
    }

    #[derive(Clone, Debug)]
    enum Step {
        Append(u64),
        Take,
        Cancel(u64),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            (0..5_u64).prop_map(Step::Append),
            Just(Step::Take),
            (0..30_u64).prop_map(Step::Cancel),
        ]
    }

    proptest! {
        #[test]
        fn every_task_leaves_in_order_under_its_own_number(
            steps in proptest::collection::vec(step(), 0..60)
        ) {
            let mut line = Line::new();
            let (mut model, mut came) = (BTreeSet::new(), 0);
            for step in steps {
                match step {
                    Step::Append(more) => {
                        let mut stack = Stack::new();
                        for _ in 0..more {
                            came += 1;
                            model.insert(came);
                            stack.push(Numbered(Box::new((came, None))));
                        }
                        line.append(stack);
                    }
                    Step::Take => {
                        let taken = line.take().map(|(task, number)| (task.0.0, number));
                        let expected = model.pop_first().map(|number| (number, number));
                        prop_assert_eq!(taken, expected);
                    }
                    Step::Cancel(number) => {
                        let cancelled = line.cancel(number).map(|task| task.0.0);
                        prop_assert_eq!(cancelled, model.take(&number));
                        let gone = number <= came && !model.contains(&number);
                        prop_assert_eq!(line.is_gone(number), gone);
                    }
                }
                prop_assert_eq!(line.len(), model.len());
                prop_assert_eq!(line.is_empty(), model.is_empty());
                let gone = model.first().map_or(came, |first| first - 1);
                prop_assert_eq!(line.gone(), gone);
            }
        }
    }
}
