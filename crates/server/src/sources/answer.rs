//! What a Prometheus is asked, and what it answers.
//!
//! Both totals are asked for in one query: it looks at one moment, and so no
//! failure is seen without its request.
//!
//! Invariant: a series that names nothing known is of no use and is said to be; it is never guessed at.

use std::collections::{BTreeMap, BTreeSet};

use model::ticks::CELLS_MAX;
use model::{Digest, HostName, PrometheusSource};
use serde::Deserialize;

use super::shorten;
use crate::ticks::class;

/// The label that tells the two totals apart.
const TOTAL: &str = "plimsoll_total";
/// A bundle's digest may be shortened to so many digits, as it is shown everywhere.
const DIGITS_MIN: usize = 12;
/// Above this a float has no ones any more.
const TOTAL_MAX: f64 = 9_007_199_254_740_992.0;

/// Why an answer is of no use.
#[derive(Debug, thiserror::Error)]
pub(super) enum AnswerError {
    #[error("it refuses the queries: {words}")]
    Refused { words: String },
    #[error("status {status} without words that can be read")]
    Status { status: u16 },
    #[error("its answer can't be read")]
    Unreadable {
        #[source]
        source: serde_json::Error,
    },
    #[error("the queries give a {kind}, and an instant vector is needed")]
    Kind { kind: String },
    #[error("{series} series; at most {most}: sum them by bundle, host and class")]
    TooMany { series: usize, most: usize },
}

/// What labels may name.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// By their digits.
    pub(super) bundles: BTreeMap<String, Digest>,
    pub(super) hosts: BTreeSet<HostName>,
}

/// Whose requests a series counts.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    pub(super) bundle: Option<Digest>,
    pub(super) host: Option<HostName>,
    pub(super) class: String,
}

/// Running totals; one that is not there is absent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Total {
    pub(super) requests: Option<u64>,
    pub(super) failed: Option<u64>,
}

/// What an answer says.
#[derive(Debug, PartialEq, Eq, Default)]
pub(super) struct Said {
    pub(super) totals: BTreeMap<Key, Total>,
    pub(super) skipped: u64,
    /// Why the first of them is of no use.
    pub(super) first_skipped: Option<String>,
}

/// Where to ask.
pub(super) fn path(source: &PrometheusSource) -> String {
    // A line of its own for each query: one may end in a comment.
    let labelled = |query: &str, total: &str| {
        format!("label_replace((\n{query}\n), \"{TOTAL}\", \"{total}\", \"\", \"\")")
    };
    let requests = labelled(&source.requests, "requests");
    let failed = labelled(&source.failed, "failed");
    let query = format!("{requests} or {failed}");
    format!("/api/v1/query?query={}", percent(&query))
}

/// Everything but unreserved characters (RFC 3986, 2.3) as `%XX`.
fn percent(text: &str) -> String {
    use std::fmt::Write;
    let mut out = String::new();
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                out.push(char::from(byte));
            }
            _ => {
                let _ = write!(out, "%{byte:02X}");
            }
        }
    }
    out
}

#[derive(Deserialize)]
#[serde(tag = "status", rename_all = "lowercase")]
enum Answer {
    Success { data: Data },
    Error { error: String },
}

#[derive(Deserialize)]
struct Data {
    #[serde(rename = "resultType")]
    kind: String,
    result: serde_json::Value,
}

#[derive(Deserialize)]
struct Series {
    metric: BTreeMap<String, String>,
    /// Seconds since 1970, and the value as text.
    value: (f64, String),
}

/// Reads an answer.
///
/// # Errors
/// When it holds no totals at all. Single series that are of no use are counted.
pub(super) fn read(status: u16, body: &[u8], known: &Known) -> Result<Said, AnswerError> {
    let data = match serde_json::from_slice(body) {
        Ok(Answer::Success { data }) => data,
        Ok(Answer::Error { error }) => {
            let words = shorten(&error);
            return Err(AnswerError::Refused { words });
        }
        Err(_) if status != 200 => return Err(AnswerError::Status { status }),
        Err(source) => return Err(AnswerError::Unreadable { source }),
    };
    if data.kind != "vector" {
        return Err(AnswerError::Kind { kind: data.kind });
    }
    let series: Vec<Series> =
        serde_json::from_value(data.result).map_err(|source| AnswerError::Unreadable { source })?;
    let most = 2 * CELLS_MAX;
    if series.len() > most {
        let series = series.len();
        return Err(AnswerError::TooMany { series, most });
    }
    let mut said = Said::default();
    for one in series {
        match total(&one, known) {
            Ok((key, total, value)) => {
                let sums = said.totals.entry(key).or_default();
                let sum = match total {
                    Which::Requests => &mut sums.requests,
                    Which::Failed => &mut sums.failed,
                };
                // Labels beside those that are read here: their series are parts of one total.
                *sum = Some(sum.unwrap_or(0).saturating_add(value));
            }
            Err(why) => {
                said.skipped += 1;
                said.first_skipped.get_or_insert(why);
            }
        }
    }
    if said.totals.len() > CELLS_MAX {
        let series = said.totals.len();
        return Err(AnswerError::TooMany {
            series,
            most: CELLS_MAX,
        });
    }
    Ok(said)
}

enum Which {
    Requests,
    Failed,
}

fn total(series: &Series, known: &Known) -> Result<(Key, Which, u64), String> {
    let label = |name: &str| series.metric.get(name).map(String::as_str);
    let which = match label(TOTAL) {
        Some("requests") => Which::Requests,
        Some("failed") => Which::Failed,
        _ => return Err(format!("a series without the label {TOTAL}")),
    };
    let text = &series.value.1;
    let value = text.parse::<f64>().ok();
    let value = value.filter(|value| (0.0..=TOTAL_MAX).contains(value));
    let value = value.ok_or_else(|| format!("{} is no total", shorten(text)))?;
    // An empty label is an absent one, to Prometheus too.
    let bundle = label("bundle").filter(|text| !text.is_empty());
    let bundle = bundle.map(|text| bundle_of(text, known)).transpose()?;
    let host = label("host").filter(|text| !text.is_empty());
    let host = host.map(|text| host_of(text, known)).transpose()?;
    if bundle.is_none() && host.is_none() {
        return Err("neither a label bundle nor a label host".into());
    }
    let name = label("class").unwrap_or_default();
    class(name).map_err(|problem| format!("label class: {problem}"))?;
    let key = Key {
        bundle,
        host,
        class: name.to_owned(),
    };
    Ok((key, which, whole(value)))
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "within 0 and 2^53, as was looked at before"
)]
fn whole(value: f64) -> u64 {
    value as u64
}

fn bundle_of(text: &str, known: &Known) -> Result<Digest, String> {
    let is_digits = text.bytes().all(|byte| byte.is_ascii_hexdigit());
    if text.len() < DIGITS_MIN || !is_digits {
        let text = shorten(text);
        return Err(format!(
            "bundle={text:?} is not {DIGITS_MIN} or more digits of a digest"
        ));
    }
    let from = known.bundles.range(text.to_owned()..);
    let mut fitting = from.take_while(|(digits, _)| digits.starts_with(text));
    match (fitting.next(), fitting.next()) {
        (Some((_, digest)), None) => Ok(*digest),
        (None, _) => Err(format!("no bundle of the service is {}", shorten(text))),
        (Some(_), Some(_)) => Err(format!("more than one bundle begins with {text}")),
    }
}

fn host_of(text: &str, known: &Known) -> Result<HostName, String> {
    let name = text.parse::<HostName>().ok();
    name.filter(|name| known.hosts.contains(name))
        .ok_or_else(|| {
            let text = shorten(text);
            format!("host={text:?} does not run the service in this environment")
        })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn known() -> Known {
        Known {
            bundles: [Digest::of(b"old"), Digest::of(b"new")]
                .map(|digest| (digest.to_string(), digest))
                .into(),
            hosts: ["web-1".parse().unwrap()].into(),
        }
    }

    fn vector(series: &[(Value, &str)]) -> Vec<u8> {
        let result: Vec<Value> = series
            .iter()
            .map(|(metric, value)| json!({ "metric": metric, "value": [1.5, value] }))
            .collect();
        json!({ "status": "success", "data": { "resultType": "vector", "result": result } })
            .to_string()
            .into_bytes()
    }

    fn key(bundle: Option<&[u8]>, host: Option<&str>, class: &str) -> Key {
        Key {
            bundle: bundle.map(Digest::of),
            host: host.map(|host| host.parse().unwrap()),
            class: class.into(),
        }
    }

    #[test]
    fn totals_are_by_bundle_host_and_class() {
        let (old, new) = (Digest::of(b"old"), Digest::of(b"new"));
        let body = vector(&[
            (
                json!({ TOTAL: "requests", "bundle": old.to_string() }),
                "1200",
            ),
            (json!({ TOTAL: "failed", "bundle": old.short() }), "3"),
            (
                json!({ TOTAL: "requests", "bundle": new.short(), "host": "web-1", "class": "write", "pod": "a" }),
                "10",
            ),
            (
                json!({ TOTAL: "requests", "bundle": new.short(), "host": "web-1", "class": "write", "pod": "b" }),
                "1.1e1",
            ),
            (
                json!({ TOTAL: "requests", "host": "web-1", "bundle": "" }),
                "7",
            ),
        ]);
        let said = read(200, &body, &known()).unwrap();
        let total = |requests, failed| Total { requests, failed };
        let wanted = [
            (key(None, Some("web-1"), ""), total(Some(7), None)),
            (key(Some(b"old"), None, ""), total(Some(1200), Some(3))),
            (
                key(Some(b"new"), Some("web-1"), "write"),
                total(Some(21), None),
            ),
        ];
        assert_eq!(said.totals, wanted.into());
        assert_eq!((said.skipped, said.first_skipped), (0, None));
    }

    #[test]
    fn series_that_name_nothing_known_are_counted_and_not_guessed_at() {
        let old = Digest::of(b"old").short();
        let useless = [
            (json!({ TOTAL: "requests" }), "1", "neither a label"),
            (
                json!({ TOTAL: "requests", "bundle": "v1.2.3" }),
                "1",
                "digits of a digest",
            ),
            (
                json!({ TOTAL: "requests", "bundle": &old[..11] }),
                "1",
                "digits of a digest",
            ),
            (
                json!({ TOTAL: "requests", "bundle": "0".repeat(12) }),
                "1",
                "no bundle",
            ),
            (
                json!({ TOTAL: "requests", "host": "web-9" }),
                "1",
                "does not run",
            ),
            (
                json!({ TOTAL: "requests", "host": "../x" }),
                "1",
                "does not run",
            ),
            (json!({ "bundle": old }), "1", TOTAL),
            (
                json!({ TOTAL: "requests", "bundle": old }),
                "NaN",
                "no total",
            ),
            (
                json!({ TOTAL: "requests", "bundle": old }),
                "+Inf",
                "no total",
            ),
            (
                json!({ TOTAL: "requests", "bundle": old }),
                "-1",
                "no total",
            ),
            (
                json!({ TOTAL: "requests", "bundle": old, "class": "x".repeat(33) }),
                "1",
                "label class",
            ),
        ];
        for (metric, value, words) in useless {
            let body = vector(&[(metric.clone(), value)]);
            let said = read(200, &body, &known()).unwrap();
            assert_eq!((said.totals.len(), said.skipped), (0, 1), "{metric}");
            let first = said.first_skipped.unwrap();
            assert!(first.contains(words), "{metric}: {first}");
        }
        let none = Known::default();
        let body = vector(&[(json!({ TOTAL: "requests", "bundle": old }), "1")]);
        assert_eq!(read(200, &body, &none).unwrap().skipped, 1);
    }

    #[test]
    fn what_is_no_answer_says_why() {
        let error =
            json!({ "status": "error", "errorType": "bad_data", "error": "1:5: parse error" });
        let matrix =
            json!({ "status": "success", "data": { "resultType": "matrix", "result": [] } });
        let odd = json!({ "status": "success", "data": { "resultType": "vector", "result": [1] } });
        let cases = [
            (
                400,
                error.to_string(),
                "it refuses the queries: 1:5: parse error",
            ),
            (
                200,
                matrix.to_string(),
                "the queries give a matrix, and an instant vector is needed",
            ),
            (200, odd.to_string(), "its answer can't be read"),
            (200, "<html>".into(), "its answer can't be read"),
            (
                502,
                "<html>".into(),
                "status 502 without words that can be read",
            ),
        ];
        for (status, body, words) in cases {
            let error = read(status, body.as_bytes(), &known()).unwrap_err();
            assert_eq!(error.to_string(), words, "{body}");
        }
        let metric = json!({ TOTAL: "requests", "host": "web-1" });
        let many = vec![(metric, "1"); 2 * CELLS_MAX + 1];
        let error = read(200, &vector(&many), &known()).unwrap_err();
        assert!(matches!(error, AnswerError::TooMany { .. }), "{error}");
    }

    #[test]
    fn both_totals_are_one_query() {
        let source = PrometheusSource {
            url: "http://127.0.0.1:9090".into(),
            requests: "sum by (host) (a{b=\"c\"}) # all".into(),
            failed: "f".into(),
            every_ms: model::Millis(5_000),
            environment: "production".parse().unwrap(),
        };
        assert_eq!(
            path(&source),
            "/api/v1/query?query=label_replace%28%28%0Asum%20by%20%28host%29%20%28a%7Bb%3D%22c%22%7D%29%20%23%20all%0A%29%2C%20%22plimsoll_total%22%2C%20%22requests%22%2C%20%22%22%2C%20%22%22%29%20or%20label_replace%28%28%0Af%0A%29%2C%20%22plimsoll_total%22%2C%20%22failed%22%2C%20%22%22%2C%20%22%22%29"
        );
    }
}
