//! What a link in a page proves: this contact was asked about this incident.
//!
//! Invariant: a ticket acknowledges one incident in one contact's name, and does nothing else.

use model::incident::IncidentId;
use model::{ContactName, Digest};
use wire::SecretKey;

/// Hex digits of the MAC in a link: 128 bits are not guessed.
const MAC_DIGITS: usize = 32;

/// Makes tickets, and knows its own.
#[derive(Clone)]
pub(crate) struct Tickets {
    key: Digest,
}

impl Tickets {
    pub(crate) fn new(key: &SecretKey) -> Tickets {
        Tickets {
            key: key.subkey("links that acknowledge"),
        }
    }

    /// As a link carries it: `incident.contact.mac`.
    pub(crate) fn seal(&self, incident: IncidentId, contact: &ContactName) -> String {
        let body = format!("{incident}.{contact}");
        let mac = self.mac(&body);
        format!("{body}.{mac}")
    }

    /// `None`: nobody here sealed it.
    pub(crate) fn open(&self, ticket: &str) -> Option<(IncidentId, ContactName)> {
        let (body, given) = ticket.rsplit_once('.')?;
        let right = self.mac(body);
        // In constant time: how much of a guess is right must not be measurable.
        let same_length = right.len() == given.len();
        let pairs = right.bytes().zip(given.bytes());
        let differing = pairs.fold(0, |differing, (a, b)| differing | (a ^ b));
        if !same_length || differing != 0 {
            return None;
        }
        let (incident, contact) = body.split_once('.')?;
        Some((IncidentId(incident.parse().ok()?), contact.parse().ok()?))
    }

    fn mac(&self, body: &str) -> String {
        let mut mac = blake3::keyed_hash(self.key.as_bytes(), body.as_bytes())
            .to_hex()
            .to_string();
        mac.truncate(MAC_DIGITS);
        mac
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_its_own_tickets_open_and_only_unchanged() {
        let tickets = Tickets::new(&SecretKey::generate().unwrap());
        let others = Tickets::new(&SecretKey::generate().unwrap());
        let ada: ContactName = "ada".parse().unwrap();
        let ticket = tickets.seal(IncidentId(12), &ada);
        assert_eq!(tickets.open(&ticket), Some((IncidentId(12), ada)));
        assert_eq!(others.open(&ticket), None);
        for forged in [
            ticket.replacen("12", "13", 1),
            ticket.replacen("ada", "bob", 1),
            ticket[..ticket.len() - 1].to_owned(),
            format!("{ticket}0"),
            String::new(),
            "..".into(),
        ] {
            assert_eq!(tickets.open(&forged), None, "{forged}");
        }
    }
}
