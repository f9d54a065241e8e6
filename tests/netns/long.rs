//! What takes more than half a minute: `make test-long`.

mod upgrade;
