//! The engine's own OCI runtime: one single-threaded program per verb
