//! Work that several callers want is done once.
//!
//! ```text
//!   caller ─┐                       ┌─► caller
//!   caller ─┼─► Shared<K> ─► task ──┼─► caller
//!   caller ─┘   (by key)            └─► (a caller that left: nobody is told, the task goes on)
//! ```
//!
//! The task belongs to the map, not to a request: when every caller is gone it still runs to its end.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::watch;

/// The result, once there is one.
type Slot<T> = watch::Receiver<Option<T>>;

/// What runs, by key.
type Running<K, T, P> = Arc<Mutex<HashMap<K, (Slot<T>, Arc<P>)>>>;

/// Running work by key, each with something to look at (`P`) while it runs.
pub(crate) struct Shared<K, T, P> {
    running: Running<K, T, P>,
}

impl<K, T, P> Shared<K, T, P>
where
    K: Eq + Hash + Clone + Send + 'static,
    T: Clone + Send + Sync + 'static,
    P: Send + Sync + 'static,
{
    pub(crate) fn new() -> Self {
        Self { running: Arc::default() }
    }

    /// The result of the work under `key`, started with `start` unless it runs already. `None`: its task died.
    pub(crate) async fn join<F>(
        &self,
        key: K,
        progress: impl FnOnce() -> P,
        start: impl FnOnce(Arc<P>) -> F,
    ) -> Option<T>
    where
        F: Future<Output = T> + Send + 'static,
    {
        let mut slot = self.slot(key, progress, start);
        slot.wait_for(Option::is_some).await.ok()?.clone()
    }

    /// What runs now.
    pub(crate) fn running<R>(&self, view: impl Fn(&K, &P) -> R) -> Vec<R> {
        self.running.lock().iter().map(|(key, (_, progress))| view(key, progress)).collect()
    }

    fn slot<F>(&self, key: K, progress: impl FnOnce() -> P, start: impl FnOnce(Arc<P>) -> F) -> Slot<T>
    where
        F: Future<Output = T> + Send + 'static,
    {
        let mut running = self.running.lock();
        if let Some((slot, _)) = running.get(&key) {
            return slot.clone();
        }
        let progress = Arc::new(progress());
        let (sender, slot) = watch::channel(None);
        running.insert(key.clone(), (slot.clone(), Arc::clone(&progress)));
        let entry = Entry { running: Arc::clone(&self.running), key };
        let work = start(progress);
        tokio::spawn(async move {
            let result = work.await;
            // Out of the map before the result is out: who comes after it starts anew.
            drop(entry);
            // Nobody listens any more: that is what owning the work is for.
            sender.send(Some(result)).ok();
        });
        slot
    }
}

/// Takes the key out again, also when the task panics or the runtime drops it.
struct Entry<K: Eq + Hash, T, P> {
    running: Running<K, T, P>,
    key: K,
}

impl<K: Eq + Hash, T, P> Drop for Entry<K, T, P> {
    fn drop(&mut self) {
        self.running.lock().remove(&self.key);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn equal_work_runs_once_and_survives_its_callers() {
        let shared: Arc<Shared<u8, u32, ()>> = Arc::new(Shared::new());
        let runs = Arc::new(AtomicU32::new(0));
        let work = |runs: Arc<AtomicU32>| async move {
            tokio::time::sleep(Duration::from_millis(50)).await;
            runs.fetch_add(1, Ordering::SeqCst) + 1
        };
        let gone = shared.join(1, || (), |_| work(Arc::clone(&runs)));
        assert!(tokio::time::timeout(Duration::from_millis(5), gone).await.is_err());
        let both = tokio::join!(
            shared.join(1, || (), |_| work(Arc::clone(&runs))),
            shared.join(1, || (), |_| work(Arc::clone(&runs)))
        );
        assert_eq!(both, (Some(1), Some(1)));
        assert_eq!(shared.join(1, || (), |_| work(Arc::clone(&runs))).await, Some(2));
        assert!(shared.running(|_, ()| ()).is_empty());
    }

    #[tokio::test]
    async fn a_task_that_dies_frees_its_key() {
        let shared: Shared<u8, u32, ()> = Shared::new();
        assert_eq!(shared.join(1, || (), |_| async { panic!("on purpose") }).await, None);
        assert_eq!(shared.join(1, || (), |_| async { 7 }).await, Some(7));
    }
}
