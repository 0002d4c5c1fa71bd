//! A deadline that waits again and again without a timer of its own each time.
//!
//! To enter a timer and to take it out costs a lock shared by all requests, twice for each
//! of them, and almost none goes off. So one stays with its connection: for the next request
//! it is only put off, which needs no lock. A timer that goes off in
//! between wakes a task that has nothing to do.
//!
//! Invariant: a future is never waited for beyond its own deadline.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::{Mutex, PoisonError};
use std::task::Poll;

use tokio::time::{Instant, Sleep, sleep_until};

/// The timer of a connection's last request that ended in time.
#[derive(Debug, Default)]
pub(crate) struct Alarm(Mutex<Option<Pin<Box<Sleep>>>>);

impl Alarm {
    /// Waits for a future until the deadline; `None` if that came first.
    pub(crate) async fn until<T>(
        &self,
        deadline: Instant,
        future: impl Future<Output = T>,
    ) -> Option<T> {
        let mut future = pin!(future);
        let mut sleep = match self.slot().take() {
            Some(mut sleep) => {
                sleep.as_mut().reset(deadline);
                sleep
            }
            None => Box::pin(sleep_until(deadline)),
        };
        let done = poll_fn(|cx| match future.as_mut().poll(cx) {
            Poll::Ready(done) => Poll::Ready(Some(done)),
            Poll::Pending => sleep.as_mut().poll(cx).map(|()| None),
        });
        let done = done.await;
        // Several requests at once (HTTP/2) each have one; the last is kept.
        *self.slot() = Some(sleep);
        done
    }

    fn slot(&self) -> std::sync::MutexGuard<'_, Option<Pin<Box<Sleep>>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn each_deadline_is_its_own_whatever_the_last_was() {
        let alarm = Alarm::default();
        let soon = || Instant::now() + Duration::from_millis(20);
        let late = || Instant::now() + Duration::from_secs(3600);
        // Put off, brought forward, gone off before: each time the timer is the last one's.
        assert_eq!(alarm.until(soon(), ready(1)).await, Some(1));
        for _ in 0..2 {
            let yields = async {
                tokio::task::yield_now().await;
                2
            };
            assert_eq!(alarm.until(late(), yields).await, Some(2));
            let deadline = soon();
            assert_eq!(alarm.until(deadline, pending::<()>()).await, None);
            assert!(Instant::now() >= deadline);
        }
        let deadline = soon();
        let both = [
            alarm.until(deadline, pending::<()>()),
            alarm.until(deadline, pending::<()>()),
        ];
        let [one, other] = both;
        assert_eq!(tokio::join!(one, other), (None, None));
    }
}
