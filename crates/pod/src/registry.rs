//! Every sandbox and container by id and by name.
//!
//! The lock is held for map operations only: never across I/O, an await or a wait for another object. A list clones
//! handles and reads each object's published state.
//!
//! A pod's id brings its pair of SELinux categories. It is drawn under the same lock, so that of two pods made at the
//! same instant each has its own. Leftovers of failed creations are here without a name: nobody finds them but the next
//! pod of their name, which undoes them.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::sync::Arc;

use ochre_runtime::config::{ContainerMetadata, SandboxMetadata};
use ochre_runtime::spec::selinux::Categories;
use ochre_types::{ContainerId, SandboxId};
use parking_lot::RwLock;

use crate::container::Container;
use crate::error::Error;
use crate::sandbox::Sandbox;

/// The maps. Ids are ordered, so that a prefix is a range.
#[derive(Debug, Default)]
struct Maps {
    sandboxes: BTreeMap<Box<str>, Arc<Sandbox>>,
    sandbox_names: HashMap<SandboxMetadata, SandboxId>,
    pairs: Pairs,
    leftovers: Vec<Arc<Sandbox>>,
    containers: BTreeMap<Box<str>, Arc<Container>>,
    container_names: HashMap<(SandboxId, ContainerMetadata), ContainerId>,
}

/// The category pairs of all pods; counted, since pods of before this was watched may share one.
#[derive(Debug, Default)]
pub(crate) struct Pairs {
    counts: HashMap<Categories, usize>,
}

impl Pairs {
    /// The first drawn id whose pair nobody has. There are half a million pairs, so that is nearly always the first.
    pub(crate) fn free_id(&self, mut draw: impl FnMut() -> SandboxId) -> SandboxId {
        loop {
            let id = draw();
            if !self.counts.contains_key(&Categories::of(&id)) {
                return id;
            }
        }
    }

    fn claim(&mut self, id: &SandboxId) {
        *self.counts.entry(Categories::of(id)).or_default() += 1;
    }

    fn release(&mut self, id: &SandboxId) {
        let pair = Categories::of(id);
        match self.counts.get_mut(&pair) {
            Some(count) if *count > 1 => *count -= 1,
            _ => drop(self.counts.remove(&pair)),
        }
    }
}

/// Shared by every handle of the engine.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    maps: RwLock<Maps>,
}

/// The outcome of claiming a name.
pub(crate) enum Claim<T> {
    /// The name is ours; the object is registered.
    New(Arc<T>),
    /// Somebody has it.
    Taken(Arc<T>),
}

impl Registry {
    /// Registers the sandbox that `make` builds, unless its name is taken. The pairs that `make` sees are those of all
    /// others, also when it returns.
    pub(crate) fn claim_sandbox(
        &self,
        name: &SandboxMetadata,
        make: impl FnOnce(&Pairs) -> Arc<Sandbox>,
    ) -> Claim<Sandbox> {
        let mut maps = self.maps.write();
        if let Some(owner) = maps.sandbox_names.get(name).and_then(|id| maps.sandboxes.get(id.as_str())) {
            return Claim::Taken(Arc::clone(owner));
        }
        let sandbox = make(&maps.pairs);
        maps.pairs.claim(&sandbox.id);
        maps.sandbox_names.insert(name.clone(), sandbox.id.clone());
        maps.sandboxes.insert(sandbox.id.as_str().into(), Arc::clone(&sandbox));
        Claim::New(sandbox)
    }

    /// Registers the container that `make` builds, unless its name is taken in its pod.
    pub(crate) fn claim_container(
        &self,
        sandbox: &SandboxId,
        name: &ContainerMetadata,
        make: impl FnOnce() -> Arc<Container>,
    ) -> Claim<Container> {
        let mut maps = self.maps.write();
        let key = (sandbox.clone(), name.clone());
        if let Some(owner) = maps.container_names.get(&key).and_then(|id| maps.containers.get(id.as_str())) {
            return Claim::Taken(Arc::clone(owner));
        }
        let container = make();
        maps.container_names.insert(key, container.id.clone());
        maps.containers.insert(container.id.as_str().into(), Arc::clone(&container));
        Claim::New(container)
    }

    /// Forgets a sandbox and frees its name.
    pub(crate) fn forget_sandbox(&self, sandbox: &Sandbox) {
        let mut maps = self.maps.write();
        if maps.sandboxes.remove(sandbox.id.as_str()).is_some() {
            maps.pairs.release(&sandbox.id);
        }
        if maps.sandbox_names.get(&sandbox.config.metadata) == Some(&sandbox.id) {
            maps.sandbox_names.remove(&sandbox.config.metadata);
        }
    }

    /// Keeps what is left of a failed creation until [`Registry::take_leftovers`].
    pub(crate) fn leave(&self, sandbox: Arc<Sandbox>) {
        let mut maps = self.maps.write();
        maps.pairs.claim(&sandbox.id);
        maps.leftovers.push(sandbox);
    }

    /// Takes what earlier attempts at this pod left; the caller undoes it or leaves it again.
    pub(crate) fn take_leftovers(&self, pod: &SandboxMetadata) -> Vec<Arc<Sandbox>> {
        let mut maps = self.maps.write();
        let same = |sandbox: &mut Arc<Sandbox>| {
            let name = &sandbox.config.metadata;
            (&name.name, &name.namespace, &name.uid) == (&pod.name, &pod.namespace, &pod.uid)
        };
        let taken: Vec<_> = maps.leftovers.extract_if(.., same).collect();
        for sandbox in &taken {
            maps.pairs.release(&sandbox.id);
        }
        taken
    }

    /// Whether there is no pod and nothing left of one.
    pub(crate) fn is_bare(&self) -> bool {
        let maps = self.maps.read();
        maps.sandboxes.is_empty() && maps.leftovers.is_empty()
    }

    /// Forgets a container and frees its name.
    pub(crate) fn forget_container(&self, container: &Container) {
        let mut maps = self.maps.write();
        maps.containers.remove(container.id.as_str());
        let key = (container.sandbox.id.clone(), container.config.metadata.clone());
        if maps.container_names.get(&key) == Some(&container.id) {
            maps.container_names.remove(&key);
        }
    }

    /// Every sandbox, also those being made.
    pub(crate) fn sandboxes(&self) -> Vec<Arc<Sandbox>> {
        self.maps.read().sandboxes.values().cloned().collect()
    }

    /// Every container, also those being made.
    pub(crate) fn containers(&self) -> Vec<Arc<Container>> {
        self.maps.read().containers.values().cloned().collect()
    }

    /// Every container of a sandbox, also those being made.
    pub(crate) fn containers_of(&self, sandbox: &SandboxId) -> Vec<Arc<Container>> {
        let maps = self.maps.read();
        maps.containers.values().filter(|container| container.sandbox.id == *sandbox).cloned().collect()
    }

    /// The sandbox with this id or unique id prefix.
    pub(crate) fn sandbox(&self, id: &str) -> Result<Arc<Sandbox>, Error> {
        let maps = self.maps.read();
        match by_prefix(&maps.sandboxes, id) {
            Found::One(sandbox) => Ok(Arc::clone(sandbox)),
            Found::None => Err(Error::NoSuchSandbox { id: shorten(id) }),
            Found::Many(count) => Err(Error::Ambiguous { object: "pod", prefix: shorten(id), count }),
        }
    }

    /// The container with this id or unique id prefix.
    pub(crate) fn container(&self, id: &str) -> Result<Arc<Container>, Error> {
        let maps = self.maps.read();
        match by_prefix(&maps.containers, id) {
            Found::One(container) => Ok(Arc::clone(container)),
            Found::None => Err(Error::NoSuchContainer { id: shorten(id) }),
            Found::Many(count) => Err(Error::Ambiguous { object: "container", prefix: shorten(id), count }),
        }
    }
}

enum Found<'a, T> {
    None,
    One(&'a T),
    Many(usize),
}

fn by_prefix<'a, T>(map: &'a BTreeMap<Box<str>, T>, prefix: &str) -> Found<'a, T> {
    if prefix.is_empty() {
        return Found::None;
    }
    if let Some(exact) = map.get(prefix) {
        return Found::One(exact);
    }
    let range = (Bound::Included(prefix), Bound::Unbounded);
    let mut matches =
        map.range::<str, _>(range).take_while(|(id, _)| id.starts_with(prefix)).map(|(_, value)| value);
    match (matches.next(), matches.count()) {
        (None, _) => Found::None,
        (Some(one), 0) => Found::One(one),
        (Some(_), more) => Found::Many(more + 1),
    }
}

/// Foreign text in a message stays short.
fn shorten(text: &str) -> String {
    text.chars().take(80).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_finds_one_or_says_how_many() {
        let map: BTreeMap<Box<str>, u8> =
            [("aa1".into(), 1), ("aa2".into(), 2), ("b".into(), 3), ("b1".into(), 4)].into();
        let show = |prefix: &str| match by_prefix(&map, prefix) {
            Found::None => "none".to_owned(),
            Found::One(value) => value.to_string(),
            Found::Many(count) => format!("{count} match"),
        };
        let shown: Vec<_> = ["", "a", "aa1", "aa", "b", "b1", "c", "aa11"].map(show).into();
        assert_eq!(shown, ["none", "2 match", "1", "2 match", "3", "4", "none", "none"]);
    }

    fn pod(id: SandboxId, attempt: u32) -> Arc<Sandbox> {
        let mut config = crate::disk::tests::sandbox().config;
        config.metadata.attempt = attempt;
        let (sandbox, _) = Sandbox::new(crate::sandbox::Seed {
            id,
            config,
            created_at: ochre_types::Timestamp::ZERO,
            handler: String::new(),
            log_directory: "/".into(),
            namespaces: ochre_runtime::namespaces::PodNamespaces::default(),
            state: crate::sandbox::SandboxState::Creating,
        });
        sandbox
    }

    /// An id whose pair follows from the first digit, and another one with the same pair for each end.
    fn id(pair: char, end: char) -> SandboxId {
        format!("{}{}", pair.to_string().repeat(32), end.to_string().repeat(32)).parse().unwrap()
    }

    #[test]
    fn pods_made_at_the_same_instant_never_share_a_pair() {
        let registry = Registry::default();
        let claim = |attempt: u32, draws: &[SandboxId]| {
            let mut draws = draws.iter().cloned();
            let name = pod(id('a', '0'), attempt).config.metadata.clone();
            match registry.claim_sandbox(&name, |pairs| pod(pairs.free_id(|| draws.next().unwrap()), attempt))
            {
                Claim::New(sandbox) | Claim::Taken(sandbox) => sandbox,
            }
        };
        let first = claim(0, &[id('1', '0')]);
        assert_eq!(claim(1, &[id('1', '1'), id('1', '2'), id('2', '0')]).id, id('2', '0'));
        registry.forget_sandbox(&first);
        registry.forget_sandbox(&first);
        assert_eq!(claim(2, &[id('1', '3')]).id, id('1', '3'));
        // What is left of a failed creation may still have processes with its label.
        registry.leave(pod(id('3', '0'), 9));
        assert_eq!(claim(3, &[id('3', '1'), id('4', '0')]).id, id('4', '0'));
        assert_eq!(registry.take_leftovers(&first.config.metadata).len(), 1);
        assert_eq!(claim(4, &[id('3', '1')]).id, id('3', '1'));
    }

    #[test]
    fn many_threads_get_as_many_pairs() {
        let (registry, drawn) = (Registry::default(), std::sync::atomic::AtomicUsize::new(0));
        // Every pair is drawn twice in a row, so that whoever looks before it claims takes one that is taken.
        let draw = || {
            let number = drawn.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            format!("{:015x}{number:049x}", number / 2).parse().unwrap()
        };
        std::thread::scope(|scope| {
            for thread in 0..8_u32 {
                let (registry, draw) = (&registry, &draw);
                scope.spawn(move || {
                    for round in 0..20 {
                        let attempt = thread * 100 + round;
                        let name = pod(id('a', '0'), attempt).config.metadata.clone();
                        registry.claim_sandbox(&name, |pairs| pod(pairs.free_id(draw), attempt));
                    }
                });
            }
        });
        let pods = registry.sandboxes();
        let pairs: std::collections::HashSet<_> = pods.iter().map(|pod| Categories::of(&pod.id)).collect();
        assert_eq!((pods.len(), pairs.len()), (160, 160));
    }

    #[test]
    fn a_leftover_has_no_name_and_only_its_own_pod_finds_it() {
        let registry = Registry::default();
        let leftover = pod(id('5', '0'), 0);
        registry.leave(Arc::clone(&leftover));
        assert!(registry.sandboxes().is_empty() && registry.sandbox(leftover.id.as_str()).is_err());
        assert!(!registry.is_bare());
        let name = leftover.config.metadata.clone();
        let other = SandboxMetadata { uid: "other".into(), ..name.clone() };
        assert!(registry.take_leftovers(&other).is_empty());
        assert!(matches!(registry.claim_sandbox(&name, |_| pod(id('6', '0'), 0)), Claim::New(_)));
        assert_eq!(registry.take_leftovers(&SandboxMetadata { attempt: 7, ..name }).len(), 1);
    }
}
