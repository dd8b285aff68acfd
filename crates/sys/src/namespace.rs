//! Entering and pinning namespaces from threads of their own.
