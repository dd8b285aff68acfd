//! The CRI v1 services: translation, verbs, error codes
