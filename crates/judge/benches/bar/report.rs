//! What was measured, for people and for programs.
//!
//! Invariant: a bar says its limit and what was measured, whether it holds or not.

use std::fmt::Write;

/// How long to measure, and from which seed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scale {
    pub(crate) seed: u64,
    pub(crate) quick: bool,
}

impl Scale {
    /// So many runs in full, or a part of them.
    pub(crate) fn runs(self, full: usize) -> usize {
        if self.quick { full / 8 } else { full }
    }

    /// By how much a limit of a mean or a median is wider for fewer runs; their noise is a tenth.
    pub(crate) fn slack(self) -> f64 {
        if self.quick { 1.15 } else { 1.0 }
    }
}

/// One table.
#[derive(Debug)]
pub(crate) struct Table {
    pub(crate) title: String,
    pub(crate) head: Vec<String>,
    pub(crate) rows: Vec<Vec<String>>,
}

impl Table {
    pub(crate) fn new(title: impl Into<String>, head: &[&str]) -> Table {
        Table {
            title: title.into(),
            head: head.iter().map(|&name| name.to_owned()).collect(),
            rows: Vec::new(),
        }
    }

    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().collect());
    }

    fn text(&self) -> String {
        let mut text = format!("{}\n\n", self.title);
        let rule = self.head.iter().map(|_| "---".to_owned()).collect();
        for row in [&self.head, &rule].into_iter().chain(&self.rows) {
            let _ = writeln!(text, "| {} |", row.join(" | "));
        }
        text
    }
}

/// A promise with what was measured.
#[derive(Debug)]
pub(crate) struct Bar {
    pub(crate) name: String,
    pub(crate) measured: f64,
    pub(crate) limit: f64,
    pub(crate) at_least: bool,
}

impl Bar {
    pub(crate) fn is_met(&self) -> bool {
        match self.at_least {
            true => self.measured >= self.limit,
            false => self.measured <= self.limit,
        }
    }
}

/// All of it.
#[derive(Debug)]
pub(crate) struct Report {
    scale: Scale,
    pub(crate) tables: Vec<Table>,
    pub(crate) bars: Vec<Bar>,
}

impl Report {
    pub(crate) fn new(scale: Scale) -> Report {
        Report {
            scale,
            tables: Vec::new(),
            bars: Vec::new(),
        }
    }

    /// A mean, a median or a share of some runs, which is a little off.
    pub(crate) fn about_at_most(&mut self, name: impl Into<String>, measured: f64, limit: f64) {
        self.at_most(name, measured, limit * self.scale.slack());
    }

    /// See [`Report::about_at_most`].
    pub(crate) fn about_at_least(&mut self, name: impl Into<String>, measured: f64, limit: f64) {
        self.at_least(name, measured, limit / self.scale.slack());
    }

    pub(crate) fn at_most(&mut self, name: impl Into<String>, measured: f64, limit: f64) {
        let name = name.into();
        self.bars.push(Bar {
            name,
            measured,
            limit,
            at_least: false,
        });
    }

    pub(crate) fn at_least(&mut self, name: impl Into<String>, measured: f64, limit: f64) {
        let name = name.into();
        self.bars.push(Bar {
            name,
            measured,
            limit,
            at_least: true,
        });
    }

    pub(crate) fn is_met(&self) -> bool {
        self.bars.iter().all(Bar::is_met)
    }

    pub(crate) fn text(&self) -> String {
        let mut table = Table::new("The bar", &["", "what", "measured", "limit"]);
        for bar in &self.bars {
            let sign = if bar.at_least { "≥" } else { "≤" };
            table.row([
                if bar.is_met() { "ok" } else { "**missed**" }.to_owned(),
                bar.name.clone(),
                number(bar.measured),
                format!("{sign} {}", number(bar.limit)),
            ]);
        }
        let tables = self.tables.iter().chain([&table]);
        tables.map(Table::text).collect::<Vec<_>>().join("\n")
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        let table = |table: &Table| serde_json::json!({"title": table.title, "head": table.head, "rows": table.rows});
        let bar = |bar: &Bar| {
            serde_json::json!({
                "name": bar.name, "measured": bar.measured, "limit": bar.limit,
                "at_least": bar.at_least, "met": bar.is_met(),
            })
        };
        serde_json::json!({
            "tables": self.tables.iter().map(table).collect::<Vec<_>>(),
            "bars": self.bars.iter().map(bar).collect::<Vec<_>>(),
        })
    }
}

/// Three digits that matter, and thousands apart.
pub(crate) fn number(value: f64) -> String {
    if !value.is_finite() {
        return "never".to_owned();
    }
    let places = match value.abs() {
        size if size >= 100.0 || size.fract() == 0.0 => 0,
        size if size >= 10.0 => 1,
        size if size >= 0.1 => 2,
        _ => 4,
    };
    let text = format!("{value:.places$}");
    let (whole, rest) = text.split_at(text.find('.').unwrap_or(text.len()));
    if whole.len() < 5 {
        return text;
    }
    let parts: Vec<String> = whole
        .as_bytes()
        .rchunks(3)
        .rev()
        .map(|part| String::from_utf8_lossy(part).into_owned())
        .collect();
    parts.join(" ") + rest
}

/// A share as a percentage.
pub(crate) fn percent(share: f64) -> String {
    format!("{} %", (share * 1e4).round() / 100.0)
}

/// When something was found in each run, in seconds or ticks.
#[derive(Debug, Default)]
pub(crate) struct Times(pub(crate) Vec<Option<u64>>);

impl Times {
    /// Of runs that end at `cap` whether or not anything was found: their mean length.
    pub(crate) fn mean(&self, cap: u64) -> f64 {
        let sum: u64 = self.0.iter().map(|at| at.unwrap_or(cap).min(cap)).sum();
        sum as f64 / self.0.len() as f64
    }

    /// Infinite when less than half are found by `cap`.
    pub(crate) fn median(&self, cap: u64) -> f64 {
        let mut times: Vec<u64> = self.found(cap).collect();
        times.sort_unstable();
        let middle = self.0.len() / 2;
        times.get(middle).map_or(f64::INFINITY, |at| *at as f64)
    }

    pub(crate) fn share(&self, cap: u64) -> f64 {
        self.found(cap).count() as f64 / self.0.len() as f64
    }

    pub(crate) fn found(&self, cap: u64) -> impl Iterator<Item = u64> {
        self.0
            .iter()
            .flatten()
            .copied()
            .filter(move |at| *at <= cap)
    }
}
