//! The verbs: check, translate, hand over.
//!
//! What CRI asks of a verb beyond the engine's own rules is decided here: an unknown id is success for stop and remove,
//! an empty list for a filter, and `NotFound` for everything else.

pub(crate) mod batches;
pub(crate) mod checkpoint;
pub(crate) mod container;
pub(crate) mod events;
pub(crate) mod image;
pub(crate) mod metrics;
pub(crate) mod node;
pub(crate) mod sandbox;
pub(crate) mod stats;
pub(crate) mod stream;
