//! What a node is to the cluster.

use super::words;

words! {
    /// What a node is to the cluster.
    "role",
    pub enum Role {
        /// It follows the managers.
        #[default]
        Worker = "worker",
        /// It holds intent together with the other managers.
        Manager = "manager",
    }
}
