//! The image verbs, in short.

use ochre_cri_api as api;
use ochre_test_support::layout::Layered;

use crate::{Node, Registry};

fn spec(image: &str) -> Option<api::ImageSpec> {
    Some(api::ImageSpec { image: image.into(), ..Default::default() })
}

impl Node {
    /// Pulls an image; returns its id.
    pub async fn pull(&mut self, image: &str) -> Result<String, tonic::Status> {
        self.pull_with(image, None).await
    }

    /// Pulls an image with credentials; returns its id.
    pub async fn pull_with(
        &mut self,
        image: &str,
        auth: Option<api::AuthConfig>,
    ) -> Result<String, tonic::Status> {
        let request = api::PullImageRequest { image: spec(image), auth, sandbox_config: None };
        Ok(self.client.image.pull_image(request).await?.into_inner().image_ref)
    }

    /// All images.
    pub async fn images(&mut self) -> Result<Vec<api::Image>, tonic::Status> {
        Ok(self.client.image.list_images(api::ListImagesRequest::default()).await?.into_inner().images)
    }

    /// The image that a text means.
    pub async fn image(&mut self, image: &str) -> Result<Option<api::Image>, tonic::Status> {
        let request = api::ImageStatusRequest { image: spec(image), verbose: false };
        Ok(self.client.image.image_status(request).await?.into_inner().image)
    }

    /// Removes the image that a text means.
    pub async fn remove_image(&mut self, image: &str) -> Result<(), tonic::Status> {
        let request = api::RemoveImageRequest { image: spec(image) };
        self.client.image.remove_image(request).await.map(drop)
    }
}

impl Registry {
    /// Pushes an image of several layers, with skopeo's options.
    pub fn push_layered(&self, image: &Layered, name: &str, options: &[&str]) -> anyhow::Result<String> {
        let layout = tempfile::tempdir()?;
        let id = image.write_layout(layout.path(), "latest")?;
        self.copy(&format!("oci:{}:latest", layout.path().display()), name, options)?;
        Ok(id)
    }
}

impl Node {
    /// What the store holds on disk: layers, items of images, and anything half-made.
    pub fn stored(&self) -> Vec<String> {
        let places = ["overlay", "overlay-layers", "overlay-images", "overlay/l", "overlay/tempdirs"];
        let areas = ["ochre", "overlay/tempdirs/ochre"]
            .map(|area| ["staging", "trash"].map(|part| format!("{area}/{part}")));
        let mut found: Vec<String> = places
            .iter()
            .map(|place| (*place).to_owned())
            .chain(areas.into_iter().flatten())
            .flat_map(|place| {
                let entries =
                    std::fs::read_dir(self.path("root").join(&place)).into_iter().flatten().flatten();
                entries.map(move |entry| format!("{place}/{}", entry.file_name().to_string_lossy()))
            })
            .collect();
        // What podman notes about the machine.
        found.retain(|path| path != "overlay/.has-mount-program");
        found.sort();
        found
    }
}
