//! The containers/storage overlay store, shared with podman and skopeo
