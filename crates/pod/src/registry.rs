//! Every sandbox and container by id and by name.
//!
//! The lock is held for map operations only: never across I/O, an await or a wait for another object. A list clones
//! handles and reads each object's published state.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::sync::Arc;

use ochre_runtime::config::{ContainerMetadata, SandboxMetadata};
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
    containers: BTreeMap<Box<str>, Arc<Container>>,
    container_names: HashMap<(SandboxId, ContainerMetadata), ContainerId>,
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
    /// Registers the sandbox that `make` builds, unless its name is taken.
    pub(crate) fn claim_sandbox(
        &self,
        name: &SandboxMetadata,
        make: impl FnOnce() -> Arc<Sandbox>,
    ) -> Claim<Sandbox> {
        let mut maps = self.maps.write();
        if let Some(owner) = maps.sandbox_names.get(name).and_then(|id| maps.sandboxes.get(id.as_str())) {
            return Claim::Taken(Arc::clone(owner));
        }
        let sandbox = make();
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
        maps.sandboxes.remove(sandbox.id.as_str());
        if maps.sandbox_names.get(&sandbox.config.metadata) == Some(&sandbox.id) {
            maps.sandbox_names.remove(&sandbox.config.metadata);
        }
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
}
