//! What one archive member says about itself, after every extension header was applied.

/// The kinds of members a layer may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Kind {
    /// A regular file, sparse or not.
    #[default]
    File,
    /// Another name of an earlier member ([`Entry::link`], relative to the archive's root).
    HardLink,
    /// A symbolic link with the target [`Entry::link`].
    Symlink,
    /// A character device.
    CharDevice {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// A block device.
    BlockDevice {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// A directory.
    Directory,
    /// A named pipe.
    Fifo,
}

/// A point in time as archives keep it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ModificationTime {
    /// Seconds since 1970-01-01, negative before.
    pub seconds: i64,
    /// Nanoseconds after `seconds`, below 1,000,000,000.
    pub nanoseconds: u32,
}

/// A run of stored bytes of a sparse file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// Where in the file, in bytes.
    pub offset: u64,
    /// How many bytes.
    pub length: u64,
}

/// One archive member.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Entry {
    /// The name as the archive has it: bytes, not cleaned, not empty, at most 4,096 bytes, components at most 255.
    pub name: Vec<u8>,
    /// Link target of [`Kind::HardLink`] and [`Kind::Symlink`], empty for the others.
    pub link: Vec<u8>,
    /// What it is.
    pub kind: Kind,
    /// Permission bits with setuid, setgid and sticky (`0o7777`).
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Last modification.
    pub mtime: ModificationTime,
    /// Size of the file in bytes, holes included; 0 for anything but a file.
    pub size: u64,
    /// Bytes stored in the archive for the content; smaller than `size` for sparse files.
    pub stored: u64,
    /// Where the stored bytes belong, for sparse files only: ascending, disjoint, summing up to `stored`.
    pub sparse: Option<Vec<Extent>>,
    /// Extended attributes: name with namespace, value. Not filtered.
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}
