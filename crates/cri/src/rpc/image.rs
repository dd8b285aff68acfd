//! The image verbs.

use ochre_cri_api as api;
use ochre_image::{AuthConfig, PullRequest};
use ochre_types::Secret;
use tonic::codegen::BoxStream;

use super::batches;
use crate::failure::Failure;
use crate::service::Service;
use crate::translate;

fn reference(image: Option<api::ImageSpec>) -> Result<String, Failure> {
    image.map(|spec| spec.image).filter(|name| !name.is_empty()).ok_or(Failure::Missing { field: "image" })
}

pub(crate) async fn list(
    service: &Service,
    request: api::ListImagesRequest,
) -> Result<api::ListImagesResponse, Failure> {
    Ok(api::ListImagesResponse { images: rows(service, request.filter).await? })
}

pub(crate) async fn stream(
    service: &Service,
    request: api::StreamImagesRequest,
) -> Result<BoxStream<api::StreamImagesResponse>, Failure> {
    let pack = |images| api::StreamImagesResponse { images };
    Ok(batches::stream(rows(service, request.filter).await?, pack))
}

async fn rows(service: &Service, filter: Option<api::ImageFilter>) -> Result<Vec<api::Image>, Failure> {
    let wanted = filter.and_then(|filter| filter.image).map(|spec| spec.image).unwrap_or_default();
    let images = match wanted.as_str() {
        "" => service.images.list().await?,
        name => service.images.status(name).await?.into_iter().collect(),
    };
    Ok(images.iter().map(translate::image::summary).collect())
}

pub(crate) async fn status(
    service: &Service,
    request: api::ImageStatusRequest,
) -> Result<api::ImageStatusResponse, Failure> {
    let name = reference(request.image)?;
    let mut info = std::collections::BTreeMap::new();
    // An unknown image is an empty answer, not a failure.
    let Some(image) = service.images.status(&name).await? else {
        return Ok(api::ImageStatusResponse { image: None, info });
    };
    if request.verbose {
        info.insert("info".to_owned(), translate::image::verbose(&image));
    }
    Ok(api::ImageStatusResponse { image: Some(translate::image::summary(&image)), info })
}

pub(crate) async fn pull(
    service: &Service,
    request: api::PullImageRequest,
) -> Result<api::PullImageResponse, Failure> {
    let api::PullImageRequest { image, auth, sandbox_config } = request;
    let namespace = sandbox_config.and_then(|config| config.metadata).map(|metadata| metadata.namespace);
    let id = service
        .images
        .pull(PullRequest { reference: reference(image)?, auth: auth.map(credentials), namespace })
        .await?;
    Ok(api::PullImageResponse { image_ref: id.to_string() })
}

fn credentials(auth: api::AuthConfig) -> AuthConfig {
    let api::AuthConfig { username, password, auth, server_address, identity_token, registry_token } = auth;
    AuthConfig {
        username,
        password: Secret::new(password),
        auth: Secret::new(auth),
        server_address,
        identity_token: Secret::new(identity_token),
        registry_token: Secret::new(registry_token),
    }
}

pub(crate) async fn remove(
    service: &Service,
    request: api::RemoveImageRequest,
) -> Result<api::RemoveImageResponse, Failure> {
    service.images.remove(&reference(request.image)?).await?;
    Ok(api::RemoveImageResponse {})
}

pub(crate) async fn fs_info(
    service: &Service,
    _: api::ImageFsInfoRequest,
) -> Result<api::ImageFsInfoResponse, Failure> {
    let usage = translate::image::filesystem(&service.images.usage());
    Ok(api::ImageFsInfoResponse {
        image_filesystems: vec![usage.clone()],
        container_filesystems: vec![usage],
    })
}
