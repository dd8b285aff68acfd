//! The Container Network Interface, versions 0.3.0 to 1.1.0 (<https://www.cni.dev/docs/spec/>), the runtime's side.
//!
//! `conf` loads what the operator wrote, `arguments` turns a pod into arguments, `chain` walks a list of plugins,
//! `exec` runs one plugin, `result` reads what it says and `cache` remembers it where libcni would.

pub(crate) mod arguments;
pub(crate) mod cache;
pub(crate) mod chain;
pub(crate) mod conf;
mod error;
pub(crate) mod exec;
pub(crate) mod result;

pub use conf::NetworkName;
pub use error::{CniError, ConfigFault};

/// The specification versions spoken, oldest first.
pub(crate) const VERSIONS: [&str; 5] = ["0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"];

/// A specification version. Ordered by age.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Version(usize);

impl Version {
    /// The version that introduced CHECK.
    pub(crate) const CHECK: Self = Self(2);
    /// The version that introduced STATUS and GC.
    pub(crate) const STATUS: Self = Self(4);

    pub(crate) fn parse(text: &str) -> Option<Self> {
        VERSIONS.iter().position(|known| *known == text).map(Self)
    }

    pub(crate) fn as_str(self) -> &'static str {
        VERSIONS[self.0]
    }
}

/// The operations of the specification.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// Connect a container.
    Add,
    /// Disconnect it.
    Del,
    /// Verify that it is connected.
    Check,
    /// Can the plugin serve an ADD?
    Status,
    /// Remove what belongs to no live container.
    Gc,
}

impl Verb {
    /// The value of `CNI_COMMAND`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Add => "ADD",
            Self::Del => "DEL",
            Self::Check => "CHECK",
            Self::Status => "STATUS",
            Self::Gc => "GC",
        }
    }
}

impl std::fmt::Display for Verb {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}
