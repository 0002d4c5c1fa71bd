//! What clients and hosts say of one run, and what follows from it.
//!
//! Invariant: goodput is what clients got in time, never what a host did.

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use super::stats::percentile;

/// One try of a request; times in microseconds since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Try {
    pub(super) due: u64,
    pub(super) begun: u64,
    pub(super) ended: u64,
    pub(super) outcome: Outcome,
    pub(super) tenant: u64,
    /// The client makes no other.
    pub(super) last: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    Served,
    /// An answer with another status.
    Refused(u16),
    /// None within the client's patience.
    Timeout,
    Broken,
}

/// What all hosts together had done at a time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
pub(super) struct Counts {
    pub(super) came: u64,
    pub(super) done: u64,
    /// Begun when their clients had given up.
    pub(super) dead: u64,
    pub(super) busy_us: u64,
    pub(super) waiting: u64,
    pub(super) waiting_max: u64,
}

/// One run.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Records {
    pub(super) tries: Vec<Try>,
    /// By milliseconds, one for each host.
    pub(super) counts: Vec<(u64, Counts)>,
    /// Requests that left late: the machine was short of processor time.
    pub(super) late: u64,
}

/// From and to, in milliseconds since the start.
pub(super) type Window = (u64, u64);

impl Records {
    /// Reads what the load tool wrote.
    pub(super) fn parse(text: &str) -> Result<Records> {
        let mut records = Records::default();
        for line in text.lines() {
            let wrong = || format!("the load tool wrote {line:?}");
            let (kind, rest) = line.split_once(' ').with_context(wrong)?;
            match kind {
                "r" => records.tries.push(one(rest).with_context(wrong)?),
                "a" => {
                    let (ms, body) = rest.split_once(' ').with_context(wrong)?;
                    let counts = serde_json::from_str(body).with_context(wrong)?;
                    records
                        .counts
                        .push((ms.parse().with_context(wrong)?, counts));
                }
                "late" => records.late = rest.parse().with_context(wrong)?,
                // A host that is being started anew hears no orders.
                "failed" => {}
                _ => bail!(wrong()),
            }
        }
        Ok(records)
    }

    /// Requests that were due in the window.
    pub(super) fn requests(&self, (from, to): Window) -> impl Iterator<Item = &Try> {
        let due = move |it: &&Try| it.last && it.due >= from * 1000 && it.due < to * 1000;
        self.tries.iter().filter(due)
    }

    /// Served in the window, for each second of it.
    pub(super) fn goodput(&self, (from, to): Window) -> f64 {
        let in_time = |it: &&Try| {
            it.outcome == Outcome::Served && it.ended >= from * 1000 && it.ended < to * 1000
        };
        self.tries.iter().filter(in_time).count() as f64 * 1000.0 / (to - from) as f64
    }

    /// The share of requests due in the window that were served, of those for whom `who` holds.
    pub(super) fn served(&self, window: Window, who: impl Fn(&Try) -> bool) -> f64 {
        let (mut all, mut served) = (0_u32, 0_u32);
        for request in self.requests(window).filter(|it| who(it)) {
            all += 1;
            served += u32::from(request.outcome == Outcome::Served);
        }
        f64::from(served) / f64::from(all.max(1))
    }

    /// Of 100 requests that were served, 99 were faster, in milliseconds from when they were due.
    pub(super) fn served_p99_ms(&self, window: Window) -> Option<f64> {
        let served = self
            .requests(window)
            .filter(|it| it.outcome == Outcome::Served);
        p99(served.map(|it| it.ended - it.due).collect())
    }

    /// Of 100 tries begun in the window that were refused, 99 were refused sooner; in milliseconds.
    pub(super) fn refused_p99_ms(&self, (from, to): Window) -> Option<f64> {
        let refused = self
            .tries
            .iter()
            .filter(|it| matches!(it.outcome, Outcome::Refused(_)));
        let begun = refused.filter(|it| it.begun >= from * 1000 && it.begun < to * 1000);
        p99(begun.map(|it| it.ended - it.begun).collect())
    }

    /// How many that were due in the window were not served, and how long after its begin the last of them was due.
    pub(super) fn lost(&self, window: Window) -> (u64, f64) {
        let lost = self
            .requests(window)
            .filter(|it| it.outcome != Outcome::Served);
        let after = lost.map(|it| it.due.saturating_sub(window.0 * 1000));
        let (mut count, mut last) = (0, 0);
        for after in after {
            count += 1;
            last = last.max(after);
        }
        (count, last as f64 / 1000.0)
    }

    /// All hosts' counts at a time that they were asked for.
    pub(super) fn at(&self, ms: u64) -> Counts {
        let mut sum = Counts::default();
        for (_, counts) in self.counts.iter().filter(|it| it.0 == ms) {
            sum.came += counts.came;
            sum.done += counts.done;
            sum.dead += counts.dead;
            sum.busy_us += counts.busy_us;
            sum.waiting += counts.waiting;
            sum.waiting_max += counts.waiting_max;
        }
        sum
    }

    /// Mean time in milliseconds for which a worker was busy with one of the requests it ended in the window.
    pub(super) fn service_ms(&self, (from, to): Window) -> f64 {
        let (before, after) = (self.at(from), self.at(to));
        let done = after.done.saturating_sub(before.done).max(1);
        after.busy_us.saturating_sub(before.busy_us) as f64 / 1000.0 / done as f64
    }
}

fn one(fields: &str) -> Result<Try> {
    let fields: Vec<&str> = fields.split(' ').collect();
    let [due, begun, ended, outcome, tenant, last] = fields.as_slice() else {
        bail!("not six fields");
    };
    Ok(Try {
        due: due.parse()?,
        begun: begun.parse()?,
        ended: ended.parse()?,
        outcome: match *outcome {
            "timeout" => Outcome::Timeout,
            "error" => Outcome::Broken,
            status => match status.parse()? {
                200..=299 => Outcome::Served,
                status => Outcome::Refused(status),
            },
        },
        tenant: tenant.parse()?,
        last: *last == "1",
    })
}

fn p99(mut us: Vec<u64>) -> Option<f64> {
    percentile(&mut us, 990).map(|us| us as f64 / 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
r 1000 1000 21000 200 3 1
r 500000 500000 501000 503 0 0
r 500000 551000 553000 503 0 1
r 900000 900000 1900000 timeout 4 1
r 1000000 1000000 1030000 200 5 1
a 0 {\"came\":0,\"done\":10,\"dead\":0,\"busy_us\":1000,\"waiting\":0,\"waiting_max\":3}
a 1000 {\"came\":4,\"done\":14,\"dead\":1,\"busy_us\":81000,\"waiting\":2,\"waiting_max\":3}
failed 1000 no answer
late 2
";

    #[test]
    fn a_run_is_what_its_clients_say() {
        let run = Records::parse(TEXT).unwrap();
        let all = (0, 2000);
        assert_eq!((run.tries.len(), run.late), (5, 2));
        assert_eq!(run.requests(all).count(), 4);
        assert_eq!(run.goodput(all), 1.0);
        assert_eq!(run.goodput((0, 1000)), 1.0);
        assert_eq!(run.served(all, |_| true), 0.5);
        assert_eq!(run.served(all, |it| it.tenant != 0), 2.0 / 3.0);
        assert_eq!(run.served_p99_ms(all), Some(30.0));
        assert_eq!(run.refused_p99_ms(all), Some(2.0));
        assert_eq!(run.refused_p99_ms((0, 500)), None);
        assert_eq!(run.lost((500, 2000)), (2, 400.0));
        assert_eq!(run.lost((1000, 2000)), (0, 0.0));
        assert_eq!(run.at(1000).dead, 1);
        assert_eq!(run.service_ms((0, 1000)), 20.0);
    }

    #[test]
    fn what_is_odd_is_said() {
        assert!(Records::parse("r 1 2 3 200 4").is_err());
        assert!(Records::parse("x 1").is_err());
        assert!(Records::parse("a 1 {}").is_err());
        assert_eq!(Records::parse("").unwrap(), Records::default());
    }
}
