//! Why an archive is refused. Faults of bytes are pure; the reader adds where they are.

use std::io;

use ochre_types::ErrorKind;

/// What is wrong with a header, an extension header or a sparse map.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The sum over the block differs from the one it states.
    #[error("wrong header checksum")]
    Checksum,
    /// A number field holds no number, or one out of range.
    #[error("field {field:?} holds no valid number")]
    Number {
        /// Name of the field.
        field: &'static str,
    },
    /// A member type that layers do not have.
    #[error("member type {flag:?} is not supported")]
    MemberType {
        /// The type flag.
        flag: char,
    },
    /// A member that has no content by its type states a size; readers disagree whether content follows.
    #[error("a member without content states {size} bytes")]
    UnexpectedContent {
        /// The size.
        size: u64,
    },
    /// No name, or a link without target.
    #[error("empty {field}")]
    Empty {
        /// `name` or `link`.
        field: &'static str,
    },
    /// A name over 4,096 bytes or with a component over 255.
    #[error("{field} is too long ({length} bytes)")]
    TooLong {
        /// `name` or `link`.
        field: &'static str,
        /// Its length or that of its component.
        length: usize,
    },
    /// A regular file whose name ends in `/`: a directory to some readers.
    #[error("a regular file with a directory's name")]
    FileNamedAsDirectory,
    /// A PAX record that does not follow `length key=value\n`, or a value that its key does not allow.
    #[error("malformed PAX record at byte {at}")]
    PaxRecord {
        /// Offset in the extension header.
        at: usize,
    },
    /// A PAX key twice in one header, or a key that changes how the rest is read and is not known.
    #[error("PAX key {key:?} is repeated or not supported")]
    PaxKey {
        /// The key.
        key: String,
    },
    /// Two sources state different sizes and both could be meant.
    #[error("header says {header} bytes, PAX record says {pax}")]
    SizeConflict {
        /// The header's size field.
        header: u64,
        /// The PAX record.
        pax: u64,
    },
    /// Two extension headers claim the same property of one member.
    #[error("two extension headers set the {field}")]
    Repeated {
        /// Which property.
        field: &'static str,
    },
    /// A sparse map that is unordered, overlapping, out of the file, or does not match the stored bytes.
    #[error("impossible sparse map")]
    SparseMap,
    /// Extension headers or sparse maps beyond the limit.
    #[error("more than {limit} bytes of metadata for one member")]
    TooMuchMetadata {
        /// The limit in bytes.
        limit: u64,
    },
}

/// Why reading an archive stopped.
#[derive(Debug, thiserror::Error)]
pub enum TarError {
    /// The input failed.
    #[error("reading the archive")]
    Read {
        /// The input's error.
        #[source]
        source: io::Error,
    },
    /// The input ends in the middle of a header, content or extension.
    #[error("archive cut short at byte {offset}")]
    Truncated {
        /// Bytes read until there.
        offset: u64,
    },
    /// Something other than zeros follows the end marker (or a lone zero block).
    #[error("archive goes on after its end marker, before byte {offset}")]
    AfterEnd {
        /// Bytes read until there.
        offset: u64,
    },
    /// A malformed or refused member.
    #[error("archive member {name:?} with its header before byte {offset}")]
    Malformed {
        /// End of the offending header block.
        offset: u64,
        /// Name as far as it is known.
        name: String,
        /// What is wrong.
        #[source]
        fault: Fault,
    },
}

impl TarError {
    /// What kind of failure this is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Read { .. } | Self::Truncated { .. } => ErrorKind::Unavailable,
            Self::AfterEnd { .. } | Self::Malformed { .. } => ErrorKind::InvalidArgument,
        }
    }
}
