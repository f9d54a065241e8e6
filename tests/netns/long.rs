//! What takes more than half a minute: `make test-long`.

mod churn;
mod partition;
mod transfers;
mod upgrade;
