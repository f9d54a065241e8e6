//! What takes more than half a minute: `make test-long`.

mod churn;
mod disturbed;
mod flood;
mod partition;
mod transfers;
mod upgrade;
