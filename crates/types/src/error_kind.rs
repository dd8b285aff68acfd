//! What kind of failure an error is, free of any transport.
//!
//! Every error enum of the workspace has a `kind()`; the `cri` crate maps the kinds to gRPC codes in one place.

/// The closed list of failure kinds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The named object does not exist.
    NotFound,
    /// The name or object exists already with different content.
    AlreadyExists,
    /// The request can never succeed as it is.
    InvalidArgument,
    /// The object is in a state that does not allow the request.
    FailedPrecondition,
    /// Policy, credentials or permissions refuse it.
    Denied,
    /// A limit, quota or the disk is exhausted.
    Exhausted,
    /// A deadline passed.
    Timeout,
    /// Something outside the engine does not answer now; a retry may help.
    Unavailable,
    /// The engine or one of its helpers failed.
    Internal,
}
