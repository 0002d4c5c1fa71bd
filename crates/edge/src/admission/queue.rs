//! Requests that wait for a slot.
//!
//! Classes of priority come one after the other. Within one, tenants take turns,
//! so that one who asks more than others waits longer and loses more than
//! others. A tenant's own requests go in their order, but the newest first
//! once its oldest has waited for [`OLD`]: then not all can be served in time,
//! and those that came late still can.
//!
//! Invariant: the maps are views of one set of waiting requests; only `insert`
//! and `remove` change them.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use model::Priority;

use super::words::{RequestId, Tenant};

/// Age of a tenant's oldest request from which its newest goes first. A burst
/// that passes is older only for an instant; a standing queue always is.
pub(super) const OLD: Duration = Duration::from_millis(15);
/// Queues for tenants that are not known: enough that most of them don't meet
/// one who floods, few enough that made-up names get little (Kubernetes API
/// priority and fairness uses the same number).
pub(super) const UNKNOWN_QUEUES: u64 = 64;

/// Whose turn it is: a tenant in a class of priority.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Flow {
    priority: Priority,
    known: bool,
    hash: u64,
}

impl Flow {
    pub(super) fn of(tenant: Tenant, priority: Priority) -> Flow {
        let hash = match tenant.known {
            true => tenant.hash,
            false => tenant.hash % UNKNOWN_QUEUES,
        };
        Flow {
            priority,
            known: tenant.known,
            hash,
        }
    }

    /// Where the tenant's slots are counted, whatever the priority: below [`CELLS`].
    pub(super) fn cell(self) -> usize {
        let cell = match self.known {
            true => UNKNOWN_QUEUES + self.hash % (CELLS as u64 - UNKNOWN_QUEUES),
            false => self.hash,
        };
        usize::try_from(cell).unwrap_or(0)
    }
}

/// Counters of slots by tenant. Known tenants that meet in one are capped
/// together: one pair in four thousand.
pub(super) const CELLS: usize = 4096 + 64;

/// One request that waits or has waited.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry {
    pub(super) request: RequestId,
    pub(super) flow: Flow,
    pub(super) deadline: Duration,
}

#[derive(Debug)]
struct Waiting {
    entry: Entry,
    since: Duration,
    until: Duration,
}

#[derive(Debug)]
struct FlowState {
    len: usize,
    /// The lower, the sooner.
    turn: u64,
    head: u64,
}

/// The waiting requests of one pool.
#[derive(Debug, Default)]
pub(super) struct Queue {
    /// By flow and order of arrival.
    waiting: BTreeMap<(Flow, u64), Waiting>,
    places: BTreeMap<RequestId, (Flow, u64)>,
    flows: BTreeMap<Flow, FlowState>,
    turns: BTreeSet<(Priority, u64, Flow)>,
    /// The last is who is dropped first: lowest class, longest queue, oldest head.
    lengths: BTreeSet<(Priority, usize, Reverse<u64>, Flow)>,
    untils: BTreeSet<(Duration, RequestId)>,
    next: u64,
}

impl Queue {
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Since when the longest waiting has waited. Looks at one request for each flow.
    pub(super) fn oldest(&self) -> Option<Duration> {
        let heads = self.flows.iter();
        heads
            .filter_map(|(flow, state)| self.waiting.get(&(*flow, state.head)))
            .map(|it| it.since)
            .min()
    }

    /// When the next has waited for as long as it may.
    pub(super) fn next_until(&self) -> Option<Duration> {
        self.untils.first().map(|(until, _)| *until)
    }

    pub(super) fn contains(&self, request: RequestId) -> bool {
        self.places.contains_key(&request)
    }

    pub(super) fn insert(&mut self, entry: Entry, since: Duration, until: Duration) {
        debug_assert!(!self.contains(entry.request), "a request waits once");
        let order = self.next;
        self.next += 1;
        let flow = entry.flow;
        self.places.insert(entry.request, (flow, order));
        self.untils.insert((until, entry.request));
        let waiting = Waiting {
            entry,
            since,
            until,
        };
        self.waiting.insert((flow, order), waiting);
        match self.flows.get_mut(&flow) {
            Some(state) => {
                let key = (flow.priority, state.len, Reverse(state.head), flow);
                self.lengths.remove(&key);
                state.len += 1;
                let key = (flow.priority, state.len, Reverse(state.head), flow);
                self.lengths.insert(key);
            }
            None => {
                let state = FlowState {
                    len: 1,
                    turn: order,
                    head: order,
                };
                self.turns.insert((flow.priority, order, flow));
                self.lengths
                    .insert((flow.priority, 1, Reverse(order), flow));
                self.flows.insert(flow, state);
            }
        }
    }

    pub(super) fn remove(&mut self, request: RequestId) -> Option<Entry> {
        let (flow, order) = self.places.remove(&request)?;
        let gone = self.waiting.remove(&(flow, order))?;
        self.untils.remove(&(gone.until, request));
        let state = self.flows.get_mut(&flow)?;
        let key = (flow.priority, state.len, Reverse(state.head), flow);
        self.lengths.remove(&key);
        state.len -= 1;
        let mut rest = self.waiting.range((flow, 0)..=(flow, u64::MAX));
        match rest.next() {
            Some(((_, head), _)) => {
                state.head = *head;
                let key = (flow.priority, state.len, Reverse(state.head), flow);
                self.lengths.insert(key);
            }
            None => {
                self.turns.remove(&(flow.priority, state.turn, flow));
                self.flows.remove(&flow);
            }
        }
        Some(gone.entry)
    }

    /// The request whose turn it is. A tenant who is `capped` is passed over
    /// while another waits who is not.
    pub(super) fn pop(&mut self, now: Duration, capped: impl Fn(Flow) -> bool) -> Option<Entry> {
        /// A tenant at its cap has half of the slots, so two or, with an odd
        /// number of slots, three are all that there can be.
        const CAPPED_MAX: usize = 4;
        let mut turns = self.turns.iter().take(CAPPED_MAX).map(|(_, _, flow)| *flow);
        let first = self.turns.first().map(|(_, _, flow)| *flow)?;
        let flow = turns.find(|flow| !capped(*flow)).unwrap_or(first);
        let state = self.flows.get_mut(&flow)?;
        let head = self.waiting.get(&(flow, state.head))?;
        let request = if now.saturating_sub(head.since) > OLD {
            let mut own = self.waiting.range((flow, 0)..=(flow, u64::MAX));
            own.next_back().map(|(_, it)| it.entry.request)?
        } else {
            head.entry.request
        };
        // To the end of the round, behind those who came before now.
        self.turns.remove(&(flow.priority, state.turn, flow));
        state.turn = self.next;
        self.next += 1;
        self.turns.insert((flow.priority, state.turn, flow));
        self.remove(request)
    }

    /// The oldest of the longest queue of the lowest class.
    pub(super) fn pop_excess(&mut self) -> Option<Entry> {
        let (_, _, Reverse(head), flow) = self.lengths.last()?;
        let request = self.waiting.get(&(*flow, *head))?.entry.request;
        self.remove(request)
    }

    /// One that has waited for as long as it may.
    pub(super) fn pop_expired(&mut self, now: Duration) -> Option<Entry> {
        let (until, request) = *self.untils.first()?;
        (until <= now).then(|| self.remove(request)).flatten()
    }

    /// Any one: the queue is given up.
    pub(super) fn pop_any(&mut self) -> Option<Entry> {
        let (_, request) = *self.untils.first()?;
        self.remove(request)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNTIL: Duration = Duration::from_secs(1);

    fn entry(request: u64, tenant: u64, priority: Priority) -> Entry {
        let tenant = Tenant {
            hash: tenant,
            known: true,
        };
        Entry {
            request: RequestId(request),
            flow: Flow::of(tenant, priority),
            deadline: UNTIL,
        }
    }

    fn queue(waiting: &[(u64, u64, Priority)]) -> Queue {
        let mut queue = Queue::default();
        for (request, tenant, priority) in waiting {
            queue.insert(entry(*request, *tenant, *priority), Duration::ZERO, UNTIL);
        }
        queue
    }

    fn all(mut queue: Queue, now: Duration) -> Vec<u64> {
        let mut order = Vec::new();
        while let Some(entry) = queue.pop(now, |_| false) {
            order.push(entry.request.0);
        }
        assert!(queue.flows.is_empty() && queue.turns.is_empty());
        assert!(queue.lengths.is_empty() && queue.untils.is_empty() && queue.places.is_empty());
        order
    }

    #[test]
    fn tenants_take_turns_within_a_class() {
        use Priority::{Background, Critical, Normal};
        let waiting = [
            (1, 1, Normal),
            (2, 1, Normal),
            (3, 1, Normal),
            (4, 2, Normal),
            (5, 3, Background),
            (6, 3, Critical),
            (7, 2, Normal),
        ];
        assert_eq!(all(queue(&waiting), Duration::ZERO), [6, 1, 4, 2, 7, 3, 5]);
        // Standing: the newest of each tenant first.
        assert_eq!(all(queue(&waiting), OLD * 2), [6, 3, 7, 2, 4, 1, 5]);
    }

    #[test]
    fn the_oldest_of_the_longest_in_the_lowest_class_goes_first() {
        use Priority::{Background, Normal};
        let mut queue = queue(&[
            (1, 1, Normal),
            (2, 1, Normal),
            (3, 2, Background),
            (4, 3, Normal),
        ]);
        let mut order = Vec::new();
        while let Some(entry) = queue.pop_excess() {
            order.push(entry.request.0);
        }
        assert_eq!(order, [3, 1, 2, 4]);
    }

    #[test]
    fn a_capped_tenant_lets_others_pass_but_leaves_no_slot_unused() {
        let waiting = [(1, 1, Priority::Normal), (2, 2, Priority::Normal)];
        let mut queue = queue(&waiting);
        let capped = entry(0, 1, Priority::Normal).flow;
        let next = |queue: &mut Queue| queue.pop(Duration::ZERO, |flow| flow == capped);
        assert_eq!(next(&mut queue).map(|it| it.request.0), Some(2));
        assert_eq!(next(&mut queue).map(|it| it.request.0), Some(1));
    }

    #[test]
    fn unknown_tenants_share_queues() {
        let flows: BTreeSet<Flow> = (0..10_000)
            .map(|hash| {
                let tenant = Tenant { hash, known: false };
                Flow::of(tenant, Priority::Normal)
            })
            .collect();
        assert_eq!(flows.len() as u64, UNKNOWN_QUEUES);
        assert!(flows.iter().all(|flow| flow.cell() < 64));
    }
}
