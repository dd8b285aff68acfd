//! Answers to challenges: one `Authorization` value per repository, renewed when the registry says 401.
//!
//! Credentials go to the registry they are for and to the token service that it names, over https (http only for a
//! registry marked insecure). The scope asked for is always ours, whatever the challenge proposes. A token service
//! may not redirect.

use base64::Engine;
use bytes::Bytes;
use http::{HeaderValue, Method, Request, Uri, header};
use http_body_util::{BodyExt, Full, Limited};
use ochre_types::Secret;
use serde::Deserialize;
use tokio::sync::Mutex;

use super::challenge::Challenge;
use super::client::{Endpoint, failure};
use super::transport::Trust;
use super::{RegistryError, redirect};
use crate::auth::Credentials;

const TOKEN_ANSWER_MAX: usize = 1 << 20;

/// The authorization for one repository.
pub(super) struct Authorizer {
    credentials: Option<Credentials>,
    scope: String,
    state: Mutex<State>,
}

/// The value now sent, and how often it has been renewed: who got a 401 with an older one takes the newer one.
#[derive(Clone, Default)]
pub(super) struct State {
    pub(super) header: Option<HeaderValue>,
    generation: u64,
}

#[derive(Deserialize)]
struct TokenAnswer {
    #[serde(default)]
    token: Option<String>,
    #[serde(default)]
    access_token: Option<String>,
}

impl Authorizer {
    pub(super) fn new(credentials: Option<Credentials>, path: &str) -> Self {
        let header = match &credentials {
            Some(Credentials::Bearer(token)) => sensitive(&format!("Bearer {}", token.reveal())),
            Some(Credentials::Basic { .. } | Credentials::Identity(_)) | None => None,
        };
        let state = Mutex::new(State { header, generation: 0 });
        Self { credentials, scope: format!("repository:{path}:pull"), state }
    }

    /// What to send now.
    pub(super) async fn current(&self) -> State {
        self.state.lock().await.clone()
    }

    /// Answers the challenge that `url` got with the value `sent`.
    pub(super) async fn answer(
        &self,
        challenge: &Challenge,
        sent: &State,
        url: &Uri,
        endpoint: &Endpoint,
    ) -> Result<(), RegistryError> {
        let mut state = self.state.lock().await;
        if state.generation != sent.generation {
            return Ok(());
        }
        let header = match (challenge, &self.credentials) {
            (Challenge::Basic, Some(Credentials::Basic { username, password })) => basic(username, password),
            (Challenge::Basic, _) => {
                return Err(RegistryError::Denied {
                    url: redirect::shown(url),
                    status: 401,
                    detail: String::new(),
                });
            }
            (Challenge::Bearer { realm, service }, _) => {
                self.token(realm, service.as_deref(), url, endpoint).await?
            }
        };
        *state = State { header, generation: state.generation + 1 };
        Ok(())
    }

    async fn token(
        &self,
        realm: &str,
        service: Option<&str>,
        url: &Uri,
        endpoint: &Endpoint,
    ) -> Result<Option<HeaderValue>, RegistryError> {
        let realm = checked_realm(realm, url, endpoint.trust)?;
        let request = self.token_request(&realm, service)?;
        let response = endpoint.send(request).await?;
        let status = response.status();
        if !status.is_success() {
            return Err(failure(&realm, response, endpoint).await);
        }
        let shown = redirect::shown(&realm);
        let body =
            endpoint.in_time(&shown, Limited::new(response.into_body(), TOKEN_ANSWER_MAX).collect()).await?;
        let body = body.map_err(|source| RegistryError::Exchange { url: shown.clone(), source })?.to_bytes();
        let answer: TokenAnswer =
            serde_json::from_slice(&body).map_err(|_| RegistryError::Token { realm: shown.clone() })?;
        let token =
            answer.token.filter(|token| !token.is_empty()).or(answer.access_token).unwrap_or_default();
        let token = Secret::new(token);
        match sensitive(&format!("Bearer {}", token.reveal())) {
            Some(header) if !token.is_empty() => Ok(Some(header)),
            _ => Err(RegistryError::Token { realm: shown }),
        }
    }

    fn token_request(
        &self,
        realm: &Uri,
        service: Option<&str>,
    ) -> Result<Request<Full<Bytes>>, RegistryError> {
        let mut fields = vec![("scope", self.scope.as_str())];
        fields.extend(service.map(|service| ("service", service)));
        let mut request = Request::builder();
        let body = if let Some(Credentials::Identity(token)) = &self.credentials {
            fields.extend([
                ("grant_type", "refresh_token"),
                ("client_id", "ochre"),
                ("refresh_token", token.reveal()),
            ]);
            let form = "application/x-www-form-urlencoded";
            request = request.method(Method::POST).uri(realm).header(header::CONTENT_TYPE, form);
            Bytes::from(encoded(&fields))
        } else {
            if let Some(Credentials::Basic { username, password }) = &self.credentials {
                fields.push(("account", username.as_str()));
                if let Some(header) = basic(username, password) {
                    request = request.header(header::AUTHORIZATION, header);
                }
            }
            let separator = if realm.query().is_some() { '&' } else { '?' };
            request = request.uri(format!("{realm}{separator}{}", encoded(&fields)));
            Bytes::new()
        };
        request.body(Full::new(body)).map_err(|_| RegistryError::Url { url: redirect::shown(realm) })
    }
}

fn checked_realm(realm: &str, url: &Uri, trust: Trust) -> Result<Uri, RegistryError> {
    let refused = |reason| RegistryError::Realm {
        url: redirect::shown(url),
        realm: realm.split('?').next().unwrap_or_default().chars().take(200).collect(),
        reason,
    };
    let uri: Uri = realm.parse().map_err(|_| refused("it is not a URL"))?;
    let plain_host = uri.host().is_some_and(|host| !host.is_empty())
        && uri.authority().is_some_and(|authority| !authority.as_str().contains('@'));
    match uri.scheme_str() {
        _ if !plain_host => Err(refused("it has no host, or a user in it")),
        Some("https") => Ok(uri),
        Some("http") if trust == Trust::Insecure => Ok(uri),
        _ => Err(refused("it is not https")),
    }
}

fn basic(username: &str, password: &Secret) -> Option<HeaderValue> {
    let pair = Secret::new(format!("{username}:{}", password.reveal()));
    let encoded = Secret::new(base64::engine::general_purpose::STANDARD.encode(pair.reveal()));
    sensitive(&format!("Basic {}", encoded.reveal()))
}

/// A header value that is left out of debug output; `None` for text that no header can carry.
fn sensitive(text: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(text).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// `application/x-www-form-urlencoded`.
fn encoded(fields: &[(&str, &str)]) -> String {
    let mut text = String::new();
    for (name, value) in fields {
        if !text.is_empty() {
            text.push('&');
        }
        text.push_str(name);
        text.push('=');
        for byte in value.bytes() {
            match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                    text.push(char::from(byte))
                }
                _ => text.push_str(&format!("%{byte:02X}")),
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_escaped() {
        assert_eq!(
            encoded(&[("scope", "repository:a/b:pull"), ("x", "ä &")]),
            "scope=repository%3Aa%2Fb%3Apull&x=%C3%A4%20%26"
        );
    }

    #[test]
    fn a_realm_over_http_needs_an_insecure_registry() {
        let url: Uri = "https://r.io/v2/".parse().unwrap();
        assert!(checked_realm("https://auth.io/t", &url, Trust::Verified).is_ok());
        assert!(checked_realm("http://auth.io/t", &url, Trust::Verified).is_err());
        assert!(checked_realm("http://auth.io/t", &url, Trust::Insecure).is_ok());
        for realm in ["/t", "https://u:p@auth.io/t", "ftp://auth.io", "", "https://"] {
            assert!(checked_realm(realm, &url, Trust::Insecure).is_err(), "{realm}");
        }
    }
}
