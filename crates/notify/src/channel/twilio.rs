//! Text messages and calls by Twilio's REST API (2010-04-01).
//!
//! Invariant: what is said on the telephone is escaped as XML, and short enough to be listened to.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use url::form_urlencoded;

use crate::Notice;
use crate::address::Telephone;
use crate::post::Post;

/// Three parts of a text message; the rest is behind the link.
const SMS_CHARS_MAX: usize = 450;
/// About twenty seconds of speech.
const SPOKEN_CHARS_MAX: usize = 300;

pub(super) fn sms(telephone: &Telephone, notice: &Notice) -> Post {
    let link = notice.acknowledge.as_ref().or(notice.link.as_ref());
    let link = link.map(|link| format!("\n{link}")).unwrap_or_default();
    let room = SMS_CHARS_MAX.saturating_sub(link.chars().count());
    let words = format!("{}\n{}", notice.headline(), notice.text);
    let words: String = words.trim().chars().take(room).collect();
    form(
        telephone,
        "Messages",
        &[("Body", &format!("{words}{link}"))],
        "StatusCallback",
    )
}

pub(super) fn call(telephone: &Telephone, notice: &Notice) -> Post {
    let words: String = format!("{}. {}", notice.headline(), notice.text)
        .chars()
        .take(SPOKEN_CHARS_MAX)
        .collect();
    let spoken = format!("<Say>{}</Say>", escaped(&words));
    let said = match &notice.acknowledge {
        // Whichever key is pressed is posted there; silence says it once more and hangs up.
        Some(url) => format!(
            "<Gather numDigits=\"1\" timeout=\"10\" method=\"POST\" action=\"{}\">{spoken}<Say>Press any key to acknowledge.</Say></Gather>{spoken}",
            escaped(url)
        ),
        None => spoken,
    };
    let twiml = format!("<Response>{said}</Response>");
    form(telephone, "Calls", &[("Twiml", &twiml)], "StatusCallback")
}

fn form(telephone: &Telephone, what: &str, fields: &[(&str, &str)], receipts: &str) -> Post {
    let base = telephone.url.trim_end_matches('/');
    let login = format!("{}:{}", telephone.account, telephone.token.expose());
    let common = [
        ("From", telephone.from.as_str()),
        ("To", telephone.to.as_str()),
    ];
    let receipts = telephone
        .receipts
        .as_deref()
        .map(|url| (receipts, url))
        .into_iter();
    let all = common
        .into_iter()
        .chain(fields.iter().copied())
        .chain(receipts);
    let body = form_urlencoded::Serializer::new(String::new())
        .extend_pairs(all)
        .finish();
    Post {
        url: format!(
            "{base}/2010-04-01/Accounts/{}/{what}.json",
            telephone.account
        ),
        headers: vec![("authorization", format!("Basic {}", STANDARD.encode(login)))],
        content_type: "application/x-www-form-urlencoded",
        body,
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}
