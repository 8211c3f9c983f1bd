//! Connection limit: how many connections there may be, in total and from one address.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Maximum number of connections. Each costs a socket and some memory; further clients wait in the
/// kernel's accept queue.
const CONNECTIONS_MAX: usize = 1024;

/// Maximum number of connections from one address, so that no client can use up all of them. A
/// proxy on this machine forwards many clients, so loopback is not limited.
const CONNECTIONS_PER_ADDRESS_MAX: usize = 64;

/// Counts the open connections. Clones share the counts.
#[derive(Clone, Debug)]
pub(super) struct ConnectionLimit {
    permits: Arc<Semaphore>,
    addresses: Arc<Mutex<HashMap<IpAddr, usize>>>,
}

/// The slot of one open connection; dropping it frees the slot.
#[derive(Debug)]
pub(super) struct ConnectionSlot {
    limit: ConnectionLimit,
    address: IpAddr,
    _permit: OwnedSemaphorePermit,
}

impl ConnectionLimit {
    /// A limit without open connections.
    pub(super) fn new() -> Self {
        Self {
            permits: Arc::new(Semaphore::new(CONNECTIONS_MAX)),
            addresses: Arc::default(),
        }
    }

    /// Waits until one more connection may be accepted. May be dropped at any time.
    pub(super) async fn permit(&self) -> OwnedSemaphorePermit {
        Arc::clone(&self.permits)
            .acquire_owned()
            .await
            .expect("the semaphore is never closed")
    }

    /// The slot for a connection from `address`; `None` if the address has too many.
    pub(super) fn slot(
        &self,
        permit: OwnedSemaphorePermit,
        address: IpAddr,
    ) -> Option<ConnectionSlot> {
        let address = address.to_canonical();
        if !address.is_loopback() {
            let mut addresses = self.addresses.lock();
            let count = addresses.entry(address).or_default();
            if *count >= CONNECTIONS_PER_ADDRESS_MAX {
                return None;
            }
            *count += 1;
        }
        Some(ConnectionSlot {
            limit: self.clone(),
            address,
            _permit: permit,
        })
    }
}

impl Drop for ConnectionSlot {
    fn drop(&mut self) {
        let mut addresses = self.limit.addresses.lock();
        if let Some(count) = addresses.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                addresses.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn no_address_takes_all_connections_except_this_machine() {
        let limit = ConnectionLimit::new();
        let (far, other) = (IpAddr::from([192, 0, 2, 1]), IpAddr::from([192, 0, 2, 2]));
        let mut slots = Vec::new();
        for _ in 0..CONNECTIONS_PER_ADDRESS_MAX {
            slots.push(limit.slot(limit.permit().await, far).unwrap());
        }
        assert!(limit.slot(limit.permit().await, far).is_none());
        // The same address, as a socket of both families shows it.
        let mapped = "::ffff:192.0.2.1".parse().unwrap();
        assert!(limit.slot(limit.permit().await, mapped).is_none());
        assert!(limit.slot(limit.permit().await, other).is_some());
        slots.pop();
        let freed = limit.slot(limit.permit().await, far);
        slots.push(freed.expect("a slot became free"));
        for _ in 0..2 * CONNECTIONS_PER_ADDRESS_MAX {
            let local = limit.slot(limit.permit().await, IpAddr::from([127, 0, 0, 1]));
            slots.push(local.expect("loopback is not limited"));
        }
        drop(slots);
        assert!(limit.addresses.lock().is_empty());
        assert_eq!(limit.permits.available_permits(), CONNECTIONS_MAX);
    }
}
