//! A CRI v1 client over a unix socket, for any engine that speaks CRI.

mod channel;

pub use channel::{Channel, ConnectError};

use ochre_cri_api::image_service_client::ImageServiceClient;
use ochre_cri_api::runtime_service_client::RuntimeServiceClient;

/// The largest answer that is accepted, bytes; Go clients take 16 MiB.
const MAX_ANSWER: usize = 64 << 20;

/// Both services of one engine. Cheap to clone; clones share the connection.
#[derive(Debug, Clone)]
pub struct Client {
    /// Pods and containers.
    pub runtime: RuntimeServiceClient<Channel>,
    /// Images.
    pub image: ImageServiceClient<Channel>,
}

impl Client {
    /// Connects to the engine at a socket path.
    ///
    /// # Errors
    /// When nobody answers there.
    pub async fn connect(socket: &std::path::Path) -> Result<Self, ConnectError> {
        let channel = Channel::connect(socket).await?;
        Ok(Self {
            runtime: RuntimeServiceClient::new(channel.clone()).max_decoding_message_size(MAX_ANSWER),
            image: ImageServiceClient::new(channel).max_decoding_message_size(MAX_ANSWER),
        })
    }
}
