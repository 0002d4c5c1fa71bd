//! Dates as people write them, misspelt months included.
//!
//! Invariant: what may be a day and month in either order has both readings,
//! and two dates differ only if no reading of one is a reading of the other.

use jiff::civil::Date;

/// A date in a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DateToken {
    pub(crate) start: usize,
    pub(crate) end: usize,
    pub(crate) date: WrittenDate,
    /// The weekday that was written with it.
    pub(crate) weekday: Option<jiff::civil::Weekday>,
}

/// What was written of a date.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct WrittenDate {
    pub(crate) year: Option<i16>,
    pub(crate) month: i8,
    pub(crate) day: i8,
    /// Day and month might be meant the other way round.
    pub(crate) swappable: bool,
}

impl WrittenDate {
    /// The day, if the year was written and the calendar has it.
    pub(crate) fn full(&self) -> Option<Date> {
        Date::new(self.year?, self.month, self.day).ok()
    }

    /// The day, if it can only be meant one way.
    pub(crate) fn certain(&self) -> Option<Date> {
        self.full().filter(|_| !self.swappable)
    }

    /// No calendar has it, in any year.
    pub(crate) fn impossible(&self) -> bool {
        let year = self.year.unwrap_or(2024);
        Date::new(year, self.month, self.day).is_err()
            && (!self.swappable || Date::new(year, self.day, self.month).is_err())
    }

    /// They may mean the same day; a year that is left out is any year.
    pub(crate) fn agrees(&self, other: &WrittenDate) -> bool {
        let years = match (self.year, other.year) {
            (Some(a), Some(b)) => a == b,
            _ => true,
        };
        let straight = (self.month, self.day) == (other.month, other.day);
        let crossed = (self.month, self.day) == (other.day, other.month);
        years && (straight || (crossed && (self.swappable || other.swappable)))
    }

    /// As a reader would write it.
    pub(crate) fn words(&self) -> String {
        let month = usize::try_from(self.month - 1)
            .ok()
            .and_then(|at| MONTHS.get(at))
            .map_or("?", |name| name);
        let mut name = month.to_owned();
        name[..1].make_ascii_uppercase();
        match self.year {
            Some(year) => format!("{name} {}, {year}", self.day),
            None => format!("{name} {}", self.day),
        }
    }
}

const MONTHS: [&str; 12] = [
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
];

const WEEKDAYS: [(&str, jiff::civil::Weekday); 7] = [
    ("monday", jiff::civil::Weekday::Monday),
    ("tuesday", jiff::civil::Weekday::Tuesday),
    ("wednesday", jiff::civil::Weekday::Wednesday),
    ("thursday", jiff::civil::Weekday::Thursday),
    ("friday", jiff::civil::Weekday::Friday),
    ("saturday", jiff::civil::Weekday::Saturday),
    ("sunday", jiff::civil::Weekday::Sunday),
];

/// All dates of a text, in order. `raw` and `low` are the same but for case.
pub(crate) fn scan(raw: &str, low: &str) -> Vec<DateToken> {
    let words = words(low);
    let mut found: Vec<DateToken> = Vec::new();
    for at in 0..words.len() {
        let (start, word) = words[at];
        if found.last().is_some_and(|last| start < last.end) {
            continue;
        }
        let token = if word.as_bytes()[0].is_ascii_digit() {
            numeric(low, start).or_else(|| day_first(low, raw, &words, at))
        } else {
            month_first(low, raw, &words, at)
        };
        if let Some(mut token) = token {
            weekday_before(low, &words, at, &mut token);
            found.push(token);
        }
    }
    found
}

/// Runs of ASCII letters and digits, with their offsets.
pub(crate) fn words(low: &str) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    let bytes = low.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        let digit = bytes[at].is_ascii_digit();
        let same = |b: &u8| {
            if digit {
                b.is_ascii_digit()
            } else {
                b.is_ascii_alphabetic()
            }
        };
        let length = bytes[at..].iter().take_while(|b| same(b)).count();
        if length > 0 {
            found.push((at, &low[at..at + length]));
        }
        at += length.max(1);
    }
    found
}

/// `2024-05-12`, `2024/5/12`, `12/05/2024`, `12.05.2024`, `5/12/24`.
fn numeric(low: &str, start: usize) -> Option<DateToken> {
    let before = start.checked_sub(1).and_then(|at| low.as_bytes().get(at));
    if before.is_some_and(|b| b.is_ascii_alphanumeric() || b"./-:".contains(b)) {
        return None;
    }
    let bytes = low.as_bytes();
    let number = |at: usize| {
        let length = bytes
            .get(at..)?
            .iter()
            .take_while(|b| b.is_ascii_digit())
            .count();
        let value: i16 = low.get(at..at + length)?.parse().ok()?;
        Some((value, length))
    };
    let (a, a_length) = number(start)?;
    let separator = *bytes.get(start + a_length)?;
    if !b"-/.".contains(&separator) {
        return None;
    }
    let (b, b_length) = number(start + a_length + 1)?;
    let middle = start + a_length + 1 + b_length;
    if bytes.get(middle) != Some(&separator) {
        return None;
    }
    let (c, c_length) = number(middle + 1)?;
    let end = middle + 1 + c_length;
    let after = bytes.get(end);
    // A version, or an address; `T` and blank begin a time.
    if after.is_some_and(|b| (b.is_ascii_alphabetic() && *b != b't') || *b == b'/')
        || (after == Some(&b'.') && bytes.get(end + 1).is_some_and(u8::is_ascii_digit))
    {
        return None;
    }
    let (year, month, day, swappable) = match (a_length, c_length) {
        (4, 1..=2) => (a, b, c, false),
        // `12.05.2024` has the day first everywhere; a slash tells nothing.
        (1..=2, 4) | (2, 2) if separator == b'.' => (century(c, c_length), b, a, false),
        (1..=2, 4) | (1..=2, 2) if separator == b'/' || c_length == 4 => {
            let year = century(c, c_length);
            match (a > 12, b > 12) {
                (true, _) => (year, b, a, false),
                (false, true) => (year, a, b, false),
                (false, false) => (year, a, b, true),
            }
        }
        _ => return None,
    };
    let plausible =
        (1970..=2100).contains(&year) && (1..=12).contains(&month) && (1..=31).contains(&day);
    plausible.then_some(())?;
    Some(DateToken {
        start,
        end,
        date: WrittenDate {
            year: Some(year),
            month: i8::try_from(month).ok()?,
            day: i8::try_from(day).ok()?,
            swappable: swappable && month != day,
        },
        weekday: None,
    })
}

fn century(year: i16, length: usize) -> i16 {
    if length == 2 { 2000 + year } else { year }
}

/// `12 May 2024`, `12th of May`.
fn day_first(low: &str, raw: &str, words: &[(usize, &str)], at: usize) -> Option<DateToken> {
    let (start, day) = words[at];
    let day = day_number(day)?;
    let before = start.checked_sub(1).and_then(|at| low.as_bytes().get(at));
    if before.is_some_and(|b| b":.".contains(b)) {
        return None;
    }
    let mut next = at + 1;
    for filler in ["st", "nd", "rd", "th", "of"] {
        if words.get(next).is_some_and(|(_, word)| *word == filler) {
            next += 1;
        }
    }
    let (month_start, word) = *words.get(next)?;
    if !joins(low, words, at, next) {
        return None;
    }
    let (year, end) = year_after(low, words, next);
    let month = month_of(word, raw_at(raw, month_start), year.is_some())?;
    Some(token(start, end, year, month, day))
}

/// `May 12, 2024`, `Feb. 4th`.
fn month_first(low: &str, raw: &str, words: &[(usize, &str)], at: usize) -> Option<DateToken> {
    let (start, word) = words[at];
    let (_, number) = *words.get(at + 1)?;
    let day = day_number(number)?;
    if !joins(low, words, at, at + 1) {
        return None;
    }
    let mut last = at + 1;
    let (after, suffix) = words.get(at + 2).copied().unwrap_or((0, ""));
    if ["st", "nd", "rd", "th"].contains(&suffix) && after == words[last].0 + number.len() {
        last += 1;
    }
    let (year, mut end) = year_after(low, words, last);
    // `October 10:30` is no day.
    if low.as_bytes().get(end) == Some(&b':') {
        year?;
        end = words[last].0 + words[last].1.len();
    }
    let month = month_of(word, raw_at(raw, start), year.is_some())?;
    Some(token(start, end, year, month, day))
}

fn token(start: usize, end: usize, year: Option<i16>, month: i8, day: i8) -> DateToken {
    DateToken {
        start,
        end,
        date: WrittenDate {
            year,
            month,
            day,
            swappable: false,
        },
        weekday: None,
    }
}

fn raw_at(raw: &str, at: usize) -> u8 {
    raw.as_bytes().get(at).copied().unwrap_or_default()
}

fn day_number(word: &str) -> Option<i8> {
    word.parse()
        .ok()
        .filter(|day| word.len() <= 2 && (1..=31).contains(day))
}

/// Between two words stands nothing but what dates have between their parts.
fn joins(low: &str, words: &[(usize, &str)], from: usize, to: usize) -> bool {
    words[from..=to].windows(2).all(|pair| {
        let end = pair[0].0 + pair[0].1.len();
        let gap = low.get(end..pair[1].0).unwrap_or("?");
        matches!(gap, "" | " " | "  " | ". " | "-" | ", " | "/")
    })
}

/// The year after a word, and where the date ends.
fn year_after(low: &str, words: &[(usize, &str)], last: usize) -> (Option<i16>, usize) {
    let end = words[last].0 + words[last].1.len();
    let Some((start, word)) = words.get(last + 1).copied() else {
        return (None, end);
    };
    let gap = low.get(end..start).unwrap_or("?");
    let year = word
        .parse()
        .ok()
        .filter(|year| (1970..=2100).contains(year));
    let followed = low.as_bytes().get(start + word.len());
    match year {
        Some(year)
            if matches!(gap, " " | ", " | "," | "-" | "/" | " , " | ". ")
                && followed != Some(&b':') =>
        {
            (Some(year), start + word.len())
        }
        _ => (None, end),
    }
}

/// A month by name, short name, or a name with up to two wrong letters.
fn month_of(word: &str, first: u8, has_year: bool) -> Option<i8> {
    let number = |at: usize| i8::try_from(at + 1).ok();
    if let Some(at) = MONTHS.iter().position(|month| *month == word) {
        // "may 12 hosts fail", "march 3 times": words too, in small letters.
        let verb = matches!(word, "may" | "march") && !first.is_ascii_uppercase() && !has_year;
        return if verb { None } else { number(at) };
    }
    let short = |month: &&str| month[..3] == *word || (*month == "september" && word == "sept");
    if let Some(at) = MONTHS.iter().position(short) {
        let plain = first.is_ascii_uppercase() || has_year;
        return number(at).filter(|_| plain);
    }
    if word.len() < 5 || word.len() > 11 || !(first.is_ascii_uppercase() || has_year) {
        return None;
    }
    let near = |month: &&str| {
        let most = if month.len() >= 7 { 2 } else { 1 };
        // "Match" is nearly "March"; only a year behind it makes it one.
        let long = month.len() >= 6 || (month.len() == 5 && has_year);
        long && month[..1] == word[..1] && edits(month, word) <= most
    };
    MONTHS.iter().position(near).and_then(number)
}

/// The word is a month, a weekday, or the ending of a day's number.
pub(crate) fn is_part(word: &str) -> bool {
    matches!(word, "st" | "nd" | "rd" | "th" | "of" | "sept")
        || MONTHS
            .iter()
            .any(|month| *month == word || month[..3] == *word)
        || WEEKDAYS.iter().any(|(day, _)| *day == word)
}

/// Levenshtein's distance of two short ASCII words.
fn edits(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut corner = i;
        row[0] = i + 1;
        for (j, y) in b.bytes().enumerate() {
            let change = corner + usize::from(x != y);
            corner = row[j + 1];
            row[j + 1] = change.min(row[j] + 1).min(corner + 1);
        }
    }
    row[b.len()]
}

/// `Monday, May 12`: the weekday belongs to the date after it.
fn weekday_before(low: &str, words: &[(usize, &str)], at: usize, token: &mut DateToken) {
    let Some((start, word)) = at.checked_sub(1).and_then(|at| words.get(at)).copied() else {
        return;
    };
    let gap = low.get(start + word.len()..token.start).unwrap_or("?");
    if !matches!(gap, " " | ", " | " the " | ",") {
        return;
    }
    let named = |(name, _): &&(&str, _)| *name == word || name[..3] == *word;
    if let Some((_, weekday)) = WEEKDAYS.iter().find(named) {
        token.start = start;
        token.weekday = Some(*weekday);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Vec<String> {
        let found = scan(text, &text.to_ascii_lowercase());
        found.iter().map(|token| token.date.words()).collect()
    }

    #[test]
    fn dates_are_read_in_many_ways() {
        for text in [
            "On May 12, 2024, we",
            "12 May 2024",
            "12th of May, 2024",
            "May 12th 2024 10:00",
            "2024-05-12T10:00Z",
            "2024/5/12",
            "12.05.2024 10:00",
            "Sunday, May 12, 2024",
            "13/05/2024 or May 12 2024",
        ] {
            let found = read(text);
            assert_eq!(
                found.last().map(String::as_str),
                Some("May 12, 2024"),
                "{text}"
            );
        }
        assert_eq!(read("Febuary 4th, 2024"), ["February 4, 2024"]);
        assert_eq!(read("Septmber 30, 2020"), ["September 30, 2020"]);
        assert_eq!(read("Feb. 4"), ["February 4"]);
        assert_eq!(read("on October 21 22:52 UTC"), ["October 21"]);
        assert_eq!(read("May 12 10:00 and May 13"), ["May 12", "May 13"]);
    }

    #[test]
    fn what_is_no_date_is_none() {
        for text in [
            "version 1.2.2024.3",
            "10.0.12.24:80",
            "may 12 hosts fail",
            "march 3 times",
            "October 10:30",
            "12:05 May be",
            "v2024-05-12",
            "1/2 of 3/4",
            "Marching 12 men",
        ] {
            assert_eq!(read(text), [] as [&str; 0], "{text}");
        }
    }

    #[test]
    fn either_order_of_day_and_month_agrees() {
        let one = |text: &str| scan(text, &text.to_ascii_lowercase()).remove(0).date;
        assert!(one("05/12/2024").agrees(&one("May 12, 2024")));
        assert!(one("05/12/2024").agrees(&one("12 May 2024")));
        assert!(one("05/12/2024").agrees(&one("5 December 2024")));
        assert!(!one("05/13/2024").agrees(&one("May 12, 2024")));
        assert!(one("May 12").agrees(&one("May 12, 2024")));
        assert!(!one("May 12, 2023").agrees(&one("May 12, 2024")));
        assert!(one("February 30, 2024").impossible());
        assert!(!one("February 29").impossible());
    }
}
