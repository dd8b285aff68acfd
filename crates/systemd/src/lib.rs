//! A minimal blocking D-Bus client for systemd units
