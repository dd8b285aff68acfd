//! The definition of an option, and all tables together.
//!
//! An option is one entry of an `options!` block: documentation, name, type, default, whether it has an effect in this
//! engine (`now`, `later`), how a changed value is applied (`live`, `restart`), and where needed a check and an
//! environment variable of another name than `CONTAINER_<OPTION>`. Everything else is derived from the entry.

pub(crate) mod api;
pub(crate) mod image;
pub(crate) mod metrics;
pub(crate) mod network;
pub(crate) mod nri;
pub(crate) mod root;
pub(crate) mod runtime;
pub(crate) mod stats;
pub(crate) mod tracing;

use crate::value::{Given, OptionType, Wrong};

/// Whether an option does something yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// It does.
    Now,
    /// It is accepted, checked and warned about.
    Later,
}

/// How a changed value is applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reload {
    /// By a reload.
    Live,
    /// By a restart.
    Restart,
}

/// What is known about an option apart from its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Definition {
    /// Its name in its table.
    pub name: &'static str,
    /// What it does, line by line.
    pub doc: &'static [&'static str],
    /// Whether it has an effect.
    pub effect: Effect,
    /// How a change is applied.
    pub reload: Reload,
    /// Its environment variable, where that is not `CONTAINER_<NAME>`.
    pub environment: Option<&'static str>,
}

impl Definition {
    /// Its environment variable.
    pub fn variable(&self) -> String {
        self.environment.map_or_else(|| format!("CONTAINER_{}", self.name.to_uppercase()), String::from)
    }
}

/// A table of the configuration, seen through its definitions.
pub(crate) trait Table {
    /// The table's name in the file; `*` stands for the name of an entry.
    fn table(&self) -> &'static str;

    fn definitions(&self) -> &'static [Definition];

    /// `None` for a name that is no option of the table.
    fn set(&mut self, name: &str, given: Given<'_>) -> Option<Result<(), Wrong>>;

    /// The value as TOML.
    fn value(&self, name: &str) -> Option<String>;
}

/// Reads, checks and stores one value.
fn assign<T: OptionType>(
    place: &mut T,
    given: Given<'_>,
    check: impl Fn(&T) -> Result<(), Wrong>,
) -> Result<(), Wrong> {
    let given = match given {
        // Of a flag that takes one value, the last one counts.
        Given::Texts(texts) if !T::IS_LIST => Given::Text(texts.last().copied().unwrap_or_default()),
        given => given,
    };
    let value = T::read(given)?;
    check(&value)?;
    place.merge(value);
    Ok(())
}

macro_rules! effect {
    (now) => {
        crate::options::Effect::Now
    };
    (later) => {
        crate::options::Effect::Later
    };
}

macro_rules! reload {
    (live) => {
        crate::options::Reload::Live
    };
    (restart) => {
        crate::options::Reload::Restart
    };
}

macro_rules! check {
    () => {
        crate::check::anything
    };
    ($check:ident) => {
        |value| crate::check::$check(value)
    };
}

macro_rules! environment {
    () => {
        None
    };
    ($name:literal) => {
        Some($name)
    };
}

/// Defines a table: its struct, its defaults and its [`Table`].
macro_rules! options {
    (
        $(#[doc = $table_doc:literal])+
        pub struct $table:ident as $path:literal {
            $(
                $(#[doc = $doc:literal])+
                $name:ident: $type:ty = $default:expr, $effect:ident $reload:ident
                $(, check $check:ident)? $(, environment $environment:literal)?;
            )*
        }
        $(with { $($(#[doc = $extra_doc:literal])+ $extra:ident: $extra_type:ty;)* })?
    ) => {
        $(#[doc = $table_doc])+
        #[derive(Debug, Clone, PartialEq)]
        #[allow(clippy::struct_excessive_bools, reason = "the file has as many switches")]
        pub struct $table {
            $($(#[doc = $doc])+ pub $name: $type,)*
            $($($(#[doc = $extra_doc])+ pub $extra: $extra_type,)*)?
        }

        impl Default for $table {
            fn default() -> Self {
                Self { $($name: $default,)* $($($extra: <$extra_type>::default(),)*)? }
            }
        }

        impl crate::options::Table for $table {
            fn table(&self) -> &'static str {
                $path
            }

            fn definitions(&self) -> &'static [crate::options::Definition] {
                const DEFINITIONS: &[crate::options::Definition] = &[$(crate::options::Definition {
                    name: stringify!($name),
                    doc: &[$($doc),+],
                    effect: effect!($effect),
                    reload: reload!($reload),
                    environment: environment!($($environment)?),
                },)*];
                DEFINITIONS
            }

            fn set(
                &mut self,
                name: &str,
                given: crate::value::Given<'_>,
            ) -> Option<Result<(), crate::value::Wrong>> {
                match name {
                    $(stringify!($name) => {
                        Some(crate::options::assign(&mut self.$name, given, check!($($check)?)))
                    })*
                    _ => None,
                }
            }

            fn value(&self, name: &str) -> Option<String> {
                match name {
                    $(stringify!($name) => Some(crate::value::OptionType::write(&self.$name)),)*
                    _ => None,
                }
            }
        }
    };
}
use {check, effect, environment, options, reload};

/// The whole configuration: typed, checked, complete.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Config {
    /// `[crio]`
    pub root: root::RootConfig,
    /// `[crio.api]`
    pub api: api::ApiConfig,
    /// `[crio.runtime]`
    pub runtime: runtime::RuntimeConfig,
    /// `[crio.image]`
    pub image: image::ImageConfig,
    /// `[crio.network]`
    pub network: network::NetworkConfig,
    /// `[crio.metrics]`
    pub metrics: metrics::MetricsConfig,
    /// `[crio.tracing]`
    pub tracing: tracing::TracingConfig,
    /// `[crio.stats]`
    pub stats: stats::StatsConfig,
    /// `[crio.nri]`
    pub nri: nri::NriConfig,
}

impl Config {
    /// All tables that exist once, in the order they are printed.
    pub(crate) fn tables(&self) -> [&dyn Table; 10] {
        [
            &self.root,
            &self.api,
            &self.runtime,
            &self.image,
            &self.network,
            &self.metrics,
            &self.tracing,
            &self.stats,
            &self.nri,
            &self.nri.default_validator,
        ]
    }

    /// The table of that name.
    pub(crate) fn table_mut(&mut self, name: &str) -> Option<&mut dyn Table> {
        let table: &mut dyn Table = match name {
            "crio" => &mut self.root,
            "crio.api" => &mut self.api,
            "crio.runtime" => &mut self.runtime,
            "crio.image" => &mut self.image,
            "crio.network" => &mut self.network,
            "crio.metrics" => &mut self.metrics,
            "crio.tracing" => &mut self.tracing,
            "crio.stats" => &mut self.stats,
            "crio.nri" => &mut self.nri,
            "crio.nri.default_validator" => &mut self.nri.default_validator,
            _ => return None,
        };
        Some(table)
    }
}

/// Every option of the tables that exist once, with its table's name; for flags, man pages and completions.
pub fn definitions() -> Vec<(&'static str, &'static Definition)> {
    let config = Config::default();
    config.tables().iter().flat_map(|table| table.definitions().iter().map(|d| (table.table(), d))).collect()
}
