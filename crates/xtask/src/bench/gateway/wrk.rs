//! What `wrk` and `h2load` say.
//!
//! Invariant: an answer that was no success is never taken for one.

use anyhow::{Context, Result};

/// One saturating run.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Saturated {
    pub(super) requests: u64,
    pub(super) per_s: f64,
    pub(super) p50_ms: f64,
    pub(super) p99_ms: f64,
    /// Answers that were none, or not 2xx.
    pub(super) bad: u64,
}

/// Of `wrk --latency`.
pub(super) fn wrk(said: &str) -> Result<Saturated> {
    let line = |has: &str| said.lines().map(str::trim).find(|line| line.contains(has));
    // Not anywhere: other lines end with percentages too.
    let after = |start: &str| {
        let found = said
            .lines()
            .find_map(|line| line.trim().strip_prefix(start));
        let rest = found.with_context(|| format!("wrk did not say {start:?}:\n{said}"))?;
        Ok::<_, anyhow::Error>(rest.trim().to_owned())
    };
    let requests = line(" requests in ").and_then(|it| it.split_whitespace().next()?.parse().ok());
    let refused: u64 = match line("Non-2xx or 3xx responses:") {
        Some(_) => after("Non-2xx or 3xx responses:")?.parse()?,
        None => 0,
    };
    let broken = line("Socket errors:").map_or(0, numbers);
    Ok(Saturated {
        requests: requests.with_context(|| format!("wrk did not count:\n{said}"))?,
        per_s: after("Requests/sec:")?.parse()?,
        p50_ms: millis(&after("50%")?)?,
        p99_ms: millis(&after("99%")?)?,
        bad: refused + broken,
    })
}

/// Of `h2load`, which has no percentiles: its mean and maximum stand for them.
pub(super) fn h2load(said: &str) -> Result<Saturated> {
    let line = |start: &str| {
        said.lines()
            .map(str::trim)
            .find(|line| line.starts_with(start))
    };
    let odd = || format!("h2load said something else:\n{said}");
    let finished = line("finished in").with_context(odd)?;
    let per_s = finished
        .split(", ")
        .nth(1)
        .and_then(|it| it.split(' ').next()?.parse().ok());
    let counts = line("requests:").with_context(odd)?;
    let count = |what: &str| -> Option<u64> {
        let part = counts
            .split(", ")
            .find(|part| part.trim_end().ends_with(what))?;
        part.trim_start_matches("requests:")
            .split_whitespace()
            .next()?
            .parse()
            .ok()
    };
    let codes = line("status codes:").with_context(odd)?;
    let good: u64 = codes
        .split_whitespace()
        .nth(2)
        .and_then(|it| it.parse().ok())
        .with_context(odd)?;
    let done = count("done").with_context(odd)?;
    let times: Vec<&str> = line("time for request:")
        .with_context(odd)?
        .split_whitespace()
        .collect();
    let time = |at: usize| millis(times.get(at).copied().unwrap_or_default());
    Ok(Saturated {
        requests: done,
        per_s: per_s.with_context(odd)?,
        p50_ms: time(5)?,
        p99_ms: time(4)?,
        bad: done.saturating_sub(good)
            + count("errored").with_context(odd)?
            + count("timeout").with_context(odd)?,
    })
}

/// `1.36ms`, `812.00us` or `1.02s` in milliseconds.
fn millis(text: &str) -> Result<f64> {
    let at = text
        .find(|it: char| it.is_ascii_alphabetic())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(at);
    let number: f64 = number
        .parse()
        .with_context(|| format!("{text:?} is no time"))?;
    let factor = match unit {
        "us" => 0.001,
        "ms" => 1.0,
        "s" => 1000.0,
        "m" => 60_000.0,
        _ => anyhow::bail!("{text:?} has no unit"),
    };
    Ok(number * factor)
}

/// The sum of all numbers in a line.
fn numbers(line: &str) -> u64 {
    line.split(|it: char| !it.is_ascii_digit())
        .filter_map(|it| it.parse::<u64>().ok())
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    const WRK: &str = "\
Running 4s test @ http://127.0.0.1:8080/
  1 threads and 64 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     1.84ms    1.10ms  16.99ms   75.12%
    Req/Sec    35.71k     1.64k   38.50k    72.50%
  Latency Distribution
     50%    1.36ms
     75%    2.12ms
     90%  812.00us
     99%    1.02s
  142105 requests in 4.01s, 33.88MB read
  Socket errors: connect 1, read 2, write 3, timeout 4
  Non-2xx or 3xx responses: 7
Requests/sec:  35412.51
Transfer/sec:      8.44MB
";
    const H2LOAD: &str = "\
finished in 4.01s, 12345.50 req/s, 1.9MB/s
requests: 49505 total, 50000 started, 49500 done, 49490 succeeded, 10 failed, 5 errored, 2 timeout
status codes: 49490 2xx, 0 3xx, 0 4xx, 10 5xx
traffic: 7.64MB (8011245) total, 1.42MB (1485001) headers (space savings 75.00%), 4.06MB (4257430) data
                     min         max         mean         sd        +/- sd
time for request:      412us     15.20ms      2.58ms       700us    75.30%
time for connect:      210us      5.20ms      2.60ms      1.40ms    60.00%
";

    #[test]
    fn all_that_wrk_says_is_read() {
        let read = wrk(WRK).unwrap();
        assert_eq!((read.requests, read.bad), (142_105, 17));
        assert_eq!(
            (read.per_s, read.p50_ms, read.p99_ms),
            (35_412.51, 1.36, 1020.0)
        );
        assert!(wrk("unable to connect").is_err());
    }

    #[test]
    fn all_that_h2load_says_is_read() {
        let read = h2load(H2LOAD).unwrap();
        assert_eq!((read.requests, read.bad), (49_500, 17));
        assert_eq!(
            (read.per_s, read.p50_ms, read.p99_ms),
            (12_345.5, 2.58, 15.2)
        );
        assert!(h2load("could not connect").is_err());
    }

    #[test]
    fn times_have_units() {
        assert_eq!(millis("812.00us").unwrap(), 0.812);
        assert_eq!(millis("1.5m").unwrap(), 90_000.0);
        assert!(millis("12").is_err() && millis("ms").is_err());
    }
}
