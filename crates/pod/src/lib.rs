//! Sandboxes and containers: states, drivers, ledger, restore
