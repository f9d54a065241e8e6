//! `overlayd`, the agent.
