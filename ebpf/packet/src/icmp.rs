//! ICMP and ICMPv6: the messages that the data path knows.

/// The length of both families' ICMP header.
pub const LEN: usize = 8;
/// Where the checksum is, in bytes from the start of the header.
pub const CHECKSUM_AT: usize = 2;
/// Where an echo's identifier is.
pub const ID_AT: usize = 4;

/// ICMP's types (RFC 792).
pub mod v4 {
    /// An echo's answer.
    pub const ECHO_REPLY: u8 = 0;
    /// Destination unreachable.
    pub const UNREACHABLE: u8 = 3;
    /// Its code for a port that nobody listens on.
    pub const PORT: u8 = 3;
    /// Its code for "fragmentation needed and DF set".
    pub const FRAGMENTATION_NEEDED: u8 = 4;
    /// An echo.
    pub const ECHO: u8 = 8;
    /// Too many hops, or fragments that did not come.
    pub const TIME_EXCEEDED: u8 = 11;
    /// A header that says something wrong.
    pub const PARAMETER_PROBLEM: u8 = 12;

    /// Whether it is about another packet, which it quotes.
    #[inline(always)]
    pub const fn is_error(kind: u8) -> bool {
        matches!(kind, UNREACHABLE | TIME_EXCEEDED | PARAMETER_PROBLEM)
    }
}

/// ICMPv6's types (RFC 4443, 4861, 2710, 3810).
pub mod v6 {
    /// Destination unreachable.
    pub const UNREACHABLE: u8 = 1;
    /// Its code for a port that nobody listens on.
    pub const PORT: u8 = 4;
    /// Packet too big.
    pub const TOO_BIG: u8 = 2;
    /// An echo.
    pub const ECHO: u8 = 128;
    /// An echo's answer.
    pub const ECHO_REPLY: u8 = 129;
    /// Multicast listener query.
    pub const LISTENER_QUERY: u8 = 130;
    /// Multicast listener done, the last of its version's three.
    pub const LISTENER_DONE: u8 = 132;
    /// Multicast listener report, version 2.
    pub const LISTENER_REPORT2: u8 = 143;
    /// Router solicitation.
    pub const ROUTER_SOLICITATION: u8 = 133;
    /// Router advertisement.
    pub const ROUTER_ADVERTISEMENT: u8 = 134;
    /// Neighbour solicitation.
    pub const NEIGHBOUR_SOLICITATION: u8 = 135;
    /// Neighbour advertisement.
    pub const NEIGHBOUR_ADVERTISEMENT: u8 = 136;
    /// Redirect.
    pub const REDIRECT: u8 = 137;

    /// Whether it is about another packet, which it quotes (RFC 4443, section 2.1).
    #[inline(always)]
    pub const fn is_error(kind: u8) -> bool {
        kind < 128
    }
}
