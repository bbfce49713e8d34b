//! A queue that nearly always is empty or holds one element.
//!
//! Invariant: only a queue of two or more elements allocates memory, so a fan-out allocates nothing for each
//! recipient.

use std::collections::VecDeque;
use std::mem;

/// A queue with room for no more elements than this keeps its memory until it is empty.
const SMALL: usize = 64;

/// First in, first out.
#[derive(Default)]
pub(crate) enum Queue<T> {
    #[default]
    Empty,
    One(T),
    /// Two or more elements, or fewer after some were removed.
    Many(VecDeque<T>),
}

impl<T> Queue<T> {
    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Empty => 0,
            Self::One(_) => 1,
            Self::Many(many) => many.len(),
        }
    }

    #[inline]
    pub(crate) fn push(&mut self, last: T) {
        match self {
            Self::Empty => *self = Self::One(last),
            Self::One(_) => {
                let mut many = VecDeque::with_capacity(8);
                many.extend(mem::take(self));
                many.push_back(last);
                *self = Self::Many(many);
            }
            Self::Many(many) => many.push_back(last),
        }
    }

    #[inline]
    pub(crate) fn pop(&mut self) -> Option<T> {
        match mem::take(self) {
            Self::Empty => None,
            Self::One(first) => Some(first),
            Self::Many(mut many) => {
                let first = many.pop_front();
                // A queue that was long once must not hold on to memory that nobody counts.
                if many.capacity() > SMALL && many.len() < many.capacity() / 4 {
                    many.shrink_to(many.capacity() / 2);
                }
                if !many.is_empty() {
                    *self = Self::Many(many);
                }
                first
            }
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        let (one, many) = match self {
            Self::Empty => (None, None),
            Self::One(one) => (Some(one), None),
            Self::Many(many) => (None, Some(many)),
        };
        one.into_iter().chain(many.into_iter().flatten())
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut T> {
        let (one, many) = match self {
            Self::Empty => (None, None),
            Self::One(one) => (Some(one), None),
            Self::Many(many) => (None, Some(many)),
        };
        one.into_iter().chain(many.into_iter().flatten())
    }

    pub(crate) fn first_mut(&mut self) -> Option<&mut T> {
        match self {
            Self::Empty => None,
            Self::One(one) => Some(one),
            Self::Many(many) => many.front_mut(),
        }
    }

    pub(crate) fn last_mut(&mut self) -> Option<&mut T> {
        match self {
            Self::Empty => None,
            Self::One(one) => Some(one),
            Self::Many(many) => many.back_mut(),
        }
    }

    /// Keeps the first `count` elements, and frees the memory of the others.
    pub(crate) fn truncate(&mut self, count: usize) {
        let mut kept = Self::Empty;
        mem::take(self).take(count).for_each(|element| kept.push(element));
        *self = kept;
    }
}

impl<T> Iterator for Queue<T> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        self.pop()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_leave_in_the_order_in_which_they_came() {
        let mut queue = Queue::default();
        let (mut next, mut expected) = (0, VecDeque::new());
        for step in 0..200 {
            // The queue grows and runs empty again and again.
            if step % 20 < 11 {
                queue.push(next);
                expected.push_back(next);
                next += 1;
            } else {
                assert_eq!(queue.pop(), expected.pop_front());
            }
            assert_eq!(queue.len(), expected.len());
            assert!(queue.iter().eq(&expected));
            assert_eq!(queue.first_mut(), expected.front_mut());
            assert_eq!(queue.last_mut(), expected.back_mut());
        }
    }

    #[test]
    fn a_queue_that_has_become_short_frees_its_memory() {
        let mut queue = Queue::default();
        (0..10_000).for_each(|n| queue.push(n));
        while queue.len() > 20 {
            queue.pop();
        }
        let Queue::Many(many) = &queue else {
            panic!("it has 20 elements")
        };
        assert!(many.capacity() <= 4 * SMALL, "{}", many.capacity());
        assert!(queue.eq(9_980..10_000));
    }

    #[test]
    fn truncate_keeps_the_first_elements() {
        for (length, keep) in [(0, 0), (0, 1), (1, 0), (1, 1), (5, 0), (5, 1), (5, 9)] {
            let mut queue = Queue::default();
            (0..length).for_each(|n| queue.push(n));
            queue.truncate(keep);
            assert_eq!(
                matches!(queue, Queue::Many(_)),
                queue.len() > 1,
                "memory that is not needed is freed"
            );
            assert!(queue.eq(0..length.min(keep as i32)), "{keep} of {length}");
        }
    }

    /// Each connection has two queues.
    #[test]
    fn a_queue_is_as_small_as_an_element() {
        assert_eq!(
            size_of::<Queue<crate::encoded::Outgoing>>(),
            size_of::<crate::encoded::Outgoing>()
        );
    }
}
