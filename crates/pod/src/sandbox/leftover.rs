//! What a failed creation leaves when it cannot be undone at once, such as an address that its plugin does not give back.
//!
//! ```text
//!                        undone
//!   failed creation ─────────────▶ (gone: record, effects, name)
//!     │ in part                        ▲
//!     ▼                                │ undone
//!   leftover ── at the next start, and before a pod of the same name is made: undo again
//!     ▲                                │ in part
//!     └────────────────────────────────┘
//! ```
//!
//! A leftover keeps its record (phase `Undoing`), which names every effect, and has no name: it is never listed, and
//! neither a retry nor a pod of that name that lives is ever shut out by it. Its effects carry its own id, so a new pod of
//! the same name does not meet them.

use std::sync::Arc;

use ochre_runtime::config::SandboxMetadata;
use ochre_sys::atomic::Durability;

use super::state::Live;
use super::{Sandbox, record, stop};
use crate::disk::latest::SandboxPhase;
use crate::engine::{Engine, blocking};

/// Undoes a creation that failed or was cut short and forgets its record; what cannot be undone becomes a leftover.
pub(crate) async fn undo(engine: &Arc<Engine>, sandbox: &Arc<Sandbox>) {
    let mut failures = stop::undo(engine, sandbox).await;
    if failures.is_empty() {
        let (engine, id) = (Arc::clone(engine), sandbox.id.clone());
        let forgotten = blocking(sandbox.id.as_str(), move || engine.records.remove_sandbox(&id)).await;
        failures.extend(forgotten.err());
    }
    if failures.is_empty() {
        return;
    }
    let phase = (SandboxPhase::Undoing, &Live::default());
    failures.extend(record::put(engine, sandbox, phase, Durability::Synced).await.err());
    engine.registry.leave(Arc::clone(sandbox));
    for failure in failures {
        tracing::warn!(pod = %sandbox.id, "undoing the failed creation; it is tried again later: {failure}");
    }
}

/// Tries again to undo what earlier creations of a pod left.
pub(super) async fn undo_of(engine: &Arc<Engine>, pod: &SandboxMetadata) {
    for leftover in engine.registry.take_leftovers(pod) {
        undo(engine, &leftover).await;
    }
}
