//! Several managers.

mod clients;
mod faults;
mod history;
mod linear;
