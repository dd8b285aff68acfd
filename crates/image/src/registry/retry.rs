//! When a failed request is worth another try, and how long to wait before it.

use std::time::Duration;

use super::RegistryError;

/// Longest wait that a registry may ask for with `Retry-After`.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(60);

/// How often and after what pause requests are repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Tries in all, the first one included.
    pub tries: u32,
    /// Pause before the second try; doubled before each further one. The real pause is between half and all of it.
    pub pause: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self { tries: 3, pause: Duration::from_millis(500) }
    }
}

impl RetryPolicy {
    /// How long to wait after try number `tried` (from 1) failed; `None` when that was the last one.
    pub(crate) fn pause_after(&self, tried: u32, error: &RegistryError) -> Option<Duration> {
        if tried >= self.tries {
            return None;
        }
        let pause = self.pause.saturating_mul(1 << tried.saturating_sub(1).min(10));
        match error {
            RegistryError::Busy { retry_after: Some(asked), .. } => {
                (*asked <= RETRY_AFTER_MAX).then_some(*asked)
            }
            RegistryError::Busy { .. }
            | RegistryError::Connect { .. }
            | RegistryError::Exchange { .. }
            | RegistryError::Stalled { .. } => Some(jittered(pause)),
            RegistryError::Certificate { .. }
            | RegistryError::Url { .. }
            | RegistryError::Denied { .. }
            | RegistryError::NotFound { .. }
            | RegistryError::Status { .. }
            | RegistryError::Redirect { .. }
            | RegistryError::Challenge { .. }
            | RegistryError::Realm { .. }
            | RegistryError::Token { .. }
            | RegistryError::TooLarge { .. }
            | RegistryError::Digest { .. }
            | RegistryError::Size { .. } => None,
        }
    }
}

/// Between half of `pause` and all of it, so that a thousand nodes do not return in step.
fn jittered(pause: Duration) -> Duration {
    let mut random = [0u8; 2];
    // Without randomness the nodes are merely in step.
    if getrandom::fill(&mut random).is_err() {
        return pause;
    }
    pause.mul_f32(0.5 + f32::from(u16::from_le_bytes(random)) / 131_072.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn busy(retry_after: Option<u64>) -> RegistryError {
        let retry_after = retry_after.map(Duration::from_secs);
        RegistryError::Busy { url: String::new(), status: 429, detail: String::new(), retry_after }
    }

    #[test]
    fn pauses_grow_and_end() {
        let policy = RetryPolicy { tries: 3, pause: Duration::from_secs(1) };
        let first = policy.pause_after(1, &busy(None)).unwrap();
        let second = policy.pause_after(2, &busy(None)).unwrap();
        assert!((0.5..=1.0).contains(&first.as_secs_f32()) && (1.0..=2.0).contains(&second.as_secs_f32()));
        assert_eq!(policy.pause_after(3, &busy(None)), None);
    }

    #[test]
    fn the_registry_may_name_a_pause_of_a_minute_at_most() {
        let policy = RetryPolicy::default();
        assert_eq!(policy.pause_after(1, &busy(Some(60))), Some(Duration::from_secs(60)));
        assert_eq!(policy.pause_after(1, &busy(Some(61))), None);
        let missing = RegistryError::NotFound { url: String::new(), detail: String::new() };
        assert_eq!(policy.pause_after(1, &missing), None);
    }
}
