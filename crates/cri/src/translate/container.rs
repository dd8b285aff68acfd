//! CreateContainer's configuration.

use ochre_cri_api as api;
use ochre_pod::config::{ContainerConfig, ContainerMetadata, Device, Mount, Propagation, VolumeImage};
use ochre_types::ImageId;

use super::{check_map, resources, security, signal};
use crate::failure::Failure;

/// Most entries of any list in a container's configuration.
const MANY: usize = 10_000;

/// A container's configuration.
pub(crate) fn config(config: api::ContainerConfig) -> Result<ContainerConfig, Failure> {
    let api::ContainerConfig {
        metadata,
        image,
        command,
        args,
        working_dir,
        envs,
        mounts,
        devices,
        labels,
        annotations,
        log_path,
        stdin,
        stdin_once,
        tty,
        linux,
        // Set by kubelets of Windows nodes only.
        windows: _,
        cdi_devices,
        stop_signal,
    } = config;
    check_map("labels", &labels)?;
    check_map("annotations", &annotations)?;
    for (field, count) in [("envs", envs.len()), ("mounts", mounts.len()), ("devices", devices.len())] {
        if count > MANY {
            return Err(Failure::invalid(field, format!("list of {count}"), "at most 10000 entries"));
        }
    }
    let image =
        image.filter(|image| !image.image.is_empty()).ok_or(Failure::Missing { field: "config.image" })?;
    let api::LinuxContainerConfig { resources: limits, security_context } = linux.unwrap_or_default();
    Ok(ContainerConfig {
        metadata: self::metadata(metadata)?,
        user_specified_image: image.user_specified_image,
        image: image.image,
        command,
        args,
        working_dir,
        envs: envs.into_iter().map(|api::KeyValue { key, value }| (key, value)).collect(),
        mounts: mounts.into_iter().map(mount).collect::<Result<_, _>>()?,
        devices: devices.into_iter().map(device).collect(),
        cdi_devices: cdi_devices.into_iter().map(|device| device.name).collect(),
        labels,
        annotations,
        log_path,
        stdin,
        stdin_once,
        tty,
        stop_signal: signal::from_api(stop_signal)?,
        resources: limits.map(resources::from_api).transpose()?.unwrap_or_default(),
        security: security::container(security_context.unwrap_or_default())?,
    })
}

fn metadata(metadata: Option<api::ContainerMetadata>) -> Result<ContainerMetadata, Failure> {
    let api::ContainerMetadata { name, attempt } =
        metadata.ok_or(Failure::Missing { field: "config.metadata" })?;
    if name.is_empty() {
        return Err(Failure::Missing { field: "config.metadata.name" });
    }
    Ok(ContainerMetadata { name, attempt })
}

fn device(device: api::Device) -> Device {
    let api::Device { container_path, host_path, permissions } = device;
    Device { container_path, host_path, permissions }
}

fn mount(mount: api::Mount) -> Result<Mount, Failure> {
    let api::Mount {
        container_path,
        host_path,
        readonly,
        selinux_relabel,
        propagation,
        uid_mappings,
        gid_mappings,
        recursive_read_only,
        image,
        image_sub_path,
        mount_options,
    } = mount;
    if mount_options.len() > MANY {
        return Err(Failure::invalid(
            "mount_options",
            format!("list of {}", mount_options.len()),
            "at most 10000 entries",
        ));
    }
    let propagation = match api::MountPropagation::try_from(propagation) {
        Ok(api::MountPropagation::PropagationPrivate) => Propagation::Private,
        Ok(api::MountPropagation::PropagationHostToContainer) => Propagation::HostToContainer,
        Ok(api::MountPropagation::PropagationBidirectional) => Propagation::Bidirectional,
        Err(_) => {
            return Err(Failure::invalid(
                "mount propagation",
                propagation,
                "private (0), slave (1) or shared (2)",
            ));
        }
    };
    Ok(Mount {
        container_path,
        host_path,
        image: image
            .filter(|image| !image.image.is_empty())
            .map(|image| VolumeImage { reference: image.image, user_specified: image.user_specified_image }),
        image_sub_path,
        readonly,
        recursive_readonly: recursive_read_only,
        selinux_relabel,
        propagation,
        uid_mappings: security::id_mappings(uid_mappings),
        gid_mappings: security::id_mappings(gid_mappings),
        options: mount_options,
    })
}

/// A mount for a status; `volume` is the id of the image behind it.
pub(crate) fn mount_to_api(mount: &Mount, volume: Option<&ImageId>) -> api::Mount {
    let propagation = match mount.propagation {
        Propagation::Private => api::MountPropagation::PropagationPrivate,
        Propagation::HostToContainer => api::MountPropagation::PropagationHostToContainer,
        Propagation::Bidirectional => api::MountPropagation::PropagationBidirectional,
    };
    api::Mount {
        container_path: mount.container_path.clone(),
        host_path: mount.host_path.clone(),
        readonly: mount.readonly,
        selinux_relabel: mount.selinux_relabel,
        propagation: propagation as i32,
        uid_mappings: security::id_mappings_to_api(&mount.uid_mappings),
        gid_mappings: security::id_mappings_to_api(&mount.gid_mappings),
        recursive_read_only: mount.recursive_readonly,
        image: mount.image.as_ref().map(|image| api::ImageSpec {
            image: image.reference.clone(),
            user_specified_image: image.user_specified.clone(),
            // What PullImage answered for it.
            image_ref: volume.map(ImageId::to_string).unwrap_or_default(),
            ..Default::default()
        }),
        image_sub_path: mount.image_sub_path.clone(),
        mount_options: mount.options.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request() -> api::ContainerConfig {
        api::ContainerConfig {
            metadata: Some(api::ContainerMetadata { name: "app".into(), attempt: 0 }),
            image: Some(api::ImageSpec { image: "busybox".into(), ..Default::default() }),
            ..Default::default()
        }
    }

    #[test]
    fn name_and_image_are_required() {
        assert!(config(request()).is_ok());
        assert!(config(api::ContainerConfig { metadata: None, ..request() }).is_err());
        assert!(config(api::ContainerConfig { image: None, ..request() }).is_err());
        assert!(
            config(api::ContainerConfig { image: Some(api::ImageSpec::default()), ..request() }).is_err()
        );
    }

    #[test]
    fn a_mount_comes_back_as_it_was_given() {
        let given = api::Mount {
            container_path: "/data".into(),
            host_path: "/srv".into(),
            readonly: true,
            propagation: 1,
            selinux_relabel: true,
            recursive_read_only: true,
            uid_mappings: vec![api::IdMapping { host_id: 1, container_id: 0, length: 2 }],
            gid_mappings: vec![api::IdMapping { host_id: 3, container_id: 0, length: 4 }],
            mount_options: vec!["noexec".into()],
            ..Default::default()
        };
        assert_eq!(mount_to_api(&mount(given.clone()).unwrap(), None), given);
    }
}
