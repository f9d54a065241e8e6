//! The lab: namespaces that stand for machines, agents in them, and what to keep when a test fails.
