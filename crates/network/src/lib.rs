//! CNI plugins, the built-in bridge network and host ports
