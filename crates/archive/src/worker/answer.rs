//! What a worker says at its end: one line of JSON.

use ochre_types::{Digest, ErrorKind};
use serde::{Deserialize, Serialize};

use crate::apply::{Applied, Error};

/// Bytes of an answer; the owners of files are the only part without a length of its own.
pub(super) const LONGEST: usize = 1 << 20;

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Answer {
    Applied { diff_id: String, diff_size: u64, entries: u64, replaced: u64, uids: Vec<u32>, gids: Vec<u32> },
    Refused { kind: String, message: String },
}

/// The kinds a layer can fail with, by name.
const KINDS: [(&str, ErrorKind); 6] = [
    ("invalid", ErrorKind::InvalidArgument),
    ("denied", ErrorKind::Denied),
    ("exhausted", ErrorKind::Exhausted),
    ("timeout", ErrorKind::Timeout),
    ("unavailable", ErrorKind::Unavailable),
    ("internal", ErrorKind::Internal),
];

impl Answer {
    pub(super) fn of(result: Result<Applied, Error>) -> Self {
        match result {
            Ok(applied) => Self::Applied {
                diff_id: applied.diff_id.to_string(),
                diff_size: applied.diff_size,
                entries: applied.entries,
                replaced: applied.replaced,
                uids: applied.uids,
                gids: applied.gids,
            },
            Err(error) => Self::refusal(error.kind(), &error),
        }
    }

    pub(super) fn refusal(kind: ErrorKind, error: &dyn std::error::Error) -> Self {
        let name = KINDS.iter().find(|(_, known)| *known == kind).map_or("internal", |(name, _)| name);
        Self::Refused { kind: name.to_owned(), message: chain(error) }
    }

    /// As what the engine works with; `None` for an answer that makes no sense.
    pub(super) fn understood(self) -> Option<Result<Applied, (ErrorKind, String)>> {
        match self {
            Self::Applied { diff_id, diff_size, entries, replaced, uids, gids } => {
                let diff_id: Digest = diff_id.parse().ok()?;
                Some(Ok(Applied { diff_id, diff_size, entries, replaced, uids, gids }))
            }
            Self::Refused { kind, message } => {
                let (_, kind) = KINDS.iter().find(|(name, _)| *name == kind)?;
                Some(Err((*kind, message)))
            }
        }
    }
}

/// The error and its causes in one text.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {}", chain(source)),
        None => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_survive_the_way() {
        let applied = Applied {
            diff_id: Digest::sha256(&[7; 32]),
            diff_size: 1 << 40,
            entries: 3,
            replaced: 1,
            uids: vec![0, 1000],
            gids: vec![u32::MAX],
        };
        let text = serde_json::to_string(&Answer::of(Ok(applied.clone()))).unwrap();
        let answer: Answer = serde_json::from_str(&text).unwrap();
        assert_eq!(answer.understood(), Some(Ok(applied)));
        let refused = Answer::of(Err(Error::TooManyEntries { limit: 5 }));
        let text = serde_json::to_string(&refused).unwrap();
        let answer: Answer = serde_json::from_str(&text).unwrap();
        let (kind, message) = answer.understood().unwrap().unwrap_err();
        assert_eq!(kind, ErrorKind::Exhausted);
        assert!(message.contains("more than 5 members"), "{message}");
        assert!(Answer::Refused { kind: "strange".into(), message: String::new() }.understood().is_none());
    }
}
