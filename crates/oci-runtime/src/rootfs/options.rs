//! Mount options: the words of fstab(5) and those the specification adds.

use std::path::Path;

use ochre_sys::mount::{
    ATTR_ATIME_MASK, ATTR_NOATIME, ATTR_NODEV, ATTR_NODIRATIME, ATTR_NOEXEC, ATTR_NOSUID, ATTR_NOSYMFOLLOW,
    ATTR_RDONLY, ATTR_RELATIME, ATTR_STRICTATIME, PRIVATE, SHARED, SLAVE, UNBINDABLE,
};

use super::RootfsError;

/// Attributes to set and to clear.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Attributes {
    /// To set.
    pub set: u64,
    /// To clear.
    pub clear: u64,
}

impl Attributes {
    fn set(&mut self, flag: u64) {
        if flag & ATTR_ATIME_MASK != 0 || flag == ATTR_RELATIME {
            self.set &= !ATTR_ATIME_MASK;
            self.clear |= ATTR_ATIME_MASK;
        }
        self.set |= flag;
        if flag & ATTR_ATIME_MASK == 0 {
            self.clear &= !flag;
        }
    }

    fn clear(&mut self, flag: u64) {
        self.set &= !flag;
        self.clear |= flag;
    }
}

/// How far a bind mount or an id map reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// The mount alone.
    One,
    /// With all mounts below it.
    Tree,
}

/// Options of one mount, understood.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MountOptions {
    /// `bind` or `rbind`.
    pub bind: Option<Reach>,
    /// For the mount itself.
    pub own: Attributes,
    /// For the mount and all below it.
    pub recursive: Attributes,
    /// `MS_PRIVATE` and so on, with its reach.
    pub propagation: Option<(u64, Reach)>,
    /// `idmap` or `ridmap`.
    pub id_map: Option<Reach>,
    /// `tmpcopyup`: the new file system starts with what it covers.
    pub copy_up: bool,
    /// What the file system itself understands.
    pub data: Vec<String>,
}

/// What a word does.
enum Effect {
    Set(u64),
    Clear(u64),
    Propagation(u64, Reach),
    Bind(Reach),
    IdMap(Reach),
    CopyUp,
    Nothing,
    Refused,
    Data,
}

fn effect(word: &str) -> Effect {
    use Effect::{Bind, Clear, CopyUp, Data, IdMap, Nothing, Propagation, Refused, Set};
    match word {
        "bind" => Bind(Reach::One),
        "rbind" => Bind(Reach::Tree),
        "ro" => Set(ATTR_RDONLY),
        "rw" => Clear(ATTR_RDONLY),
        "nosuid" => Set(ATTR_NOSUID),
        "suid" => Clear(ATTR_NOSUID),
        "nodev" => Set(ATTR_NODEV),
        "dev" => Clear(ATTR_NODEV),
        "noexec" => Set(ATTR_NOEXEC),
        "exec" => Clear(ATTR_NOEXEC),
        "nosymfollow" => Set(ATTR_NOSYMFOLLOW),
        "symfollow" => Clear(ATTR_NOSYMFOLLOW),
        "nodiratime" => Set(ATTR_NODIRATIME),
        "diratime" => Clear(ATTR_NODIRATIME),
        "noatime" => Set(ATTR_NOATIME),
        "strictatime" => Set(ATTR_STRICTATIME),
        // The kernel's default is relatime.
        "relatime" | "atime" | "norelatime" | "nostrictatime" => Set(ATTR_RELATIME),
        "private" => Propagation(PRIVATE, Reach::One),
        "rprivate" => Propagation(PRIVATE, Reach::Tree),
        "slave" => Propagation(SLAVE, Reach::One),
        "rslave" => Propagation(SLAVE, Reach::Tree),
        "shared" => Propagation(SHARED, Reach::One),
        "rshared" => Propagation(SHARED, Reach::Tree),
        "unbindable" => Propagation(UNBINDABLE, Reach::One),
        "runbindable" => Propagation(UNBINDABLE, Reach::Tree),
        "idmap" => IdMap(Reach::One),
        "ridmap" => IdMap(Reach::Tree),
        "defaults" | "async" | "nomand" | "noiversion" | "loud" | "silent" | "nolazytime" => Nothing,
        "tmpcopyup" => CopyUp,
        "remount" => Refused,
        _ => Data,
    }
}

impl MountOptions {
    /// Understands the options of the mount at `path`.
    ///
    /// # Errors
    /// [`RootfsError::Option`] for `remount`.
    pub fn parse(path: &Path, words: &[String]) -> Result<Self, RootfsError> {
        let mut options = Self::default();
        for word in words {
            match effect(word) {
                Effect::Set(flag) => options.own.set(flag),
                Effect::Clear(flag) => options.own.clear(flag),
                Effect::Propagation(kind, reach) => options.propagation = Some((kind, reach)),
                Effect::Bind(reach) => options.bind = Some(reach),
                Effect::IdMap(reach) => options.id_map = Some(reach),
                Effect::CopyUp => options.copy_up = true,
                Effect::Nothing => {}
                Effect::Refused => {
                    return Err(RootfsError::Option { path: path.to_owned(), option: word.clone() });
                }
                Effect::Data => match word.strip_prefix('r').map(effect) {
                    Some(Effect::Set(flag)) => options.recursive.set(flag),
                    Some(Effect::Clear(flag)) => options.recursive.clear(flag),
                    _ => options.data.push(word.clone()),
                },
            }
        }
        Ok(options)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &[&str]) -> MountOptions {
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        MountOptions::parse(Path::new("/x"), &words).unwrap()
    }

    #[test]
    fn words_become_attributes_propagation_and_data() {
        let options = parse(&["rbind", "ro", "nosuid", "rprivate", "mode=755", "size=65536k"]);
        assert_eq!(options.bind, Some(Reach::Tree));
        assert_eq!(options.own.set, ATTR_RDONLY | ATTR_NOSUID);
        assert_eq!(options.propagation, Some((PRIVATE, Reach::Tree)));
        assert_eq!(options.data, ["mode=755", "size=65536k"]);
    }

    #[test]
    fn recursive_forms_and_data_that_looks_like_them() {
        let options = parse(&["rro", "rnosuid", "rnoatime", "rsize=4096", "rw"]);
        assert_eq!(options.recursive.set, ATTR_RDONLY | ATTR_NOSUID | ATTR_NOATIME);
        assert_eq!(options.data, ["rsize=4096"]);
        assert_eq!(options.own, Attributes { set: 0, clear: ATTR_RDONLY });
    }

    #[test]
    fn the_last_word_wins_and_access_times_exclude_each_other() {
        assert_eq!(parse(&["ro", "rw"]).own, Attributes { set: 0, clear: ATTR_RDONLY });
        assert_eq!(parse(&["rw", "ro"]).own, Attributes { set: ATTR_RDONLY, clear: 0 });
        let times = parse(&["noatime", "strictatime"]).own;
        assert_eq!(times, Attributes { set: ATTR_STRICTATIME, clear: ATTR_ATIME_MASK });
        assert_eq!(parse(&["noatime", "relatime"]).own, Attributes { set: 0, clear: ATTR_ATIME_MASK });
    }

    #[test]
    fn what_is_not_supported_is_refused() {
        assert!(MountOptions::parse(Path::new("/x"), &["remount".to_owned()]).is_err());
    }
}
