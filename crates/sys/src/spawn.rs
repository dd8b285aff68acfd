//! Starting children with exactly the descriptors they need.
