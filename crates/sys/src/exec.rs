//! Replacing the process image, and process-wide settings just before it.
