//! Tokens: announced sessions that wait for their clients.
//!
//! A token is 144 random bits, works once and for one minute. At most 1000 wait at a time, so that announcing
//! without fetching costs bounded memory (the numbers of CRI-O, whose tokens have 48 bits).

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use tokio::time::Instant;

use crate::error::Error;
use crate::request::Announced;

/// How long a token works.
const LIFE: Duration = Duration::from_secs(60);
/// How many tokens wait at most.
const PENDING: usize = 1000;
const RANDOM: usize = 18;

/// The announced sessions.
#[derive(Debug, Default)]
pub(crate) struct Tokens {
    waiting: HashMap<String, (Announced, Instant)>,
    /// Oldest first; a token that was fetched stays here until it would have expired.
    ages: VecDeque<(Instant, String)>,
}

impl Tokens {
    /// Remembers a session and returns its token.
    pub(crate) fn insert(&mut self, announced: Announced, now: Instant) -> Result<String, Error> {
        while let Some((born, token)) = self.ages.front()
            && (expired(*born, now) || !self.waiting.contains_key(token))
        {
            self.waiting.remove(token);
            self.ages.pop_front();
        }
        if self.waiting.len() >= PENDING {
            return Err(Error::TooManyPending { count: self.waiting.len() });
        }
        if self.ages.len() >= 2 * PENDING {
            self.ages.retain(|(_, token)| self.waiting.contains_key(token));
        }
        let mut random = [0u8; RANDOM];
        getrandom::fill(&mut random).map_err(Error::Random)?;
        let token = URL_SAFE_NO_PAD.encode(random);
        self.ages.push_back((now, token.clone()));
        self.waiting.insert(token.clone(), (announced, now));
        Ok(token)
    }

    /// Fetches the session of a token, once.
    pub(crate) fn take(&mut self, token: &str, now: Instant) -> Option<Announced> {
        let (announced, born) = self.waiting.remove(token)?;
        (!expired(born, now)).then_some(announced)
    }
}

fn expired(born: Instant, now: Instant) -> bool {
    now.saturating_duration_since(born) >= LIFE
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::PortForwardRequest;

    fn announced() -> Announced {
        Announced::PortForward(PortForwardRequest { sandbox: "s".to_owned(), ports: vec![] })
    }

    #[test]
    fn a_token_works_once_and_for_a_minute() {
        let (mut tokens, start) = (Tokens::default(), Instant::now());
        let token = tokens.insert(announced(), start).unwrap();
        assert!(token.len() == 24 && token.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b)));
        assert!(tokens.take(&token, start + LIFE - Duration::from_millis(1)).is_some());
        assert!(tokens.take(&token, start).is_none(), "twice");
        let token = tokens.insert(announced(), start).unwrap();
        assert!(tokens.take(&token, start + LIFE).is_none(), "expired");
        assert!(tokens.take("", start).is_none());
    }

    #[test]
    fn a_thousand_wait_and_no_more_until_they_expire_or_are_fetched() {
        let (mut tokens, start) = (Tokens::default(), Instant::now());
        let first = tokens.insert(announced(), start).unwrap();
        for _ in 1..PENDING {
            tokens.insert(announced(), start).unwrap();
        }
        assert!(matches!(tokens.insert(announced(), start), Err(Error::TooManyPending { count: PENDING })));
        assert!(tokens.take(&first, start).is_some());
        let last = tokens.insert(announced(), start).unwrap();
        assert!(tokens.insert(announced(), start).is_err());
        let later = start + LIFE;
        tokens.insert(announced(), later).unwrap();
        assert!(tokens.take(&last, later).is_none());
        assert_eq!(tokens.waiting.len(), 1, "the expired ones are forgotten");
    }

    #[test]
    fn fetched_tokens_do_not_pile_up() {
        let (mut tokens, start) = (Tokens::default(), Instant::now());
        let _oldest = tokens.insert(announced(), start).unwrap();
        for _ in 0..10 * PENDING {
            let token = tokens.insert(announced(), start).unwrap();
            assert!(tokens.take(&token, start).is_some());
        }
        assert!(tokens.ages.len() <= 2 * PENDING);
    }
}
