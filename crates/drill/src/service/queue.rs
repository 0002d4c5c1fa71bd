//! The bounded line between the accepting thread and the serving threads.
//!
//! Invariant: never more than its capacity; who wants to add waits for room
//! first, so that what doesn't fit stays in the kernel's backlog.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// Waiting items, first in first out.
#[derive(Debug)]
pub(super) struct Queue<T> {
    inner: Mutex<Inner<T>>,
    room: Condvar,
    work: Condvar,
    capacity: usize,
}

#[derive(Debug)]
struct Inner<T> {
    items: VecDeque<T>,
    closed: bool,
}

impl<T> Queue<T> {
    pub(super) fn new(capacity: usize) -> Queue<T> {
        Queue {
            inner: Mutex::new(Inner {
                items: VecDeque::with_capacity(capacity),
                closed: false,
            }),
            room: Condvar::new(),
            work: Condvar::new(),
            capacity,
        }
    }

    /// Waits until one more fits; false when the queue was closed.
    pub(super) fn wait_for_room(&self) -> bool {
        let mut inner = self.lock();
        while inner.items.len() >= self.capacity && !inner.closed {
            inner = self
                .room
                .wait(inner)
                .unwrap_or_else(PoisonError::into_inner);
        }
        !inner.closed
    }

    /// Adds one; dropped when the queue was closed. There is one producer,
    /// so the room it waited for is still there.
    pub(super) fn push(&self, item: T) {
        let mut inner = self.lock();
        if !inner.closed {
            inner.items.push_back(item);
            self.work.notify_one();
        }
    }

    /// Takes the oldest, waiting for one; none once closed and empty.
    pub(super) fn pop(&self) -> Option<T> {
        let mut inner = self.lock();
        loop {
            if let Some(item) = inner.items.pop_front() {
                self.room.notify_one();
                return Some(item);
            }
            if inner.closed {
                return None;
            }
            inner = self
                .work
                .wait(inner)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// No more comes in; what waits may still be taken.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.room.notify_all();
        self.work.notify_all();
    }

    pub(super) fn len(&self) -> usize {
        self.lock().items.len()
    }

    fn lock(&self) -> MutexGuard<'_, Inner<T>> {
        // Nothing in here panics half way through a change.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
