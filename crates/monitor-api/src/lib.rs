//! The protocol between the daemon and the pod monitor
