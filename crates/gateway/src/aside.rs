//! A future that waits in another one's task and costs it nothing meanwhile.
//!
//! A task is polled as a whole: what looks at a connection's clock every few seconds would be asked with
//! each byte that comes. Here it is asked only when it was itself that woke the task.
//!
//! Invariant: a wake of the inner future is followed by a poll of it, in whatever task it is polled then.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

/// The inner future and its bell.
pub(crate) struct Aside<T> {
    inner: Pin<Box<dyn Future<Output = T> + Send>>,
    bell: Arc<Bell>,
    /// The bell as a waker, made once.
    waker: Waker,
    /// Whose task the bell rings.
    task: Waker,
}

#[derive(Debug)]
struct Bell {
    rung: AtomicBool,
    task: Mutex<Waker>,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.rung.store(true, Ordering::Release);
        let task = self.task.lock().unwrap_or_else(PoisonError::into_inner);
        task.wake_by_ref();
    }
}

impl<T> Aside<T> {
    pub(crate) fn new(inner: impl Future<Output = T> + Send + 'static) -> Aside<T> {
        let bell = Arc::new(Bell {
            // The first poll is due.
            rung: AtomicBool::new(true),
            task: Mutex::new(Waker::noop().clone()),
        });
        Aside {
            inner: Box::pin(inner),
            waker: Waker::from(bell.clone()),
            bell,
            task: Waker::noop().clone(),
        }
    }
}

impl<T> Future for Aside<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        let this = &mut *self;
        if !this.task.will_wake(cx.waker()) {
            this.task.clone_from(cx.waker());
            let mut task = this
                .bell
                .task
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            task.clone_from(cx.waker());
        }
        // After the task is known: who rings now wakes it, who rang before is seen here.
        if !this.bell.rung.swap(false, Ordering::AcqRel) {
            return Poll::Pending;
        }
        this.inner
            .as_mut()
            .poll(&mut Context::from_waker(&this.waker))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn it_is_polled_when_it_was_woken_and_not_with_others() {
        let polls = Arc::new(AtomicUsize::new(0));
        let (tell, mut told) = oneshot::channel();
        let counted = polls.clone();
        let mut aside = Aside::new(std::future::poll_fn(move |cx| {
            counted.fetch_add(1, Ordering::Relaxed);
            Pin::new(&mut told).poll(cx)
        }));
        for _ in 0..10 {
            // Another task each time: only the first poll asks, all of them would be woken.
            let polled = tokio::time::timeout(std::time::Duration::ZERO, &mut aside).await;
            assert!(polled.is_err());
        }
        assert_eq!(polls.load(Ordering::Relaxed), 1);
        let waiting = tokio::spawn(aside);
        tokio::task::yield_now().await;
        tell.send(7).unwrap();
        assert_eq!(waiting.await.unwrap(), Ok(7));
        assert_eq!(polls.load(Ordering::Relaxed), 2);
    }
}
