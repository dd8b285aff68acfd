//! `ochre ctl`, and `crictl` when called so: crictl's commands for any engine that speaks CRI.
//!
//! ```text
//! words -> parse (global flags) -> settings (file, environment) -> parse (the command's flags) -> commands -> show
//!            spec: the tables of commands and flags                                schema, json, yaml, template, tabs
//! ```
//! Answers go to standard output, byte for byte as crictl v1.36 prints them; everything else goes to standard error. Exit
//! codes: 0, 3 for an unknown command, 1 for every failure.

mod commands;
mod credentials;
mod engine;
mod error;
mod files;
mod help;
mod json;
mod load;
mod parse;
mod preferences;
mod program;
mod say;
mod schema;
mod select;
mod settings;
mod show;
mod spec;
mod tabs;
mod template;
mod units;
mod yaml;

pub use error::Error;
pub use parse::UsageError;
pub use program::run;
pub use schema::LoadError;
pub use template::TemplateError;
