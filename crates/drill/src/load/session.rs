//! What customers carry along: sessions, most of them short and some very long.
//!
//! Invariant: a seed gives the same sizes in the same order, whatever becomes of the requests.

use http::header::{HeaderName, HeaderValue};

use super::arrival::Chance;

/// Where a session travels.
pub const SESSION_HEADER: HeaderName = HeaderName::from_static("x-session");

/// One in a hundred is longer than so many bytes,
const RARE: (f64, f64) = (0.01, 4096.0);
/// and one in twenty longer than half of that: a long tail, as sizes of carts,
/// mails and web pages have it (Pareto's law).
const SELDOM: (f64, f64) = (0.05, 2048.0);
/// Whoever makes sessions ends the tail here, so that headers fit everywhere on their way.
const SESSION_BYTES_MAX: usize = 8192;

/// What sessions are made of; only their length matters to anybody here.
static FILLER: [u8; SESSION_BYTES_MAX] = [b's'; SESSION_BYTES_MAX];

/// Draws sessions.
#[derive(Debug)]
pub struct SessionDraw {
    chance: Chance,
    /// The shortest, in bytes.
    shortest: f64,
    /// A session is longer than `x` with a probability of `(shortest / x)` to the power of 1/this.
    heaviness: f64,
}

impl SessionDraw {
    /// The same seed gives the same sessions.
    pub fn new(seed: u64) -> SessionDraw {
        let heaviness = (RARE.1 / SELDOM.1).ln() / (SELDOM.0 / RARE.0).ln();
        SessionDraw {
            // Apart from the order of customers, which comes of the same seed.
            chance: Chance(!seed),
            shortest: RARE.1 * RARE.0.powf(heaviness),
            heaviness,
        }
    }

    /// The next request's session.
    pub fn draw(&mut self) -> HeaderValue {
        let size = self.size();
        // Letters are always a header.
        HeaderValue::from_bytes(&FILLER[..size]).unwrap_or(HeaderValue::from_static(""))
    }

    fn size(&mut self) -> usize {
        let above = 1.0 - self.chance.unit();
        let bytes = self.shortest * above.powf(-self.heaviness);
        // A cast saturates; nothing is shorter than the shortest.
        (bytes.ceil() as usize).min(SESSION_BYTES_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_in_a_hundred_is_long_and_one_in_twenty_half_as_long() {
        let sizes = |seed| {
            let mut draw = SessionDraw::new(seed);
            (0..100_000).map(|_| draw.size()).collect::<Vec<_>>()
        };
        let drawn = sizes(7);
        assert_eq!(drawn, sizes(7));
        assert_ne!(drawn, sizes(8));
        let above = |bytes: usize| drawn.iter().filter(|size| **size > bytes).count();
        // Six standard deviations to both sides.
        assert!((811..=1189).contains(&above(4096)), "{}", above(4096));
        assert!((4587..=5413).contains(&above(2048)), "{}", above(2048));
        assert!(
            drawn
                .iter()
                .all(|size| (500..=SESSION_BYTES_MAX).contains(size))
        );
    }

    #[test]
    fn a_session_is_a_header_of_its_size() {
        let (mut draw, mut sizes) = (SessionDraw::new(1), SessionDraw::new(1));
        for _ in 0..100 {
            assert_eq!(draw.draw().len(), sizes.size());
        }
    }
}
