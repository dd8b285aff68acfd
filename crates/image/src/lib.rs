//! Image references, registries, credentials, policies and pulls
