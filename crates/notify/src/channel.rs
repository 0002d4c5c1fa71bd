//! What each HTTP channel wants to have posted, and what its answers mean.
//!
//! Invariant: plain functions; the same message gives the same bytes.

mod ntfy;
mod pagerduty;
mod slack;
mod twilio;
mod webhook;

#[cfg(test)]
pub(crate) mod tests;

use http::{HeaderMap, StatusCode};
use model::Timestamp;

use crate::post::Post;
use crate::{Address, Notice, Outcome};

pub use webhook::signature;

const JSON: &str = "application/json";

/// What to post.
///
/// # Errors
/// In words, why this address can't be written to.
pub fn post(address: &Address, notice: &Notice, now: Timestamp) -> Result<Post, String> {
    Ok(match address {
        Address::Webhook { url, secret } => webhook::post(url, secret, notice, now),
        Address::Slack { url } => slack::post(url, notice),
        Address::Ntfy { url, topic, token } => ntfy::post(url, topic, token.as_ref(), notice),
        Address::PagerDuty { url, routing_key } => pagerduty::post(url, routing_key, notice),
        Address::Sms(telephone) => twilio::sms(telephone, notice),
        Address::Call(telephone) => twilio::call(telephone, notice),
        Address::Mail { .. } => return Err("mail does not go over HTTP".into()),
    })
}

/// What the answer means.
pub fn read(address: &Address, status: StatusCode, headers: &HeaderMap, body: &str) -> Outcome {
    let outcome = Outcome::of_http(status, headers, body);
    let receipt = match address {
        Address::Sms(_) | Address::Call(_) => field(body, "sid"),
        Address::PagerDuty { .. } => field(body, "dedup_key"),
        Address::Ntfy { .. } => field(body, "id"),
        Address::Webhook { .. } | Address::Slack { .. } | Address::Mail { .. } => None,
    };
    match outcome {
        Outcome::Sent { .. } => Outcome::Sent { receipt },
        outcome @ (Outcome::Retry { .. } | Outcome::Refused { .. }) => outcome,
    }
}

/// A text field of a JSON answer; providers' other fields change and don't matter here.
fn field(body: &str, name: &str) -> Option<String> {
    let value: serde_json::Value = serde_json::from_str(body).ok()?;
    value.get(name)?.as_str().map(str::to_owned)
}
