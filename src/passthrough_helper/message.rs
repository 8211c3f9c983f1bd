//! Messages between a daemon and its helper, over a `SOCK_SEQPACKET` socket.
//!
//! A request is five bytes, an opcode and a backing id, and carries the mount's device as a file
//! descriptor (`SCM_RIGHTS`). A reply is a backing id, or a negative errno.

/// The first byte of a request.
pub(super) mod opcode {
    /// Open a backing for the file whose descriptor follows the device's. The id is unused. The
    /// reply is the new id.
    pub(in crate::passthrough_helper) const OPEN: u8 = 1;
    /// Close the backing with this id. There is no reply.
    pub(in crate::passthrough_helper) const CLOSE: u8 = 2;
}

/// Bytes of a request: the opcode, and the backing id in little-endian order.
pub(super) const REQUEST_BYTES: usize = 5;

/// Bytes of a reply: a 32-bit number in little-endian order.
pub(super) const REPLY_BYTES: usize = 4;
