//! The form of seconds that sources send.
//!
//! Invariant: what passes here is of bounded size, and no sum over it overflows.

use model::ticks::{
    CELLS_MAX, CLASS_BYTES_MAX, CLIENT_GROUPS, CellCounts, ClientCounts, EventCounts,
    LATENCY_BUCKETS, TICKS_PER_POST_MAX, TickCounts,
};

/// Problems that one answer lists; of the rest it says how many. Whoever has more has one mistake in a loop.
const LISTED_MAX: usize = 20;
/// Most requests or events in one entry: nobody counts so many in a second, and sums over a month of
/// the largest seconds stay within 64 bits.
const COUNT_MAX: u64 = 1 << 24;

/// Everything that is wrong with a post, each with its place.
pub(crate) fn problems(ticks: &[TickCounts]) -> Vec<String> {
    let mut found = Found::default();
    if ticks.len() > TICKS_PER_POST_MAX {
        found.say(
            "ticks",
            format!("{}; at most {TICKS_PER_POST_MAX}", ticks.len()),
        );
    }
    let mut before = None;
    for (n, tick) in ticks.iter().enumerate() {
        let place = format!("ticks[{n}]");
        if before.is_some_and(|before| before >= tick.seq) {
            found.say(
                &format!("{place}.seq"),
                format!("{} is not above the one before", tick.seq),
            );
        }
        before = Some(tick.seq);
        let lists = [
            ("cells", tick.cells.len()),
            ("clients", tick.clients.len()),
            ("events", tick.events.len()),
        ];
        for (name, entries) in lists {
            if entries > CELLS_MAX {
                found.say(
                    &format!("{place}.{name}"),
                    format!("{entries}; at most {CELLS_MAX}"),
                );
            }
        }
        for (n, cell) in tick.cells.iter().enumerate() {
            cell_problems(&format!("{place}.cells[{n}]"), cell, &mut found);
        }
        for (n, client) in tick.clients.iter().enumerate() {
            client_problems(&format!("{place}.clients[{n}]"), client, &mut found);
        }
        for (n, event) in tick.events.iter().enumerate() {
            event_problems(&format!("{place}.events[{n}]"), event, &mut found);
        }
    }
    found.words()
}

fn cell_problems(place: &str, cell: &CellCounts, found: &mut Found) {
    counts(place, cell.requests, cell.failed, found);
    if cell.digest.is_none() && cell.host.is_none() {
        found.say(place, "neither digest nor host: whose requests?".into());
    }
    if let Err(problem) = class(&cell.class) {
        found.say(&format!("{place}.class"), problem);
    }
    if cell.latency.len() > LATENCY_BUCKETS {
        let (length, most) = (cell.latency.len(), LATENCY_BUCKETS);
        found.say(
            &format!("{place}.latency"),
            format!("{length} pairs; at most {most}"),
        );
    }
    for (bucket, count) in &cell.latency {
        let place = || format!("{place}.latency");
        if usize::from(*bucket) >= LATENCY_BUCKETS {
            let last = LATENCY_BUCKETS - 1;
            found.say(&place(), format!("bucket {bucket}; the last one is {last}"));
        }
        if *count > COUNT_MAX {
            found.say(&place(), format!("{count} is no number of one second"));
        }
    }
}

fn client_problems(place: &str, client: &ClientCounts, found: &mut Found) {
    counts(place, client.requests, client.failed, found);
    if client.group >= CLIENT_GROUPS {
        let (group, last) = (client.group, CLIENT_GROUPS - 1);
        found.say(
            &format!("{place}.group"),
            format!("{group}; the last one is {last}"),
        );
    }
}

fn event_problems(place: &str, event: &EventCounts, found: &mut Found) {
    if event.kind.is_empty() {
        found.say(&format!("{place}.kind"), "it is empty".into());
    } else if let Err(problem) = class(&event.kind) {
        found.say(&format!("{place}.kind"), problem);
    }
    if event.count > COUNT_MAX {
        let count = event.count;
        found.say(
            &format!("{place}.count"),
            format!("{count} is no number of one second"),
        );
    }
}

fn counts(place: &str, requests: u64, failed: u64, found: &mut Found) {
    if requests > COUNT_MAX {
        found.say(
            &format!("{place}.requests"),
            format!("{requests} is no number of one second"),
        );
    }
    if failed > requests {
        found.say(
            &format!("{place}.failed"),
            format!("{failed} of {requests} requests"),
        );
    }
}

/// Whether a text can name a class of endpoints or a kind of event.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn class(name: &str) -> Result<(), String> {
    if name.len() > CLASS_BYTES_MAX {
        return Err(format!("{} bytes; at most {CLASS_BYTES_MAX}", name.len()));
    }
    if name.chars().any(char::is_control) {
        return Err("it holds a control character".into());
    }
    Ok(())
}

/// Problems as they are found: the first ones in words, all in number.
#[derive(Default)]
struct Found {
    listed: Vec<String>,
    more: usize,
}

impl Found {
    fn say(&mut self, place: &str, problem: String) {
        if self.listed.len() < LISTED_MAX {
            self.listed.push(format!("{place}: {problem}"));
        } else {
            self.more += 1;
        }
    }

    fn words(self) -> Vec<String> {
        let Found { mut listed, more } = self;
        if more > 0 {
            listed.push(format!("and {more} more"));
        }
        listed
    }
}

#[cfg(test)]
mod tests {
    use model::Digest;

    use super::*;

    fn cell() -> CellCounts {
        CellCounts {
            service: "api".parse().unwrap(),
            digest: Some(Digest::of(b"x")),
            host: None,
            class: "read".into(),
            requests: 10,
            failed: 10,
            latency: vec![(31, 10)],
        }
    }

    fn tick(seq: u64, cells: Vec<CellCounts>) -> TickCounts {
        TickCounts {
            seq,
            cells,
            ..TickCounts::default()
        }
    }

    #[test]
    fn what_is_well_formed_passes() {
        let host_only = CellCounts {
            digest: None,
            host: Some("web-1".parse().unwrap()),
            class: "x".repeat(CLASS_BYTES_MAX),
            ..cell()
        };
        let cells = vec![cell(); CELLS_MAX];
        let ticks = [
            tick(3, cells),
            tick(4, vec![host_only]),
            tick(9, Vec::new()),
        ];
        assert_eq!(problems(&ticks), Vec::<String>::new());
    }

    #[test]
    fn every_problem_is_said_with_its_place() {
        let bad = CellCounts {
            digest: None,
            class: "x".repeat(33),
            failed: 11,
            latency: vec![(32, 1)],
            ..cell()
        };
        let mut first = tick(4, vec![cell(), bad]);
        first.clients.push(ClientCounts {
            service: "api".parse().unwrap(),
            digest: Digest::of(b"x"),
            group: 32,
            requests: u64::MAX,
            failed: 0,
        });
        first.events.push(EventCounts {
            service: "api".parse().unwrap(),
            host: "web-1".parse().unwrap(),
            kind: "a\nb".into(),
            count: u64::MAX,
        });
        let found = problems(&[first, tick(4, Vec::new())]);
        let wanted = [
            "ticks[0].cells[1].failed: 11 of 10 requests",
            "ticks[0].cells[1]: neither digest nor host: whose requests?",
            "ticks[0].cells[1].class: 33 bytes; at most 32",
            "ticks[0].cells[1].latency: bucket 32; the last one is 31",
            "ticks[0].clients[0].requests: 18446744073709551615 is no number of one second",
            "ticks[0].clients[0].group: 32; the last one is 31",
            "ticks[0].events[0].kind: it holds a control character",
            "ticks[0].events[0].count: 18446744073709551615 is no number of one second",
            "ticks[1].seq: 4 is not above the one before",
        ];
        assert_eq!(found, wanted);
    }

    #[test]
    fn lists_have_an_end_and_so_have_answers() {
        let many: Vec<_> = (0..=TICKS_PER_POST_MAX as u64)
            .map(|seq| tick(seq, Vec::new()))
            .collect();
        assert_eq!(problems(&many), ["ticks: 121; at most 120"]);
        let wide = tick(1, vec![cell(); CELLS_MAX + 1]);
        assert_eq!(problems(&[wide]), ["ticks[0].cells: 4097; at most 4096"]);
        let failing = CellCounts {
            failed: 11,
            ..cell()
        };
        let found = problems(&[tick(1, vec![failing; 25])]);
        assert_eq!(found.len(), LISTED_MAX + 1);
        assert_eq!(found[LISTED_MAX], "and 5 more");
    }
}
