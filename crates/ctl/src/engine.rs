//! The engine: which socket, how long a call may take.

use std::future::Future;
use std::time::Duration;

use ochre_client::{Channel, Client};
use ochre_cri_api as api;
use ochre_cri_api::image_service_client::ImageServiceClient;
use ochre_cri_api::runtime_service_client::RuntimeServiceClient;
use tonic::{Response, Status};

use crate::error::Error;
use crate::parse::Parsed;
use crate::say;
use crate::settings::{ENDPOINTS, Settings, socket};

/// The service for pods and containers.
pub(crate) type Runtime = RuntimeServiceClient<Channel>;
/// The service for images.
pub(crate) type Images = ImageServiceClient<Channel>;

/// One command being carried out.
pub(crate) struct Session {
    /// Its own flags and arguments.
    pub(crate) given: Parsed,
    /// The flags before it.
    pub(crate) global: Parsed,
    /// What is in force.
    pub(crate) settings: Settings,
}

impl Session {
    /// Connects to the runtime service.
    ///
    /// # Errors
    /// When nobody answers.
    pub(crate) async fn runtime(&self) -> Result<Runtime, Error> {
        match self.settings.runtime.as_deref() {
            Some("") => Err(Error::arguments("--runtime-endpoint is not set")),
            Some(endpoint) => Ok(connect(endpoint, self.settings.timeout).await?.runtime),
            None => Ok(self.usual().await?.runtime),
        }
    }

    /// Connects to the image service.
    ///
    /// # Errors
    /// When nobody answers.
    pub(crate) async fn images(&self) -> Result<Images, Error> {
        let endpoint = self.settings.image.as_deref().filter(|endpoint| !endpoint.is_empty());
        match endpoint.or(self.settings.runtime.as_deref()) {
            Some("") => Err(Error::arguments("--image-endpoint is not set")),
            Some(endpoint) => Ok(connect(endpoint, self.settings.timeout).await?.image),
            None => Ok(self.usual().await?.image),
        }
    }

    /// The first of the usual sockets behind which an engine answers.
    async fn usual(&self) -> Result<Client, Error> {
        say::warning(&format!(
            "runtime connect using default endpoints: [{}]. As the default settings are now deprecated, you should set \
             the endpoint instead.",
            ENDPOINTS.join(" ")
        ));
        let mut last = Error::arguments("no endpoint to try");
        for endpoint in ENDPOINTS {
            match self.answering(endpoint).await {
                Ok(client) => return Ok(client),
                Err(error) => {
                    say::failure(&crate::error::chain(&error));
                    last = error;
                }
            }
        }
        Err(last)
    }

    async fn answering(&self, endpoint: &str) -> Result<Client, Error> {
        let mut client = connect(endpoint, self.settings.timeout).await?;
        let request = api::VersionRequest { version: "v1".into() };
        self.call(format!("validate service connection to {endpoint:?}"), client.runtime.version(request))
            .await?;
        Ok(client)
    }

    /// A call within the usual time.
    ///
    /// # Errors
    /// What the engine said, or that it said nothing in time.
    pub(crate) async fn call<T>(
        &self,
        doing: impl Into<String>,
        call: impl Future<Output = Result<Response<T>, Status>>,
    ) -> Result<T, Error> {
        within(Some(self.settings.timeout), doing, call).await
    }
}

/// A call that may take so long; `None` is as long as it takes.
///
/// # Errors
/// What the engine said, or that it said nothing in time.
pub(crate) async fn within<T>(
    limit: Option<Duration>,
    doing: impl Into<String>,
    call: impl Future<Output = Result<Response<T>, Status>>,
) -> Result<T, Error> {
    let answer = match limit {
        None => call.await,
        Some(limit) => match tokio::time::timeout(limit, call).await {
            Ok(answer) => answer,
            Err(_) => return Err(Error::Deadline { doing: doing.into(), seconds: limit.as_secs_f64() }),
        },
    };
    answer.map(Response::into_inner).map_err(|status| Error::refused(doing, status))
}

async fn connect(endpoint: &str, limit: Duration) -> Result<Client, Error> {
    let path = socket(endpoint)?;
    match tokio::time::timeout(limit, Client::connect(&path)).await {
        Ok(connected) => connected.map_err(|source| Error::Connect { endpoint: endpoint.to_owned(), source }),
        Err(_) => {
            let doing = format!("connecting to {endpoint}");
            Err(Error::Deadline { doing, seconds: limit.as_secs_f64() })
        }
    }
}
