//! What a run is judged by.

use std::time::Duration;

use super::{Client, Sim};
use crate::admission::View;

impl Sim {
    /// Answers a second.
    pub(in super::super) fn goodput(&self, from: Duration, to: Duration) -> f64 {
        let within = |it: &&Client| it.ok && it.ended >= from && it.ended < to;
        self.clients.iter().filter(within).count() as f64 / (to - from).as_secs_f64()
    }

    /// How much of the workers' time was used. Beside goodput, this doesn't
    /// depend on how long the drawn service times happened to be.
    pub(in super::super) fn used(&self, from: Duration, to: Duration) -> f64 {
        let work = self.work.iter().filter(|it| it.0 >= from && it.0 < to);
        let worked: Duration = work.map(|it| it.1).sum();
        let workers: usize = self.plan.backends.iter().sum();
        worked.as_secs_f64() / (to - from).as_secs_f64() / workers as f64
    }

    /// The share of those due in the time, and picked, that were served.
    pub(in super::super) fn served(
        &self,
        from: Duration,
        to: Duration,
        pick: fn(&Client) -> bool,
    ) -> f64 {
        let due = self.clients.iter();
        let due = due.filter(|it| it.due >= from && it.due < to && pick(it));
        let (all, ok) = due.fold((0, 0), |(all, ok), it| (all + 1, ok + u32::from(it.ok)));
        f64::from(ok) / f64::from(all.max(1))
    }

    /// The last of those due in the time that was not served: how long after its beginning.
    pub(in super::super) fn recovered(&self, from: Duration, to: Duration) -> Duration {
        let failed = self
            .clients
            .iter()
            .filter(|it| !it.ok && it.due >= from && it.due < to);
        failed
            .map(|it| it.due)
            .max()
            .map_or(Duration::ZERO, |due| due - from)
    }

    /// The 99th percentile of attempts that were served, or of those that were refused.
    pub(in super::super) fn p99(&self, refused: bool, from: Duration, to: Duration) -> Duration {
        let within = self
            .attempts
            .iter()
            .filter(|it| it.began >= from && it.began < to);
        let picked = within.filter(|it| if refused { it.refused.is_some() } else { it.ok });
        let spans = picked.filter_map(|it| Some(it.ended? - it.began));
        let mut spans: Vec<Duration> = spans.collect();
        spans.sort();
        let at = (spans.len() * 99 / 100).min(spans.len().saturating_sub(1));
        spans.get(at).copied().unwrap_or_default()
    }

    pub(in super::super) fn view(&self) -> View {
        self.gateways[0].view()
    }
}
