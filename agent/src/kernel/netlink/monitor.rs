//! Tells when links, addresses or routes changed, never what: whoever listens looks for itself.

use anyhow::{Context as _, Result};
use futures_util::StreamExt as _;
use rtnetlink::MulticastGroup;
use tokio::sync::mpsc::{self, Receiver, error::TrySendError};

use super::Netlink;

const GROUPS: [MulticastGroup; 5] = [
    MulticastGroup::Link,
    MulticastGroup::Ipv4Ifaddr,
    MulticastGroup::Ipv6Ifaddr,
    MulticastGroup::Ipv4Route,
    MulticastGroup::Ipv6Route,
];

impl Netlink {
    /// A signal after every change since the last one was taken: many changes may be one signal, and the agent's
    /// own count too. It watches from when it returns until the receiver is dropped.
    ///
    /// # Errors
    /// The kernel gives no socket.
    pub fn monitor() -> Result<Receiver<()>> {
        let (connection, _, mut messages) = rtnetlink::new_multicast_connection(&GROUPS)
            .context("cannot watch for changes of the network")?;
        let (sender, receiver) = mpsc::channel(1);
        tokio::spawn(connection);
        tokio::spawn(async move {
            loop {
                // What a message says does not matter; one that says that others were lost counts as well.
                let message = tokio::select! {
                    message = messages.next() => message,
                    () = sender.closed() => None,
                };
                let signal = message.map(|_| sender.try_send(()));
                if matches!(signal, None | Some(Err(TrySendError::Closed(())))) {
                    return;
                }
            }
        });
        Ok(receiver)
    }
}
