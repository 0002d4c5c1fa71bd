//! What is posted, byte for byte where receivers care, and what answers mean.

use serde_json::Value;

use super::*;
use crate::address::Telephone;
use crate::{Happening, Secret, Urgency};

pub(crate) fn notice() -> Notice {
    Notice {
        key: "page-12-1-ada-0".into(),
        thread: "incident-12".into(),
        happening: Happening::Triggered,
        urgency: Urgency::High,
        title: "api fails: 41 % of requests".into(),
        text: "Began 40 s after wave 2 of release 118 <beta> & goes on.".into(),
        html: None,
        source: "api".into(),
        at: "2026-11-21T10:31:07Z".parse().unwrap(),
        link: Some("https://plimsoll.example.com/incidents/12".into()),
        acknowledge: Some("https://plimsoll.example.com/ack/T".into()),
        unsubscribe: None,
    }
}

fn telephone() -> Telephone {
    Telephone {
        url: "https://api.twilio.com/".into(),
        account: "AC1".into(),
        token: Secret::new("geheim"),
        from: "+15550100".into(),
        to: "+49301234".into(),
        receipts: Some("https://plimsoll.example.com/receipts/R".into()),
    }
}

fn posted(address: &Address, notice: &Notice) -> Post {
    post(address, notice, notice.at).unwrap()
}

fn json(address: &Address, notice: &Notice) -> Value {
    serde_json::from_str(&posted(address, notice).body).unwrap()
}

fn secret(text: &str) -> Secret {
    Secret::new(text)
}

#[test]
fn the_signature_is_that_of_standard_webhooks() {
    // Computed by hand with openssl over `msg.1700000000.{}` and the key `plimsoll`.
    let raw = signature(&secret("plimsoll"), "msg", 1_700_000_000, "{}");
    let encoded = signature(&secret("whsec_cGxpbXNvbGw="), "msg", 1_700_000_000, "{}");
    assert_eq!(raw, encoded);
    assert_eq!(raw, "v1,2iX2SMPIUNt8y/etIb2OQQgQpHMI70K1M2d1uGow/QU=");
}

#[test]
fn a_webhook_signs_what_it_sends() {
    let address = Address::Webhook {
        url: secret("https://hook.example.com/x"),
        secret: secret("whsec_cGxpbXNvbGw="),
    };
    let post = posted(&address, &notice());
    let header = |name| {
        let found = post.headers.iter().find(|(it, _)| *it == name);
        found.map(|(_, value)| value.clone()).unwrap()
    };
    let seconds = header("webhook-timestamp").parse().unwrap();
    assert_eq!(header("webhook-id"), "page-12-1-ada-0");
    let expected = signature(&secret("plimsoll"), "page-12-1-ada-0", seconds, &post.body);
    assert_eq!(header("webhook-signature"), expected);
    let body: Value = serde_json::from_str(&post.body).unwrap();
    assert_eq!(body["type"], "plimsoll.notice");
    assert_eq!(body["data"]["happening"], "triggered");
    assert_eq!(body["timestamp"], "2026-11-21T10:31:07Z");
}

#[test]
fn slack_reads_no_markup_of_ours() {
    let address = Address::Slack {
        url: secret("https://hooks.slack.com/services/T/B/X"),
    };
    let sly = Notice {
        title: "<!channel> & co".into(),
        ..notice()
    };
    let body = json(&address, &sly);
    assert_eq!(body["text"], "&lt;!channel&gt; &amp; co");
    let long = Notice {
        text: "x".repeat(10_000),
        ..notice()
    };
    let body = json(&address, &long);
    let text = body["blocks"][1]["text"]["text"].as_str().unwrap();
    assert!(text.len() < 3000, "{}", text.len());
    assert_eq!(
        body["blocks"][2]["elements"][0]["url"],
        "https://plimsoll.example.com/ack/T"
    );
}

#[test]
fn ntfy_can_be_acknowledged_from_the_telephone() {
    let address = Address::Ntfy {
        url: secret("https://ntfy.example.com"),
        topic: "on-call".into(),
        token: Some(secret("tk_1")),
    };
    let post = posted(&address, &notice());
    assert_eq!(post.headers, [("authorization", "Bearer tk_1".to_owned())]);
    let body = json(&address, &notice());
    assert_eq!(body["topic"], "on-call");
    assert_eq!(body["priority"], 5);
    assert_eq!(body["sequence_id"], "page-12-1-ada-0");
    assert_eq!(body["actions"][0]["method"], "POST");
    let over = Notice {
        happening: Happening::Resolved,
        urgency: Urgency::Low,
        ..notice()
    };
    assert_eq!(json(&address, &over)["priority"], 3);
}

#[test]
fn one_matter_is_one_incident_at_pagerduty() {
    let address = Address::PagerDuty {
        url: secret("https://events.pagerduty.com/v2/enqueue"),
        routing_key: secret("R"),
    };
    let actions = [
        (Happening::Triggered, "trigger"),
        (Happening::Updated, "trigger"),
        (Happening::Acknowledged, "acknowledge"),
        (Happening::Resolved, "resolve"),
    ];
    for (happening, action) in actions {
        let body = json(
            &address,
            &Notice {
                happening,
                ..notice()
            },
        );
        assert_eq!(body["event_action"], action);
        assert_eq!(body["dedup_key"], "incident-12");
    }
    assert_eq!(json(&address, &notice())["payload"]["severity"], "critical");
    let status = StatusCode::ACCEPTED;
    let answer = r#"{"status":"success","message":"Event processed","dedup_key":"incident-12"}"#;
    let outcome = read(&address, status, &HeaderMap::new(), answer);
    assert_eq!(
        outcome,
        Outcome::Sent {
            receipt: Some("incident-12".into())
        }
    );
}

#[test]
fn a_text_message_keeps_its_link_whatever_its_length() {
    let long = Notice {
        text: "ü".repeat(2_000),
        ..notice()
    };
    let post = posted(&Address::Sms(telephone()), &long);
    assert_eq!(
        post.url,
        "https://api.twilio.com/2010-04-01/Accounts/AC1/Messages.json"
    );
    let fields: Vec<(String, String)> = url::form_urlencoded::parse(post.body.as_bytes())
        .into_owned()
        .collect();
    let body = &fields.iter().find(|(name, _)| name == "Body").unwrap().1;
    assert!(
        body.ends_with("\nhttps://plimsoll.example.com/ack/T"),
        "{body}"
    );
    assert!(body.chars().count() <= 450, "{}", body.chars().count());
    assert!(fields.contains(&("To".into(), "+49301234".into())));
    assert!(fields.iter().any(|(name, _)| name == "StatusCallback"));
}

#[test]
fn a_call_asks_for_a_key_and_says_no_markup() {
    let post = posted(&Address::Call(telephone()), &notice());
    assert!(post.url.ends_with("/Calls.json"));
    let fields: Vec<(String, String)> = url::form_urlencoded::parse(post.body.as_bytes())
        .into_owned()
        .collect();
    let twiml = &fields.iter().find(|(name, _)| name == "Twiml").unwrap().1;
    assert!(
        twiml.starts_with("<Response><Gather numDigits=\"1\""),
        "{twiml}"
    );
    assert!(
        twiml.contains("release 118 &lt;beta&gt; &amp; goes on"),
        "{twiml}"
    );
    let answer = read(
        &Address::Call(telephone()),
        StatusCode::CREATED,
        &HeaderMap::new(),
        r#"{"sid":"CA7","status":"queued"}"#,
    );
    assert_eq!(
        answer,
        Outcome::Sent {
            receipt: Some("CA7".into())
        }
    );
}

#[test]
fn secrets_are_not_printed() {
    let shown = format!(
        "{:?} {:?}",
        Address::Sms(telephone()),
        Address::Slack {
            url: secret("https://hooks.slack.com/services/geheim"),
        }
    );
    assert!(!shown.contains("geheim"), "{shown}");
}

#[test]
fn a_title_is_one_line_of_bounded_length() {
    let long = Notice {
        title: format!("a\r\nb {}", "ß".repeat(500)),
        ..notice()
    };
    let headline = long.headline();
    assert!(headline.starts_with("a b ß"));
    assert!(headline.chars().count() <= crate::notice::TITLE_CHARS_MAX + 1);
}
