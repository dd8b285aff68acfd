//! How a session ended, as its client is told on the error stream.
//!
//! From v4 of the protocol on it is a JSON `Status` of the Kubernetes API, before that plain text, and nothing for
//! success. The reasons and causes are those client-go looks for.

use serde_json::json;

use crate::backend::{Ended, Failure};

/// The end of an exec or attach.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Status {
    /// Exit code 0, or an attach that has nothing more to say.
    Success,
    /// Another exit code.
    Exit(i32),
    /// The session could not be served to its end.
    Failed(String),
}

impl Status {
    pub(crate) fn of_exec(result: Result<Ended, Failure>) -> Self {
        match result {
            Ok(Ended { code: 0 }) => Self::Success,
            Ok(Ended { code }) => Self::Exit(code),
            Err(failure) => Self::Failed(format!("error executing command in container: {failure}")),
        }
    }

    pub(crate) fn of_attach(result: Result<(), Failure>) -> Self {
        match result {
            Ok(()) => Self::Success,
            Err(failure) => Self::Failed(format!("error attaching to container: {failure}")),
        }
    }

    fn message(&self) -> String {
        match self {
            Self::Success => String::new(),
            Self::Exit(code) => format!("command terminated with non-zero exit code: {code}"),
            Self::Failed(text) => format!("Internal error occurred: {text}"),
        }
    }

    /// What goes on the error stream; empty when nothing does.
    pub(crate) fn render(&self, json: bool) -> Vec<u8> {
        if !json {
            return self.message().into_bytes();
        }
        let status = match self {
            Self::Success => json!({"metadata": {}, "status": "Success"}),
            Self::Exit(code) => {
                // Clients read the code as an unsigned number of eight bits.
                let code = u8::try_from(*code).unwrap_or(u8::MAX).to_string();
                json!({"metadata": {}, "status": "Failure", "message": self.message(), "reason": "NonZeroExitCode",
                    "details": {"causes": [{"reason": "ExitCode", "message": code}]}})
            }
            Self::Failed(_) => json!({"metadata": {}, "status": "Failure", "message": self.message(),
                "reason": "InternalError", "code": 500}),
        };
        status.to_string().into_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_is_told_as_clients_look_for_it() {
        let text = |status: Status, json| String::from_utf8(status.render(json)).unwrap();
        assert_eq!(text(Status::Success, true), r#"{"metadata":{},"status":"Success"}"#);
        assert_eq!(text(Status::Success, false), "");
        assert_eq!(text(Status::Exit(3), false), "command terminated with non-zero exit code: 3");
        assert_eq!(
            text(Status::Exit(3), true),
            r#"{"metadata":{},"status":"Failure","message":"command terminated with non-zero exit code: 3","#
                .to_owned()
                + r#""reason":"NonZeroExitCode","details":{"causes":[{"reason":"ExitCode","message":"3"}]}}"#
        );
        assert!(text(Status::Exit(-1), true).contains(r#""message":"255""#));
        let failed = Status::of_exec(Err(Failure { message: "no container \"x\"".to_owned() }));
        assert!(text(failed, true).contains(r#"error executing command in container: no container \"x\""#));
    }
}
