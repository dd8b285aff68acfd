//! One `registries.conf` file: what is written in it, checked and merged into the whole.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::{Access, Mirror, Registries, RegistriesError, Serves, ShortNameMode, Table};
use crate::reference::{Parsed, is_domain};

const FILE_MAX: u64 = 4 << 20;

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct File {
    /// The key that only version 1 had.
    registries: Option<toml::Table>,
    unqualified_search_registries: Option<Vec<String>>,
    short_name_mode: Option<String>,
    credential_helpers: Option<Vec<String>>,
    #[serde(default)]
    registry: Vec<RegistryTable>,
    #[serde(default)]
    aliases: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct RegistryTable {
    #[serde(default)]
    prefix: String,
    #[serde(default)]
    location: String,
    #[serde(default)]
    insecure: bool,
    #[serde(default)]
    blocked: bool,
    #[serde(default)]
    mirror: Vec<MirrorTable>,
    mirror_by_digest_only: Option<bool>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct MirrorTable {
    #[serde(default)]
    location: String,
    #[serde(default)]
    insecure: bool,
    pull_from_mirror: Option<String>,
}

/// The drop-ins in the order in which they apply.
pub(super) fn drop_ins(directory: &Path) -> Result<Vec<PathBuf>, RegistriesError> {
    let failed = |source| RegistriesError::Read { path: directory.to_owned(), source };
    let entries = match std::fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed(error)),
    };
    let mut paths = Vec::new();
    for entry in entries {
        let path = entry.map_err(failed)?.path();
        if super::is_drop_in(&path) {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

/// Adds the file to `merged`; a file that does not exist adds nothing.
pub(super) fn merge_if_present(merged: &mut Registries, path: &Path) -> Result<(), RegistriesError> {
    let Some(text) = read(path)? else { return Ok(()) };
    let file: File = toml::from_str(&text)
        .map_err(|source| RegistriesError::Syntax { path: path.to_owned(), source: Box::new(source) })?;
    if file.registries.is_some() {
        return Err(RegistriesError::VersionOne { path: path.to_owned() });
    }
    if let Some(search) = file.unqualified_search_registries {
        for domain in &search {
            let host = domain.split('/').next().unwrap_or_default();
            if !is_domain(host) {
                return Err(wrong(path, "unqualified-search-registries", domain, "a registry host"));
            }
        }
        merged.search = search;
    }
    if let Some(mode) = file.short_name_mode {
        merged.mode = match mode.as_str() {
            "enforcing" => ShortNameMode::Enforcing,
            "permissive" | "disabled" => ShortNameMode::Disabled,
            _ => return Err(wrong(path, "short-name-mode", &mode, "enforcing, permissive or disabled")),
        };
    }
    if let Some(helpers) = file.credential_helpers {
        merged.credential_helpers = helpers;
    }
    for (name, target) in file.aliases {
        merge_alias(merged, path, name, &target)?;
    }
    // Two tables of one prefix in the same file: the mistake is the writer's, the last one counts as across files.
    for table in file.registry {
        let table = checked(path, table)?;
        merged.tables.retain(|known| known.prefix != table.prefix);
        merged.tables.push(table);
    }
    Ok(())
}

fn read(path: &Path) -> Result<Option<String>, RegistriesError> {
    let failed = |source| RegistriesError::Read { path: path.to_owned(), source };
    let file = match std::fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    let mut text = String::new();
    file.take(FILE_MAX + 1).read_to_string(&mut text).map_err(failed)?;
    if text.len() as u64 > FILE_MAX {
        return Err(RegistriesError::TooLarge { path: path.to_owned(), limit: FILE_MAX });
    }
    Ok(Some(text))
}

/// An empty target removes an alias of an earlier file.
fn merge_alias(
    merged: &mut Registries,
    path: &Path,
    name: String,
    target: &str,
) -> Result<(), RegistriesError> {
    if target.is_empty() {
        merged.aliases.remove(&name);
        return Ok(());
    }
    match Parsed::parse(target) {
        Ok(Parsed::Qualified(reference)) if !target.contains('@') && target.ends_with(reference.path()) => {
            merged.aliases.insert(name, reference);
            Ok(())
        }
        _ => Err(wrong(path, "alias", target, "a repository with its registry, without tag and digest")),
    }
}

fn checked(path: &Path, table: RegistryTable) -> Result<Table, RegistriesError> {
    let location = table.location.trim_end_matches('/').to_owned();
    let prefix = if table.prefix.is_empty() {
        location.clone()
    } else {
        table.prefix.trim_end_matches('/').to_owned()
    };
    if location.starts_with('*') {
        return Err(wrong(path, "location", &location, "a registry host and path without a wildcard"));
    }
    if !location.is_empty() {
        check_place(path, "location", &location)?;
    }
    check_place(path, "prefix", &prefix)?;
    // A wildcard stands for many hosts: nothing is rewritten unless a location says so.
    let location = if location.is_empty() && !prefix.starts_with("*.") { prefix.clone() } else { location };
    assemble(path, &table, prefix, location)
}

fn assemble(
    path: &Path,
    table: &RegistryTable,
    prefix: String,
    location: String,
) -> Result<Table, RegistriesError> {
    let access = match (table.blocked, table.insecure) {
        (true, _) => Access::Blocked,
        (false, true) => Access::Insecure,
        (false, false) => Access::Verified,
    };
    let mirrors = table
        .mirror
        .iter()
        .map(|mirror| checked_mirror(path, mirror, table.mirror_by_digest_only))
        .collect::<Result<_, _>>()?;
    Ok(Table { prefix, location, access, mirrors })
}

fn checked_mirror(
    path: &Path,
    mirror: &MirrorTable,
    by_digest: Option<bool>,
) -> Result<Mirror, RegistriesError> {
    let location = mirror.location.trim_end_matches('/').to_owned();
    if location.starts_with('*') {
        return Err(wrong(path, "mirror location", &location, "a registry host and path without a wildcard"));
    }
    check_place(path, "mirror location", &location)?;
    let serves = match (mirror.pull_from_mirror.as_deref(), by_digest) {
        (Some(value), Some(true)) => {
            return Err(wrong(
                path,
                "pull-from-mirror",
                value,
                "nothing beside mirror-by-digest-only = true",
            ));
        }
        (None, Some(true)) | (Some("digest-only"), _) => Serves::Digests,
        (None | Some("all"), _) => Serves::All,
        (Some("tag-only"), _) => Serves::Tags,
        (Some(value), _) => {
            return Err(wrong(path, "pull-from-mirror", value, "all, digest-only or tag-only"));
        }
    };
    Ok(Mirror { location, insecure: mirror.insecure, serves })
}

/// A host with or without a path, `*.` allowed in front; schemes are a frequent mistake.
fn check_place(path: &Path, key: &'static str, place: &str) -> Result<(), RegistriesError> {
    let bare = place.strip_prefix("*.").unwrap_or(place);
    let host = bare.split('/').next().unwrap_or_default();
    if place.contains("://") || !is_domain(host) || place.bytes().any(|b| b.is_ascii_whitespace()) {
        return Err(wrong(
            path,
            key,
            place,
            "a registry host such as registry.example:5000, with or without a path",
        ));
    }
    Ok(())
}

fn wrong(path: &Path, key: &'static str, value: &str, expected: &'static str) -> RegistriesError {
    RegistriesError::Value { path: path.to_owned(), key, value: value.to_owned(), expected }
}
