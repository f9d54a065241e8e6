//! What takes more than half a minute: `make test-long`.

mod partition;
mod upgrade;
