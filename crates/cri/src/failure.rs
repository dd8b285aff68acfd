//! From failures to gRPC codes, once.
//!
//! The kubelet recognises four failures by the beginning of their message (cri-api, `pkg/errors`), and strips the code
//! from a pull's failure only when it is `Unknown`; those keep exactly that form.

use std::error::Error as _;
use std::sync::Arc;

use ochre_runtime::spec::Error as SpecError;
use ochre_types::ErrorKind;
use tonic::{Code, Status};

/// Everything that can go wrong behind an RPC.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// A pod or container operation failed.
    #[error(transparent)]
    Pod(#[from] ochre_pod::Error),
    /// A pod or container operation that several callers waited for failed.
    #[error(transparent)]
    Shared(#[from] Arc<ochre_pod::Error>),
    /// The image service failed.
    #[error(transparent)]
    Image(#[from] ochre_image::Error),
    /// A client did not keep up with events.
    #[error(transparent)]
    Lagged(#[from] ochre_pod::Lagged),
    /// The streaming server takes no more.
    #[error(transparent)]
    Stream(#[from] ochre_stream::Error),
    /// The request lacks a field.
    #[error("{field} is missing in the request")]
    Missing {
        /// Which field.
        field: &'static str,
    },
    /// A field has a value that can never work.
    #[error("{field} {value} is invalid: {reason}")]
    Invalid {
        /// Which field.
        field: &'static str,
        /// Its value, shortened.
        value: String,
        /// What would be right.
        reason: &'static str,
    },
    /// A failure whose own words need not say which pod or container the request was about.
    #[error("{subject}: {}", .failure.text())]
    About {
        /// The object, in the caller's words.
        subject: String,
        /// What went wrong with it.
        failure: Box<Failure>,
    },
}

impl Failure {
    /// A field with a bad value.
    pub(crate) fn invalid(field: &'static str, value: impl ToString, reason: &'static str) -> Self {
        Self::Invalid { field, value: value.to_string().chars().take(80).collect(), reason }
    }

    /// Puts the object of the request in front, which is named already when the text contains `name`.
    pub(crate) fn about(self, kind: &str, name: &str) -> Self {
        let short: String = name.chars().take(80).collect();
        if mentions(&self.text(), &short) {
            return self;
        }
        Self::About { subject: format!("{kind} {short:?}"), failure: Box::new(self) }
    }

    fn pod(&self) -> Option<&ochre_pod::Error> {
        match self {
            Self::Pod(error) => Some(error),
            Self::Shared(error) => Some(error),
            Self::About { failure, .. } => failure.pod(),
            Self::Image(_)
            | Self::Lagged(_)
            | Self::Stream(_)
            | Self::Missing { .. }
            | Self::Invalid { .. } => None,
        }
    }

    pub(crate) fn kind(&self) -> ErrorKind {
        match self {
            Self::Pod(error) => error.kind(),
            Self::Shared(error) => error.kind(),
            Self::Image(error) => error.kind(),
            Self::Lagged(_) => ErrorKind::Exhausted,
            Self::Stream(error) => error.kind(),
            Self::Missing { .. } | Self::Invalid { .. } => ErrorKind::InvalidArgument,
            Self::About { failure, .. } => failure.kind(),
        }
    }

    /// The word that clients look for at the beginning of the message.
    fn agreed_word(&self) -> Option<&'static str> {
        if let Self::About { failure, .. } = self {
            return failure.agreed_word();
        }
        if let Self::Image(error) = self {
            return error.pull_reason().map(ochre_image::PullReason::as_str);
        }
        match self.pod()? {
            ochre_pod::Error::Image(error) => error.pull_reason().map(ochre_image::PullReason::as_str),
            ochre_pod::Error::Spec(SpecError::RroUnsupported { .. }) => Some("RROUnsupported"),
            ochre_pod::Error::Spec(SpecError::ImageSubPath { .. })
            | ochre_pod::Error::VolumeImage { .. }
            | ochre_pod::Error::VolumeMount { .. } => Some("ImageVolumeMountFailed"),
            _ => None,
        }
    }

    /// The message with its causes, each once.
    pub(crate) fn text(&self) -> String {
        let mut text = self.to_string();
        let mut source = self.source();
        while let Some(cause) = source {
            let next = cause.to_string();
            if !text.contains(&next) {
                text.push_str(": ");
                text.push_str(&next);
            }
            source = cause.source();
        }
        text
    }
}

/// Whether a text contains a name as a word of its own, or there is no name.
fn mentions(text: &str, name: &str) -> bool {
    let apart = |c: Option<char>| c.is_none_or(|c| !c.is_alphanumeric() && !"-_.".contains(c));
    name.is_empty()
        || text.match_indices(name).any(|(at, found)| {
            apart(text[..at].chars().next_back()) && apart(text[at + found.len()..].chars().next())
        })
}

impl From<Failure> for Status {
    fn from(failure: Failure) -> Self {
        let text = failure.text();
        if let Some(word) = failure.agreed_word() {
            return Status::new(Code::Unknown, format!("{word}: {text}"));
        }
        Status::new(code(failure.kind()), text)
    }
}

fn code(kind: ErrorKind) -> Code {
    match kind {
        ErrorKind::NotFound => Code::NotFound,
        ErrorKind::AlreadyExists => Code::AlreadyExists,
        ErrorKind::InvalidArgument => Code::InvalidArgument,
        ErrorKind::FailedPrecondition => Code::FailedPrecondition,
        ErrorKind::Denied => Code::PermissionDenied,
        ErrorKind::Exhausted => Code::ResourceExhausted,
        ErrorKind::Timeout => Code::DeadlineExceeded,
        ErrorKind::Unavailable => Code::Unavailable,
        ErrorKind::Internal => Code::Internal,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_field_is_an_invalid_argument_that_names_the_field() {
        let status = Status::from(Failure::Missing { field: "config.metadata" });
        assert_eq!(status.code(), Code::InvalidArgument);
        assert_eq!(status.message(), "config.metadata is missing in the request");
    }

    #[test]
    fn the_object_of_a_request_is_named_once_and_agreed_words_stay_in_front() {
        let missing = || Failure::Missing { field: "config.image" };
        let named = Status::from(missing().about("container", "web"));
        assert_eq!(named.code(), Code::InvalidArgument);
        assert_eq!(named.message(), "container \"web\": config.image is missing in the request");
        assert_eq!(missing().about("container", "config.image").text(), missing().text());
        assert_eq!(missing().about("container", "").text(), missing().text());
        assert!(missing().about("container", "image").text().starts_with("container \"image\": "));
        let unsupported = ochre_pod::Error::Spec(SpecError::RroUnsupported { path: "/data".into() });
        let status = Status::from(Failure::from(unsupported).about("container", "web"));
        assert_eq!(status.code(), Code::Unknown);
        assert!(status.message().starts_with("RROUnsupported: container \"web\": "), "{status}");
    }

    #[test]
    fn an_unknown_container_is_not_found_and_named() {
        let status = Status::from(Failure::from(ochre_pod::Error::NoSuchContainer { id: "abc".into() }));
        assert_eq!(status.code(), Code::NotFound);
        assert!(status.message().contains("abc"));
    }
}
