//! Seconds as sources count them: put together, closed after a watermark, and
//! given to the judge of each active release.
//!
//! Invariant: a tick changes nothing that was judged already.

use std::collections::{BTreeMap, BTreeSet};

use model::verdict::Evidence;
use model::{
    BundleCounts, Digest, EnvironmentName, Explanation, ServiceName, TickCounts, Timestamp, Verdict,
};

use super::Watch;
use super::book::{Book, overdue};
use super::sources::Placed;
use crate::State;

/// Services in environments that are counted at most; ticks of others are dropped. What is not in
/// the topology is forgotten with the next closing.
pub(super) const BOOKS_MAX: usize = 4096;

/// By environment and service.
pub(super) type Books = BTreeMap<EnvironmentName, BTreeMap<ServiceName, Book>>;

/// How far a source's ticks are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TicksTaken {
    /// Up to this `seq` nothing need be sent again.
    pub through: u64,
    /// Of this post's, so many were too late to be judged.
    pub late: u64,
}

/// What the judge says of a release in its present environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judged {
    /// The word.
    pub verdict: Verdict,
    /// What it rests on; absent when nothing was counted.
    pub explanation: Option<Explanation>,
    /// Counts since the newest wave began.
    pub wave: Evidence,
    /// Something else than too few counts keeps it from passing: counts that have stopped
    /// or have gaps, a gauge that runs full, a fleet that fails.
    pub doubts: bool,
}

/// How well seconds of a service are known, for metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TickTotals<'a> {
    /// Where.
    pub environment: &'a EnvironmentName,
    /// Whose.
    pub service: &'a ServiceName,
    /// Seconds closed since this process began.
    pub closed: u64,
    /// Ticks that came too late.
    pub late: u64,
}

impl Watch {
    /// Takes in a source's seconds. `source` is a gateway's name or a source's own.
    pub fn ticks(
        &mut self,
        source: &str,
        environment: &EnvironmentName,
        epoch_ms: u64,
        mut ticks: Vec<TickCounts>,
        now: Timestamp,
    ) -> TicksTaken {
        ticks.sort_by_key(|tick| tick.seq);
        let newest = ticks.last().map_or(0, |tick| tick.seq);
        let Some(source) = self.sources.get(environment, source, epoch_ms, now) else {
            // Whatever a run still sends that was given up, it need not send it again.
            return TicksTaken {
                through: newest,
                late: 0,
            };
        };
        let mut late = 0;
        let count: usize = self.books.values().map(BTreeMap::len).sum();
        let mut room = BOOKS_MAX.saturating_sub(count);
        let books = match self.books.get_mut(environment) {
            Some(books) => books,
            None if room == 0 => {
                return TicksTaken {
                    through: newest,
                    late,
                };
            }
            None => self.books.entry(environment.clone()).or_default(),
        };
        for tick in ticks {
            let Some(placed) = source.place(tick.seq, tick.age_ms, now) else {
                continue;
            };
            for service in services(&tick) {
                source.carries(service);
                if room > 0 && !books.contains_key(service) {
                    books.insert(service.clone(), Book::new(now));
                    room -= 1;
                }
            }
            for service in &source.services {
                if let Some(book) = books.get_mut(service)
                    && let Some(second) = book.second(placed.second)
                {
                    second.told = true;
                    second.covers = second.covers.max(placed.covers);
                }
            }
            late += u64::from(take(books, tick, placed));
        }
        TicksTaken {
            through: source.through().unwrap_or(newest),
            late,
        }
    }

    /// Closes the seconds that are over and lets every active release's judge look at
    /// them. Called once before each turn's decisions.
    pub fn close(&mut self, state: &State, now: Timestamp) {
        let Watch {
            books,
            sources,
            hosts,
            opened,
            ..
        } = self;
        // What is declared changes seldom, and to look it up takes a walk over all hosts.
        let second = now.as_millisecond().div_euclid(1000);
        if *opened != Some(second) {
            *opened = Some(second);
            open(books, state, now);
        }
        for (environment, books) in books {
            for (service, book) in books {
                let told = sources.watermark(environment, service, now);
                let through = overdue(now).max(told.unwrap_or(i64::MIN));
                book.close(state, (environment, service), hosts, through, now);
            }
        }
    }

    pub(super) fn book(
        &self,
        environment: &EnvironmentName,
        service: &ServiceName,
    ) -> Option<&Book> {
        self.books.get(environment)?.get(service)
    }

    /// Since when all of a service's requests in an environment fail more than they
    /// may, while they do, whichever bundle answers.
    pub fn fleet_fails_since(
        &self,
        environment: &EnvironmentName,
        service: &ServiceName,
    ) -> Option<Timestamp> {
        self.book(environment, service)?.fails_since()
    }

    /// Requests of a service in an environment, in closed seconds since then (the last minute and a half at most).
    pub fn counted_since(
        &self,
        environment: &EnvironmentName,
        service: &ServiceName,
        since: Timestamp,
    ) -> BundleCounts {
        let book = self.book(environment, service);
        book.map_or_else(BundleCounts::default, |book| book.counted_since(since))
    }

    /// A service's usual traffic in an environment, and over how many seconds it was seen.
    pub fn baseline(
        &self,
        environment: &EnvironmentName,
        service: &ServiceName,
    ) -> Option<(judge::Baseline, u64)> {
        self.book(environment, service)?.baseline()
    }

    /// How well seconds are known, for metrics.
    pub fn tick_totals(&self) -> impl Iterator<Item = TickTotals<'_>> {
        self.books.iter().flat_map(|(environment, books)| {
            books.iter().map(move |(service, book)| TickTotals {
                environment,
                service,
                closed: book.telemetry.closed,
                late: book.telemetry.late,
            })
        })
    }

    /// The bytes behind an [`Explanation::record`] that [`Watch::sealed`] gave since the last [`Watch::close`].
    pub fn record(&self, digest: &Digest) -> Option<Vec<u8>> {
        let books = self.books.values().flat_map(BTreeMap::values);
        books
            .filter_map(Book::record)
            .find(|bytes| Digest::of(bytes) == *digest)
    }
}

/// Opens a book for everything that is declared, and shuts those of what is not any more.
fn open(books: &mut Books, state: &State, now: Timestamp) {
    for environment in &state.topology.environments {
        let hosts = environment.hosts.iter();
        let services: BTreeSet<&ServiceName> =
            hosts.flat_map(|host| host.services.keys()).collect();
        let books = books.entry(environment.name.clone()).or_default();
        books.retain(|service, _| services.contains(service));
        for service in services {
            if !books.contains_key(service) {
                books.insert(service.clone(), Book::new(now));
            }
        }
    }
    let declared = |name: &EnvironmentName| {
        let environments = &state.topology.environments;
        environments.iter().any(|it| it.name == *name)
    };
    books.retain(|name, _| declared(name));
}

fn services(tick: &TickCounts) -> BTreeSet<&ServiceName> {
    let cells = tick.cells.iter().map(|cell| &cell.service);
    let clients = tick.clients.iter().map(|clients| &clients.service);
    let events = tick.events.iter().map(|events| &events.service);
    cells.chain(clients).chain(events).collect()
}

/// Puts a tick's counts where they belong; `true` if some came too late.
fn take(books: &mut BTreeMap<ServiceName, Book>, tick: TickCounts, placed: Placed) -> bool {
    let mut late = false;
    for service in services(&tick) {
        if let Some(book) = books.get_mut(service)
            && book.second(placed.second).is_none()
        {
            book.telemetry.late += 1;
            late = true;
        }
    }
    let TickCounts {
        cells,
        clients,
        events,
        ..
    } = tick;
    for cell in cells {
        if let Some(second) = books
            .get_mut(&cell.service)
            .and_then(|book| book.second(placed.second))
        {
            second.add_cell(cell);
        }
    }
    for clients in clients {
        if let Some(second) = books
            .get_mut(&clients.service)
            .and_then(|book| book.second(placed.second))
        {
            second.add_clients(&clients);
        }
    }
    for events in events {
        let Some(book) = books.get_mut(&events.service) else {
            continue;
        };
        book.has_events();
        if let Some(second) = book.second(placed.second) {
            second.add_events(events);
        }
    }
    late
}
