//! Wall-clock instants in the unit that CRI uses.

/// Nanoseconds since the Unix epoch; CRI's `created_at`, `started_at` and `finished_at`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(i64);

impl Timestamp {
    /// "Not yet", as CRI writes it.
    pub const ZERO: Self = Self(0);

    /// Takes nanoseconds since the Unix epoch.
    pub const fn from_nanos(nanos: i64) -> Self {
        Self(nanos)
    }

    /// The current wall-clock time; 0 for a clock before 1970, the maximum after 2262.
    pub fn now() -> Self {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        Self(i64::try_from(since.as_nanos()).unwrap_or(i64::MAX))
    }

    /// Nanoseconds since the Unix epoch.
    pub const fn nanos(self) -> i64 {
        self.0
    }
}
