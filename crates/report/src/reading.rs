//! All that a report says, each with its place.
//!
//! Invariant: reading decides nothing about right or wrong; it takes down what
//! is written, and where.

use jiff::civil::Date;

use crate::actions::{self, Action};
use crate::calendar::{self, DateToken, WrittenDate};
use crate::clock::{DAY, HALF_DAY, Half, Time};
use crate::layout::{self, Block, Kind, Shape};
use crate::place::{Place, Text};
use crate::prose::{self, Claim, Fact, Prose, Window};
use crate::role::{self, Role};
use crate::rows::{self, ROWS_MAX, Row};
use crate::zone::{self, Context, Named, Zone};

/// Beyond so many times in running text nothing is compared any more: findings
/// compare each with each line of the timeline.
const FACTS_MAX: usize = 1_000;

/// What a report says.
#[derive(Debug, Clone)]
pub struct Reading {
    pub title: String,
    /// The day of the incident, as far as it is written and certain.
    pub date: Option<Date>,
    /// The zone that its times are in.
    pub zone: Option<Zone>,
    /// All lines of its timelines.
    pub rows: Vec<Row>,
    pub actions: Vec<Action>,
    pub(crate) facts: Vec<Fact>,
    pub(crate) windows: Vec<Window>,
    pub(crate) claims: Vec<Claim>,
    pub(crate) dates: Vec<DateAt>,
    pub(crate) zones: Vec<ZoneUse>,
    pub(crate) unknown_zones: Vec<(String, Place)>,
    pub(crate) blocks: Vec<Block>,
    /// How many times of day stand in it, and where the first does.
    pub(crate) times: usize,
    pub(crate) first_time: Option<Place>,
    /// The list that tells the most.
    main: Option<usize>,
}

/// A date, and whether a time of day stands in the same block.
#[derive(Debug, Clone)]
pub(crate) struct DateAt {
    pub(crate) token: DateToken,
    pub(crate) place: Place,
    pub(crate) kind: Kind,
    pub(crate) timed: bool,
}

/// A zone's name, and the day that it is used for.
#[derive(Debug, Clone)]
pub(crate) struct ZoneUse {
    pub(crate) zone: Zone,
    pub(crate) place: Place,
    /// The day in the same block, if there is one.
    pub(crate) day: Option<WrittenDate>,
}

/// Reads a report.
pub fn read(text: &str) -> Reading {
    let blocks = layout::lay(text);
    let mut reading = Reading {
        title: title(&blocks),
        date: None,
        zone: None,
        rows: Vec::new(),
        actions: actions::read(&blocks),
        facts: Vec::new(),
        windows: Vec::new(),
        claims: Vec::new(),
        dates: Vec::new(),
        zones: Vec::new(),
        unknown_zones: Vec::new(),
        blocks: Vec::new(),
        times: 0,
        first_time: None,
        main: None,
    };
    for block in &blocks {
        reading.dates_and_zones(block);
    }
    reading.date = reading.day().and_then(|day| day.certain());
    reading.lines(&blocks);
    reading.zone = reading.zone_of_times(&blocks);
    reading.main = reading.longest_list();
    reading.halves();
    reading.blocks = blocks;
    reading
}

fn title(blocks: &[Block]) -> String {
    let heading = blocks.iter().find(|block| block.shape == Shape::Heading);
    let first = heading.or(blocks.first());
    first.map_or(String::new(), |block| block.text.raw.trim().to_owned())
}

impl Reading {
    fn dates_and_zones(&mut self, block: &Block) {
        let text = &block.text;
        let (times, dates) = (&block.times, &block.dates);
        self.times += times.len();
        if let (None, Some(first)) = (self.first_time, times.first()) {
            self.first_time = Some(text.place(first.start));
        }
        let day = match dates.as_slice() {
            [one] => Some(one.date.clone()),
            _ => None,
        };
        for token in dates {
            self.dates.push(DateAt {
                place: text.place(token.start),
                kind: block.kind,
                timed: !times.is_empty(),
                token: token.clone(),
            });
        }
        for token in times {
            let Some(zone) = &token.zone else { continue };
            let place = text.place(zone.at);
            self.zone_named(&zone.named, place, day.as_ref());
        }
        if says_zone(block) && times.is_empty() {
            for (named, at) in header_zones(text) {
                self.zone_named(&named, text.place(at), day.as_ref());
            }
        }
    }

    fn zone_named(&mut self, named: &Named, place: Place, day: Option<&WrittenDate>) {
        match named {
            Named::Zone(zone) => self.zones.push(ZoneUse {
                zone: zone.clone(),
                place,
                day: day.cloned(),
            }),
            Named::Unknown(name) => self.unknown_zones.push((name.clone(), place)),
        }
    }

    /// The day of the incident: the first that a time stands with, else the first of all.
    pub(crate) fn day(&self) -> Option<&WrittenDate> {
        let told = |at: &&DateAt| {
            matches!(
                at.kind,
                Kind::Intro | Kind::Summary | Kind::Impact | Kind::Timeline
            )
        };
        let timed = self.dates.iter().filter(told).find(|at| at.timed);
        let first = timed
            .or_else(|| self.dates.iter().find(told))
            .or(self.dates.first());
        let first = &first?.token.date;
        // A year may be written once only.
        let same = self.dates.iter().map(|at| &at.token.date);
        let mut full = same.filter(|date| date.year.is_some() && date.agrees(first));
        Some(full.next().unwrap_or(first))
    }

    /// Timelines and prose.
    fn lines(&mut self, blocks: &[Block]) {
        let mut found: Vec<(usize, Row)> = Vec::new();
        let mut day: Option<(usize, WrittenDate)> = None;
        for (at, block) in blocks.iter().enumerate() {
            if block.kind == Kind::Timeline
                && block.lead.is_none()
                && block.text.len() < 80
                && let [one] = block.dates.as_slice()
            {
                day = Some((block.section, one.date.clone()));
            }
            let heading = day
                .as_ref()
                .filter(|(section, _)| *section == block.section);
            let Some(mut row) = rows::read(block, heading.map(|(_, date)| date)) else {
                continue;
            };
            if row.text.chars().filter(|c| c.is_alphabetic()).count() < 3
                && let Some(next) = blocks.get(at + 1)
                && next.section == block.section
                && next.lead.is_none()
            {
                row.text = next.text.raw.trim().to_owned();
            }
            found.push((at, row));
        }
        let in_timeline = |(at, _): &&(usize, Row)| {
            blocks
                .get(*at)
                .is_some_and(|block| block.kind == Kind::Timeline)
        };
        // Entries elsewhere are prose, if there is a timeline; two are none.
        let timeline = found.iter().filter(in_timeline).count();
        if timeline >= 2 {
            found.retain(|it| in_timeline(&it));
        } else if found.len() < 3 {
            found.retain(|it| in_timeline(&it));
        }
        found.truncate(ROWS_MAX);
        let mut prose = Prose::default();
        let mut next = found.iter().map(|(at, _)| *at).peekable();
        for (at, block) in blocks.iter().enumerate() {
            if next.peek() == Some(&at) {
                next.next();
            } else if !block.fenced
                && prose.facts.len() < FACTS_MAX
                && prose.windows.len() < FACTS_MAX
            {
                prose::read(block, &mut prose);
            }
        }
        prose.facts.truncate(FACTS_MAX);
        self.rows = found.into_iter().map(|(_, row)| row).collect();
        for row in &mut self.rows {
            row.roles = role::roles(&row.text.to_ascii_lowercase());
        }
        (self.facts, self.windows, self.claims) = (prose.facts, prose.windows, prose.claims);
    }

    /// The timeline's own zone, else the one that most times have.
    fn zone_of_times(&self, blocks: &[Block]) -> Option<Zone> {
        let told = blocks
            .iter()
            .filter(|block| says_zone(block))
            .find_map(|block| {
                header_zones(&block.text)
                    .into_iter()
                    .find_map(|(named, _)| match named {
                        Named::Zone(zone) => Some(zone),
                        Named::Unknown(_) => None,
                    })
            });
        let most = |zones: Vec<&Zone>| {
            let count = |zone: &Zone| zones.iter().filter(|it| it.family == zone.family).count();
            let mut best: Option<(&Zone, usize)> = None;
            for zone in zones.iter().take(50) {
                let count = count(zone);
                if best.is_none_or(|(_, most)| count > most) {
                    best = Some((zone, count));
                }
            }
            best.map(|(zone, _)| zone.clone())
        };
        told.or_else(|| {
            most(
                self.rows
                    .iter()
                    .filter_map(|row| row.zone.as_ref())
                    .collect(),
            )
        })
        .or_else(|| most(self.zones.iter().map(|it| &it.zone).collect()))
    }

    /// Times without a half get the one that other times tell, and lines of
    /// timelines their places on the axis.
    fn halves(&mut self) {
        let facts = self.facts.iter().map(|fact| fact.time);
        let windows = self
            .windows
            .iter()
            .flat_map(|window| [window.from, window.to]);
        let prose: Vec<Time> = facts.chain(windows).collect();
        let rows = self.rows.iter().map(|row| row.time);
        let told = rows.clone().chain(prose.iter().copied()).any(Time::is_told);
        // Noon and midnight are words, and prove no clock of 24 hours.
        let counts = |time: Time| time.half == Half::Day && !time.minute.is_multiple_of(720);
        let counted = rows.clone().any(counts)
            || (!told && (prose.iter().copied().any(counts) || !self.wraps()));
        if counted {
            for row in &mut self.rows {
                row.time = row.time.of_day();
            }
        } else {
            self.halves_of_rows(&prose);
        }
        for fact in &mut self.facts {
            if counted && !told {
                fact.time = fact.time.of_day();
            } else if fact.time.half == Half::Open
                && let Some(row) = self
                    .rows
                    .iter()
                    .find(|row| row.time.apart(fact.time, 0) == 0)
            {
                fact.time = row.time;
            }
        }
        for window in self.windows.iter_mut().filter(|_| counted && !told) {
            (window.from, window.to) = (window.from.of_day(), window.to.of_day());
        }
        rows::place_all(&mut self.rows, self.date);
    }

    /// Somewhere the clock goes from 12:50 to 1:10, so it counts hours to twelve.
    fn wraps(&self) -> bool {
        let open = |from: Time, to: Time| {
            from.half == Half::Open && to.half == Half::Open && to.of() - from.of() < -HALF_DAY / 2
        };
        let rows = self
            .rows
            .windows(2)
            .any(|pair| open(pair[0].time, pair[1].time));
        rows || self
            .windows
            .iter()
            .any(|window| open(window.from, window.to))
    }

    /// From a line that has its half, or whose half a sentence tells, all others'.
    fn halves_of_rows(&mut self, prose: &[Time]) {
        let told = |time: Time| {
            let mut fits = prose
                .iter()
                .filter(|it| it.is_told() && it.apart(time, 0) == 0);
            fits.next().copied()
        };
        let own = self.rows.iter().position(|row| row.time.is_told());
        let own = own.map(|at| (at, self.rows[at].time));
        let anchor = own.or_else(|| {
            let open = self.rows.iter().enumerate().take(100);
            let mut open = open.filter(|(_, row)| row.time.half == Half::Open);
            open.find_map(|(at, row)| Some((at, told(row.time)?)))
        });
        if let Some((at, time)) = anchor {
            self.rows[at].time = time;
            fill(&mut self.rows, at);
        }
    }

    /// The list that tells the most.
    fn longest_list(&self) -> Option<usize> {
        let mut best: Option<(usize, usize)> = None;
        for chunk in self.rows.chunk_by(|a, b| a.list == b.list) {
            let told = chunk.iter().filter(|row| !row.roles.is_empty()).count();
            if best.is_none_or(|(_, most)| told > most) {
                best = Some((chunk[0].list, told));
            }
        }
        best.map(|(list, _)| list)
    }

    /// The lines of that list.
    pub(crate) fn main_rows(&self) -> impl Iterator<Item = &Row> {
        self.rows.iter().filter(|row| Some(row.list) == self.main)
    }

    /// It tells of several incidents, so nothing of one may be held against another.
    pub(crate) fn is_several(&self) -> bool {
        let begins = |list: usize| {
            self.rows
                .iter()
                .any(|row| row.list == list && row.is(Role::Begin))
        };
        let mut lists: Vec<usize> = self.rows.iter().map(|row| row.list).collect();
        lists.dedup();
        if lists.iter().filter(|list| begins(**list)).count() > 1 {
            return true;
        }
        let windows = |a: &Window, b: &Window| match (&a.date, &b.date) {
            (Some(x), Some(y)) => !x.agrees(y),
            _ => false,
        };
        self.windows
            .windows(2)
            .any(|pair| windows(&pair[0], &pair[1]) && pair[0].section != pair[1].section)
    }

    /// How much later the first time is than the second, on one clock: from -719 to
    /// 720 minutes; none if their zones can't be compared.
    pub(crate) fn gap(
        &self,
        (a, a_zone): (Time, Option<&Zone>),
        (b, b_zone): (Time, Option<&Zone>),
    ) -> Option<i64> {
        let ahead = match (a_zone.or(self.zone.as_ref()), b_zone.or(self.zone.as_ref())) {
            (Some(a), Some(b)) => i64::from(a.ahead_of(b, self.date)?),
            _ => 0,
        };
        let turn = if a.half == Half::Open || b.half == Half::Open {
            HALF_DAY
        } else {
            DAY
        };
        let gap = (a.of() - b.of() - ahead).rem_euclid(turn);
        Some(if gap > turn / 2 { gap - turn } else { gap })
    }
}

/// From one line whose half is known, each other's that isn't: a timeline goes on.
fn fill(rows: &mut [Row], from: usize) {
    let half = |minute: i64| {
        let minute = minute.rem_euclid(DAY);
        Time {
            minute: u16::try_from(minute).unwrap_or_default(),
            half: if minute < HALF_DAY {
                Half::Am
            } else {
                Half::Pm
            },
        }
    };
    /// A step of most of a round is rather a step back.
    const BACK: i64 = 3 * 60;
    for at in from + 1..rows.len() {
        let before = rows[at - 1].time;
        if rows[at].time.half == Half::Open && before.is_told() {
            let step = (rows[at].time.of() - before.of()).rem_euclid(HALF_DAY);
            let step = if step > HALF_DAY - BACK {
                step - HALF_DAY
            } else {
                step
            };
            rows[at].time = half(before.of() + step);
        }
    }
    for at in (0..from).rev() {
        let after = rows[at + 1].time;
        if rows[at].time.half == Half::Open && after.is_told() {
            let step = (after.of() - rows[at].time.of()).rem_euclid(HALF_DAY);
            let step = if step > HALF_DAY - BACK {
                step - HALF_DAY
            } else {
                step
            };
            rows[at].time = half(after.of() - step);
        }
    }
}

/// It may say which zone all times are in.
fn says_zone(block: &Block) -> bool {
    let low = &block.text.low;
    let told = [
        "all times",
        "all hours",
        "times are",
        "times in",
        "timezone",
        "time zone",
        "hours are",
    ];
    let head = block.kind == Kind::Timeline
        && block.text.len() < 120
        && (block.shape == Shape::Heading || (block.shape == Shape::Cells && block.lead.is_none()));
    head || told.iter().any(|words| low.contains(words))
}

/// Zones that a heading names.
fn header_zones(text: &Text) -> Vec<(Named, usize)> {
    let mut found = Vec::new();
    let mut at = 0;
    for (start, word) in calendar::words(&text.low) {
        let before = start
            .checked_sub(1)
            .map_or("", |at| text.raw_in(at, at + 1));
        if start < at || before == "/" || !word.starts_with(|c: char| c.is_ascii_alphabetic()) {
            continue;
        }
        let rest = text.raw_in(start, text.len());
        match zone::at_start(rest, Context::Alone) {
            Some((Named::Zone(zone), length)) => {
                at = start + length;
                found.push((Named::Zone(zone), start));
            }
            Some((Named::Unknown(name), _)) if before == "(" => {
                found.push((Named::Unknown(name), start));
            }
            Some((Named::Unknown(_), _)) | None => {}
        }
        if found.len() > 3 {
            break;
        }
    }
    found
}
