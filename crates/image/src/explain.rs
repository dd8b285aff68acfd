//! Where a reference would be pulled from, in which order, with whose credentials, and why. Asks nobody.

use std::fmt;

use crate::auth::{AuthError, CredentialSource};
use crate::error::Error;
use crate::images::Images;
use crate::policy::PolicyError;
use crate::reference::{Parsed, Reference};
use crate::registries::{PullSource, RegistriesError};

/// What a pull of one reference would do. Printed, it is a text of several lines for people.
#[derive(Debug)]
pub struct Explanation {
    /// The reference as it was written.
    pub written: String,
    /// Whether it is a short name, looked for in several places.
    pub is_short: bool,
    /// What it can mean, in the order to try.
    pub candidates: Vec<Candidate>,
}

/// One full reference.
#[derive(Debug)]
pub struct Candidate {
    /// The reference.
    pub reference: Reference,
    /// Why it is not admitted, if it is not.
    pub refused: Option<PolicyError>,
    /// The policy's scopes that demand a signature of the manifest.
    pub demands: Vec<String>,
    /// The locations to try, in order, or why there are none.
    pub locations: Result<Vec<Location>, RegistriesError>,
}

/// One place a pull would ask.
#[derive(Debug)]
pub struct Location {
    /// Host, path, and whether it is a mirror.
    pub source: PullSource,
    /// Whose credentials it would get.
    pub credentials: Result<Option<CredentialSource>, AuthError>,
}

impl Images {
    /// What a pull of `written` would do. With `namespace`, for a pod of that namespace. Blocking; no request is made and
    /// no credential program runs.
    ///
    /// # Errors
    /// A reference that is none; a short name that means nothing or too much; a policy that cannot be read.
    pub fn explain(&self, written: &str, namespace: Option<&str>) -> Result<Explanation, Error> {
        let service = &self.service;
        let pull = |source: crate::pull::error::PullError| Error::Pull {
            reference: written.to_owned(),
            source: std::sync::Arc::new(source),
        };
        let registries = service.registries();
        let (is_short, references) = match Parsed::parse(written)? {
            Parsed::Qualified(reference) => (false, vec![reference]),
            Parsed::Short(name) => {
                let found = registries.candidates(&name, service.config.short_names);
                (true, found.map_err(|error| pull(error.into()))?)
            }
        };
        let policy = service.config.policy.load(namespace).map_err(|error| pull(error.into()))?;
        let candidates = references.into_iter().map(|reference| {
            let located = registries.sources(&reference).map(|sources| {
                let locate = |source: PullSource| Location {
                    credentials: self.credential_source(&reference, &source.reference, namespace),
                    source,
                };
                sources.into_iter().map(locate).collect()
            });
            let admitted = policy.as_ref().map_or(Ok(Vec::new()), |policy| policy.admit(&reference));
            let (demands, refused) = match admitted {
                Ok(demands) => (demands.into_iter().map(|demand| demand.scope).collect(), None),
                Err(error) => (Vec::new(), Some(error)),
            };
            Candidate { refused, demands, locations: located, reference }
        });
        Ok(Explanation { written: written.to_owned(), is_short, candidates: candidates.collect() })
    }

    fn credential_source(
        &self,
        wanted: &Reference,
        place: &Reference,
        namespace: Option<&str>,
    ) -> Result<Option<CredentialSource>, AuthError> {
        let config = &self.service.config;
        if let Some((namespace, auth)) = namespace.zip(config.namespaced_auth.as_ref())
            && let Some(path) = auth.path(namespace, wanted).filter(|path| path.is_file())
        {
            return crate::auth::AuthFiles::only(path).find(place, &[]);
        }
        config.auth_files.find(place, self.service.registries().credential_helpers())
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_short {
            writeln!(f, "{} is a short name; it is looked for as:", self.written)?;
        }
        for candidate in &self.candidates {
            write!(f, "{candidate}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Candidate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.reference)?;
        if let Some(refused) = &self.refused {
            return writeln!(f, "  refused, nothing is asked: {refused}");
        }
        let locations = match &self.locations {
            Ok(locations) => locations,
            Err(error) => return writeln!(f, "  refused, nothing is asked: {error}"),
        };
        for scope in &self.demands {
            writeln!(f, "  only with a signature that sigstoreSigned of scope {scope:?} accepts")?;
        }
        for (number, location) in (1..).zip(locations) {
            let PullSource { reference, insecure, mirror } = &location.source;
            let kind = if *mirror { "mirror" } else { "registry" };
            let trust =
                if *insecure { "https unverified or plain http (insecure = true)" } else { "verified https" };
            writeln!(f, "  {number}. {kind} {reference}")?;
            writeln!(f, "     by {trust}")?;
            match &location.credentials {
                Ok(Some(source)) => writeln!(f, "     credentials of {source}")?,
                Ok(None) => {
                    writeln!(f, "     without credentials: none are configured for {}", reference.domain())?
                }
                Err(error) => writeln!(f, "     not asked: {error}")?,
            }
        }
        Ok(())
    }
}
