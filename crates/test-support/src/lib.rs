//! What demonstrations, tests and measurements share: home-made images and a running engine of their own.

pub mod engine;
pub mod layout;
pub mod leftovers;
